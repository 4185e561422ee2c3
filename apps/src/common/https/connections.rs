//! The connections that are open, and how many there may be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use dapple::clock;

/// The connections that are open.
pub(crate) struct Connections {
    most: usize,
    draining: AtomicBool,
    next: AtomicU64,
    /// Who has to be woken when the program is about to end.
    open: Mutex<HashMap<u64, Option<Waker>>>,
    since: Instant,
    /// In which second somebody was last turned away, and that was said.
    complained: AtomicU64,
}

/// A connection's place among them.
pub(super) struct OpenConnection {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Connections {
        Connections {
            most,
            draining: AtomicBool::new(false),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            since: clock::now(),
            complained: AtomicU64::new(0),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Option<Waker>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At most once a second: a client that fills them up is not to fill the log, too.
    pub(super) fn may_complain(&self) -> bool {
        let now = (clock::now() - self.since).as_secs() + 1;
        self.complained.swap(now, Ordering::Relaxed) != now
    }

    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Every connection ends when the requests that it has begun are answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.open().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Connections {
    /// Says whether the program has begun to end.
    pub(super) fn are_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

impl OpenConnection {
    /// `None`: there are too many.
    pub(super) fn take(connections: &Arc<Connections>) -> Option<OpenConnection> {
        let mut open = connections.open();
        if open.len() >= connections.most {
            return None;
        }
        let number = connections.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, None);
        Some(OpenConnection { connections: Arc::clone(connections), number })
    }

    /// Says whether the program has begun to end. If not, the task is woken when it does.
    pub(super) fn is_draining(&self, cx: &Context<'_>) -> bool {
        let mut open = self.connections.open();
        // The thread that drains sets the flag, and then takes the wakers under the lock.
        if self.connections.draining.load(Ordering::SeqCst) {
            return true;
        }
        open.insert(self.number, Some(cx.waker().clone()));
        false
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let waker = self.connections.open().remove(&self.number);
        drop(waker);
    }
}
