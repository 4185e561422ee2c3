//! The sharing workloads by tokio's `RwLock`s, taken in one order. There is a task per event, or a
//! task per philosopher, which yields after each meal.

use std::sync::Arc;

use tokio::sync::RwLock;

use super::{ACCOUNTS, Deal, Deals, Dictionary, SEATS, Sharing};
use super::{change, check_audit, dictionary, look_up};
use crate::openloop::service::spin;
use crate::workloads::{BURST, GENERATORS, OpensWhenDropped};

type Last = Arc<OpensWhenDropped>;

/// Starts a run of `rounds` rounds, or meals per seat.
pub(in crate::workloads) fn start(sharing: Sharing, rounds: usize, last: Last) {
    match sharing {
        Sharing::Bank(bank) => {
            let steps = bank.steps();
            let accounts: Vec<RwLock<i64>> = (0..ACCOUNTS).map(|_| RwLock::new(0)).collect();
            let accounts = Arc::new(accounts);
            for g in 0..GENERATORS {
                let deals = Deals::of_bank(g, bank);
                deal(rounds, steps, deals, Arc::clone(&accounts), Arc::clone(&last));
            }
        }
        Sharing::Philosophers => {
            let forks: Vec<RwLock<u64>> = (0..SEATS).map(|_| RwLock::new(0)).collect();
            let forks = Arc::new(forks);
            for seat in 0..SEATS {
                tokio::spawn(eat(seat, rounds, Arc::clone(&forks), Arc::clone(&last)));
            }
        }
        Sharing::Dictionary => {
            let words = Arc::new(RwLock::new(dictionary()));
            for g in 0..GENERATORS {
                consult(rounds, Deals::of(g), Arc::clone(&words), Arc::clone(&last));
            }
        }
    }
}

type Accounts = Arc<Vec<RwLock<i64>>>;

fn deal(left: usize, steps: u64, mut deals: Deals, accounts: Accounts, last: Last) {
    tokio::spawn(async move {
        for _ in 0..BURST {
            let (last, accounts) = (Arc::clone(&last), Arc::clone(&accounts));
            match deals.deal() {
                Deal::Transfer(from, to) => tokio::spawn(async move {
                    let mut low = accounts[from.min(to)].write().await;
                    let mut high = accounts[from.max(to)].write().await;
                    let sign = if from < to { 1 } else { -1 };
                    *low -= sign;
                    *high += sign;
                    spin(steps);
                    drop(last);
                }),
                Deal::Audit => tokio::spawn(async move {
                    let mut all = Vec::with_capacity(ACCOUNTS);
                    for account in accounts.iter() {
                        all.push(account.read().await);
                    }
                    check_audit(all.iter().map(|a| **a).sum());
                    drop(last);
                }),
            };
        }
        if left > 1 {
            deal(left - 1, steps, deals, accounts, last);
        }
    });
}

async fn eat(seat: usize, meals: usize, forks: Arc<Vec<RwLock<u64>>>, last: Last) {
    let (a, b) = (seat, (seat + 1) % SEATS);
    for _ in 0..meals {
        {
            let mut low = forks[a.min(b)].write().await;
            let mut high = forks[a.max(b)].write().await;
            *low += 1;
            *high += 1;
        }
        tokio::task::yield_now().await;
    }
    drop(last);
}

fn consult(left: usize, mut deals: Deals, words: Arc<RwLock<Dictionary>>, last: Last) {
    tokio::spawn(async move {
        for _ in 0..BURST {
            let (last, words) = (Arc::clone(&last), Arc::clone(&words));
            let (first, writes) = deals.word();
            tokio::spawn(async move {
                match writes {
                    true => change(&mut *words.write().await, first),
                    false => look_up(&*words.read().await, first),
                }
                drop(last);
            });
        }
        if left > 1 {
            consult(left - 1, deals, words, last);
        }
    });
}
