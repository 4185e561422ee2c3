//! Timed mode: what a program would take on a machine.

use crate::sync::Point;

/// What things cost in timed mode, in nanoseconds of the worker that does them.
///
/// In this mode each worker, and each other thread, has a clock of its own; the one that is
/// furthest behind goes next. So the virtual time of a run is about that of a machine with a core
/// for each worker: with the work that callbacks name by [`work`](super::work), and the costs of
/// this table for what the runtime does. By default the table is that of the machine on which the
/// runtime was written; the example `sim-timed` measures those of another one, and compares a
/// prediction with the program itself.
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
    /// An event, beside what it does.
    pub event: u64,
    /// A post, or a wakeup of a task.
    pub post: u64,
    /// Something that is put where another worker finds it.
    pub inject: u64,
    /// Something that is taken from another worker: its lines of memory come over.
    pub steal: u64,
    /// A sleeping worker that is woken: how long it takes until it goes on.
    pub wake: u64,
    /// A worker that wakes a sleeping one: how long it is kept by that.
    pub waking: u64,
    /// Falling asleep, with the look at descriptors.
    pub park: u64,
    /// A look at the clock.
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
    /// What somebody pays who comes by a point.
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
