//! The common part of streams and descriptors for tasks: whether an attempt may succeed, and the
//! wakers of the tasks that wait for an edge.
//!
//! A direction consists of a lock, its [`attempts`](super::attempts), and the waker of the task
//! that waits for an edge.
//!
//! No foreign code runs under the lock of a direction. A waker is cloned before the lock is taken,
//! and dropped or woken after it is released. No foreign code runs in the poller either. The waker
//! of a dapple task is woken there, because that only posts an event. Any other waker is woken in
//! an event of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker, ready};

use dapple::Cx;
use dapple::park::wakes_a_task;
use dapple::sync::{Mutex, MutexGuard, PoisonError};

use super::attempts::{Attempt, Attempts};
use crate::reactor::{News, Registered, runtime_has_ended};
use crate::readiness::{Readiness, Seen, Trust};

/// One direction of a stream or of another descriptor.
pub(crate) struct Direction(Mutex<DirectionState>);

struct DirectionState {
    attempts: Attempts,
    waker: Option<Wakes>,
}

/// A waker that waits for an edge.
enum Wakes {
    /// The waker of a dapple task.
    Task(Waker),
    Foreign(Waker),
}

impl Wakes {
    fn of(cx: &Context<'_>) -> Wakes {
        match wakes_a_task(cx) {
            true => Wakes::Task(cx.waker().clone()),
            false => Wakes::Foreign(cx.waker().clone()),
        }
    }

    fn wake(self) {
        match self {
            Wakes::Task(waker) | Wakes::Foreign(waker) => waker.wake(),
        }
    }

    /// Wakes from inside the poller.
    fn wake_by(self, cx: &mut Cx) {
        /// Wakes when it is dropped, so also if its event is dropped unrun.
        struct Late(Option<Waker>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.take().into_iter().for_each(Waker::wake);
            }
        }
        match self {
            Wakes::Task(waker) => waker.wake(),
            Wakes::Foreign(waker) => {
                let late = Late(Some(waker));
                cx.post_uncolored(move |_| drop(late));
            }
        }
    }
}

impl Direction {
    fn new(trust: Trust) -> Direction {
        Direction(Mutex::new(DirectionState { attempts: Attempts::new(trust), waker: None }))
    }

    fn state(&self) -> MutexGuard<'_, DirectionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edge(&self, readiness: Readiness, cx: &mut Cx) {
        let waker = self.change(|attempts| attempts.edge(Trust::after(readiness)));
        waker.into_iter().for_each(|waker| waker.wake_by(cx));
    }

    fn end(&self) {
        self.change(Attempts::end).into_iter().for_each(Wakes::wake);
    }

    /// Applies a change, and returns the waker that the caller has to wake.
    #[must_use]
    fn change(&self, change: impl FnOnce(&mut Attempts)) -> Option<Wakes> {
        let mut state = self.state();
        change(&mut state.attempts);
        state.waker.take()
    }

    /// Tries to move up to `most` bytes. Fewer bytes than that count as a short read or write.
    pub(crate) fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (begun, n) = ready!(self.poll_attempt(cx, attempt))?;
        if (1..most).contains(&n) {
            self.state().attempts.fell_short(begun);
        }
        Poll::Ready(Ok(n))
    }

    /// Calls `attempt` until it returns something other than `WouldBlock`, or has to wait for an
    /// edge.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_attempt(cx, attempt).map_ok(|(_, outcome)| outcome)
    }

    fn poll_attempt<T>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<(Attempt, T)>> {
        loop {
            let Some(begun) = self.begin() else {
                let mut waker = Some(Wakes::of(cx));
                let mut state = self.state();
                if state.attempts.begin().is_some() {
                    // An edge has come since `begin`.
                    continue;
                }
                std::mem::swap(&mut state.waker, &mut waker);
                drop(state);
                // The old waker may be foreign code, so it is dropped outside the lock.
                drop(waker);
                return Poll::Pending;
            };
            match attempt() {
                Ok(outcome) => return Poll::Ready(Ok((begun, outcome))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if self.state().attempts.found_nothing(begun).is_err() {
                        return Poll::Ready(Err(runtime_has_ended()));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn begin(&self) -> Option<Attempt> {
        self.state().attempts.begin()
    }
}

/// Both directions of a descriptor and its end, as the reactor's table stores them.
pub(crate) struct Edges {
    pub(crate) read: Direction,
    pub(crate) write: Direction,
    pub(crate) end: End,
}

/// Whether the peer has closed its side or the descriptor is in error, with the waker that waits
/// for that.
#[derive(Default)]
pub(crate) struct End(Mutex<Ending>);

#[derive(Default)]
struct Ending {
    has_come: bool,
    waker: Option<Wakes>,
}

impl End {
    fn state(&self) -> MutexGuard<'_, Ending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the end has come, or that no report of it will come. The caller wakes the
    /// returned waker.
    #[must_use]
    fn comes(&self) -> Option<Wakes> {
        let mut state = self.state();
        state.has_come = true;
        state.waker.take()
    }

    /// Waits for the end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(Wakes::of(cx));
        let mut state = self.state();
        if state.has_come {
            return Poll::Ready(());
        }
        std::mem::swap(&mut state.waker, &mut waker);
        drop(state);
        // The old waker may be foreign code, so it is dropped outside the lock.
        drop(waker);
        Poll::Pending
    }
}

impl Edges {
    /// Makes the state of a new descriptor. `trust` says whether a short read proves that nothing
    /// is left.
    pub(crate) fn new(trust: Trust) -> Edges {
        let (read, write) = (Direction::new(trust), Direction::new(trust));
        Edges { read, write, end: End::default() }
    }

    /// Wakes the reader and the task that waits for the end, although no edge has come. The reader
    /// tries again, and finds out what has happened.
    pub(crate) fn peer_is_gone(&self) {
        let waker = self.read.change(|attempts| attempts.edge(Trust::Doubt));
        waker.into_iter().chain(self.end.comes()).for_each(Wakes::wake);
    }

    /// Returns `true` if the reactor has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.read.state().attempts.has_ended()
    }
}

impl Registered for Edges {
    fn ready(&self, readiness: Readiness, _: Seen, cx: &mut Cx) {
        if readiness.readable || readiness.closed {
            self.read.edge(readiness, cx);
        }
        if readiness.writable || readiness.closed {
            self.write.edge(readiness, cx);
        }
        if readiness.closed {
            self.end.comes().into_iter().for_each(|waker| waker.wake_by(cx));
        }
    }

    fn tell(&self, news: News) {
        let News::Closed = news else { return };
        // The tasks that wait try again, and find out that the runtime has ended.
        let read = catch_unwind(AssertUnwindSafe(|| {
            self.read.end();
            self.end.comes().into_iter().for_each(Wakes::wake);
        }));
        self.write.end();
        if let Err(payload) = read {
            resume_unwind(payload);
        }
    }
}
