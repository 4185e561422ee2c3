//! The start of a runtime: settings are checked, cores are chosen, and workers are made.

use std::io;

use super::builder::Builder;
use super::core::Core;
use super::owner::Owned;
use crate::blocking::pool::BlockingPool;
use crate::clock::Clock;
use crate::park::{Driver, Park, ThreadPark, Unpark};
use crate::sync::{self, Arc, Ordering, thread};
use crate::turn::entry::Entry;
use crate::turn::seat::Seat;
use crate::worker::cores::{self, CoreId, Pin};
use crate::worker::fleet::Fleet;
use crate::worker::machine::Machine;
use crate::worker::scheduler::Scheduler;

/// The default number of workers in a simulation.
const SIMULATED_WORKERS: usize = 4;

/// The time that the move of a cache line takes in a simulation, in nanoseconds.
const SIMULATED_MOVE: u32 = 300;

/// The maximum size of a stack, in bytes.
const MOST_STACK: usize = 1 << 40;

/// The thread on which the first worker runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// A thread that is started for the worker.
    Thread,
    /// The caller's thread.
    Here,
}

/// The first worker, for the caller's thread to enter.
pub(super) struct FirstWorker {
    pub(super) scheduler: Scheduler<Entry>,
    /// The CPU core that other workers leave to it.
    pub(super) pin: Option<Pin>,
}

impl Builder {
    /// Starts the workers. If the first one belongs to the caller's thread, it is returned instead
    /// of started.
    pub(super) fn start(self, first: First) -> io::Result<(Owned, Option<FirstWorker>)> {
        let (cores, workers) = self.check()?;
        let are_named = self.cores.is_some();
        let is_simulated = sync::is_simulated();
        let Builder { pin_cores, thread_name, stack_size, pool, driver, mut settings, .. } = self;
        settings.rules.workers = workers;
        settings.rules.turn_nanos = settings.turn_budget.nanos;
        settings.rules.first_may_be_away = first == First::Here;
        let taken = match pin_cores && workers <= cores.len() && !is_simulated {
            true if are_named => Pin::first(&cores, workers),
            true => Pin::spread(&cores, workers),
            false => Vec::new(),
        };
        let mut pins: Vec<Option<CoreId>> = taken.iter().map(|pin| Some(pin.core())).collect();
        pins.resize(workers, None);
        if first == First::Here {
            // The caller's thread is not pinned, so its core is unknown.
            pins[0] = None;
        }
        let machine = match is_simulated {
            true => Machine::given(workers, SIMULATED_MOVE),
            false => Machine::measure(&settings.rules, &pins, &cores),
        };
        let (seats, unparkers) = make_seats(workers, driver.as_deref())?;
        let (fleet, schedulers) = Fleet::new(settings.rules, Clock::new(), machine, unparkers);
        let hooks = Arc::clone(&settings.thread_hooks);
        let blocking = BlockingPool::new(pool, workers, &thread_name, stack_size, hooks);
        let core = Core::create(settings, driver, fleet, seats, blocking);
        let mut owned = Owned::new(core);
        let mut first_worker = None;
        let mut taken = taken.into_iter();
        for scheduler in schedulers {
            let (pin, core) = (taken.next(), owned.core.clone());
            core.live_workers.fetch_add(1, Ordering::SeqCst);
            core.serving.fetch_add(1, Ordering::SeqCst);
            if first == First::Here && scheduler.index == 0 {
                owned.threads.push(None);
                first_worker = Some(FirstWorker { scheduler, pin });
                continue;
            }
            let spawned = thread::Builder::new()
                .name(format!("{thread_name}-{}", scheduler.index))
                .stack_size(stack_size)
                .spawn(move || crate::turn::worker::run(core, scheduler, pin));
            match spawned {
                Ok(thread) => owned.threads.push(Some(thread)),
                Err(error) => {
                    owned.uncount_worker();
                    if first_worker.is_some() {
                        owned.uncount_worker();
                    }
                    owned.end_at_once();
                    return Err(error);
                }
            }
        }
        Ok((owned, first_worker))
    }

    /// Checks the settings, and returns the cores that may be used and the number of workers.
    fn check(&self) -> io::Result<(Vec<CoreId>, usize)> {
        let cores = choose_cores(self.cores.as_deref())?;
        if sync::is_simulated() && self.driver.is_some() {
            let why = "a runtime in a simulation cannot have a driver, because descriptors are \
                       not simulated";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let workers = self.workers.unwrap_or_else(|| match self.cores.is_some() {
            true => cores.len(),
            // The number is the same on every machine, so that a run can be repeated elsewhere.
            false if sync::is_simulated() => SIMULATED_WORKERS,
            false => cores::default_workers(),
        });
        if workers == 0 {
            return Err(invalid("a runtime needs at least one worker"));
        }
        check_threads(&self.thread_name, self.stack_size)?;
        check_threads(
            self.pool.name.as_deref().unwrap_or_default(),
            self.pool.stack_size.unwrap_or_default(),
        )?;
        if self.pool.limit == Some(0) {
            return Err(invalid("blocking work needs at least one thread"));
        }
        if workers > usize::from(u16::MAX) {
            return Err(invalid("a runtime cannot have more than 65,535 workers"));
        }
        Ok((cores, workers))
    }
}

type Unparkers = Vec<Arc<dyn Unpark>>;

/// Makes each worker's poller, and the value that wakes it.
fn make_seats(workers: usize, driver: Option<&dyn Driver>) -> io::Result<(Vec<Seat>, Unparkers)> {
    let (mut seats, mut unparkers) = (Vec::new(), Vec::new());
    for worker in 0..workers {
        let park: Box<dyn Park> = match driver {
            Some(driver) => driver.park(worker)?,
            None => Box::new(ThreadPark::new()),
        };
        unparkers.push(park.unparker());
        seats.push(Seat::new(park));
    }
    Ok((seats, unparkers))
}

/// Returns an error if no thread can have this name, or a stack of this size.
fn check_threads(name: &str, stack_size: usize) -> io::Result<()> {
    if name.contains('\0') {
        return Err(invalid("a thread name must not contain NUL"));
    }
    if stack_size > MOST_STACK {
        return Err(invalid("a stack must not be larger than 2^40 bytes"));
    }
    Ok(())
}

/// Returns the cores that the user named, or all that the process may use.
fn choose_cores(named: Option<&[usize]>) -> io::Result<Vec<CoreId>> {
    let usable = cores::usable();
    let Some(named) = named else {
        return Ok(usable);
    };
    if named.is_empty() {
        return Err(invalid("a runtime needs at least one core"));
    }
    let mut chosen: Vec<CoreId> = Vec::new();
    for &id in named {
        if chosen.iter().any(|c| c.id == id) {
            return Err(invalid(&format!("core {id} is named twice")));
        }
        match usable.iter().find(|c| c.id == id) {
            Some(core) => chosen.push(*core),
            None => {
                let ids: Vec<_> = usable.iter().map(|c| c.id.to_string()).collect();
                let ids = ids.join(", ");
                return Err(invalid(&format!(
                    "core {id} is not one that this process may use ({ids})"
                )));
            }
        }
    }
    Ok(chosen)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}
