//! C12: an outcome, and the waker of the task that waits for it.

use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::model;
use crate::task::error::JoinError;
use crate::task::packet::promise;

/// Wakes a thread of the model.
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.rings.notify_one();
    }
}

/// C12: a promise is kept, or dropped, while another thread polls, at first with a different waker.
/// The last waker is woken, and then the outcome is there.
#[test]
fn c12_no_wake_up_is_lost() {
    for kept in [true, false] {
        model(move || {
            let (promise, packet) = promise();
            let maker = thread::spawn(move || {
                if kept {
                    promise.keep(Ok(Box::new(7)));
                }
            });
            let outcome = 'outcome: {
                let first = Waker::noop();
                if let Poll::Ready(outcome) = packet.poll(&mut Context::from_waker(first)) {
                    break 'outcome outcome;
                }
                let bell =
                    std::sync::Arc::new(Bell { rung: Mutex::new(false), rings: Condvar::new() });
                let waker = Waker::from(std::sync::Arc::clone(&bell));
                loop {
                    if let Poll::Ready(outcome) = packet.poll(&mut Context::from_waker(&waker)) {
                        break outcome;
                    }
                    let mut rung = bell.rung.lock().unwrap();
                    while !std::mem::take(&mut *rung) {
                        rung = bell.rings.wait(rung).unwrap();
                    }
                }
            };
            match kept {
                true => assert_eq!(outcome, Ok(Box::new(7))),
                false => assert_eq!(outcome, Err(JoinError::cancelled())),
            }
            assert!(packet.is_done());
            maker.join().unwrap();
        });
    }
}

/// C12: the handle is dropped, or goes to another thread that waits with it, while the promise is
/// kept. A thread that still waits is woken, although the maker first asks whether any does. The
/// value and the waker are dropped once in any case (loom reports a leak).
#[test]
fn c12_a_handle_that_is_dropped_or_moved_beside_the_outcome() {
    for dropped in [true, false] {
        model(move || {
            let (promise, packet) = promise();
            let value = loom::sync::Arc::new(());
            let made = loom::sync::Arc::clone(&value);
            let maker = thread::spawn(move || promise.keep(Ok(made)));
            let bell = std::sync::Arc::new(Bell { rung: Mutex::new(false), rings: Condvar::new() });
            let waker = Waker::from(std::sync::Arc::clone(&bell));
            let first = packet.poll(&mut Context::from_waker(&waker));
            let waits = first.is_pending();
            if waits && !dropped {
                let mut rung = bell.rung.lock().unwrap();
                while !*rung {
                    rung = bell.rings.wait(rung).unwrap();
                }
                drop(rung);
                let second = packet.poll(&mut Context::from_waker(&waker));
                assert!(second.is_ready(), "woken for nothing");
            }
            drop((first, packet));
            maker.join().unwrap();
            drop(waker);
            assert_eq!(std::sync::Arc::strong_count(&bell), 1, "a waker was left");
            assert_eq!(loom::sync::Arc::strong_count(&value), 1, "the value was left");
        });
    }
}
