//! I1-I13: every interleaving of small programs over the step functions of domains.
//!
//! A program is two or three events, each of one of the shapes below. The tests check all programs
//! of two events in both modes, transactional or not, and one in 101 of the programs of three
//! events. `cargo test --release --test domain_interleavings -- --ignored` checks all of those.
use dapple_colors::check::{Event, Report, Scenario, Script};
use dapple_colors::{Context, Mode};

/// The name of a shape, the function that adds its steps for an event's number, and whether it
/// repairs.
type Shape = (&'static str, fn(Script<i64>, i64) -> Script<i64>, bool);

/// Writes a digit that no other event writes, so that the state shows the order and number of
/// writes.
fn write(e: &mut Event<'_, i64>, id: i64) {
    let state = e.write();
    *state = (*state * 10 + id) % 1_000_000_007;
    see(e, id);
}

/// Sees the state, and defers an effect.
fn see(e: &mut Event<'_, i64>, id: i64) {
    let value = *e.read();
    e.see(value);
    pure(e, id);
}

fn pure(e: &mut Event<'_, i64>, id: i64) {
    e.keep(id);
    let text = format!("{id}: {}", e.kept().len());
    e.defer(text);
}

const SHAPES: &[Shape] = &[
    ("global", |s, id| s.global(move |e| write(e, id)), false),
    ("anon", |s, id| s.anon(move |e| see(e, id)), false),
    ("none", |s, id| s.none(move |e| pure(e, id)), false),
    ("none, global", |s, id| s.none(move |e| pure(e, id)).global(move |e| write(e, id)), false),
    (
        "global, global",
        |s, id| s.global(move |e| write(e, id)).global(move |e| write(e, id)),
        false,
    ),
    ("global, anon", |s, id| s.global(move |e| write(e, id)).anon(move |e| see(e, id)), false),
    ("anon, anon", |s, id| s.anon(move |e| see(e, id)).anon(move |e| see(e, id)), false),
    (
        "none, renounces all, none",
        |s, id| {
            let s = s.highest(Context::Global).none(move |e| pure(e, id));
            s.renounce(Context::None).none(move |e| pure(e, id))
        },
        false,
    ),
    (
        "renounces global, anon",
        |s, id| {
            let s = s.highest(Context::Global);
            s.renounce(Context::Anon).anon(move |e| see(e, id))
        },
        false,
    ),
    ("may enter global, anon", |s, id| s.highest(Context::Global).anon(move |e| see(e, id)), false),
    (
        "may enter global, ends in none",
        |s, id| {
            let ends = move |e: &mut Event<'_, i64>| {
                pure(e, id);
                e.end();
            };
            s.none(ends).global(|e| *e.write() = -1)
        },
        false,
    ),
    (
        "global, commit, anon",
        |s, id| s.global(move |e| write(e, id)).commit().anon(move |e| see(e, id)),
        false,
    ),
    (
        "anon, commit, global",
        |s, id| s.anon(move |e| see(e, id)).commit().global(move |e| write(e, id)),
        false,
    ),
    (
        "none, commit, may enter anon",
        |s, id| {
            let s = s.none(move |e| pure(e, id)).commit_up_to(Context::Anon);
            s.none(move |e| pure(e, id))
        },
        false,
    ),
    (
        "global, alone",
        |s, id| {
            let act = move |e: &mut Event<'_, i64>| {
                e.act(format!("{id} acts"));
                write(e, id);
            };
            s.global(move |e| write(e, id)).alone(act)
        },
        false,
    ),
    (
        "alone, anon",
        |s, id| s.alone(move |e| e.act(format!("{id} acts"))).anon(move |e| see(e, id)),
        false,
    ),
    ("posts global", |s, id| s.none(move |e| (pure(e, id), e.post("writes")).1), false),
    (
        "global, posts anon twice",
        |s, id| {
            s.global(move |e| {
                e.post("reads");
                write(e, id);
                e.post("reads");
            })
        },
        false,
    ),
    ("panics in none", |s, id| s.none(move |e| panics(e, id, pure)).global(|_| ()), false),
    (
        "none, panics in anon",
        |s, id| s.none(move |e| pure(e, id)).anon(move |e| panics(e, id, see)),
        false,
    ),
    ("panics in global", |s, id| s.global(move |e| panics(e, id, write)), false),
    (
        "global, panics in anon, commit, global",
        |s, id| {
            let s = s.global(move |e| write(e, id)).anon(move |e| panics(e, id, see));
            s.commit().global(|_| ())
        },
        false,
    ),
    (
        "global, panics alone",
        |s, id| {
            let act = move |e: &mut Event<'_, i64>| {
                e.act(format!("{id} acts"));
                panics(e, id, write);
            };
            s.global(move |e| write(e, id)).alone(act)
        },
        false,
    ),
    ("repairs", |s, id| s.global(move |e| write(e, id)), true),
    (
        "repairs, anon, commit, anon",
        |s, id| {
            let s = s.global(move |e| write(e, id)).anon(move |e| see(e, id));
            s.commit().anon(move |e| see(e, id))
        },
        true,
    ),
    ("repairs, panics", |s, id| s.global(move |e| panics(e, id, write)), true),
];

