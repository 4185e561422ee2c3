//! Tests of the scheduler with plain numbers in place of colors and events.
use std::cell::{Cell, RefCell};
use std::time::Duration;

use dapple_colors::Priority;

use super::*;
use crate::clock::Clock;
use crate::sync::Arc;
use crate::worker::machine::Machine;
use crate::worker::poller::{Attention, Unpark};
use crate::worker::ready::AT_ONCE;
use crate::worker::rules::Rules;
use crate::worker::trial::Trials;
use crate::worker::work::{Host, Work};
use crate::worker::worker_loop::{Rounds, WorkerLoop};

/// An entry. Its class is the digit of the hundreds. A thousand is added if it is ready, ten
/// thousand if it is a guest. Numbers from 50,000 to 59,999 are bound to a worker.
#[derive(Debug, PartialEq)]
struct Number(u32);

impl Work for Number {
    fn class(&self) -> Priority {
        match self.0 % 1_000 / 100 {
            1 => Priority::High,
            2 => Priority::Low,
            _ => Priority::Normal,
        }
    }
    fn is_ready(&self) -> bool {
        self.0 % 10_000 >= 1_000
    }
    fn is_affine(&self) -> bool {
        (50_000..60_000).contains(&self.0)
    }
    fn is_plain(&self) -> bool {
        self.class() == Priority::Normal && !self.is_ready() && !self.is_affine()
    }
    fn home(&self) -> Option<usize> {
        (self.0 != 99 && !self.is_ready()).then_some(self.0 as usize % 2)
    }
    fn worth(&self) -> u32 {
        UNKNOWN
    }
    fn into_guest(self) -> Self {
        Number(self.0 + 10_000)
    }
    fn sorted(self) -> Self {
        // Number 7 was raised to the high class.
        if self.0 == 7 { Number(107) } else { self }
    }
}

struct NoUnpark;
impl Unpark for NoUnpark {
    fn unpark(&self) {}
}

/// A host that notes what it runs.
struct Notes {
    own: Scheduler<Number>,
    ran: RefCell<Vec<u32>>,
    discarded: RefCell<Vec<u32>>,
    parked: Cell<u32>,
    longest_park: Cell<Duration>,
    attends: RefCell<Vec<usize>>,
}

impl Host for Notes {
    type Work = Number;
    fn run(&self, work: Number, _: bool) -> bool {
        if work.0 == 1_998 {
            self.own.ends_credit();
            self.schedule([1_998]);
        }
        if work.0 == 1_999 {
            self.own.posts_ready();
            self.schedule([1_999]);
        }
        self.ran.borrow_mut().push(work.0);
        self.own.time_passes();
        false
    }
    fn discard(&self, work: Number) -> u64 {
        // Discarding 5 queues 6.
        if work.0 == 5 {
            self.own.queue_here(Number(6));
        }
        self.discarded.borrow_mut().push(work.0);
        1
    }
    fn hand_over(&self, worker: usize, work: Number, worth: u32) {
        let worker = self.own.fleet.hand(worker, work);
        self.own.fleet.wake_for(worker, worth);
    }
    fn is_running(&self) -> bool {
        false
    }
    fn before_rest(&self) {}
    fn after_rest(&self) {}
    fn park(&self, timeout: Option<Duration>) {
        self.parked.set(self.parked.get() + 1);
        let longest = timeout.unwrap_or(Duration::MAX).max(self.longest_park.get());
        self.longest_park.set(longest);
    }
    fn note_poll(&self, _: u64) {}
    fn poll_for(&self, _: usize) -> bool {
        true
    }
    fn attend(&self, worker: usize, attention: Attention) {
        match attention {
            Attention::Begins => self.attends.borrow_mut().push(worker),
            Attention::Ends => self.attends.borrow_mut().retain(|other| *other != worker),
        }
    }
    fn fire_timers(&self, _: usize, _: u64) {}
    fn next_timer(&self, _: usize) -> Option<u64> {
        None
    }
    fn next_timer_before_sleep(&self) -> Option<u64> {
        None
    }
    fn look_after_waits(&self, _: u64) {}
    fn look_before_sleep(&self, _: u64) -> Option<u64> {
        None
    }
    fn ends_sleep(&self) {}
    fn is_look_due(&self, _: u64) -> bool {
        false
    }
    fn report_running(&self, _: usize, _: u64, _: bool) {}
    fn clear_event(&self) {}
    fn traffic(&self) -> u64 {
        0
    }
    fn flush_figures(&self, _: bool) {}
}

