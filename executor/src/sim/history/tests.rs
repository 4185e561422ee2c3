//! Each checker reports a history that breaks its rule, and nothing for one that keeps it.

use dapple_colors::{Access, Context, Mode};

use super::facts::Facts;
use super::{Rule, check, domains};
use crate::sim::log::{Keeps, Log, Use, What};
use crate::sim::names::Who;
use crate::sync::{DomainStep, Sort};

/// A history that is written by hand. One microsecond passes with each record.
struct Story {
    log: Log,
    now: u64,
}

fn who(event: u32) -> Who {
    Who { name: event.into(), color: 1, event: Some(event), site: None, label: None }
}

impl Story {
    fn new() -> Story {
        let log = Log::default();
        log.keep(Keeps::All);
        Story { log, now: 0 }
    }

    fn record(&mut self, fiber: u32, what: What) -> &mut Self {
        self.now += 1_000;
        self.log.record(self.now, fiber, || what);
        self
    }

    fn works(&mut self, fiber: u32, runtime: u32) -> &mut Self {
        self.record(fiber, What::Works { runtime, steal_delay: Some(1_000_000) })
    }

    fn passes(&mut self, millis: u64) -> &mut Self {
        self.now += millis * 1_000_000;
        self
    }

    fn post(&mut self, event: u32, colors: &[(u32, Access)]) -> &mut Self {
        self.record(0, What::Makes { event, sort: Sort::Posted });
        for (color, access) in colors {
            let (color, access) = (*color, *access);
            self.record(0, What::Posts { event, color, access, is_bound: false });
        }
        self.record(0, What::Posted { event })
    }

    fn post_bound(&mut self, event: u32, is_bound: bool) -> &mut Self {
        let (color, access) = ONE;
        self.record(0, What::Makes { event, sort: Sort::Posted });
        self.record(0, What::Posts { event, color, access, is_bound });
        self.record(0, What::Posted { event })
    }

    fn begin(&mut self, fiber: u32, event: u32) -> &mut Self {
        self.record(fiber, What::Begins { who: who(event) })
    }

    fn end(&mut self, fiber: u32, event: u32) -> &mut Self {
        self.record(fiber, What::Ends { name: event.into(), event: Some(event) })
    }

    fn run(&mut self, fiber: u32, event: u32) -> &mut Self {
        self.begin(fiber, event).end(fiber, event)
    }

    fn decides(&mut self, ticket: u64, step: DomainStep) -> &mut Self {
        self.record(0, What::Decides { domain: 0, ticket, step, event: None })
    }

    fn defers(&mut self, ticket: u64, action: u32) -> &mut Self {
        let step = DomainStep::Defers(0);
        self.record(0, What::Makes { event: action, sort: Sort::Posted });
        self.record(0, What::Decides { domain: 0, ticket, step, event: Some(action) })
    }

    fn acts(&mut self, action: u32) -> &mut Self {
        self.record(0, What::Part { part: Some(action) })
    }

    fn uses(&mut self, how: Use, value: &str, ticket: u64) -> &mut Self {
        let (label, value) = ("x".to_owned(), value.to_owned());
        self.record(0, What::Uses { label, value, how, event: None, ticket: Some((0, ticket)) })
    }

    /// Returns the rules that are broken.
    fn broken(&self) -> Vec<Rule> {
        let facts = Facts::of(&self.log, 0);
        let in_domains = domains::broken(&facts);
        let all = Rule::ALWAYS.iter().copied().chain([Rule::E11, Rule::E16]);
        all.filter(|rule| check(&facts, &in_domains, *rule).is_err()).collect()
    }
}

const ONE: (u32, Access) = (1, Access::Exclusive);
const TWO: (u32, Access) = (2, Access::Exclusive);
const READS: (u32, Access) = (1, Access::Shared);

#[test]
fn e13_what_keeps_the_rules_breaks_none() {
    let mut story = Story::new();
    story.post(1, &[ONE]).post(2, &[READS]).post(3, &[READS]).post(4, &[ONE, TWO]);
    story.run(1, 1).begin(1, 2).begin(2, 3).end(1, 2).end(2, 3).run(2, 4);
    assert_eq!(story.broken(), []);
}

