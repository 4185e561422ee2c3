//! The sharing workloads by color sets and shared events.

use std::sync::Arc;

use dapple::{Colored, ColoredSet, Cx, Handle};

use super::{ACCOUNTS, Deal, Deals, Dictionary, SEATS, Sharing};
use super::{change, check_audit, dictionary, look_up};
use crate::openloop::service::spin;
use crate::workloads::{BURST, GENERATORS};

/// Posts the first events of a run of `rounds` rounds, or meals per seat.
pub(in crate::workloads) fn start(h: &Handle, sharing: Sharing, rounds: usize) {
    match sharing {
        Sharing::Bank(bank) => {
            let steps = bank.steps();
            let accounts: Vec<_> =
                (0..ACCOUNTS).map(|_| Colored::new(&h.new_color(), 0i64)).collect();
            let accounts = Arc::new(accounts);
            for g in 0..GENERATORS {
                let (deals, accounts) = (Deals::of_bank(g, bank), Arc::clone(&accounts));
                h.post(&h.new_color(), move |cx| deal(rounds, steps, deals, accounts, cx));
            }
        }
        Sharing::Philosophers => {
            let forks: Vec<_> = (0..SEATS).map(|_| Colored::new(&h.new_color(), 0u64)).collect();
            let forks = Arc::new(forks);
            for seat in 0..SEATS {
                eat(seat, rounds, Arc::clone(&forks));
            }
        }
        Sharing::Dictionary => {
            let words = Colored::new(&h.new_color(), dictionary());
            for g in 0..GENERATORS {
                let (deals, words) = (Deals::of(g), words.clone());
                h.post(&h.new_color(), move |cx| consult(rounds, deals, words, cx));
            }
        }
    }
}

type Accounts = Arc<Vec<Colored<i64>>>;

fn deal(left: usize, steps: u64, mut deals: Deals, accounts: Accounts, cx: &mut Cx) {
    for _ in 0..BURST {
        match deals.deal() {
            Deal::Transfer(from, to) if steps > 0 => {
                (accounts[from].exclusive(), accounts[to].exclusive()).post(
                    move |(from, to), _| {
                        *from -= 1;
                        *to += 1;
                        spin(steps);
                    },
                );
            }
            Deal::Transfer(from, to) => {
                (accounts[from].exclusive(), accounts[to].exclusive()).post(|(from, to), _| {
                    *from -= 1;
                    *to += 1;
                });
            }
            Deal::Audit => {
                let all: Vec<_> = accounts.iter().map(Colored::shared).collect();
                all.post(|all, _| check_audit(all.into_iter().sum()));
            }
        }
    }
    if left > 1 {
        cx.post_here(move |cx| deal(left - 1, steps, deals, accounts, cx));
    }
}

fn eat(seat: usize, left: usize, forks: Arc<Vec<Colored<u64>>>) {
    let also = Arc::clone(&forks);
    (forks[seat].exclusive(), forks[(seat + 1) % SEATS].exclusive()).post(move |(a, b), _| {
        *a += 1;
        *b += 1;
        if left > 1 {
            eat(seat, left - 1, also);
        }
    });
}

fn consult(left: usize, mut deals: Deals, words: Colored<Dictionary>, cx: &mut Cx) {
    for _ in 0..BURST {
        match deals.word() {
            (first, true) => words.post(move |words, _| change(words, first)),
            (first, false) => words.post_shared(move |words, _| look_up(words, first)),
        }
    }
    if left > 1 {
        cx.post_here(move |cx| consult(left - 1, deals, words, cx));
    }
}