fn workers(n: usize, policy: StealPolicy) -> Vec<Notes> {
    let rules = Rules { policy, workers: n, ..Rules::default() };
    let unparkers = (0..n).map(|_| Arc::new(NoUnpark) as Arc<dyn Unpark>).collect();
    let (_, own) = Fleet::new(rules, Clock::new(), Machine::given(n, 100), unparkers);
    own.into_iter().map(notes).collect()
}

fn notes(own: Scheduler<Number>) -> Notes {
    Notes {
        own,
        ran: RefCell::default(),
        discarded: RefCell::default(),
        parked: Cell::new(0),
        longest_park: Cell::default(),
        attends: RefCell::default(),
    }
}

impl Notes {
    fn schedule(&self, numbers: impl IntoIterator<Item = u32>) {
        numbers.into_iter().for_each(|n| self.own.schedule(self, Number(n), UNKNOWN));
    }

    fn run(&self, rounds: &mut Rounds, budget: u64) -> u64 {
        WorkerLoop::new(self, &self.own, rounds).run_once(budget, || false)
    }

    fn ran(&self) -> Vec<u32> {
        self.ran.take()
    }
}

#[test]
fn numbers_run_in_their_order_up_to_a_budget() {
    let all = workers(1, StealPolicy::CostAware);
    let mut rounds = Rounds::new(1);
    all[0].schedule(0..50);
    assert_eq!(all[0].run(&mut rounds, 20), 20);
    assert_eq!(all[0].run(&mut rounds, u64::MAX), 30);
    assert_eq!(all[0].ran(), (0..50).collect::<Vec<_>>());
}

#[test]
fn e4_what_others_hand_over_is_found_and_a_sleeper_is_woken() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    me.own.announce(me);
    other.hand_over(0, Number(3), UNKNOWN);
    assert_eq!(me.own.fleet.wakeups.load(Ordering::Relaxed), 1);
    me.own.rise(me);
    assert_eq!(me.run(&mut Rounds::new(2), 9), 1);
    assert_eq!(me.ran(), [3]);
}

#[test]
fn c7_higher_classes_come_first_and_what_was_raised_is_sorted_in() {
    let all = workers(1, StealPolicy::CostAware);
    all[0].own.fleet.use_classes();
    all[0].schedule([1, 201, 7, 2, 101]);
    all[0].own.fleet.note_raised();
    assert_eq!(all[0].run(&mut Rounds::new(1), u64::MAX), 5);
    let ran = all[0].ran();
    assert_eq!(ran[..2], [101, 107], "{ran:?}");
    assert_eq!(ran.iter().position(|n| *n == 201), Some(4), "{ran:?}");
}

#[test]
fn c9_ready_work_goes_first_as_far_as_the_credit_reaches() {
    let all = workers(1, StealPolicy::CostAware);
    let mut rounds = Rounds::new(1);
    all[0].schedule(0..3);
    let ready: Vec<u32> = (1_000..1_100).chain(1_300..1_400).collect();
    all[0].schedule(ready.iter().copied());
    // Sets that an entry posts are served before the next other entry.
    (0..50).for_each(|_| all[0].own.posts_ready());
    assert_eq!(all[0].run(&mut rounds, u64::MAX), 203);
    let ran = all[0].ran();
    let at = |n: u32| ran.iter().position(|other| *other == n).unwrap();
    let first = (AT_ONCE + 50) as usize;
    assert_eq!((at(0), at(1)), (first, first + 1 + AT_ONCE as usize), "{ran:?}");
    // Ready entries run in their order.
    assert!(ready.is_sorted_by_key(|n| at(*n)));
}

#[test]
fn c9_ready_work_goes_first_for_the_time_of_a_turn_at_most() {
    let all = workers(1, StealPolicy::CostAware);
    let mut rounds = Rounds::new(1);
    // Entry 1,999 posts itself again, without end.
    all[0].schedule([0, 1_999]);
    let mut before = 0;
    while all[0].run(&mut rounds, 100) > 0 {
        let ran = all[0].ran();
        if let Some(at) = ran.iter().position(|n| *n == 0) {
            assert!(before + at > 0, "ready work goes first");
            return;
        }
        before += ran.len();
    }
    unreachable!("it posts itself again");
}

#[test]
fn c7_what_is_ready_goes_first_within_its_class() {
    let all = workers(1, StealPolicy::CostAware);
    all[0].own.fleet.use_classes();
    all[0].schedule([1, 1_002, 201, 1_202, 101, 1_102]);
    all[0].run(&mut Rounds::new(1), u64::MAX);
    assert_eq!(all[0].ran(), [1_102, 101, 1_002, 1, 1_202, 201]);
}

