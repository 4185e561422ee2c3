//! Workloads whose events need several things, or read one thing together.
//!
//! | workload | what it is | what counts as an event |
//! | --- | --- | --- |
//! | bank | each of 64 generators posts 64 transfers between random ones of 1,000 accounts, then itself; every 1,000th is an audit instead, which reads all accounts at one moment | a transfer or audit |
//! | bank-plain | the bank without audits | a transfer |
//! | bank-100ns .. bank-3us | bank-plain with work, see [`Sharing::SWEEP`] | a transfer |
//! | philosophers | 20 in a ring, each eats repeatedly with the forks on both sides | a meal |
//! | dictionary | each of 64 generators posts 64 operations on one hash map of 10,000 keys, then itself: 90 % look up 8 keys, 10 % change 8 | an operation |
//!
//! The systems run these workloads in different ways:
//!
//! * dapple uses color sets and shared events.
//! * `rayon-mutex` uses closures that take mutexes of the standard library in one order, or its
//!   readers-writer lock for the dictionary.
//! * `tokio-spawn` uses a task per event, or per philosopher, and tokio's `RwLock`s in one order.
//! * `tokio-actor` uses actors: one that owns all accounts, one per fork, and one that owns the
//!   dictionary.

pub mod actors;
pub mod dapple;
pub mod locks;
pub mod tokio_locks;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Keys;
use crate::openloop::service::Speed;

/// The number of accounts of a bank.
pub const ACCOUNTS: usize = super::KEYS;
/// The number of events of a generator per audit.
pub const AUDIT_EVERY: usize = 1_000;
/// The number of philosophers, and of forks.
pub const SEATS: usize = 20;
/// The number of keys of `dictionary`.
pub const WORDS: u64 = 10_000;
/// The number of keys that an operation of `dictionary` touches.
pub const TOUCHED: u64 = 8;

/// A workload whose events need several things, or read one thing together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Transfers between accounts.
    Bank(Bank),
    /// Philosophers in a ring, who eat with the forks on both sides.
    Philosophers,
    /// Operations on one hash map.
    Dictionary,
}

/// A variant of the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// The bank with audits.
    Audited,
    /// The bank without audits.
    Plain,
    /// The bank without audits, where each transfer computes for this number of nanoseconds.
    Work(u64),
}

impl Sharing {
    /// The computing times of the `bank-..` workloads, in nanoseconds per transfer.
    pub const SWEEP: [u64; 5] = [100, 300, 600, 1_000, 3_000];
}

impl Bank {
    /// Returns the number of steps of [`spin`](crate::openloop::service::spin) that a transfer
    /// computes.
    pub(super) fn steps(self) -> u64 {
        static SPEED: OnceLock<Speed> = OnceLock::new();
        match self {
            Bank::Work(nanos) => SPEED.get_or_init(Speed::measure).steps(nanos),
            Bank::Audited | Bank::Plain => 0,
        }
    }
}

/// The action of an event of a bank.
pub(super) enum Deal {
    /// A transfer from the first account to the second one. They differ.
    Transfer(usize, usize),
    Audit,
}

/// The stream of actions that a generator posts.
pub(super) struct Deals {
    keys: Keys,
    count: usize,
    audits: bool,
}

impl Deals {
    /// Creates the stream of a generator of the dictionary, or of a bank without audits.
    pub(super) fn of(generator: usize) -> Self {
        Deals { keys: Keys::of(generator), count: generator * 37, audits: false }
    }

    pub(super) fn of_bank(generator: usize, bank: Bank) -> Self {
        Deals { audits: bank == Bank::Audited, ..Deals::of(generator) }
    }

    pub(super) fn deal(&mut self) -> Deal {
        self.count += 1;
        if self.audits && self.count.is_multiple_of(AUDIT_EVERY) {
            return Deal::Audit;
        }
        let from = self.keys.draw();
        let to = (from + 1 + self.keys.draw() % (ACCOUNTS - 1)) % ACCOUNTS;
        Deal::Transfer(from, to)
    }

    /// Returns the first key of an operation on the dictionary, and whether the operation writes.
    pub(super) fn word(&mut self) -> (u64, bool) {
        self.count += 1;
        let first = (self.keys.draw() * 31 + self.keys.draw()) as u64 % WORDS;
        (first, self.count.is_multiple_of(10))
    }
}

pub(super) type Dictionary = HashMap<u64, u64>;

pub(super) fn dictionary() -> Dictionary {
    (0..WORDS).map(|word| (word, 0)).collect()
}

pub(super) fn look_up(words: &Dictionary, first: u64) {
    let sum: u64 = (0..TOUCHED).map(|n| words[&((first + n * 97) % WORDS)]).sum();
    std::hint::black_box(sum);
}

pub(super) fn change(words: &mut Dictionary, first: u64) {
    for n in 0..TOUCHED {
        *words.entry((first + n * 97) % WORDS).or_default() += 1;
    }
}

/// Checks that no money was made or lost.
pub(super) fn check_audit(total: i64) {
    assert_eq!(total, 0, "an audit sees all accounts at one moment");
}
