//! E16, E11: a runtime is not idle while a sleeping or spinning worker posts.
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use dapple::park::{Driver, Park, Unpark};
use dapple::{Color, Cx, Palette, Runtime};

/// The action that the poller takes on request.
type Act = Box<dyn Fn(&mut Cx) + Send + Sync>;

#[derive(Default)]
struct Shared {
    go: AtomicBool,
    /// Grows by one when the poller starts its action, and again when it has finished.
    acts: AtomicUsize,
    act: OnceLock<Act>,
    token: Mutex<bool>,
    changed: Condvar,
}

/// A poller that runs an action, as a reactor does that found a descriptor ready.
#[derive(Clone)]
struct Acting(Arc<Shared>);

impl Unpark for Acting {
    fn unpark(&self) {
        *self.0.token.lock().unwrap() = true;
        self.0.changed.notify_one();
    }
}

impl Park for Acting {
    fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()> {
        let end = timeout.map(|t| Instant::now() + t);
        let mut token = self.0.token.lock().unwrap();
        while !*token && !self.0.go.load(Acquire) {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            token = match left {
                Some(Duration::ZERO) => break,
                Some(left) => self.0.changed.wait_timeout(token, left).unwrap().0,
                None => self.0.changed.wait(token).unwrap(),
            };
        }
        *token = false;
        drop(token);
        if self.0.go.swap(false, AcqRel) {
            self.0.acts.fetch_add(1, AcqRel);
            self.0.act.get().unwrap()(cx);
            self.0.acts.fetch_add(1, AcqRel);
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(self.clone())
    }
}

impl Driver for Acting {
    fn park(&self, _: usize) -> io::Result<Box<dyn Park>> {
        Ok(Box::new(self.clone()))
    }
}

fn runtime(spin: Duration) -> (Runtime, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    let driver = Arc::new(Acting(Arc::clone(&shared)));
    let rt = Runtime::builder().workers(1).spin(spin).driver(driver).build().unwrap();
    (rt, shared)
}

/// Starts the poller's action, and returns while it probably still runs, with its final `acts`.
fn act(shared: &Shared, round: usize) -> usize {
    let before = shared.acts.load(Acquire);
    shared.go.store(true, Release);
    drop(shared.token.lock().unwrap());
    shared.changed.notify_one();
    while shared.acts.load(Acquire) == before {
        std::hint::spin_loop();
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros((round as u64 % 20) * 50) {
        std::hint::spin_loop();
    }
    before + 2
}

/// Posts a set of many colors, so that the first color has its place long before it is in a run
/// queue.
fn post_many(colors: &[Color]) -> Act {
    let colors = colors.to_vec();
    Box::new(move |cx| {
        let all: Vec<_> = colors.iter().map(Color::exclusive).collect();
        cx.post_set(&all, |_| ());
    })
}

fn rounds(spin: Duration) {
    let (rt, shared) = runtime(spin);
    let h = rt.handle();
    let colors: Vec<_> = (0..20_000).map(|_| h.new_color()).collect();
    shared.act.set(post_many(&colors)).ok();
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 0..60 {
        rt.wait_idle();
        let over = act(&shared, round);
        let ran_too = Arc::clone(&ran);
        h.post(&colors[(round * 7_919) % colors.len()], move |_| {
            ran_too.fetch_add(1, Release);
        });
        rt.wait_idle();
        assert_eq!(ran.load(Acquire), round + 1, "wait_idle has waited for the event");
        while shared.acts.load(Acquire) < over {
            thread::yield_now();
        }
    }
}

#[test]
fn e16_an_event_behind_what_a_sleeping_worker_posts_is_waited_for() {
    rounds(Duration::ZERO);
}

#[test]
fn e16_an_event_behind_what_a_spinning_worker_posts_is_waited_for() {
    rounds(Duration::from_secs(3_600));
}

#[test]
fn e11_an_event_behind_what_a_sleeping_worker_posts_is_run_before_the_end() {
    for round in 0..20 {
        let (rt, shared) = runtime(Duration::ZERO);
        let h = rt.handle();
        let colors: Vec<_> = (0..20_000).map(|_| h.new_color()).collect();
        shared.act.set(post_many(&colors)).ok();
        rt.wait_idle();
        act(&shared, round);
        let ran = Arc::new(AtomicBool::new(false));
        let ran_too = Arc::clone(&ran);
        h.post(&colors[(round * 7_919) % colors.len()], move |_| ran_too.store(true, Release));
        let report = rt.shutdown(Duration::from_secs(60));
        assert!(report.drained && ran.load(Acquire), "{report:?}");
    }
}

/// A worker may queue something that needs no event memory: the end of a color, which a palette may
/// revive.
#[test]
fn e16_a_color_that_a_sleeping_worker_lets_go_is_waited_for() {
    let (rt, shared) = runtime(Duration::ZERO);
    let h = rt.handle();
    let palette = Arc::new(Palette::<usize>::new(&h));
    let kept: Arc<Mutex<Vec<Color>>> = Arc::default();
    let also = Arc::clone(&kept);
    shared.act.set(Box::new(move |_| drop(std::mem::take(&mut *also.lock().unwrap())))).ok();
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 0..60 {
        *kept.lock().unwrap() = (0..5_000).map(|key| palette.color(&key)).collect();
        rt.wait_idle();
        act(&shared, round);
        let ran_too = Arc::clone(&ran);
        palette.color(&((round * 7_919) % 5_000)).post(move |_| {
            ran_too.fetch_add(1, Release);
        });
        rt.wait_idle();
        assert_eq!(ran.load(Acquire), round + 1);
    }
}

/// A hook may run between the sleeps of a worker: a panic in the poller is reported to the panic
/// hook.
#[test]
fn e16_what_the_hook_of_a_sleeping_worker_posts_is_waited_for() {
    let shared = Arc::new(Shared::default());
    let driver = Arc::new(Acting(Arc::clone(&shared)));
    let target: Arc<OnceLock<Color>> = Arc::default();
    let (to, ran) = (Arc::clone(&target), Arc::new(AtomicUsize::new(0)));
    let also = Arc::clone(&ran);
    let rt = Runtime::builder()
        .workers(1)
        .driver(driver)
        .on_panic(move |_| {
            let ran = Arc::clone(&also);
            to.get().unwrap().post(move |_| {
                ran.fetch_add(1, Release);
            });
        })
        .build()
        .unwrap();
    target.set(rt.handle().new_color()).unwrap();
    let quiet = |_: &mut Cx| std::panic::resume_unwind(Box::new("the poller panics"));
    shared.act.set(Box::new(quiet)).ok();
    for round in 1..=100 {
        let over = act(&shared, round) - 1;
        while ran.load(Acquire) < round {
            // The hook's event runs without anything else that wakes the worker.
            thread::yield_now();
        }
        rt.wait_idle();
        assert!(shared.acts.load(Acquire) >= over);
    }
}
