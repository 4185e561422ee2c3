//! The sharing workloads by locks of the standard library, taken in one order, in closures on
//! rayon.

use std::sync::{Mutex, RwLock};

use rayon::ScopeFifo;

use super::{ACCOUNTS, Deal, Deals, Dictionary, SEATS, Sharing};
use super::{change, check_audit, dictionary, look_up};
use crate::openloop::service::spin;
use crate::workloads::{BURST, GENERATORS};

/// Runs a workload for `rounds` rounds, or meals per seat.
pub(in crate::workloads) fn run(pool: &rayon::ThreadPool, sharing: Sharing, rounds: usize) {
    match sharing {
        Sharing::Bank(bank) => {
            let steps = bank.steps();
            let accounts: Vec<Mutex<i64>> = (0..ACCOUNTS).map(|_| Mutex::new(0)).collect();
            pool.scope_fifo(|s| {
                let deals = |g| Deals::of_bank(g, bank);
                (0..GENERATORS).for_each(|g| deal(rounds, steps, deals(g), &accounts, s));
            });
        }
        Sharing::Philosophers => {
            let forks: Vec<Mutex<u64>> = (0..SEATS).map(|_| Mutex::new(0)).collect();
            pool.scope_fifo(|s| (0..SEATS).for_each(|seat| eat(seat, rounds, &forks, s)));
        }
        Sharing::Dictionary => {
            let words = RwLock::new(dictionary());
            pool.scope_fifo(|s| {
                (0..GENERATORS).for_each(|g| consult(rounds, Deals::of(g), &words, s));
            });
        }
    }
}

fn deal<'a>(
    left: usize,
    steps: u64,
    mut deals: Deals,
    accounts: &'a [Mutex<i64>],
    s: &ScopeFifo<'a>,
) {
    s.spawn_fifo(move |s| {
        for _ in 0..BURST {
            match deals.deal() {
                Deal::Transfer(from, to) => s.spawn_fifo(move |_| {
                    let mut low = accounts[from.min(to)].lock().unwrap();
                    let mut high = accounts[from.max(to)].lock().unwrap();
                    let sign = if from < to { 1 } else { -1 };
                    *low -= sign;
                    *high += sign;
                    spin(steps);
                }),
                Deal::Audit => s.spawn_fifo(|_| {
                    let all: Vec<_> = accounts.iter().map(|a| a.lock().unwrap()).collect();
                    check_audit(all.iter().map(|a| **a).sum());
                }),
            }
        }
        if left > 1 {
            deal(left - 1, steps, deals, accounts, s);
        }
    });
}

fn eat<'a>(seat: usize, left: usize, forks: &'a [Mutex<u64>], s: &ScopeFifo<'a>) {
    s.spawn_fifo(move |s| {
        let (a, b) = (seat, (seat + 1) % SEATS);
        {
            let mut low = forks[a.min(b)].lock().unwrap();
            let mut high = forks[a.max(b)].lock().unwrap();
            *low += 1;
            *high += 1;
        }
        if left > 1 {
            eat(seat, left - 1, forks, s);
        }
    });
}

fn consult<'a>(left: usize, mut deals: Deals, words: &'a RwLock<Dictionary>, s: &ScopeFifo<'a>) {
    s.spawn_fifo(move |s| {
        for _ in 0..BURST {
            match deals.word() {
                (first, true) => s.spawn_fifo(move |_| change(&mut words.write().unwrap(), first)),
                (first, false) => s.spawn_fifo(move |_| look_up(&words.read().unwrap(), first)),
            }
        }
        if left > 1 {
            consult(left - 1, deals, words, s);
        }
    });
}
