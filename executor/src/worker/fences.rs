//! An asymmetric pair of fences: the light one costs nothing, the heavy one some microseconds.
//!
//! The heavy one is `membarrier`, which has every running thread of the process execute a full
//! fence before it returns. A thread that does not run has passed through the scheduler, which is a
//! full fence, too.
//!
//! Under loom it is what the system does: the other thread is interrupted between two of its steps,
//! executes a full fence, and says so. A thread of a model cannot be interrupted from outside; so
//! it looks, at every step where that makes a difference
//! ([`may_interrupt`](Fences::may_interrupt)), whether it is. The light fence is such a step and
//! nothing else.

#[cfg(not(loom))]
pub(crate) use real::Fences;

#[cfg(loom)]
pub(crate) use model::Fences;

#[cfg(not(loom))]
mod real {
    /// See the module.
    pub(crate) struct Fences(());

    impl Fences {
        pub(crate) fn new() -> Self {
            Fences(())
        }

        /// The light one, of a thread that the heavy one interrupts.
        #[inline]
        pub(crate) fn light(&self) {
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        }

        /// The thread may be interrupted anywhere.
        #[inline]
        pub(crate) fn may_interrupt(&self) {}

        /// Says whether there is a heavy one.
        pub(crate) fn available(&self) -> bool {
            super::system::available()
        }

        /// The heavy one. False: there is none any more, and nothing has happened.
        pub(crate) fn heavy(&self) -> bool {
            super::system::heavy()
        }
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
mod system {
    use std::sync::OnceLock;

    // Of linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the system call takes three numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Asked once per process, which has to register.
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
        /// It has ended, and passed through the scheduler.
        Stopped,
    }

    /// See the module.
    pub(crate) struct Fences {
        owner: Mutex<Owner>,
        answered: Condvar,
        fails: bool,
    }

    impl Fences {
        pub(crate) fn new() -> Self {
            Fences { owner: Mutex::new(Owner::Runs), answered: Condvar::new(), fails: false }
        }

        /// Available at first, and not when it is needed.
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
