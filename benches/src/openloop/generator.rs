//! Posts a schedule to a system, and waits until all has been served: one run.
//!
//! The generator looks at the clock before each post, and posts what is due at once when it lags.
//! It writes down by how much it was late. Afterwards it waits for the slots of all requests, and
//! only then the run ends; so no run disturbs the next one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::percentiles::Percentiles;
use super::record::{Cost, Figures};
use super::schedule::{KEYS, Request};
use super::service::Speed;
use super::systems::{Job, Start, System};
use super::{Setup, pin};
use crate::measure::{
    machine_cpu_nanos, monotonic_nanos, process_cpu_nanos, run_first, sleep_exactly, sleep_until,
    thread_cpu_nanos,
};

/// From the start of a run to the origin of its schedule.
const LEAD: Duration = Duration::from_millis(1);
/// For workers that look for work a while before they sleep.
const REST: Duration = Duration::from_millis(3);
/// How long a system may take beyond the length of the schedule.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slots for the latencies of the requests of a run, which the next one uses again. They live until
/// the process ends: jobs refer to them without counting.
pub struct Slots(&'static [AtomicU64]);

impl Slots {
    /// So many; at least one for each key.
    pub fn new(capacity: usize) -> Self {
        Slots((0..capacity.max(KEYS)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak())
    }

    /// The first ones, empty.
    fn empty(&self, requests: usize) -> &'static [AtomicU64] {
        let slots = &self.0[..requests];
        slots.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
        slots
    }
}

/// Why there are no figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A system did not serve all requests in time.
    NotServed,
    /// The generator may not run before everything else.
    NotPermitted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NotServed => "not all requests were served in time",
            Failure::NotPermitted => "the process may not use the realtime policy SCHED_FIFO",
        })
    }
}

/// How a generator without a core to itself waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naps {
    /// How long it sleeps at least. To wake a thread costs some microseconds: with longer naps it
    /// takes less from the workers, and posts several requests at a time, some of them late.
    pub least: Duration,
    /// It runs as soon as it wakes, whatever else runs; otherwise the system may let a worker
    /// finish its time slice of some milliseconds.
    pub realtime: bool,
}

/// What the runs have in common.
pub struct Bench {
    /// For the latencies.
    pub slots: Slots,
    /// The cores that are used.
    pub cores: [usize; 2],
    /// In [`Setup::Two`].
    pub naps: Naps,
}

impl Bench {
    /// Runs a schedule on a system that is started for it.
    ///
    /// # Errors
    ///
    /// When the system does not serve all requests within a minute after the last one, and when the
    /// generator may not run as it should.
    pub fn run(
        &self,
        setup: Setup,
        start: Start,
        schedule: &[Request],
    ) -> Result<Figures, Failure> {
        let mut system = start(&setup.worker_cores(self.cores));
        let generate = || {
            let least_nap = match setup.generator_core(self.cores) {
                Some(core) => {
                    pin(core);
                    None
                }
                None => {
                    sleep_exactly();
                    if self.naps.realtime && !run_first() {
                        return Err(Failure::NotPermitted);
                    }
                    Some(self.naps.least.as_nanos() as u64)
                }
            };
            self.warm_up(&mut *system)?;
            self.generate(&mut *system, schedule, least_nap)
        };
        thread::scope(|scope| scope.spawn(generate).join().expect("the generator does not panic"))
    }

    /// A short request of each key.
    fn warm_up(&self, system: &mut dyn System) -> Result<(), Failure> {
        let slots = self.slots.empty(KEYS);
        let intended = monotonic_nanos();
        for (key, slot) in slots.iter().enumerate() {
            system.post(key as u32, Job { steps: 1, intended, slot });
        }
        wait_for(slots, PATIENCE)?;
        thread::sleep(REST);
        Ok(())
    }

    fn generate(
        &self,
        system: &mut dyn System,
        schedule: &[Request],
        least_nap: Option<u64>,
    ) -> Result<Figures, Failure> {
        let slots = self.slots.empty(schedule.len());
        let mut late = vec![0; schedule.len()];
        let speed = Speed::measure();
        let before = Usage::now();
        let origin = before.time + LEAD.as_nanos() as u64;
        for ((request, slot), late) in schedule.iter().zip(slots).zip(&mut late) {
            let intended = origin + request.at;
            let steps = speed.steps(u64::from(request.service));
            let now = match least_nap {
                None => spin_until(intended),
                Some(least) => nap_until(intended, least),
            };
            *late = now - intended;
            system.post(request.key, Job { steps, intended, slot });
        }
        let posted = Usage::now().since(&before);
        wait_for(slots, PATIENCE + Duration::from_nanos(posted.time))?;
        let served = Usage::now().since(&before);
        let latencies = slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        let of_system = served.process.saturating_sub(served.thread);
        let of_others = served.machine.map(|all| all.saturating_sub(served.process));
        Ok(Figures {
            latency: Percentiles::of(latencies),
            cost: Some(Cost {
                generator_late_p99: Percentiles::of(late).p99,
                generator_cpu_share: posted.thread as f64 / posted.time as f64,
                system_cpu_per_request: of_system as f64 / schedule.len() as f64,
                others_cpu_share: of_others.map(|nanos| nanos as f64 / served.time as f64),
                speed_drift: Speed::measure().over(speed),
                steps_per_nano: speed.steps_per_nano(),
            }),
        })
    }
}

/// Readings of the clocks, or what passed between two of them.
struct Usage {
    time: u64,
    machine: Option<u64>,
    process: u64,
    /// Of the generator.
    thread: u64,
}

impl Usage {
    fn now() -> Self {
        // The time last, as the others take some.
        let (machine, process) = (machine_cpu_nanos(), process_cpu_nanos());
        Usage { machine, process, thread: thread_cpu_nanos(), time: monotonic_nanos() }
    }

    fn since(&self, before: &Usage) -> Self {
        let machine = self.machine.zip(before.machine);
        Usage {
            time: self.time - before.time,
            machine: machine.map(|(now, before)| now.saturating_sub(before)),
            process: self.process - before.process,
            thread: self.thread - before.thread,
        }
    }
}

/// Looks at the clock until it is time, without a pause instruction: under a hypervisor that may
/// cost the core. Tells what the clock says.
fn spin_until(time: u64) -> u64 {
    loop {
        let now = monotonic_nanos();
        if now >= time {
            return now;
        }
    }
}

/// Sleeps until it is time, if it is not yet, and for `least` nanoseconds.
fn nap_until(time: u64, least: u64) -> u64 {
    loop {
        let now = monotonic_nanos();
        if now >= time {
            return now;
        }
        sleep_until(time.max(now + least));
    }
}

/// Waits until all slots are filled.
fn wait_for(slots: &[AtomicU64], patience: Duration) -> Result<(), Failure> {
    let end = monotonic_nanos() + patience.as_nanos() as u64;
    for slot in slots {
        while slot.load(Ordering::Relaxed) == 0 {
            if monotonic_nanos() > end {
                return Err(Failure::NotServed);
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}
