//! The workloads, and how each system runs them.
//!
//! | workload | what it is | what counts as an event |
//! | --- | --- | --- |
//! | chain | one serial unit posts to itself, with one closure in flight | a closure |
//! | keyed | each of 64 generators posts 64 increments to random ones of 1,000 serial counters, then itself | an increment |
//! | fanout | one event posts many events that share nothing | one of these |
//! | fanout-colors | one event posts many events, each with a new serial unit | one of these |
//! | pingpong | two serial units post to each other | a hop |
//! | chains | 128 serial units that each post to themselves, all started on one worker | a closure |
//! | work10us | events that share nothing, each 10 us of arithmetic | one of these |
//!
//! The workloads in [`sharing`] have events that need several things, or that read one thing
//! together.
//!
//! A serial unit is a color of dapple, an actor (a task that receives from a channel), or a mutex.
//! The limits [`plain`] and [`stakker`] have none: they run closures on one thread. Runs start with
//! an idle, warm pool, and end when every event has run.

pub mod async_executor;
pub mod dapple;
pub mod plain;
pub mod rayon;
pub mod sharing;
pub mod stakker;
pub mod tokio_actor;
pub mod tokio_spawn;

use std::sync::{Condvar, Mutex, OnceLock};

use self::sharing::{Bank, SEATS, Sharing};
use crate::measure::Took;
use crate::openloop::service::{Speed, spin};

/// The number of generators of `keyed`.
pub const GENERATORS: usize = 64;
/// The number of increments that a generator posts at a time.
pub const BURST: usize = 64;
/// The number of counters of `keyed`.
pub const KEYS: usize = 1_000;

/// A workload of `versus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One serial unit posts to itself.
    Chain,
    /// Generators post increments to random serial counters.
    Keyed,
    /// One event posts many events that share nothing.
    Fanout,
    /// One event posts many events, each with a new serial unit.
    FanoutColors,
    /// Two serial units post to each other.
    Pingpong,
    /// Many serial units that each post to themselves.
    Chains,
    /// Events that share nothing, each 10 us of arithmetic.
    Work10us,
    /// A workload whose events need several things, or read one thing together.
    Sharing(Sharing),
}

impl Workload {
    /// All workloads.
    pub const ALL: [Workload; 16] = [
        Workload::Chain,
        Workload::Keyed,
        Workload::Fanout,
        Workload::FanoutColors,
        Workload::Pingpong,
        Workload::Chains,
        Workload::Work10us,
        Workload::Sharing(Sharing::Bank(Bank::Audited)),
        Workload::Sharing(Sharing::Bank(Bank::Plain)),
        Workload::Sharing(Sharing::Bank(Bank::Work(Sharing::SWEEP[0]))),
        Workload::Sharing(Sharing::Bank(Bank::Work(Sharing::SWEEP[1]))),
        Workload::Sharing(Sharing::Bank(Bank::Work(Sharing::SWEEP[2]))),
        Workload::Sharing(Sharing::Bank(Bank::Work(Sharing::SWEEP[3]))),
        Workload::Sharing(Sharing::Bank(Bank::Work(Sharing::SWEEP[4]))),
        Workload::Sharing(Sharing::Philosophers),
        Workload::Sharing(Sharing::Dictionary),
    ];

    /// Returns the name of the workload on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Chain => "chain",
            Workload::Keyed => "keyed",
            Workload::Fanout => "fanout",
            Workload::FanoutColors => "fanout-colors",
            Workload::Pingpong => "pingpong",
            Workload::Chains => "chains",
            Workload::Work10us => "work10us",
            Workload::Sharing(Sharing::Bank(bank)) => match bank {
                Bank::Audited => "bank",
                Bank::Plain => "bank-plain",
                Bank::Work(100) => "bank-100ns",
                Bank::Work(300) => "bank-300ns",
                Bank::Work(600) => "bank-600ns",
                Bank::Work(1_000) => "bank-1us",
                Bank::Work(_) => "bank-3us",
            },
            Workload::Sharing(Sharing::Philosophers) => "philosophers",
            Workload::Sharing(Sharing::Dictionary) => "dictionary",
        }
    }

    /// Returns `true` if the workload is run only when it is asked for by name.
    pub fn is_extra(self) -> bool {
        matches!(self, Workload::Sharing(Sharing::Bank(Bank::Work(_))))
    }

    /// Returns the number of events of one run.
    pub fn events(self, quick: bool) -> u64 {
        let full = match self {
            Workload::Chain | Workload::Pingpong => 2_000_000,
            Workload::Keyed => (GENERATORS * BURST * 500) as u64,
            Workload::Fanout | Workload::FanoutColors => 3_000_000,
            Workload::Chains => 4_000_000,
            Workload::Work10us => 20_000,
            Workload::Sharing(Sharing::Philosophers) => (SEATS * 10_000) as u64,
            Workload::Sharing(Sharing::Bank(Bank::Plain)) => (GENERATORS * BURST * 500) as u64,
            Workload::Sharing(_) => (GENERATORS * BURST * 100) as u64,
        };
        if quick { full / 20 } else { full }
    }
}

/// A function that runs a workload on one system once. It returns `None` if the system does not
/// support the workload.
pub type Run = fn(Workload, events: u64, workers: usize) -> Option<Took>;

/// The number of serial units of `chains`.
pub const CHAINS: u64 = 128;

/// Does about 10 us of arithmetic: the number of steps that took 10 us when this was first called.
pub(crate) fn work_10us() {
    static STEPS: OnceLock<u64> = OnceLock::new();
    spin(*STEPS.get_or_init(|| Speed::measure().steps(10_000)));
}

/// Returns the rounds of each generator for about `events` increments, and their exact number.
pub(crate) fn keyed_rounds(events: u64) -> (usize, u64) {
    let rounds = (events as usize / (GENERATORS * BURST)).max(1);
    (rounds, (rounds * GENERATORS * BURST) as u64)
}

/// Returns the rounds of each generator, or the meals of each philosopher, for about `events`
/// events, and the exact number of events.
pub(crate) fn sharing_rounds(sharing: Sharing, events: u64) -> (usize, u64) {
    match sharing {
        Sharing::Philosophers => {
            let meals = (events as usize / SEATS).max(1);
            (meals, (meals * SEATS) as u64)
        }
        Sharing::Bank(_) | Sharing::Dictionary => keyed_rounds(events),
    }
}

/// The random keys of a generator (xorshift64).
pub(crate) struct Keys(u64);

impl Keys {
    pub(crate) fn of(generator: usize) -> Self {
        Keys((generator as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn draw(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % KEYS
    }
}

/// A gate that opens once, for systems that have no other way to wait.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub(crate) fn wait(&self) {
        let guard = self.open.lock().unwrap();
        drop(self.opened.wait_while(guard, |open| !*open).unwrap());
    }
}

/// A guard that opens the gate when the last clone of its `Arc` is dropped.
pub(crate) struct OpensWhenDropped(pub(crate) std::sync::Arc<Gate>);

impl Drop for OpensWhenDropped {
    fn drop(&mut self) {
        self.0.open();
    }
}
