//! Helpers that the tests share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dapple::{Domain, Runtime};

pub const MINUTE: Duration = Duration::from_secs(60);

pub fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A list that events append to, in the order of their effects.
#[derive(Clone, Default)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Log<T> {
    pub fn add(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }
    pub fn read(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

pub fn in_both_modes<S: Clone + Send + Sync + 'static>(
    state: S,
    test: impl Fn(&Runtime, Domain<S>),
) {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        test(&rt, Domain::snapshot(&rt.handle(), state.clone()));
        test(&rt, Domain::read_write(&rt.handle(), state.clone()));
    }
}
