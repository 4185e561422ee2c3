//! I3, I5, I11, I12, I16: a domain's state, its versions, its handles, and which thread frees it.
//! The store and the handles are the real ones. The lock is loom's, events are numbers, and workers
//! take them from a queue.

use dapple_colors::{Context, Mode, Ticket};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::VecDeque;

use super::model;
use crate::domain::store::{Decision, Freed, Handles, Store, Version, VersionPtr};
use crate::lock::Lock;

/// A state: a value, and a count by which loom notices if a version leaks.
#[derive(Clone)]
struct ModelState {
    value: usize,
    _counted: Arc<()>,
}

/// The action of an event that has entered its context.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Read,
    Write,
    /// Writes, downgrades, and reads what it has written.
    WriteAndRead,
    WriteAndPanic,
    /// Reads, and makes a handle, which it drops after its commit.
    ReadAndHold,
}

struct Job {
    ticket: Ticket,
    what: What,
    version: VersionPtr<ModelState>,
    is_read: bool,
}

// SAFETY: the version is shared by a pointer that may go to any thread; the store, which is under
// test, decides which event may use it, and loom reports conflicting accesses.
unsafe impl Send for Job {}

struct Domain {
    handles: Handles,
    store: Lock<Store<ModelState, What, ()>>,
    mode: Mode,
    transactional: bool,
    queue: Mutex<VecDeque<Job>>,
    queued: loom::sync::Condvar,
    left: AtomicUsize,
    seen: Mutex<Vec<(u64, usize)>>,
    freed: AtomicUsize,
}

impl Domain {
    fn new(mode: Mode, transactional: bool, events: usize) -> Arc<Domain> {
        let state = ModelState { value: 0, _counted: Arc::new(()) };
        Arc::new(Domain {
            handles: Handles::new(),
            store: Lock::new(Store::new(mode, usize::MAX, Version::new(state))),
            mode,
            transactional,
            queue: Mutex::new(VecDeque::new()),
            queued: loom::sync::Condvar::new(),
            left: AtomicUsize::new(events),
            seen: Mutex::new(Vec::new()),
            freed: AtomicUsize::new(0),
        })
    }

    fn post(&self, what: What) {
        let context = match what {
            What::Read | What::ReadAndHold => Context::Anon,
            _ => Context::Global,
        };
        let jobs = self.store.with(|store| {
            let ticket = store.take_ticket(context, ());
            store.want(ticket, context, what);
            self.collect(store)
        });
        self.carry_out(jobs);
    }

