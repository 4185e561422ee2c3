//! The activity on a connection: requests that are being answered, and bodies that are being sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dapple::clock;
use hyper::body::{Frame, SizeHint};

use super::body::{Body, Piece};

use crate::common::time::later;

/// The time after which a body of which the client takes nothing counts as stalled.
const STALLED: Duration = Duration::from_secs(300);

/// The activity of one connection. See the module.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<ActivityState>>);

#[derive(Debug)]
struct ActivityState {
    next: u64,
    /// The open requests, by number. The time is `None` while the request is being answered, and
    /// afterwards the time at which hyper last asked its body for more. There are few of them, so
    /// they are in a vector.
    requests: Vec<(u64, Option<Instant>)>,
    /// The time at which the last request ended, or at which the connection began.
    last: Instant,
}

/// The state of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Something,
    /// There has been no request for the idle time.
    Nothing,
    /// The client takes nothing of a body.
    Stalled,
}

impl Activity {
    pub(super) fn new() -> Activity {
        let state = ActivityState { next: 0, requests: Vec::new(), last: clock::now() };
        Activity(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, ActivityState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request has arrived.
    pub(super) fn begin(&self) -> InFlight {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.requests.push((number, None));
        InFlight { activity: self.clone(), number }
    }

    /// Returns `true` if a request has ever arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.lock().next > 0
    }

    pub(super) fn state(&self, now: Instant, idle: Duration) -> Doing {
        let state = self.lock();
        let is_stalled = |(_, last): &(u64, Option<Instant>)| {
            last.is_some_and(|last| later(last, STALLED) <= now)
        };
        if state.requests.iter().any(is_stalled) {
            Doing::Stalled
        } else if state.requests.is_empty() && later(state.last, idle) <= now {
            Doing::Nothing
        } else {
            Doing::Something
        }
    }
}

/// A request that has not been answered completely.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Activity,
    number: u64,
}

impl InFlight {
    /// Notes that the request is answered, with this body.
    pub(super) fn with(self, body: Body) -> Tracked {
        self.asked();
        Tracked { body, request: self }
    }

    /// Notes that hyper asks for more of the body.
    fn asked(&self) {
        let mut state = self.activity.lock();
        let own = state.requests.iter_mut().find(|(number, _)| *number == self.number);
        own.into_iter().for_each(|(_, last)| *last = Some(clock::now()));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests.retain(|(number, _)| *number != self.number);
        state.last = clock::now();
    }
}

/// A body that is being sent.
pub(super) struct Tracked {
    body: Body,
    request: InFlight,
}

impl hyper::body::Body for Tracked {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Piece>>>> {
        self.request.asked();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stalled() {
        let idle = Duration::from_secs(10);
        let activity = Activity::new();
        let now = Instant::now();
        let at = |seconds| activity.state(now + Duration::from_secs(seconds), idle);
        assert_eq!((at(0), at(11)), (Doing::Something, Doing::Nothing));
        let request = activity.begin();
        assert_eq!(at(10_000), Doing::Something, "an answer may take its time");
        let body = request.with(Body::Empty);
        assert_eq!((at(299), at(302)), (Doing::Something, Doing::Stalled));
        drop(body);
        assert_eq!((at(9), at(11)), (Doing::Something, Doing::Nothing));
    }
}
