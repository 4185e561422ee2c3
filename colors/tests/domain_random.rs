//! I1-I13: every interleaving of programs of random events over the step functions of domains.
//!
//! The events are longer than those of the systematic sweep and combine more steps: they are alone
//! twice, renounce and go on, panic or end anywhere, and go on in sub-events that do the same.
mod seeded;

use dapple_colors::check::{Event, Rule, Scenario, Script};
use dapple_colors::{Context, Mode};
use proptest::prelude::*;

/// The end of a step, after reading, writing and deferring.
#[derive(Clone, Copy, Debug)]
enum Then {
    GoOn,
    Panic,
    End,
    Post,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    In(Context),
    Alone,
    Renounce,
}

#[derive(Clone, Debug)]
struct SubEvent {
    declares: Option<Context>,
    steps: Vec<(Kind, Then)>,
}

type Program = Vec<(bool, Vec<SubEvent>)>;

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![8 => Just(Then::GoOn), 2 => Just(Then::Panic), 1 => Just(Then::End), 1 => Just(Then::Post)]
}

fn sub_event() -> impl Strategy<Value = SubEvent> {
    use Context::{Anon, Global, None as InNone};
    let paths: &[&[Kind]] = &[
        &[],
        &[Kind::Renounce, Kind::In(InNone)],
        &[Kind::In(Anon)],
        &[Kind::Renounce, Kind::In(Anon)],
        &[Kind::In(Anon), Kind::In(Anon)],
        &[Kind::In(Global)],
        &[Kind::In(Global), Kind::In(Anon)],
        &[Kind::In(Global), Kind::In(Anon), Kind::In(Anon)],
        &[Kind::In(Global), Kind::Alone, Kind::In(Global), Kind::In(Anon)],
        &[Kind::Alone, Kind::Alone, Kind::In(Anon)],
        &[Kind::In(Global), Kind::In(Global), Kind::Alone],
    ];
    let path = (0..paths.len(), any::<bool>(), any::<bool>());
    (path, prop::collection::vec(then(), 6)).prop_map(|((path, in_none, declares), thens)| {
        let begin = in_none.then_some(Kind::In(InNone));
        let kinds = begin.into_iter().chain(paths[path].iter().copied());
        let renounces = paths[path].iter().any(|kind| matches!(kind, Kind::Renounce));
        let declares = (declares || renounces).then_some(Global);
        SubEvent { declares, steps: kinds.zip(thens).collect() }
    })
}

fn program() -> impl Strategy<Value = Program> {
    let event = (prop::bool::weighted(0.2), prop::collection::vec(sub_event(), 1..3));
    prop::collection::vec(event, 2..4)
}

fn step(e: &mut Event<'_, i64>, kind: Kind, then: Then, id: i64) {
    e.keep(id);
    match kind {
        Kind::In(Context::Global) | Kind::Alone => {
            let state = e.write();
            *state = (*state * 10 + id) % 1_000_000_007;
        }
        Kind::In(Context::Anon) => e.see(*e.read()),
        _ => e.see(e.kept().to_vec()),
    }
    if let Kind::Alone = kind {
        e.act(format!("{id} acts"));
    }
    e.defer(format!("{id}: {}", e.kept().len()));
    match then {
        Then::GoOn => {}
        Then::Panic => e.panic(),
        Then::End => e.end(),
        Then::Post => e.post("posted"),
    }
}

fn script(mut script: Script<i64>, subs: &[SubEvent], id: i64) -> Script<i64> {
    for (i, sub) in subs.iter().enumerate() {
        if i > 0 {
            script = script.commit();
        }
        if let Some(highest) = sub.declares {
            script = script.highest(highest);
        }
        for (kind, then) in sub.steps.iter().copied() {
            let f = move |e: &mut Event<'_, i64>| step(e, kind, then, id);
            let to = sub.steps.iter().any(|(kind, _)| matches!(kind, Kind::In(Context::Anon)));
            script = match kind {
                Kind::In(Context::None) => script.none(f),
                Kind::In(Context::Anon) => script.anon(f),
                Kind::In(Context::Global) => script.global(f),
                Kind::Alone => script.alone(f),
                Kind::Renounce if to => script.renounce(Context::Anon),
                Kind::Renounce => script.renounce(Context::None),
            };
        }
    }
    script
}

fn scenario(mode: Mode, program: &Program) -> Scenario<i64> {
    let mut scenario = Scenario::new(mode, 0).limit(20_000);
    scenario = scenario.handler("posted", |s| s.global(|e| *e.write() += 8).anon(|e| e.defer("8")));
    for (i, (repairs, subs)) in program.iter().enumerate() {
        let id = i as i64 + 1;
        scenario = match repairs {
            true => scenario.repair(format!("repairs {id}"), |s| script(s, subs, id)),
            false => scenario.event(format!("event {id}"), |s| script(s, subs, id)),
        };
    }
    scenario
}

proptest! {
    #![proptest_config(seeded::seeded(40))]

    #[test]
    fn i13_random_programs(program in program(), transactional: bool) {
        for mode in [Mode::Snapshot, Mode::ReadWrite] {
            let scenario = scenario(mode, &program);
            let scenario = if transactional { scenario.transactional() } else { scenario };
            match scenario.check() {
                Ok(report) => prop_assert!(report.ends > 0),
                // The search reached its limit, and found no violation before.
                Err(violation) => prop_assert_eq!(violation.rule(), Rule::Scenario, "{}", violation),
            }
        }
    }
}