#[test]
fn e13_exclusive_events_at_once_break_c1() {
    let mut story = Story::new();
    story.post(1, &[ONE]).post(2, &[ONE]).begin(1, 1).begin(2, 2).end(1, 1).end(2, 2);
    assert_eq!(story.broken(), [Rule::C1, Rule::C2]);
    // For colors that are bound to a thread, an event may run inside of another one on that thread.
    for (is_bound, broken) in [(true, vec![]), (false, vec![Rule::C1])] {
        let mut story = Story::new();
        story.post_bound(1, is_bound).begin(1, 1).post_bound(2, is_bound).run(1, 2).end(1, 1);
        assert_eq!(story.broken().contains(&Rule::C1), broken.contains(&Rule::C1));
    }
}

#[test]
fn e13_an_event_that_overtakes_breaks_c2() {
    let mut story = Story::new();
    story.post(1, &[ONE]).post(2, &[ONE]).run(1, 2).run(1, 1);
    assert_eq!(story.broken(), [Rule::C2]);
    // Shared events have no order among themselves, but they have one with exclusive events.
    let mut story = Story::new();
    story.post(1, &[READS]).post(2, &[READS]).run(1, 2).run(1, 1);
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story.post(1, &[READS]).post(2, &[ONE]).run(1, 2).run(1, 1);
    assert_eq!(story.broken(), [Rule::C2]);
}

#[test]
fn e13_posts_at_the_same_time_have_no_order() {
    let mut story = Story::new();
    story.record(0, What::Makes { event: 1, sort: Sort::Posted });
    let access = Access::Exclusive;
    story.record(0, What::Posts { event: 1, color: 1, access, is_bound: false });
    // The call that posted the first event is not over when the second event is appended.
    story.post(2, &[ONE]).record(0, What::Posted { event: 1 });
    story.run(1, 2).run(1, 1);
    assert_eq!(story.broken(), []);
}

#[test]
fn e13_a_reader_beside_a_writer_breaks_c5() {
    let mut story = Story::new();
    story.post(1, &[READS]).post(2, &[ONE]).begin(1, 1).begin(2, 2).end(1, 1).end(2, 2);
    assert_eq!(story.broken(), [Rule::C2, Rule::C5]);
}

#[test]
fn e13_a_set_that_lacks_a_color_breaks_c6() {
    let mut story = Story::new();
    story.post(1, &[TWO]).post(2, &[ONE, TWO]).begin(1, 1).begin(2, 2).end(1, 1).end(2, 2);
    assert_eq!(story.broken(), [Rule::C2, Rule::C6]);
}

#[test]
fn e13_an_event_that_waits_while_thousands_run_breaks_c7() {
    for waits in [true, false] {
        let mut story = Story::new();
        story.post(1, &[ONE]);
        if !waits {
            story.run(1, 1);
        }
        for event in 2..50_010 {
            story.post(event, &[TWO]).run(1, event);
        }
        if waits {
            story.run(1, 1);
        }
        assert_eq!(story.broken(), if waits { vec![Rule::C7] } else { vec![] });
    }
}

#[test]
fn e13_an_event_that_waits_beside_an_idle_worker_breaks_e4() {
    let mut story = Story::new();
    story.works(1, 7).works(2, 7);
    story.record(2, What::Parks).post(1, &[ONE]).passes(30).run(1, 1);
    story.record(2, What::Wakes);
    assert_eq!(story.broken(), [Rule::E4]);
    // A worker of another runtime does not help.
    let mut story = Story::new();
    story.works(1, 7).works(2, 8);
    story.record(2, What::Parks).post(1, &[ONE]).passes(30).run(1, 1);
    story.record(2, What::Wakes);
    assert_eq!(story.broken(), []);
    // No other worker runs an event that is bound.
    let mut story = Story::new();
    story.works(1, 7).works(2, 7).record(2, What::Parks);
    let (color, access) = (1, Access::Exclusive);
    story.record(0, What::Makes { event: 1, sort: Sort::Posted });
    story.record(0, What::Posts { event: 1, color, access, is_bound: true });
    story.passes(30).run(1, 1).record(2, What::Wakes);
    assert_eq!(story.broken(), []);
    // An event that waits for its color does not wait for a worker.
    let mut story = Story::new();
    story.works(1, 7).works(2, 7);
    story.post(1, &[ONE]).begin(1, 1).record(2, What::Parks).post(2, &[ONE]).passes(30);
    story.end(1, 1).record(2, What::Wakes).run(2, 2);
    assert_eq!(story.broken(), []);
    // A worker that is awake is busy.
    let mut story = Story::new();
    story.post(1, &[ONE]).passes(30).run(1, 1);
    assert_eq!(story.broken(), []);
}

