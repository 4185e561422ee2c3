//! A gate: a limited number of callers are inside at once, a limited number wait in line, and
//! further ones are turned away.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

/// A gate with a limited number of passes. See the module.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<GateState>,
    most_waiting: usize,
}

#[derive(Debug)]
struct GateState {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// A gate for each user, so that no user keeps the others out.
#[derive(Clone, Debug)]
pub(crate) struct Gates {
    gates: Arc<Mutex<HashMap<Arc<str>, Gate>>>,
    inside: usize,
    most_waiting: usize,
}

impl Gates {
    pub(crate) fn new(inside: usize, most_waiting: usize) -> Gates {
        Gates { gates: Arc::default(), inside, most_waiting }
    }

    pub(crate) async fn enter(&self, user: &Arc<str>) -> Option<Pass> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            let gate = gates.entry(Arc::clone(user));
            gate.or_insert_with(|| Gate::new(self.inside, self.most_waiting)).clone()
        };
        gate.enter().await
    }
}

/// The right to be inside a gate, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping a pass leaves the gate at once"]
pub(crate) struct Pass(Option<Arc<Inner>>);

impl Gate {
    pub(crate) fn new(inside: usize, most_waiting: usize) -> Gate {
        let state = Mutex::new(GateState { free: inside, waiting: VecDeque::new() });
        Gate(Arc::new(Inner { state, most_waiting }))
    }

    /// Enters if there is room now.
    pub(crate) fn try_enter(&self) -> Option<Pass> {
        let mut state = self.0.state();
        state.free = state.free.checked_sub(1)?;
        Some(Pass(Some(Arc::clone(&self.0))))
    }

    /// Enters, or waits in line, first in, first out. Returns `None` if too many callers wait
    /// already.
    pub(crate) async fn enter(&self) -> Option<Pass> {
        let told = {
            let mut state = self.0.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Pass(Some(Arc::clone(&self.0))));
            }
            // Waiting callers that have given up do not count.
            state.waiting.retain(|waiting| !waiting.is_canceled());
            if state.waiting.len() >= self.0.most_waiting {
                return None;
            }
            let (tell, told) = oneshot::channel();
            state.waiting.push_back(tell);
            told
        };
        told.await.ok()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    /// Hands the pass to the next waiting caller, if there is one.
    fn drop(&mut self) {
        let Some(mut gate) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = gate.state();
                match state.waiting.pop_front() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.send(Pass(Some(gate))) {
                Ok(()) => return,
                // This caller has given up.
                Err(mut back) => match back.0.take() {
                    Some(back) => gate = back,
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn some_are_in_some_wait_and_others_are_turned_away() {
        let gate = Gate::new(1, 2);
        let Poll::Ready(Some(one)) = now(pin!(gate.enter())) else { panic!() };
        let mut second = pin!(gate.enter());
        let mut third = Box::pin(gate.enter());
        assert!(now(second.as_mut()).is_pending() && now(third.as_mut()).is_pending());
        assert!(matches!(now(pin!(gate.enter())), Poll::Ready(None)));
        drop(third);
        let mut fourth = pin!(gate.enter());
        assert!(now(fourth.as_mut()).is_pending(), "there is room in the line again");
        drop(one);
        assert!(now(fourth.as_mut()).is_pending());
        let Poll::Ready(Some(second)) = now(second.as_mut()) else { panic!() };
        drop(second);
        let Poll::Ready(Some(fourth)) = now(fourth.as_mut()) else { panic!() };
        drop(fourth);
        assert!(matches!(now(pin!(gate.enter())), Poll::Ready(Some(_))));
    }

    #[test]
    fn one_who_gives_up_at_the_last_moment_loses_no_place() {
        let gate = Gate::new(1, 5);
        let Poll::Ready(Some(one)) = now(pin!(gate.enter())) else { panic!() };
        let mut second = Box::pin(gate.enter());
        assert!(now(second.as_mut()).is_pending());
        // The second caller is given the pass, and gives up without having taken it.
        drop(one);
        drop(second);
        assert!(matches!(now(pin!(gate.enter())), Poll::Ready(Some(_))));
    }
}
