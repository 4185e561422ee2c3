//! The checker reports each illegal step of an event with its rule, the event and the step. It also
//! checks handlers that keep to the rules.
use std::cell::Cell;
use std::rc::Rc;

use dapple_colors::check::{Rule, Scenario, Script, Violation};
use dapple_colors::{Context, Mode};

/// Returns the violation of the event "wrong", which stands between two correct events.
#[track_caller]
fn wrong(
    rule: Rule,
    step: usize,
    script: impl Fn(Script<(i64, i64)>) -> Script<(i64, i64)>,
) -> Violation {
    let mut found = Vec::new();
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let checked = Scenario::new(mode, (10, 0))
            .event("writes", |s| s.global(|e| e.write().0 += 1))
            .event("wrong", &script)
            .event("reads", |s| s.anon(|e| e.see(e.read().0)))
            .check();
        let violation = checked.expect_err("the mistake is not found");
        assert_eq!(violation.rule(), rule, "{violation}");
        assert_eq!(
            (violation.event(), violation.step()),
            (Some("wrong"), Some(step)),
            "{violation}"
        );
        found.push(violation);
    }
    found.remove(0)
}

#[test]
fn i2_anon_does_not_go_to_global() {
    let violation = wrong(Rule::I2, 2, |s| s.anon(|e| e.see(e.read().0)).global(|_| ()));
    let text = violation.to_string();
    let expected = [
        "I2 (only legal steps, and in a context only what is allowed there) is broken by \"wrong\", \
         ticket 2, at step 2: it cannot go from anon to global",
        "   1. post \"writes\", it gets ticket 1",
        "   2. post \"wrong\", it gets ticket 2",
        "   3. 1 \"writes\": step 1 (global), wants global -> 1 enters global",
        "   4. 1 \"writes\": step 1 (global), writes (11, 0)",
        "   5. 1 \"writes\": has ended -> 1 commits",
        "   6. 2 \"wrong\": step 1 (anon), wants anon -> 2 enters anon",
        "   7. 2 \"wrong\": step 1 (anon), sees 11",
        "   8. 2 \"wrong\": step 2 (global)",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(violation.ticket().map(|ticket| ticket.number()), Some(2));
    assert_eq!(violation.interleaving().len(), 8);
}

#[test]
fn i2_nobody_goes_back_to_none_without_a_commit() {
    wrong(Rule::I2, 2, |s| s.global(|_| ()).none(|_| ()));
    wrong(Rule::I2, 3, |s| s.global(|_| ()).anon(|_| ()).none(|_| ()));
}

#[test]
fn i2_none_neither_reads_nor_writes_and_anon_does_not_write() {
    wrong(Rule::I2, 1, |s| s.none(|e| e.see(e.read().0)));
    wrong(Rule::I2, 1, |s| s.none(|e| e.write().0 = 1));
    wrong(Rule::I2, 3, |s| s.none(|_| ()).anon(|_| ()).anon(|e| e.write().0 = 1));
    wrong(Rule::I2, 3, |s| s.global(|_| ()).commit().none(|e| e.see(e.read().0)));
}

#[test]
fn i4_no_event_goes_higher_than_it_has_declared() {
    wrong(Rule::I4, 1, |s| s.highest(Context::Anon).global(|_| ()));
    wrong(Rule::I4, 2, |s| s.renounce(Context::Anon).global(|_| ()));
    wrong(Rule::I4, 3, |s| s.none(|_| ()).commit_up_to(Context::None).anon(|_| ()));
}

#[test]
fn i4_an_event_renounces_in_none_and_downwards() {
    wrong(Rule::I4, 2, |s| s.anon(|_| ()).renounce(Context::None));
    wrong(Rule::I4, 1, |s| s.renounce(Context::Global).anon(|_| ()));
}

#[test]
fn i9_a_non_deferrable_action_is_for_those_who_are_alone() {
    wrong(Rule::I9, 1, |s| s.global(|e| e.act("now")));
    wrong(Rule::I9, 2, |s| s.global(|_| ()).anon(|e| e.act("now")));
    wrong(Rule::I9, 1, |s| s.none(|e| e.act("now")));
    wrong(Rule::I9, 2, |s| s.anon(|_| ()).alone(|e| e.act("now")));
}

/// The paper's optional rule that each event commits once (section 4.1).
#[test]
fn events_commit_once_if_they_are_to() {
    let scenario = |ends: bool| {
        Scenario::new(Mode::Snapshot, 0)
            .event("twice", move |s| {
                let first = s.global(move |e| {
                    *e.write() += 1;
                    if ends {
                        e.end();
                    }
                });
                first.commit().none(|_| ())
            })
            .commits_once()
    };
    let violation = scenario(false).check().unwrap_err();
    assert_eq!((violation.rule(), violation.step()), (Rule::CommitsOnce, Some(2)));
    scenario(true).check().unwrap();
}

/// Two events that share a cell outside the state.
#[test]
fn i13_events_that_talk_to_each_other_outside_the_state() {
    let shared = Rc::new(Cell::new(0));
    let (writes, reads) = (shared.clone(), shared);
    let violation = Scenario::new(Mode::Snapshot, 0)
        .event("writes", |s| s.none(move |e| (writes.set(writes.get() + 1), e.defer("")).1))
        .event("reads", |s| s.none(move |e| e.see(reads.get())))
        .check()
        .unwrap_err();
    assert_eq!(violation.rule(), Rule::I13, "{violation}");
}

#[test]
fn a_scenario_that_cannot_be_searched_says_so() {
    let endless = Scenario::new(Mode::Snapshot, 0)
        .event("starts", |s| s.none(|e| e.post("again")))
        .handler("again", |s| s.none(|e| e.post("again")))
        .limit(1_000);
    let violation = endless.check().unwrap_err();
    assert_eq!(violation.rule(), Rule::Scenario);
    assert_eq!(violation.what(), "there are more than 1000 worlds");
    let unknown = Scenario::new(Mode::Snapshot, 0).event("posts", |s| s.none(|e| e.post("nobody")));
    let violation = unknown.check().unwrap_err();
    assert_eq!((violation.rule(), violation.event()), (Rule::Scenario, Some("posts")));
    assert_eq!(violation.what(), "no handler is called \"nobody\"");
}

/// A real panic counts like a planned one.
#[test]
fn i12_real_panics_are_caught() {
    let report = Scenario::new(Mode::ReadWrite, 0)
        .event("divides", |s| s.none(|e| e.keep(100 / e.kept().len() as i64)))
        .check()
        .unwrap();
    assert_eq!((report.states, report.ends), (5, 1));
}

/// Searches whose sizes can be counted by hand.
#[test]
fn the_search_visits_every_world_once() {
    let empty = Scenario::new(Mode::Snapshot, 0).check().unwrap();
    assert_eq!((empty.states, empty.transitions, empty.ends, empty.orders), (1, 0, 1, 1));
    // The worlds after: post, step, end, the deferred action, commit.
    let scenario = Scenario::new(Mode::Snapshot, 0).event("one", |s| s.none(|e| e.defer("done")));
    let report = scenario.check().unwrap();
    assert_eq!((report.states, report.transitions, report.ends, report.orders), (6, 5, 1, 1));
    // The second event may be posted, run and end in any world, but it commits behind the first.
    let scenario = scenario.event("two", |s| s.none(|_| ()));
    let report = scenario.check().unwrap();
    assert_eq!((report.states, report.ends, report.orders), (1 + 4 * 4 + 5, 1, 1));
}