/// Makes these workers post ready work and look around, twice, so that each knows of the others.
fn take_part(workers: &[&Notes]) {
    for _ in 0..2 {
        workers.iter().for_each(|worker| worker.own.posts_ready());
        workers.iter().for_each(|worker| worker.own.share_ready());
    }
}

#[test]
fn c9_a_worker_takes_what_is_ready_elsewhere_before_other_work_if_both_take_part() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    take_part(&[me, other]);
    other.schedule(1_000..1_010);
    me.schedule([1, 1_050]);
    assert_eq!(me.run(&mut Rounds::new(2), 3), 3);
    assert_eq!(me.ran(), [1_050, 1_000, 1_001], "what is ready here comes first");
    // All entries run once.
    let mut all_ran = vec![1_000, 1_001];
    other.run(&mut Rounds::new(2), 20);
    all_ran.extend(other.ran());
    me.run(&mut Rounds::new(2), 20);
    all_ran.extend(me.ran());
    all_ran.sort_unstable();
    assert_eq!(all_ran, [vec![1], (1_000..1_010).collect()].concat());
}

#[test]
fn e3_a_sleeper_is_woken_for_long_work_that_is_ready() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    me.own.entry_nanos.set(100_000);
    me.own.shared().published.entry_nanos.store(100_000, Ordering::Relaxed);
    other.own.announce(other);
    me.schedule([1_000]);
    let wakeups = || me.own.fleet.wakeups.load(Ordering::Relaxed);
    assert_eq!(wakeups(), 0, "one alone runs here");
    me.schedule([1_001]);
    assert_eq!(wakeups(), 1);
    other.own.rise(other);
    assert!(other.run(&mut Rounds::new(2), 9) > 0);
}

#[test]
fn e18_a_turn_steals_before_it_waits() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    other.own.shared().published.entry_nanos.store(100_000, Ordering::Relaxed);
    me.hand_over(1, Number(1), UNKNOWN);
    let mut rounds = Rounds::new(2);
    let mut turn = |notes: &Notes| {
        let wait = Some(Duration::from_secs(1));
        WorkerLoop::new(notes, &notes.own, &mut rounds).turn(wait, 9, || false)
    };
    assert_eq!(turn(me), 1);
    assert_eq!((me.ran(), me.longest_park.take()), (vec![1], Duration::ZERO));
    // Now the worth of entries is unknown, so the turn waits.
    other.own.shared().published.entry_nanos.store(UNKNOWN, Ordering::Relaxed);
    me.hand_over(1, Number(1), UNKNOWN);
    assert_eq!(turn(me), 0);
    assert!(me.longest_park.take() > Duration::ZERO);
}

#[test]
fn e3_an_undone_steal_sends_back_what_is_here_and_nothing_else() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    take_part(&[me, other]);
    other.schedule(1_000..1_010);
    me.schedule([1, 2, 3, 1_050]);
    me.own.send_back(me, 1);
    assert!(me.own.shared().has_nothing());
    other.run(&mut Rounds::new(2), 99);
    let mut ran = other.ran();
    ran.sort_unstable();
    assert_eq!(ran, [vec![1, 2, 3], (1_000..1_010).collect(), vec![1_050]].concat());
}

#[test]
fn e3_while_a_thief_tries_short_work_it_is_not_kept_from_it() {
    let all = workers(2, StealPolicy::CostAware);
    let busy = &all[0];
    let now = busy.own.now();
    busy.schedule((1..=20).map(|n| 2 * n));
    busy.own.publicize(now);
    assert_eq!((busy.own.shared().kept(), busy.own.shared().has_nothing_open()), (20, true));
    busy.own.fleet.opens_until(now + 1_000);
    // Entries that are there become public at the next look, later ones at once.
    busy.own.publicize(now);
    busy.schedule([2, 4]);
    assert_eq!((busy.own.shared().kept(), busy.own.shared().queued()), (0, 22));
    // The trial is over.
    busy.own.publicize(now + 1_000);
    busy.schedule([6]);
    assert_eq!(busy.own.shared().kept(), 1);
    busy.run(&mut Rounds::new(2), 99);
    assert_eq!(busy.ran().len(), 23);
}

