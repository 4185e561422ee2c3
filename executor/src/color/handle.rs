//! The handle of a color.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::cell::{CellRef, ColorCell, Plan, WeakCell};
use crate::runtime::core::Core;

/// The serial identity of callbacks: two callbacks of one color never run at the same time.
///
/// The callbacks of a color run in the order in which they were posted. Callbacks of different
/// colors run in parallel, on all cores.
///
/// A color is an identity and nothing else. Programs can create millions of colors cheaply. A color
/// is cloned and compared by identity, and its memory is freed after its last handle and its last
/// event. Other systems call this a strand, a serial queue or an actor's mailbox.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let account = h.new_color();
/// h.post(&account, |_| println!("first"));
/// h.post(&account, |_| println!("second, after the first has ended"));
/// rt.wait_idle();
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "strand")]
#[doc(alias = "serial queue")]
#[doc(alias = "cown")]
#[derive(Clone)]
pub struct Color(CellRef);

// A panic in a callback ends only that callback; the color goes on.
impl UnwindSafe for Color {}
impl RefUnwindSafe for Color {}

impl Color {
    /// Creates a color of `core` and returns its first handle.
    pub(crate) fn create(core: &Core, plan: Plan) -> Color {
        Color(ColorCell::create(core.birth(), core, plan))
    }

    /// Returns another handle of a color that something keeps alive during the call; see
    /// [`CellRef::of`].
    pub(crate) fn of(cell: &ColorCell) -> Color {
        Color(CellRef::of(cell))
    }

    /// Returns a handle of a color that may have none.
    ///
    /// # Safety
    ///
    /// The color is not dead and cannot die during the call; see [`WeakCell::revive`].
    pub(super) unsafe fn revive(cell: &WeakCell) -> Color {
        // SAFETY: the caller guarantees that the color is not dead and does not die during the
        // call.
        Color(unsafe { cell.revive() })
    }

    pub(super) fn downgrade(&self) -> WeakCell {
        self.0.downgrade()
    }

    #[inline]
    pub(crate) fn as_cell(&self) -> &ColorCell {
        &self.0
    }

    /// Returns the reference count that this handle owns.
    pub(crate) fn into_ref(self) -> CellRef {
        self.0
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        self.0.core()
    }

    /// Returns the number of the color's label, or 0 if it has none.
    pub(crate) fn label(&self) -> u32 {
        self.0.label()
    }
}

impl PartialEq for Color {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.as_cell(), other.as_cell())
    }
}

impl Eq for Color {}

impl Hash for Color {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.serial().hash(state);
    }
}

impl fmt::Debug for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("Color");
        match self.core().labels.name(self.label()) {
            Some(name) => out.field(&name),
            None => out.field(&self.0.serial()),
        };
        out.finish()
    }
}