#[test]
fn e13_an_event_that_is_lost_breaks_e11_and_e16() {
    let mut story = Story::new();
    story.post(1, &[ONE]);
    assert_eq!(story.broken(), [Rule::E11, Rule::E16]);
    story.record(1, What::Drops { event: 1 });
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story.post(1, &[ONE]).run(1, 1).record(1, What::Drops { event: 1 });
    assert_eq!(story.broken(), [Rule::E11]);
}

/// Returns a domain with two events, which may both reach global.
fn domain(mode: Mode) -> Story {
    let mut story = Story::new();
    story.decides(0, DomainStep::Made(mode));
    story.decides(1, DomainStep::Takes(Context::Global));
    story.decides(2, DomainStep::Takes(Context::Global));
    story
}

const ANON: DomainStep = DomainStep::Enters(Context::Anon);
const GLOBAL: DomainStep = DomainStep::Enters(Context::Global);
const LEAVES: DomainStep = DomainStep::Leaves(None);

#[test]
fn e13_a_domain_that_keeps_the_rules_breaks_none() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).uses(Use::Written, "1", 1).defers(1, 10).defers(1, 11);
    story.decides(1, DomainStep::Downgrades).decides(2, GLOBAL).uses(Use::Read, "1", 2);
    story.uses(Use::Written, "2", 2).decides(2, LEAVES);
    story.uses(Use::Read, "1", 1).decides(1, LEAVES);
    story.decides(1, DomainStep::Commits).acts(10).acts(11).decides(1, DomainStep::Committed);
    story.decides(2, DomainStep::Commits).decides(2, DomainStep::Committed);
    assert_eq!(story.broken(), []);
}

#[test]
fn e13_a_ticket_that_is_too_small_breaks_i1() {
    let mut story = domain(Mode::Snapshot);
    story.decides(4, DomainStep::Takes(Context::None));
    story.decides(3, DomainStep::Takes(Context::None));
    assert_eq!(story.broken(), [Rule::I1]);
}

#[test]
fn e13_from_anon_to_global_breaks_i2() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, ANON).decides(1, GLOBAL);
    assert_eq!(story.broken(), [Rule::I2]);
}

#[test]
fn e13_an_entry_before_an_earlier_event_breaks_i3() {
    for enters in [ANON, GLOBAL] {
        let mut story = domain(Mode::Snapshot);
        story.decides(2, enters);
        assert_eq!(story.broken(), [Rule::I3], "the earlier one may still go to global");
        let mut story = domain(Mode::Snapshot);
        story.decides(1, DomainStep::Renounces(Context::None)).decides(2, enters);
        assert_eq!(story.broken(), []);
    }
    // A reader is in the way of a writer in read_write mode only.
    for (mode, broken) in [(Mode::Snapshot, vec![]), (Mode::ReadWrite, vec![Rule::I3])] {
        let mut story = domain(mode);
        story.decides(1, ANON).decides(2, GLOBAL);
        assert_eq!(story.broken(), broken);
    }
    let mut story = domain(Mode::Snapshot);
    story.decides(1, DomainStep::Reads);
    assert_eq!(story.broken(), [Rule::I3], "it looks at the state in none");
}

#[test]
fn e13_more_than_was_declared_breaks_i4() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, DomainStep::Renounces(Context::Anon)).decides(1, GLOBAL);
    assert_eq!(story.broken(), [Rule::I4]);
    let mut story = domain(Mode::Snapshot);
    story.decides(1, DomainStep::Renounces(Context::None)).decides(1, ANON);
    assert_eq!(story.broken(), [Rule::I4]);
}

#[test]
fn e13_a_wrong_version_breaks_i5_and_i13() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).uses(Use::Written, "1", 1).decides(1, DomainStep::Downgrades);
    story.decides(2, GLOBAL).uses(Use::Written, "2", 2).uses(Use::Read, "2", 1);
    assert_eq!(story.broken(), [Rule::I5, Rule::I13]);
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).uses(Use::Written, "1", 1).decides(1, LEAVES);
    story.decides(2, GLOBAL).uses(Use::Read, "0", 2);
    assert_eq!(story.broken(), [Rule::I13]);
}

#[test]
fn e13_a_commit_inside_of_the_state_breaks_i6() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).decides(1, DomainStep::Commits);
    assert_eq!(story.broken(), [Rule::I6]);
}

