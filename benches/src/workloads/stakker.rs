//! Closures on one thread, by stakker: no synchronization, and no box per closure, because its
//! queue is one buffer of closures of any size. This is a limit for events that need several things
//! at once, because on one thread all things are available without waiting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use stakker::Stakker;

use super::sharing::{ACCOUNTS, Bank, Deal, Deals, Dictionary, SEATS, Sharing};
use super::sharing::{change, check_audit, dictionary, look_up};
use super::{BURST, GENERATORS, Workload, sharing_rounds};
use crate::measure::{Took, time};
use crate::openloop::service::spin;

/// Runs a workload whose events need several things, on one thread. Returns `None` for other
/// workloads, and for more than one worker.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    let Workload::Sharing(sharing) = workload else { return None };
    if workers != 1 {
        return None;
    }
    let (rounds, events) = sharing_rounds(sharing, events);
    let mut stakker = Stakker::new(Instant::now());
    let s = &mut stakker;
    match sharing {
        Sharing::Bank(bank) => bank_of(bank, rounds, s),
        Sharing::Philosophers => {
            let forks: Rc<[Cell<u64>]> = (0..SEATS).map(|_| Cell::new(0)).collect();
            for seat in 0..SEATS {
                let forks = Rc::clone(&forks);
                s.defer(move |s| eat(seat, rounds, forks, s));
            }
        }
        Sharing::Dictionary => {
            let words = Rc::new(RefCell::new(dictionary()));
            for generator in 0..GENERATORS {
                let (deals, words) = (Deals::of(generator), Rc::clone(&words));
                s.defer(move |s| consult(rounds, deals, words, s));
            }
        }
    }
    Some(time(events, || while stakker.run(Instant::now(), false) {}))
}

type Accounts = Rc<[Cell<i64>]>;

fn bank_of(bank: Bank, rounds: usize, s: &mut Stakker) {
    let steps = bank.steps();
    let accounts: Accounts = (0..ACCOUNTS).map(|_| Cell::new(0)).collect();
    for generator in 0..GENERATORS {
        let (deals, accounts) = (Deals::of_bank(generator, bank), Rc::clone(&accounts));
        s.defer(move |s| deal(rounds, steps, deals, accounts, s));
    }
}

fn deal(left: usize, steps: u64, mut deals: Deals, accounts: Accounts, s: &mut Stakker) {
    for _ in 0..BURST {
        let all = Rc::clone(&accounts);
        match deals.deal() {
            Deal::Transfer(from, to) => s.defer(move |_| {
                all[from].set(all[from].get() - 1);
                all[to].set(all[to].get() + 1);
                spin(steps);
            }),
            Deal::Audit => s.defer(move |_| check_audit(all.iter().map(Cell::get).sum())),
        }
    }
    if left > 1 {
        s.defer(move |s| deal(left - 1, steps, deals, accounts, s));
    }
}

fn eat(seat: usize, left: usize, forks: Rc<[Cell<u64>]>, s: &mut Stakker) {
    for fork in [seat, (seat + 1) % SEATS] {
        forks[fork].set(forks[fork].get() + 1);
    }
    if left > 1 {
        s.defer(move |s| eat(seat, left - 1, forks, s));
    }
}

fn consult(left: usize, mut deals: Deals, words: Rc<RefCell<Dictionary>>, s: &mut Stakker) {
    for _ in 0..BURST {
        let all = Rc::clone(&words);
        match deals.word() {
            (first, true) => s.defer(move |_| change(&mut all.borrow_mut(), first)),
            (first, false) => s.defer(move |_| look_up(&all.borrow(), first)),
        }
    }
    if left > 1 {
        s.defer(move |s| consult(left - 1, deals, words, s));
    }
}
