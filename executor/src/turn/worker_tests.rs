//! Tests of a worker as a value: a thread enters it, runs entries for as long as it likes, and
//! leaves.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::*;
use crate::Handle;
use crate::blocking::pool::{BlockingPool, PoolSettings};
use crate::clock::Clock;
use crate::park::{Park, ThreadPark};
use crate::runtime::settings::Settings;
use crate::turn::seat::Seat;
use crate::worker::fleet::Fleet;
use crate::worker::machine::Machine;
use crate::worker::rules::Rules;

/// Makes a runtime of workers that no thread has entered.
fn idle_runtime(workers: usize) -> (Handle, Vec<Worker>) {
    let rules = Rules { workers, ..Rules::default() };
    let parks: Vec<_> = (0..workers).map(|_| ThreadPark::new()).collect();
    let unparkers = parks.iter().map(Park::unparker).collect();
    let machine = Machine::given(workers, 100);
    let (fleet, schedulers) = Fleet::new(rules, Clock::new(), machine, unparkers);
    let seats = parks.into_iter().map(|park| Seat::new(Box::new(park))).collect();
    let settings = Settings { rules, ..Settings::default() };
    let hooks = Arc::clone(&settings.thread_hooks);
    let one = PoolSettings { limit: Some(1), ..PoolSettings::default() };
    let pool = BlockingPool::new(one, workers, "test", 1 << 20, hooks);
    let core = Core::create(settings, None, fleet, seats, pool);
    core.live_workers.store(workers, Relaxed);
    core.serving.store(workers, Relaxed);
    let workers = schedulers.into_iter().map(|own| Worker::new(core.clone(), own)).collect();
    (Handle::new(core), workers)
}

/// Enters a worker in which no thread is.
fn enter<R>(worker: &Worker, f: impl FnOnce(&mut Inside<'_>) -> R) -> R {
    worker.enter(f).unwrap_or_else(|_| panic!("nobody is in it"))
}

fn run_all(worker: &Worker) -> u64 {
    enter(worker, |inside| inside.run_once(u64::MAX))
}

fn end(h: &Handle, workers: Vec<Worker>) {
    shutdown::start_stopping(h.core());
    for worker in workers {
        worker.stop();
        drop(worker);
        shutdown::worker_leaves(h.core());
    }
    assert!(h.has_ended());
}

fn count(h: &Handle, color: &crate::Color, to: &Arc<AtomicU32>) {
    let to = Arc::clone(to);
    h.post(color, move |_| {
        to.fetch_add(1, Relaxed);
    });
}

#[test]
fn a_thread_works_for_a_worker_entry_by_entry_and_leaves_it() {
    let (h, workers) = idle_runtime(1);
    let ran = Arc::new(AtomicU32::new(0));
    let colors: Vec<_> = (0..3).map(|_| h.new_color()).collect();
    colors.iter().for_each(|color| count(&h, color, &ran));
    assert_eq!(h.current_worker(), None);
    let left = enter(&workers[0], |inside| {
        assert_eq!(h.current_worker(), Some(0));
        assert_eq!((inside.run_once(1), ran.load(Relaxed)), (1, 1));
        assert_eq!((inside.run_once(0), ran.load(Relaxed)), (0, 1));
        inside.run_once(1)
    });
    assert_eq!((left, ran.load(Relaxed), h.current_worker()), (1, 2, None));
    // Events that are posted now wait for the next thread that enters.
    colors.iter().for_each(|color| count(&h, color, &ran));
    // The third color was still in the run queue, and has two events by now.
    assert_eq!(run_all(&workers[0]), 3);
    assert_eq!(ran.load(Relaxed), 6);
    assert_eq!(run_all(&workers[0]), 0, "it does not sleep");
    drop(colors);
    end(&h, workers);
}

#[test]
fn a_worker_says_when_its_next_timer_is_due() {
    let (h, workers) = idle_runtime(1);
    let ran = Arc::new(AtomicU32::new(0));
    let also_ran = Arc::clone(&ran);
    enter(&workers[0], |inside| {
        assert_eq!(inside.next_deadline(), None);
        let now = h.core().clock().now();
        let delay = Duration::from_millis(2);
        let timer = h.post_after(delay, &h.default_color(), move |_| {
            also_ran.fetch_add(1, Relaxed);
        });
        let deadline = inside.next_deadline().expect("a timer is armed");
        assert!(deadline >= now + 2_000_000 && timer.is_armed());
        std::thread::sleep(Duration::from_millis(3));
        // The timers are checked before the next entry.
        h.post_default(|_| {});
        h.post_default(|_| {});
        while ran.load(Relaxed) == 0 {
            h.post_uncolored(|_| {});
            inside.run_once(4);
        }
        assert_eq!(inside.next_deadline(), None);
    });
    end(&h, workers);
}

#[test]
fn two_workers_on_one_thread_are_one_after_the_other() {
    let (h, workers) = idle_runtime(2);
    let ran = Arc::new(AtomicU32::new(0));
    let color = h.new_color();
    for round in 0..10 {
        count(&h, &color, &ran);
        let worker = &workers[round % 2];
        // The first worker has the color. The second one steals nothing that is not worth a steal.
        run_all(worker);
    }
    run_all(&workers[0]);
    assert_eq!(ran.load(Relaxed), 10);
    drop(color);
    end(&h, workers);
}

#[test]
fn what_nobody_has_run_is_dropped_and_counted_at_the_end() {
    let (h, workers) = idle_runtime(2);
    let ran = Arc::new(AtomicU32::new(0));
    (0..5).for_each(|_| count(&h, &h.new_color(), &ran));
    end(&h, workers);
    assert_eq!((ran.load(Relaxed), h.metrics().dropped()), (0, 5));
    assert_eq!(Arc::strong_count(&ran), 1);
}