#[test]
fn c2_a_color_with_a_gap_does_not_keep_other_work_waiting() {
    let all = workers(1, StealPolicy::CostAware);
    // Entry 1,998 has to wait, and is queued again.
    all[0].schedule([1, 1_998]);
    all[0].run(&mut Rounds::new(1), 3);
    assert_eq!(all[0].ran(), [1_998, 1, 1_998]);
}

#[test]
fn e3_what_is_ready_at_the_only_worker_that_takes_part_stays_there() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    take_part(&[other]);
    other.schedule(1_000..1_010);
    assert!(other.own.shared().has_nothing_open(), "it keeps them to itself");
    me.schedule([1]);
    me.run(&mut Rounds::new(2), 9);
    assert_eq!(me.ran(), [1]);
    // A worker that has nothing to run no longer takes part.
    take_part(&[me, other]);
    me.own.stops_sharing();
    other.own.share_ready();
    assert!(!other.own.is_ready_open(UNKNOWN));
}

#[test]
fn e6_an_eager_thief_takes_what_is_ready() {
    let all = workers(2, StealPolicy::Eager);
    all[0].schedule(1_000..1_010);
    assert!(all[1].run(&mut Rounds::new(2), 9) > 0);
}

#[test]
fn e3_an_idle_worker_takes_from_a_busy_one_if_it_may() {
    for (policy, takes) in
        [(StealPolicy::Eager, true), (StealPolicy::CostAware, false), (StealPolicy::Off, false)]
    {
        let all = workers(2, policy);
        // With the policy `Off` these entries stay at home, which is the first worker.
        all[0].schedule((0..40).map(|n| 2 * n));
        let ran = all[1].run(&mut Rounds::new(2), 9);
        assert_eq!(ran > 0, takes, "{policy:?}: nothing is known of these numbers");
    }
}

#[test]
fn e6_without_stealing_numbers_run_at_home() {
    let all = workers(2, StealPolicy::Off);
    all[0].schedule([0, 1, 2, 3, 99]);
    for worker in &all {
        worker.run(&mut Rounds::new(2), u64::MAX);
    }
    assert_eq!((all[0].ran(), all[1].ran()), (vec![0, 2, 99], vec![1, 3]));
}

#[test]
fn e4_what_waits_behind_a_stuck_worker_is_taken_as_guests() {
    let all = workers(2, StealPolicy::CostAware);
    let (stuck, other) = (&all[0], &all[1]);
    stuck.schedule([0, 1, 2, 3, 1_005]);
    stuck.hand_over(0, Number(4), UNKNOWN);
    stuck.hand_over(0, Number(1_006), UNKNOWN);
    let mut rounds = Rounds::new(2);
    assert_eq!(other.run(&mut rounds, 9), 0, "it is not known to be stuck");
    std::thread::sleep(Duration::from_millis(2));
    other.own.time_passes();
    assert_eq!(other.run(&mut rounds, 9), 7);
    let mut ran = other.ran();
    ran.sort_unstable();
    assert_eq!(ran, [10_000, 10_001, 10_002, 10_003, 10_004, 11_005, 11_006]);
    assert_eq!(*other.attends.borrow(), [0]);
    // Entries that are handed to the stuck worker from now on go to its stand-in.
    stuck.hand_over(0, Number(8), UNKNOWN);
    assert_eq!((other.run(&mut rounds, 9), other.ran()), (1, vec![10_008]));
    // The worker gets on, and gets its entries itself again.
    stuck.schedule([9]);
    assert_eq!(stuck.run(&mut Rounds::new(2), 2), 1);
    stuck.schedule(10..12);
    stuck.run(&mut Rounds::new(2), 9);
    stuck.hand_over(0, Number(12), UNKNOWN);
    assert!(stuck.own.take_inbox().is_some());
}

#[test]
fn e11_everything_is_discarded_and_what_that_leads_to() {
    let all = workers(2, StealPolicy::CostAware);
    all[0].schedule(0..4);
    all[1].schedule([5, 101]);
    all[1].hand_over(0, Number(8), UNKNOWN);
    all[0].schedule([1_000, 1_101]);
    all[1].hand_over(0, Number(1_002), UNKNOWN);
    let disposer = notes(Scheduler::detached(&all[0].own.fleet));
    assert_eq!(disposer.own.drain(&disposer, true, |_| false), []);
    let mut discarded = disposer.discarded.take();
    discarded.sort_unstable();
    // Entries that stood in a worker's own deque are not lost either.
    assert_eq!(discarded, [0, 1, 2, 3, 5, 6, 8, 101, 1_000, 1_002, 1_101]);
    assert!(all[0].own.fleet.has_nothing());
}

