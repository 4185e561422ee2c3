//! What an event may do with its color, and the readers of one color (rule C5).
//!
//! The holder of a color that comes to a shared event does not run it: it counts it as a *reader*
//! and lets it go on by itself, so that the holder comes to what is behind, which may be shared,
//! too. Before an exclusive event the holder looks at the count. If there are readers, the color
//! *waits*: it is in no run queue, and the last reader to leave becomes its holder.
//!
//! ```text
//!              enter (holder)                 exclude (holder)
//!   no reader ----------------> n readers -----------------------> n readers, the color waits
//!       ^                        |                                  |
//!       |   leave, the last one  |             leave, the last one  |
//!       +------------------------+       <--------------------------+  who leaves holds the color
//! ```
//!
//! As the holder takes events in the order of the queue, no event enters that stands behind an
//! exclusive one, and no exclusive one runs before the readers in front of it have left: neither
//! side starves.

/// What an event may do with what its color stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Beside other shared events of the color, never beside an exclusive one.
    Shared,
    /// Beside no other event of the color.
    Exclusive,
}

/// Whether an exclusive event may begin.
#[must_use = "who waits must let the color go"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excluded {
    /// The color has no readers.
    Alone,
    /// It has readers. The caller no longer holds the color, and puts it into no run queue.
    Waits,
}

/// What a reader leaves behind.
#[must_use = "who inherits the color has to queue it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// It has nothing to do with the color any more.
    Gone,
    /// It was the last one, and the color waited: it is the holder now.
    Holds,
}

/// The readers of one color; see the module.
///
/// One word, so that an atomic can hold it; the constants say how.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Excluded, Left, Readers};
/// let mut readers = Readers::default();
/// readers.enter();
/// readers.enter();
/// assert_eq!(readers.exclude(), Excluded::Waits);
/// assert_eq!(readers.leave(), Left::Gone);
/// assert_eq!(readers.leave(), Left::Holds);
/// assert_eq!(readers.exclude(), Excluded::Alone);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readers(u32);

impl Readers {
    /// The bit that says that the color waits; the others count.
    pub const WAITS: u32 = 1 << 31;

    /// What a last reader finds whose color waits.
    pub const LAST_AWAITED: u32 = Self::WAITS | 1;

    /// The holder lets a shared event go on by itself.
    ///
    /// # Panics
    ///
    /// When the color waits: then it has no holder.
    pub fn enter(&mut self) {
        assert!(self.0 & Self::WAITS == 0, "a color that waits has no holder");
        self.0 += 1;
    }

    /// The holder comes to an exclusive event.
    ///
    /// # Panics
    ///
    /// When the color waits: then it has no holder.
    pub fn exclude(&mut self) -> Excluded {
        assert!(self.0 & Self::WAITS == 0, "a color that waits has no holder");
        if self.0 == 0 {
            return Excluded::Alone;
        }
        self.0 |= Self::WAITS;
        Excluded::Waits
    }

    /// A shared event has ended.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn leave(&mut self) -> Left {
        assert!(self.count() > 0, "only a reader can leave");
        if self.0 == Self::LAST_AWAITED {
            self.0 = 0;
            return Left::Holds;
        }
        self.0 -= 1;
        Left::Gone
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0 & !Self::WAITS
    }

    /// The word.
    pub fn word(self) -> u32 {
        self.0
    }
}
