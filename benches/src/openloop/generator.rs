//! Posts a schedule to a system, and waits until all has been served: one run.
//!
//! The generator looks at the clock before each post, and posts what is due at once when it lags.
//! It writes down by how much it was late. Afterwards it waits for the slots of all requests, and
//! only then the run ends; so no run disturbs the next one.

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
    monotonic_nanos, process_cpu_nanos, sleep_exactly, sleep_until, thread_cpu_nanos,
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

/// A system did not serve all requests in time.
#[derive(Debug)]
pub struct NotServed;

/// What the runs have in common.
pub struct Bench {
    /// For the latencies.
    pub slots: Slots,
    /// Of this machine.
    pub speed: Speed,
    /// The cores that are used.
    pub cores: [usize; 2],
}

impl Bench {
    /// Runs a schedule on a system that is started for it.
    ///
    /// # Errors
    ///
    /// When the system does not serve all requests within a minute after the last one.
    pub fn run(
        &self,
        setup: Setup,
        start: Start,
        schedule: &[Request],
    ) -> Result<Figures, NotServed> {
        let mut system = start(&setup.worker_cores(self.cores));
        let generate = || {
            let wait_until = match setup.generator_core(self.cores) {
                Some(core) => {
                    pin(core);
                    spin_until
                }
                None => {
                    sleep_exactly();
                    nap_until
                }
            };
            self.warm_up(&mut *system)?;
            self.generate(&mut *system, schedule, wait_until)
        };
        thread::scope(|scope| scope.spawn(generate).join().expect("the generator does not panic"))
    }

    /// A short request of each key.
    fn warm_up(&self, system: &mut dyn System) -> Result<(), NotServed> {
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
        wait_until: fn(u64) -> u64,
    ) -> Result<Figures, NotServed> {
        let slots = self.slots.empty(schedule.len());
        let mut late = vec![0; schedule.len()];
        let (process_cpu, own_cpu) = (process_cpu_nanos(), thread_cpu_nanos());
        let began = monotonic_nanos();
        let origin = began + LEAD.as_nanos() as u64;
        for ((request, slot), late) in schedule.iter().zip(slots).zip(&mut late) {
            let intended = origin + request.at;
            let steps = self.speed.steps(u64::from(request.service));
            *late = wait_until(intended) - intended;
            system.post(request.key, Job { steps, intended, slot });
        }
        let posted = monotonic_nanos();
        let posting_cpu = thread_cpu_nanos() - own_cpu;
        wait_for(slots, PATIENCE + Duration::from_nanos(posted - began))?;
        let (process_cpu, own_cpu) =
            (process_cpu_nanos() - process_cpu, thread_cpu_nanos() - own_cpu);
        let latencies = slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        Ok(Figures {
            latency: Percentiles::of(latencies),
            cost: Some(Cost {
                generator_late_p99: Percentiles::of(late).p99,
                generator_cpu_share: posting_cpu as f64 / (posted - began) as f64,
                system_cpu_per_request: process_cpu.saturating_sub(own_cpu) as f64
                    / schedule.len() as f64,
            }),
        })
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

/// Sleeps until it is time, if it is not yet.
fn nap_until(time: u64) -> u64 {
    loop {
        let now = monotonic_nanos();
        if now >= time {
            return now;
        }
        sleep_until(time);
    }
}

/// Waits until all slots are filled.
fn wait_for(slots: &[AtomicU64], patience: Duration) -> Result<(), NotServed> {
    let end = monotonic_nanos() + patience.as_nanos() as u64;
    for slot in slots {
        while slot.load(Ordering::Relaxed) == 0 {
            if monotonic_nanos() > end {
                return Err(NotServed);
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}
