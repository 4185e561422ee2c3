//! Timed mode: an estimate of the time that a program would take on a machine.

use crate::sync::Point;

/// The costs of operations in timed mode, in nanoseconds of the worker that performs them.
///
/// In this mode each worker, and each other thread, has a clock of its own, and the one that is
/// furthest behind goes on. So the virtual time of a run is about the time on a machine with a core
/// for each worker. It consists of the work that callbacks declare with [`work`](super::work), and
/// of the costs in this table for what the runtime does. The default costs are those of the machine
/// on which the runtime was written. The example `sim-timed` measures those of another machine, and
/// compares a prediction with the program itself.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use dapple::{Runtime, sim};
///
/// let time = |workers| {
///     let config = sim::Config::new().timed(sim::Costs::default());
///     sim::run(&config, 0, move |_| {
///         let rt = Runtime::builder().workers(workers).build().unwrap();
///         let h = rt.handle();
///         for _ in 0..1_000 {
///             h.post(&h.new_color(), |_| sim::work(Duration::from_micros(100)));
///         }
///         rt.wait_idle();
///     }).time
/// };
/// let gain = time(1).as_secs_f64() / time(2).as_secs_f64();
/// assert!(gain > 1.9 && gain < 2.0, "{gain}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Costs {
    /// The cost of an event, without the work of its callback.
    pub event: u64,
    /// The cost of a post, of arming or cancelling a timer, or of waking a task.
    pub post: u64,
    /// The cost of putting an entry where another worker finds it.
    pub inject: u64,
    /// The cost of taking entries from another worker, whose cache lines have to be moved.
    pub steal: u64,
    /// The time from waking a sleeping worker until that worker goes on.
    pub wake: u64,
    /// The cost of waking a sleeping worker, for the worker that does it.
    pub waking: u64,
    /// The cost of falling asleep, with a look at the descriptors.
    pub park: u64,
    /// The cost of reading the clock.
    pub clock: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs {
            event: 15,
            post: 10,
            inject: 100,
            steal: 1_000,
            wake: 18_000,
            waking: 3_000,
            park: 1_000,
            clock: 25,
        }
    }
}

impl Costs {
    /// Returns the cost of passing a point.
    pub(super) fn of(&self, point: Point) -> u64 {
        match point {
            Point::Ended => self.event,
            Point::Posted | Point::TaskWoken | Point::Timer => self.post,
            Point::Injected => self.inject,
            Point::Stolen => self.steal,
            Point::Parks => self.park,
            _ => 0,
        }
    }
}
