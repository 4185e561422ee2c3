//! The properties of a color in one byte: the class in which it runs, the class that it was created
//! with, and whether it is bounded, the default color, or bound to a worker (E17).
//!
//! The class is raised while sets of a higher class wait for the color (C7). It is written under
//! the color's lock. It is read without the lock wherever the color is queued: a thread that reads
//! an old class queues the color in the lane of that class, for one turn.

use dapple_colors::Priority;

use crate::sync::{AtomicU8, AtomicU32, Ordering};

/// The bits of a class, in the byte and in the tag of a run-queue entry.
pub(crate) const HIGH: usize = 4;
pub(crate) const LOW: usize = 8;
pub(crate) const CLASS: usize = HIGH | LOW;

const CLASS_BITS: u8 = CLASS as u8;
const OWN_SHIFT: u8 = 2;
const DEFAULT: u8 = 1;
const BOUNDED: u8 = 2;
/// The color is bound to its home worker.
const AFFINE: u8 = 0x40;
/// The color's worker runs on the user's thread, and its events may run others meanwhile (E18).
const HERE: u8 = 0x80;
const _: () = assert!(AFFINE_TAG == (AFFINE >> 1) as usize);

/// The worker to which a color is bound, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Affinity {
    #[default]
    None,
    /// Bound to this worker.
    Worker(usize),
    /// Bound to this worker, which runs on the user's thread.
    Here(usize),
}

impl Affinity {
    /// Returns the worker.
    pub(crate) fn worker(self) -> Option<usize> {
        match self {
            Affinity::None => None,
            Affinity::Worker(worker) | Affinity::Here(worker) => Some(worker),
        }
    }
}

/// The bit of an entry's tag that says that the color or event is bound to a worker.
pub(crate) const AFFINE_TAG: usize = 32;

/// Returns the bits of a class.
#[inline]
pub(crate) fn class_tag(class: Priority) -> usize {
    match class {
        Priority::High => HIGH,
        Priority::Normal => 0,
        Priority::Low => LOW,
    }
}

/// Returns the class of these bits.
#[inline]
pub(crate) fn class_of_tag(tag: usize) -> Priority {
    match tag {
        0 => Priority::Normal,
        HIGH => Priority::High,
        _ => Priority::Low,
    }
}

/// The properties of a color, in one byte.
pub(super) struct Marks(AtomicU8);

impl Marks {
    pub(super) fn new(
        priority: Priority,
        is_default: bool,
        is_bounded: bool,
        affinity: Affinity,
    ) -> Self {
        let class = class_tag(priority) as u8;
        let default = if is_default { DEFAULT } else { 0 };
        let bounded = if is_bounded { BOUNDED } else { 0 };
        let affine = match affinity {
            Affinity::None => 0,
            Affinity::Worker(_) => AFFINE,
            Affinity::Here(_) => AFFINE | HERE,
        };
        Marks(AtomicU8::new(class | class << OWN_SHIFT | default | bounded | affine))
    }

    #[inline]
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_default(&self) -> bool {
        self.get() & DEFAULT != 0
    }

    #[inline]
    pub(super) fn is_bounded(&self) -> bool {
        self.get() & BOUNDED != 0
    }

    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.get() & (BOUNDED | CLASS_BITS | AFFINE) == 0
    }

    #[inline]
    pub(super) fn is_affine(&self) -> bool {
        self.get() & AFFINE != 0
    }

    /// Returns `true` if the color is bounded or bound to the user's thread.
    #[inline]
    pub(super) fn is_special(&self) -> bool {
        self.get() & (BOUNDED | HERE) != 0
    }

    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.get() & HERE != 0
    }

    /// Returns the class and the affinity of the color as the tag of a run-queue entry.
    #[inline]
    pub(super) fn entry_tag(&self) -> usize {
        let marks = self.get();
        usize::from(marks & CLASS_BITS | (marks & AFFINE) >> 1)
    }

    pub(super) fn priority(&self) -> Priority {
        class_of_tag(usize::from(self.get() & CLASS_BITS))
    }

    pub(super) fn own_priority(&self) -> Priority {
        class_of_tag(usize::from(self.get() >> OWN_SHIFT & CLASS_BITS))
    }

    /// Sets the class in which the color runs. The caller holds the color's lock.
    pub(super) fn set(&self, class: Priority) {
        self.0.store(self.get() & !CLASS_BITS | class_tag(class) as u8, Ordering::Relaxed);
    }

    /// Raises the class in which the color runs, unless it is that high already. Returns `true` if
    /// it was lower. The caller holds the color's lock.
    pub(super) fn raise(&self, class: Priority) -> bool {
        let is_higher = class.is_higher_than(self.priority());
        if is_higher {
            self.set(class);
        }
        is_higher
    }
}

/// The numbers of the sets that wait for a color and have a higher class, by class. Touched under
/// the color's lock.
#[derive(Default)]
pub(super) struct Boosts {
    high: AtomicU32,
    normal: AtomicU32,
}

impl Boosts {
    fn of(&self, class: Priority) -> &AtomicU32 {
        match class {
            Priority::High => &self.high,
            _ => &self.normal,
        }
    }

    pub(super) fn add(&self, class: Priority) {
        let count = self.of(class);
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, class: Priority) {
        let count = self.of(class);
        count.store(count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// Returns the highest class of a waiting set, or `Low` if there is none.
    pub(super) fn highest(&self) -> Priority {
        let any = |class| self.of(class).load(Ordering::Relaxed) > 0;
        match (any(Priority::High), any(Priority::Normal)) {
            (true, _) => Priority::High,
            (false, true) => Priority::Normal,
            (false, false) => Priority::Low,
        }
    }
}