fn panics(e: &mut Event<'_, i64>, id: i64, first: fn(&mut Event<'_, i64>, i64)) {
    first(e, id);
    e.panic();
}

fn program(shapes: &[usize], mode: Mode, transactional: bool) -> Scenario<i64> {
    let mut scenario = Scenario::new(mode, 0)
        .handler("writes", |s| s.global(|e| write(e, 8)))
        .handler("reads", |s| s.anon(|e| see(e, 9)));
    for (i, shape) in shapes.iter().enumerate() {
        let (name, build, repairs) = SHAPES[*shape];
        let (name, id) = (format!("{name} ({})", i + 1), i as i64 + 1);
        scenario = match repairs {
            true => scenario.repair(name, |s| build(s, id)),
            false => scenario.event(name, |s| build(s, id)),
        };
    }
    if transactional { scenario.transactional() } else { scenario }
}

fn check(shapes: &[usize], mode: Mode, transactional: bool) -> Report {
    let checked = program(shapes, mode, transactional).check();
    checked.unwrap_or_else(|violation| {
        panic!("{mode:?}, transactional: {transactional}\n{violation}");
    })
}

/// The sum of several searches.
#[derive(Debug, Default)]
struct Sum {
    programs: usize,
    states: usize,
    ends: usize,
    orders: usize,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.programs += 1;
        self.states += report.states;
        self.ends += report.ends;
        self.orders += report.orders;
    }
}

const ALL: usize = SHAPES.len();

fn two_events(mode: Mode) {
    let mut sum = Sum::default();
    for transactional in [false, true] {
        for program in 0..ALL * ALL {
            let report = check(&[program % ALL, program / ALL], mode, transactional);
            assert!(report.states > 12, "{} states: not a real search", report.states);
            sum.add(report);
        }
    }
    println!("{mode:?}: {sum:?}");
    assert!(sum.states > 40 * sum.programs && sum.ends >= sum.orders, "{sum:?}");
    assert!(sum.orders > sum.programs + 100, "sub-events and posts take their tickets in turn");
}

#[test]
fn i13_all_programs_of_two_events_snapshot() {
    two_events(Mode::Snapshot);
}

#[test]
fn i13_all_programs_of_two_events_read_write() {
    two_events(Mode::ReadWrite);
}

/// Checks every n-th program of three events. The programs differ by mode.
fn three_events(mode: Mode, n: usize) {
    let mut sum = Sum::default();
    for transactional in [false, true] {
        let first = usize::from(mode == Mode::ReadWrite) * 2 + usize::from(transactional);
        for program in (first * n / 4..ALL * ALL * ALL).step_by(n) {
            let shapes = [program % ALL, program / ALL % ALL, program / ALL / ALL];
            sum.add(check(&shapes, mode, transactional));
        }
    }
    println!("{mode:?}: {sum:?}");
    assert!(sum.states > 200 * sum.programs, "{sum:?}: not a real search");
}

#[test]
fn i13_some_programs_of_three_events_snapshot() {
    three_events(Mode::Snapshot, 101);
}

#[test]
fn i13_some_programs_of_three_events_read_write() {
    three_events(Mode::ReadWrite, 101);
}

#[test]
#[ignore = "takes minutes, even with optimisations"]
fn i13_all_programs_of_three_events_snapshot() {
    three_events(Mode::Snapshot, 1);
}

#[test]
#[ignore = "takes minutes, even with optimisations"]
fn i13_all_programs_of_three_events_read_write() {
    three_events(Mode::ReadWrite, 1);
}

/// Checks every shape between an event that panics in global and a repair.
#[test]
fn i12_every_shape_between_a_panic_and_a_repair() {
    let find = |name| SHAPES.iter().position(|shape| shape.0 == name).unwrap();
    let (panics, repairs) = (find("panics in global"), find("repairs"));
    let mut sum = Sum::default();
    for shape in 0..ALL {
        for mode in [Mode::Snapshot, Mode::ReadWrite] {
            sum.add(check(&[panics, shape, repairs], mode, false));
        }
    }
    assert!(sum.states > 40 * sum.programs, "{sum:?}: not a real search");
}