#[test]
fn e13_commits_out_of_order_break_i7() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, LEAVES).decides(2, LEAVES).decides(2, DomainStep::Commits);
    assert_eq!(story.broken(), [Rule::I7]);
    // The actions of an event run in its turn, in the order in which they were deferred.
    for order in [[10, 11], [11, 10]] {
        let mut story = domain(Mode::Snapshot);
        story.defers(1, 10).defers(1, 11).decides(1, LEAVES).decides(1, DomainStep::Commits);
        story.acts(order[0]).acts(order[1]).decides(1, DomainStep::Committed);
        assert_eq!(story.broken(), if order[0] == 10 { vec![] } else { vec![Rule::I7] });
    }
    let mut story = domain(Mode::Snapshot);
    story.defers(1, 10).decides(1, LEAVES).decides(1, DomainStep::Commits);
    story.decides(1, DomainStep::Committed);
    assert_eq!(story.broken(), [Rule::I7], "one of them has not run");
}

#[test]
fn e13_an_action_inside_of_the_state_breaks_i8() {
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).defers(1, 10).acts(10);
    assert_eq!(story.broken(), [Rule::I8]);
}

#[test]
fn e13_who_is_alone_beside_others_breaks_i9() {
    for is_first in [true, false] {
        let mut story = domain(Mode::Snapshot);
        story.decides(1, GLOBAL).decides(1, LEAVES);
        if is_first {
            story.decides(1, DomainStep::Commits).decides(1, DomainStep::Committed);
        }
        story.decides(2, GLOBAL).decides(2, DomainStep::WaitsToBeAlone);
        story.decides(2, GLOBAL);
        assert_eq!(story.broken(), if is_first { vec![] } else { vec![Rule::I9] });
    }
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).defers(1, 10).decides(1, DomainStep::WaitsToBeAlone);
    story.decides(1, GLOBAL);
    assert_eq!(story.broken(), [Rule::I9], "what it has deferred has not run");
}

#[test]
fn e13_actions_behind_dropped_ones_break_e11() {
    let mut story = domain(Mode::Snapshot);
    story.defers(1, 10).defers(2, 20).decides(1, LEAVES).decides(2, LEAVES);
    story.decides(1, DomainStep::Commits).record(0, What::Drops { event: 10 });
    story.decides(1, DomainStep::Committed);
    story.decides(2, DomainStep::Commits).acts(20).decides(2, DomainStep::Committed);
    assert_eq!(story.broken(), [Rule::E11]);
}

#[test]
fn e13_what_a_panic_drops_breaks_nothing() {
    // After a panic in none or anon the other events go on.
    let mut story = domain(Mode::Snapshot);
    story.defers(1, 10).defers(2, 20).decides(1, ANON).decides(1, DomainStep::Abandons);
    story.record(0, What::Drops { event: 10 }).decides(1, DomainStep::Commits);
    story.decides(1, DomainStep::Committed).decides(2, LEAVES).decides(2, DomainStep::Commits);
    story.acts(20).decides(2, DomainStep::Committed);
    assert_eq!(story.broken(), []);
    // Actions that were deferred before the event left global still run.
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).defers(1, 10).decides(1, DomainStep::Downgrades).defers(1, 11);
    story.decides(1, DomainStep::Abandons).record(0, What::Drops { event: 11 });
    story.decides(1, DomainStep::Commits).acts(10).decides(1, DomainStep::Committed);
    assert_eq!(story.broken(), []);
    // The next event does not read what a failed transaction wrote in global, though the failed
    // event itself has read it. Without a transaction the repair reads it.
    for poisons in [false, true] {
        let mut story = domain(Mode::Snapshot);
        story.decides(1, GLOBAL).uses(Use::Written, "1", 1).uses(Use::Read, "1", 1);
        story.decides(1, LEAVES).decides(2, GLOBAL).uses(Use::Written, "2", 2);
        story.uses(Use::Read, "2", 2).decides(2, DomainStep::Abandons);
        if poisons {
            story.decides(2, DomainStep::Poisons);
        }
        story.decides(3, DomainStep::Repairs).decides(3, GLOBAL);
        story.uses(Use::Read, if poisons { "2" } else { "1" }, 3);
        assert_eq!(story.broken(), [], "{poisons}");
        story.uses(Use::Read, "3", 3);
        assert_eq!(story.broken(), [Rule::I13], "{poisons}");
    }
}

