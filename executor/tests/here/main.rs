//! E18: a runtime that has the calling thread as a worker.
//!
//! * [`thread`]: turns, timers, posts from other threads, futures, several runtimes, the end.
//! * [`suspended`]: events that run other events meanwhile.
mod suspended;
mod thread;

use std::cell::RefCell;
use std::rc::Rc;

use dapple::{Builder, Here, Runtime};

const ALL: usize = usize::MAX;

fn alone() -> Here {
    here(Runtime::builder().workers(1))
}

fn here(builder: Builder) -> Here {
    builder.default_here(true).build_here().unwrap()
}

thread_local! {
    /// The runtime of this thread, for events that run turns themselves.
    static HERE: RefCell<Option<Rc<Here>>> = const { RefCell::new(None) };
}

fn keep(here: Here) -> Rc<Here> {
    let here = Rc::new(here);
    HERE.set(Some(Rc::clone(&here)));
    here
}

/// Returns the runtime of this thread.
fn kept() -> Rc<Here> {
    HERE.with_borrow(|here| here.clone().unwrap())
}

/// Ends the runtime of this thread.
fn end(here: Rc<Here>) {
    HERE.take();
    assert_eq!(here.metrics().panics(), 0);
    drop(here);
}