    fn collect(&self, store: &mut Store<ModelState, What, ()>) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some(decision) = store.decide() {
            match decision {
                Decision::Enter { ticket, with, version, is_read, .. } => {
                    jobs.push(Job { ticket, what: with, version, is_read });
                }
                Decision::Commit { .. } => {
                    store.committed();
                    self.left.fetch_sub(1, Ordering::Relaxed);
                }
                Decision::Moved => {}
                _ => unreachable!("not part of the model"),
            }
        }
        if store.is_over() {
            assert_eq!(self.freed.fetch_add(1, Ordering::Relaxed), 0, "freed twice");
        }
        jobs
    }

    fn carry_out(&self, jobs: Vec<Job>) {
        let is_over = self.left.load(Ordering::Relaxed) == 0;
        if !jobs.is_empty() || is_over {
            self.queue.lock().unwrap().extend(jobs);
            self.queued.notify_all();
        }
    }

    fn work(&self) {
        loop {
            let mut queue = self.queue.lock().unwrap();
            let job = loop {
                if let Some(job) = queue.pop_front() {
                    break job;
                }
                if self.left.load(Ordering::Relaxed) == 0 {
                    return;
                }
                queue = self.queued.wait(queue).unwrap();
            };
            drop(queue);
            self.run(job);
        }
    }

    fn run(&self, job: Job) {
        let reads = matches!(job.what, What::Read | What::ReadAndHold);
        let copy = if reads { None } else { self.write(&job) };
        let ticket = job.ticket;
        let (freed, jobs) = match job.what {
            What::Read | What::ReadAndHold => {
                if job.what == What::ReadAndHold {
                    self.handles.add(&self.store);
                }
                self.read(ticket, job.version);
                self.store.with(|store| (store.commit(ticket, None, None), self.collect(store)))
            }
            What::Write => {
                self.store.with(|store| (store.commit(ticket, copy, None), self.collect(store)))
            }
            What::WriteAndPanic => self.store.with(|store| {
                let (_, freed) = store.abandon(ticket, copy, self.transactional);
                (freed, self.collect(store))
            }),
            What::WriteAndRead => {
                let (freed, version, jobs) = self.store.with(|store| {
                    let (freed, version) = store.downgrade(ticket, copy);
                    (freed, version, self.collect(store))
                });
                self.carry_out(jobs);
                drop(freed);
                self.read(ticket, version);
                self.store.with(|store| (store.commit(ticket, None, None), self.collect(store)))
            }
        };
        if job.what == What::ReadAndHold {
            self.drop_handle();
        }
        self.carry_out(jobs);
        drop(freed);
    }

    fn read(&self, ticket: Ticket, version: VersionPtr<ModelState>) {
        // SAFETY: the event is in anon, so the version is pinned. Loom reports a write to it
        // meanwhile.
        let value = unsafe { version.as_ptr().as_ref() }.state().with(|s| unsafe { (*s).value });
        self.seen.lock().unwrap().push((ticket.number(), value));
    }

    /// Writes as a token does. Returns the copy of the state, if one was made.
    fn write(&self, job: &Job) -> Freed<ModelState> {
        // SAFETY: the event is in global, so the current version stays until it leaves.
        let version = unsafe { job.version.as_ptr().as_ref() };
        let is_read = job.is_read && self.store.with(|store| store.is_read());
        if self.transactional || is_read {
            assert!(self.transactional || self.mode == Mode::Snapshot);
            // SAFETY: this event alone is in global, and it does not write to a version that others
            // may read. Loom reports a conflicting write.
            let mut state = version.state().with(|s| unsafe { (*s).clone() });
            state.value += 1;
            return Some(Version::new(state));
        }
        // SAFETY: the store says that no event reads this version. Loom reports a conflicting read.
        version.state().with_mut(|s| unsafe { (*s).value += 1 });
        None
    }

    fn drop_handle(&self) {
        if self.handles.remove(&self.store) {
            assert_eq!(self.freed.fetch_add(1, Ordering::Relaxed), 0, "freed twice");
        }
    }
}

/// Posts these events and lets two workers run them. Returns the values that were read, by ticket.
fn run(mode: Mode, transactional: bool, events: &[What]) -> Vec<(u64, usize)> {
    let domain = Domain::new(mode, transactional, events.len());
    for what in events {
        domain.post(*what);
    }
    let other = Arc::clone(&domain);
    let worker = thread::spawn(move || other.work());
    domain.drop_handle();
    domain.work();
    worker.join().unwrap();
    assert_eq!(domain.freed.load(Ordering::Relaxed), 1, "the domain is freed once");
    let mut seen = domain.seen.lock().unwrap().clone();
    seen.sort();
    seen
}

#[test]
fn i5_snapshots_are_read_beside_a_writer() {
    model(|| {
        let seen = run(Mode::Snapshot, false, &[What::Read, What::Write, What::Read]);
        assert_eq!(seen, [(1, 0), (3, 1)]);
    });
}

#[test]
fn i5_a_downgraded_event_reads_what_it_wrote_beside_the_next_writer() {
    model(|| {
        let seen = run(Mode::Snapshot, false, &[What::WriteAndRead, What::WriteAndRead]);
        assert_eq!(seen, [(1, 1), (2, 2)]);
    });
}

#[test]
fn i3_in_read_write_mode_readers_and_writers_exclude_each_other() {
    model(|| {
        let seen = run(Mode::ReadWrite, false, &[What::Read, What::WriteAndRead, What::Write]);
        assert_eq!(seen, [(1, 0), (2, 1)]);
    });
}

#[test]
fn i12_a_panic_in_a_transaction_leaves_no_trace() {
    model(|| {
        let seen = run(Mode::Snapshot, true, &[What::Read, What::WriteAndPanic, What::Read]);
        assert_eq!(seen, [(1, 0), (3, 0)]);
    });
}

#[test]
fn i16_a_ticket_that_makes_a_handle_keeps_the_domain() {
    model(|| {
        let seen = run(Mode::Snapshot, false, &[What::ReadAndHold, What::Read]);
        assert_eq!(seen, [(1, 0), (2, 0)]);
    });
}