#[test]
fn e13_what_poison_covers_breaks_nothing() {
    let mut story = domain(Mode::Snapshot);
    story.defers(2, 20).decides(1, GLOBAL).decides(1, DomainStep::Abandons);
    story.decides(1, DomainStep::Poisons).decides(2, LEAVES);
    story.decides(3, DomainStep::Repairs).decides(1, DomainStep::Commits);
    story.decides(1, DomainStep::Committed).decides(2, DomainStep::Commits);
    story.record(0, What::Drops { event: 20 }).decides(2, DomainStep::Committed);
    story.decides(3, GLOBAL).defers(3, 30).decides(3, LEAVES).decides(3, DomainStep::Commits);
    story.acts(30).decides(3, DomainStep::Committed);
    assert_eq!(story.broken(), []);
}

#[test]
fn e13_a_domain_that_was_repaired_is_looked_at_again() {
    for repairs in [true, false] {
        let mut story = domain(Mode::Snapshot);
        story.decides(1, GLOBAL).decides(1, DomainStep::Abandons).decides(1, DomainStep::Poisons);
        story.decides(1, DomainStep::Commits).decides(1, DomainStep::Committed);
        story.decides(2, DomainStep::Abandons);
        story.decides(2, DomainStep::Commits).decides(2, DomainStep::Committed);
        if repairs {
            story.decides(3, DomainStep::Repairs).decides(3, GLOBAL).decides(3, LEAVES);
            story.decides(3, DomainStep::Commits).decides(3, DomainStep::Committed);
        }
        story.decides(4, DomainStep::Takes(Context::Global));
        story.decides(5, DomainStep::Takes(Context::Global)).decides(5, GLOBAL);
        assert_eq!(story.broken(), if repairs { vec![Rule::I3] } else { vec![] });
    }
}

#[test]
fn e13_a_sub_event_with_an_old_ticket_breaks_i1() {
    for (ticket, broken) in [(3, vec![]), (2, vec![Rule::I1])] {
        let mut story = domain(Mode::Snapshot);
        story.decides(1, DomainStep::Leaves(Some(Context::Anon))).decides(1, DomainStep::Commits);
        story.decides(1, DomainStep::Committed).decides(ticket, DomainStep::Begins);
        assert_eq!(story.broken(), broken);
    }
}

#[test]
fn e13_what_waits_for_its_context_is_at_rest() {
    let mut story = domain(Mode::Snapshot);
    story.record(0, What::Makes { event: 1, sort: Sort::Posted });
    let step = DomainStep::Takes(Context::Global);
    story.record(0, What::Decides { domain: 0, ticket: 3, step, event: Some(1) });
    story.record(0, What::Posted { event: 1 });
    assert_eq!(story.broken(), [Rule::E11], "a shutdown drops it, though");
}

#[test]
fn e13_poison_has_a_place_in_the_order() {
    // A repair that panics repairs nothing: the later events are still covered.
    let mut story = domain(Mode::Snapshot);
    story.decides(1, GLOBAL).decides(1, DomainStep::Abandons).decides(1, DomainStep::Poisons);
    story.decides(3, DomainStep::Repairs).decides(3, GLOBAL).decides(3, DomainStep::Abandons);
    story.decides(3, DomainStep::Poisons).decides(4, DomainStep::Takes(Context::Global));
    story.defers(4, 40);
    for ticket in [1, 2, 3, 4] {
        story.decides(ticket, DomainStep::Commits);
        if ticket == 4 {
            story.record(0, What::Drops { event: 40 });
        }
        story.decides(ticket, DomainStep::Committed);
    }
    story.decides(5, DomainStep::Repairs).decides(5, GLOBAL).defers(5, 50).decides(5, LEAVES);
    story.decides(5, DomainStep::Commits).acts(50).decides(5, DomainStep::Committed);
    assert_eq!(story.broken(), []);
    // A covered event is in nobody's way. Events before the poison are checked as usual.
    let mut story = Story::new();
    story.decides(0, DomainStep::Made(Mode::Snapshot));
    for ticket in 1..=3 {
        story.decides(ticket, DomainStep::Takes(Context::Global));
    }
    story.decides(1, GLOBAL).decides(1, LEAVES).decides(2, GLOBAL);
    story.decides(2, DomainStep::Abandons).decides(2, DomainStep::Poisons);
    story.decides(4, DomainStep::Repairs).decides(4, GLOBAL);
    assert_eq!(story.broken(), []);
    story.decides(1, DomainStep::Downgrades);
    assert_eq!(story.broken(), [Rule::I2], "the first event has left the state");
}
