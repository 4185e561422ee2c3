//! Workloads whose events need several things, or read one thing together.
//!
//! | workload | what it is | what counts as an event |
//! | --- | --- | --- |
//! | bank | each of 64 generators posts 64 transfers between random ones of 1,000 accounts, then itself; every 1,000th is an audit instead, which reads all accounts at one moment | a transfer or audit |
//! | bank-plain | the same without audits | a transfer |
//! | bank-100ns .. bank-3us | each transfer computes, too: see [`Sharing::SWEEP`] | a transfer |
//! | philosophers | 20 of them in a ring, each eats again and again, with the forks on both sides | a meal |
//! | dictionary | each of 64 generators posts 64 operations on one hash map of 10,000 keys, then itself: 90 % look up 8 keys, 10 % change 8 | an operation |
//!
//! dapple uses color sets and shared events; `rayon-mutex` closures that take mutexes (of the
//! dictionary: a readers-writer lock) of the standard library, in one order; `tokio-spawn` a task
//! per event, and tokio's `RwLock`s in one order; `tokio-actor` actors: one that owns all accounts,
//! one per fork, one that owns the dictionary.

pub mod actors;
pub mod dapple;
pub mod locks;
pub mod tokio_locks;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Keys;
use crate::openloop::service::Speed;

/// Accounts of a bank.
pub const ACCOUNTS: usize = super::KEYS;
/// One in so many is an audit.
pub const AUDIT_EVERY: usize = 1_000;
/// Philosophers, and forks.
pub const SEATS: usize = 20;
/// Keys of `dictionary`.
pub const WORDS: u64 = 10_000;
/// Keys that an operation of it touches.
pub const TOUCHED: u64 = 8;

/// One of these workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// See the module.
    Bank(Bank),
    /// See the module.
    Philosophers,
    /// See the module.
    Dictionary,
}

/// Which bank it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// With audits.
    Audited,
    /// Without.
    Plain,
    /// Without, and each transfer computes for so many nanoseconds.
    Work(u64),
}

impl Sharing {
    /// Transfers that compute, for so many nanoseconds each.
    pub const SWEEP: [u64; 5] = [100, 300, 600, 1_000, 3_000];
}

impl Bank {
    /// How many steps of [`spin`](crate::openloop::service::spin) a transfer computes.
    pub(super) fn steps(self) -> u64 {
        static SPEED: OnceLock<Speed> = OnceLock::new();
        match self {
            Bank::Work(nanos) => SPEED.get_or_init(Speed::measure).steps(nanos),
            Bank::Audited | Bank::Plain => 0,
        }
    }
}

/// What an event of a bank does.
pub(super) enum Deal {
    /// From the first to the second account, which are not the same.
    Transfer(usize, usize),
    Audit,
}

/// What a generator posts.
pub(super) struct Deals {
    keys: Keys,
    count: usize,
    audits: bool,
}

impl Deals {
    /// Of a generator of the dictionary, or of a bank without audits.
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

    /// The first key of an operation on the dictionary, and whether it writes.
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

/// Money is neither made nor lost.
pub(super) fn check_audit(total: i64) {
    assert_eq!(total, 0, "an audit sees all accounts at one moment");
}
