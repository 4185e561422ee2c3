//! The workloads on async-executor: an event is a task, and a serial unit is a mutex.

use std::sync::{Arc, Mutex};
use std::thread;

use async_executor::Executor;

use super::{
    BURST, CHAINS, GENERATORS, Gate, KEYS, Keys, OpensWhenDropped, Workload, keyed_rounds,
    work_10us,
};
use crate::measure::{Took, time};

type Ex = Executor<'static>;

/// Runs a workload. Returns `None` if the system does not support it.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    if matches!(workload, Workload::Sharing(_)) {
        return None;
    }
    let ex: &'static Ex = Box::leak(Box::new(Executor::new()));
    let stop = Arc::new(Gate::default());
    let (stop_tx, stop_rx) = async_channel_once();
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let stop_rx = stop_rx.clone();
            thread::spawn(move || futures_lite::future::block_on(ex.run(stop_rx.wait())))
        })
        .collect();
    let last = Arc::new(OpensWhenDropped(Arc::clone(&stop)));
    let mut events = events;
    let first: Box<dyn FnOnce() + Send> = match workload {
        Workload::Sharing(_) => unreachable!("answered above"),
        Workload::Chain => Box::new(move || chain(events - 1, ex, last)),
        Workload::Pingpong => {
            let pair = Arc::new([Mutex::new(0), Mutex::new(0)]);
            Box::new(move || hop(events - 1, pair, ex, last))
        }
        Workload::Chains => Box::new(move || {
            for _ in 0..CHAINS {
                chain(events / CHAINS, ex, Arc::clone(&last));
            }
        }),
        Workload::Work10us => Box::new(move || {
            for _ in 0..events {
                let last = Arc::clone(&last);
                let event = async move {
                    work_10us();
                    drop(last);
                };
                ex.spawn(event).detach();
            }
        }),
        Workload::Fanout => Box::new(move || {
            for i in 0..events {
                let last = Arc::clone(&last);
                let event = async move {
                    std::hint::black_box(i);
                    drop(last);
                };
                ex.spawn(event).detach();
            }
        }),
        Workload::FanoutColors => Box::new(move || {
            for i in 0..events {
                let (last, unit) = (Arc::clone(&last), Arc::new(Mutex::new(0)));
                let event = async move {
                    *unit.lock().unwrap() = i;
                    drop(last);
                };
                ex.spawn(event).detach();
            }
        }),
        Workload::Keyed => {
            let (rounds, exact) = keyed_rounds(events);
            events = exact;
            let counters: Arc<Vec<Mutex<u64>>> =
                Arc::new((0..KEYS).map(|_| Mutex::new(0)).collect());
            Box::new(move || {
                for g in 0..GENERATORS {
                    let (counters, last) = (Arc::clone(&counters), Arc::clone(&last));
                    generate(rounds, Keys::of(g), counters, ex, last);
                }
            })
        }
    };
    let took = time(events, || {
        ex.spawn(async move { first() }).detach();
        stop.wait();
    });
    stop_tx.fire();
    for thread in threads {
        thread.join().expect("an executor thread does not panic");
    }
    // SAFETY: `ex` came from `Box::leak` above and is freed only here. All threads that ran it have
    // been joined, and every event has run, so nothing uses it.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(ex).cast_mut()) });
    Some(took)
}

// `last` is only passed on: the run ends when its last clone is dropped.
#[allow(clippy::only_used_in_recursion)]
fn chain(left: u64, ex: &'static Ex, last: Arc<OpensWhenDropped>) {
    if left > 0 {
        ex.spawn(async move { chain(left - 1, ex, last) }).detach();
    }
}

// `last` is only passed on: the run ends when its last clone is dropped.
#[allow(clippy::only_used_in_recursion)]
fn hop(left: u64, pair: Arc<[Mutex<u64>; 2]>, ex: &'static Ex, last: Arc<OpensWhenDropped>) {
    *pair[left as usize % 2].lock().unwrap() += 1;
    if left > 0 {
        ex.spawn(async move { hop(left - 1, pair, ex, last) }).detach();
    }
}

fn generate(
    left: usize,
    mut keys: Keys,
    counters: Arc<Vec<Mutex<u64>>>,
    ex: &'static Ex,
    last: Arc<OpensWhenDropped>,
) {
    let event = async move {
        for _ in 0..BURST {
            let (counters, key) = (Arc::clone(&counters), keys.draw());
            let last = Arc::clone(&last);
            let increment = async move {
                *counters[key].lock().unwrap() += 1;
                drop(last);
            };
            ex.spawn(increment).detach();
        }
        if left > 1 {
            generate(left - 1, keys, counters, ex, last);
        }
    };
    ex.spawn(event).detach();
}

/// A signal for which any number of futures can wait.
#[derive(Clone, Default)]
struct Once(Arc<Mutex<(bool, Vec<std::task::Waker>)>>);

fn async_channel_once() -> (Once, Once) {
    let once = Once::default();
    (once.clone(), once)
}

impl Once {
    fn fire(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(std::task::Waker::wake);
    }

    async fn wait(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return std::task::Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}