#[test]
fn e11_beside_one_who_still_posts_what_was_handed_over_is_discarded_and_the_rest_is_left() {
    let all = workers(2, StealPolicy::Eager);
    all[0].schedule(10..2_010);
    all[0].hand_over(1, Number(11), UNKNOWN);
    let disposer = notes(Scheduler::detached(&all[0].own.fleet));
    assert_eq!(disposer.own.drain(&disposer, false, |_| true), []);
    let discarded = disposer.discarded.take();
    assert_eq!(discarded[0], 11);
    assert!(discarded.len() < 1_000, "{}", discarded.len());
    // With `all` set, as for the first caller, everything that was there is drained.
    assert_eq!(disposer.own.drain(&disposer, true, |_| true), []);
    assert_eq!(discarded.len() + disposer.discarded.take().len(), 2_001);
}

#[test]
fn a_worker_without_work_sleeps_until_it_is_told_to_stop() {
    let all = workers(1, StealPolicy::CostAware);
    let mut rounds = Rounds::new(1);
    let mut at_work = WorkerLoop::new(&all[0], &all[0].own, &mut rounds);
    all[0].schedule(0..3);
    at_work.run_until(|| all[0].parked.get() >= 4);
    assert_eq!((all[0].ran(), all[0].parked.get()), (vec![0, 1, 2], 4));
    assert_eq!(at_work.next_deadline(), None);
}

#[test]
fn e17_what_is_bound_to_a_worker_is_neither_stolen_nor_rescued_nor_sent_away() {
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        let all = workers(2, policy);
        let (me, other) = (&all[0], &all[1]);
        me.own.fleet.use_affine();
        me.schedule([50_000, 50_002]);
        // One entry comes from a thread outside, another one from the other worker.
        me.own.fleet.hand(0, Number(50_004));
        other.schedule([50_006]);
        let mut trials = Trials::default();
        assert!(!other.own.steal(&mut trials));
        other.own.take_as_guests(me.own.shared());
        assert!(!other.own.has_queued());
        // Nor does bound work go to a stand-in.
        me.own.shared().replace_by(1);
        assert_eq!(me.own.fleet.hand(0, Number(50_008)), 0);
        me.own.shared().end_stand_in();
        let mut rounds = Rounds::new(2);
        assert_eq!(other.run(&mut rounds, u64::MAX), 0);
        me.own.send_back(me, 1);
        let mut rounds = Rounds::new(2);
        me.run(&mut rounds, u64::MAX);
        let mut ran = me.ran();
        ran.sort_unstable();
        assert_eq!((ran, other.ran()), (vec![50_000, 50_002, 50_004, 50_006, 50_008], vec![]));
        assert!(me.own.shared().has_nothing());
    }
}

#[test]
fn e17_what_is_bound_to_a_worker_takes_turns_with_the_rest_and_has_classes() {
    let all = workers(1, StealPolicy::CostAware);
    let (me, mut rounds) = (&all[0], Rounds::new(1));
    me.own.fleet.use_affine();
    me.schedule([0, 2, 4, 50_000, 50_002, 50_004]);
    me.run(&mut rounds, u64::MAX);
    let ran = me.ran();
    let turns: Vec<_> = ran.iter().map(|n| *n >= 50_000).collect();
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{ran:?}");
    // A thousand bound entries do not keep other work waiting for long.
    me.schedule((0..1_000).map(|_| 50_000));
    me.schedule([6]);
    me.run(&mut rounds, 3);
    assert!(me.ran().contains(&6));
    me.run(&mut rounds, u64::MAX);
    me.ran();
    me.own.fleet.use_classes();
    me.schedule([50_200, 50_000, 50_100]);
    me.own.fleet.hand(0, Number(50_102));
    me.run(&mut rounds, u64::MAX);
    assert_eq!(me.ran(), [50_100, 50_102, 50_000, 50_200]);
}

#[test]
fn e17_what_is_bound_to_another_worker_is_left_to_it_at_the_end() {
    let all = workers(2, StealPolicy::CostAware);
    let (me, other) = (&all[0], &all[1]);
    me.own.fleet.use_affine();
    me.schedule([50_000, 50_001]);
    assert!(me.own.drain(me, true, |_| false).is_empty());
    assert_eq!(*me.discarded.borrow(), [50_000]);
    assert!(other.own.drain(other, false, |_| false).is_empty());
    assert_eq!(*other.discarded.borrow(), [50_001]);
}
