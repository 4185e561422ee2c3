//! The open connections, and the limit on their number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use dapple::clock;

/// The set of open connections.
pub(crate) struct Connections {
    /// The maximum number of open connections.
    most: usize,
    draining: AtomicBool,
    next: AtomicU64,
    /// The wakers of the connections' tasks, by number. Each one is woken when the program begins
    /// to end.
    open: Mutex<HashMap<u64, Option<Waker>>>,
    since: Instant,
    /// The second, counted from `since`, in which a refused connection was last logged.
    complained: AtomicU64,
}

/// A connection's membership in the set. Dropping it removes the connection.
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

    /// Returns `true` at most once a second, so that a client that uses up the connections does not
    /// also fill the log.
    pub(super) fn may_complain(&self) -> bool {
        let now = (clock::now() - self.since).as_secs() + 1;
        self.complained.swap(now, Ordering::Relaxed) != now
    }

    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Makes every connection end when the requests that it has begun are answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.open().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Connections {
    /// Returns `true` once the program has begun to end.
    pub(super) fn are_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

impl OpenConnection {
    /// Adds a connection to the set, or returns `None` if the set is full.
    pub(super) fn take(connections: &Arc<Connections>) -> Option<OpenConnection> {
        let mut open = connections.open();
        if open.len() >= connections.most {
            return None;
        }
        let number = connections.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, None);
        Some(OpenConnection { connections: Arc::clone(connections), number })
    }

    /// Returns `true` once the program has begun to end. Otherwise the task is woken when that
    /// happens.
    pub(super) fn is_draining(&self, cx: &Context<'_>) -> bool {
        let mut open = self.connections.open();
        // `drain` sets the flag first, and takes the wakers under the lock afterwards.
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
