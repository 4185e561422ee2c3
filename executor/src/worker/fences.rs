//! An asymmetric pair of fences: the light fence costs nothing, the heavy fence a few microseconds.
//!
//! The heavy fence is `membarrier`, which makes every running thread of the process execute a full
//! fence before it returns. A thread that is not running has passed through the scheduler, which is
//! a full fence, too.
//!
//! Under loom the heavy fence does what the system does: it interrupts the other thread between two
//! steps, and that thread executes a full fence and answers. A thread of a model cannot be
//! interrupted from outside. So it asks whether it is interrupted at every step where that makes a
//! difference ([`may_interrupt`](Fences::may_interrupt)). The light fence is such a step and
//! nothing else.

#[cfg(not(loom))]
pub(crate) use real::Fences;

#[cfg(loom)]
pub(crate) use model::Fences;

#[cfg(not(loom))]
mod real {
    /// The pair of fences of one queue; see the module.
    pub(crate) struct Fences(());

    impl Fences {
        pub(crate) fn new() -> Self {
            Fences(())
        }

        /// Executes the light fence, on a thread that the heavy fence interrupts.
        #[inline]
        pub(crate) fn light(&self) {
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        }

        /// Marks a place between two steps at which the heavy fence may come. Only the model needs
        /// it: the system may interrupt a thread anywhere.
        #[inline]
        pub(crate) fn may_interrupt(&self) {}

        /// Returns `true` if the system has the heavy fence.
        pub(crate) fn available(&self) -> bool {
            super::system::available()
        }

        /// Executes the heavy fence. Returns `false`, without an effect, if the system no longer
        /// allows it.
        pub(crate) fn heavy(&self) -> bool {
            super::system::heavy()
        }
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
mod system {
    use std::sync::OnceLock;

    // From linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: `membarrier` takes three numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Returns `true` if the system has the call. Asked once per process, which has to register for
    /// it.
    pub(super) fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE
            .get_or_init(|| membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED))
    }

    pub(super) fn heavy() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(any(target_os = "linux", loom)))]
mod system {
    pub(super) fn available() -> bool {
        false
    }

    pub(super) fn heavy() -> bool {
        false
    }
}

#[cfg(loom)]
mod model {
    use crate::sync::{Condvar, Mutex, Ordering, fence};

    #[derive(Clone, Copy, PartialEq)]
    enum Owner {
        Runs,
        IsInterrupted,
        /// The owner has ended, and so has passed through the scheduler.
        Stopped,
    }

    /// The pair of fences of one queue; see the module.
    pub(crate) struct Fences {
        owner: Mutex<Owner>,
        answered: Condvar,
        fails: bool,
    }

    impl Fences {
        pub(crate) fn new() -> Self {
            Fences { owner: Mutex::new(Owner::Runs), answered: Condvar::new(), fails: false }
        }

        /// Creates fences that are available at first, and fail when they are needed.
        pub(crate) fn failing() -> Self {
            Fences { fails: true, ..Self::new() }
        }

        pub(crate) fn light(&self) {
            self.may_interrupt();
        }

        pub(crate) fn may_interrupt(&self) {
            let mut owner = self.owner.lock().unwrap();
            if *owner == Owner::IsInterrupted {
                fence(Ordering::SeqCst);
                *owner = Owner::Runs;
                self.answered.notify_one();
            }
        }

        pub(crate) fn owner_stops(&self) {
            fence(Ordering::SeqCst);
            *self.owner.lock().unwrap() = Owner::Stopped;
            self.answered.notify_one();
        }

        pub(crate) fn available(&self) -> bool {
            true
        }

        pub(crate) fn heavy(&self) -> bool {
            if self.fails {
                return false;
            }
            fence(Ordering::SeqCst);
            let mut owner = self.owner.lock().unwrap();
            if *owner == Owner::Runs {
                *owner = Owner::IsInterrupted;
            }
            while *owner == Owner::IsInterrupted {
                owner = self.answered.wait(owner).unwrap();
            }
            drop(owner);
            fence(Ordering::SeqCst);
            true
        }
    }
}
