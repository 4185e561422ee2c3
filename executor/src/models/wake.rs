//! C12: an outcome, and the waker of whoever waits for it.

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

/// A promise is kept, or dropped, while somebody polls, at first with another waker: the last one is woken, and the outcome is
/// there then.
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
