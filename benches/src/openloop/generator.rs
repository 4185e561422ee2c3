//! One run: posts a schedule to a system, and waits until all requests have been served.
//!
//! The generator reads the clock before each post. When it lags, it posts everything that is due at
//! once. It records how late each post was. At the end it waits for the slots of all requests
//! before the run ends, so no run disturbs the next one.

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

/// The time from the start of a run to the origin of its schedule.
const LEAD: Duration = Duration::from_millis(1);
/// The time after warming up, for workers that look for work for a while before they sleep.
const REST: Duration = Duration::from_millis(3);
/// The time that a system may take beyond the length of the schedule.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slots for the latencies of the requests of a run.
///
/// The next run reuses them. They live until the process ends, because jobs refer to them without a
/// reference count.
pub struct Slots(&'static [AtomicU64]);

impl Slots {
    /// Allocates `capacity` slots, and at least one for each key.
    pub fn new(capacity: usize) -> Self {
        Slots((0..capacity.max(KEYS)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak())
    }

    /// Returns the first `requests` slots, emptied.
    fn empty(&self, requests: usize) -> &'static [AtomicU64] {
        let slots = &self.0[..requests];
        slots.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
        slots
    }
}

/// A reason why a run has no figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The system did not serve all requests in time.
    NotServed,
    /// The process may not use the realtime policy `SCHED_FIFO`, which was asked for.
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

/// The way in which a generator without a core of its own waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naps {
    /// The minimum sleep.
    ///
    /// Waking a thread costs some microseconds. With longer sleeps, the generator takes less time
    /// from the workers, but posts several requests at once, some of them late.
    pub least: Duration,
    /// Whether the generator runs as soon as it wakes, whatever else runs. Otherwise the kernel may
    /// let a worker finish its time slice of some milliseconds.
    pub realtime: bool,
}

/// The settings that all runs share.
pub struct Bench {
    /// The slots for the latencies.
    pub slots: Slots,
    /// The cores that are used.
    pub cores: [usize; 2],
    /// The way in which the generator waits in [`Setup::Two`].
    pub naps: Naps,
}

impl Bench {
    /// Runs a schedule on a system that is started for this run.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::NotServed`] if the system has not served all requests 60 s, plus the time
    /// that posting took, after the last post. Returns [`Failure::NotPermitted`] if the generator
    /// may not use `SCHED_FIFO`.
    ///
    /// # Panics
    ///
    /// Panics if a thread cannot be pinned to its core.
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

    /// Posts a short request of each key, and waits until all are served.
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

/// Readings of the clocks, or the differences between two readings, in nanoseconds.
struct Usage {
    time: u64,
    machine: Option<u64>,
    process: u64,
    /// The CPU time of the generator's thread.
    thread: u64,
}

impl Usage {
    fn now() -> Self {
        // The time is read last, because the other readings take some time.
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

/// Reads the clock until it is `time`. Returns the last reading.
///
/// The loop has no pause instruction, because under a hypervisor that may cost the core.
fn spin_until(time: u64) -> u64 {
    loop {
        let now = monotonic_nanos();
        if now >= time {
            return now;
        }
    }
}

/// Sleeps until it is `time`, for at least `least` nanoseconds. Returns at once if the time has
/// passed.
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
