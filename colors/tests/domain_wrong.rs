//! The checker finds each mistake: step functions with one mistake each, and the rule that it
//! breaks.
use std::collections::VecDeque;
use std::marker::PhantomData;

use dapple_colors::check::{Event, PinSteps, Rule, Scenario, Steps, Violation};
use dapple_colors::{Abandoned, Context, Fate, Mode, Next, Order, Pins, Ticket};

/// Defines step functions that forward to a correct order, except for the given functions.
macro_rules! wrong {
    ($name:ident, $mode:ident => $over:expr; $($functions:tt)*) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        struct $name {
            order: Order<Ticket, ()>,
            /// Decisions that the mistake adds.
            out: VecDeque<Next<Ticket>>,
            /// Commits, with their sub-events, that the order does not know of yet.
            held: VecDeque<(Ticket, Option<Context>)>,
        }

        impl Steps for $name {
            type Pins = Pins;

            fn new($mode: Mode) -> Self {
                let order = Order::new($over, usize::MAX);
                $name { order, out: VecDeque::new(), held: VecDeque::new() }
            }

            fn order(&mut self) -> &mut Order<Ticket, ()> {
                &mut self.order
            }

            $($functions)*
        }
    };
}

/// Checks that the scenario is correct, and that the mistake breaks this rule.
#[track_caller]
fn finds<O: Steps>(rule: Rule, scenario: &Scenario<i64>) -> Violation {
    scenario.check().unwrap();
    let violation = scenario.check_over::<O>().expect_err("the mistake is not found");
    assert_eq!(violation.rule(), rule, "{violation}");
    assert!(!violation.interleaving().is_empty());
    violation
}

fn reader_then_writer(mode: Mode) -> Scenario<i64> {
    Scenario::new(mode, 0)
        .event("reads", |s| s.anon(|e| e.see(*e.read())).anon(|e| e.see(*e.read())))
        .event("writes", |s| s.global(|e| *e.write() += 1))
}

fn writer_then_reader(mode: Mode) -> Scenario<i64> {
    Scenario::new(mode, 0)
        .event("writes", |s| s.global(|e| *e.write() += 1))
        .event("reads", |s| s.anon(|e| e.see(*e.read())))
}

wrong! { ReadersAreNotWaitedFor, _mode => Mode::Snapshot; }

#[test]
fn i3_a_torn_read_in_read_write() {
    let scenario = reader_then_writer(Mode::ReadWrite);
    let violation = finds::<ReadersAreNotWaitedFor>(Rule::I3, &scenario);
    assert_eq!((violation.event(), violation.step()), (Some("writes"), Some(1)));
    assert_eq!(violation.what(), "it is let into global while ticket 1 is in anon");
}

wrong! { ReadersOfVersionsAreWaitedFor, _mode => Mode::ReadWrite; }

#[test]
fn i3_a_wait_that_no_rule_asks_for() {
    let scenario = reader_then_writer(Mode::Snapshot);
    let violation = finds::<ReadersOfVersionsAreWaitedFor>(Rule::I3, &scenario);
    assert!(violation.what().contains("in vain"), "{violation}");
}

wrong! { FenceIsSkipped, mode => mode;
    fn want(&mut self, ticket: Ticket, context: Context) {
        match context {
            Context::Anon => self.out.push_back(Next::Run { ticket, context, with: ticket }),
            _ => self.order.want(ticket, context, ticket),
        }
    }

    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.out.pop_front().or_else(|| self.order.decide())
    }
}

#[test]
fn i3_a_fence_that_is_skipped() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let violation = finds::<FenceIsSkipped>(Rule::I3, &writer_then_reader(mode));
        let expected = "it is let into anon while ticket 1 may enter global";
        assert_eq!((violation.what(), violation.event()), (expected, Some("reads")));
    }
}

/// A correct order with other pins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Over<P>(Order<Ticket, ()>, PhantomData<P>);

impl<P: PinSteps> Steps for Over<P> {
    type Pins = P;

    fn new(mode: Mode) -> Self {
        Over(Order::new(mode, usize::MAX), PhantomData)
    }

    fn order(&mut self) -> &mut Order<Ticket, ()> {
        &mut self.0
    }
}

/// Defines pins that forward to correct ones, except for the given functions.
macro_rules! wrong_pins {
    ($name:ident, $pins:ident, $retire:expr, $is_read:expr) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        struct $name(Pins);

        impl PinSteps for $name {
            fn new() -> Self {
                $name(Pins::new())
            }

            fn pin(&mut self) {
                self.0.pin();
            }

            fn unpin(&mut self) -> Fate {
                self.0.unpin()
            }

            fn retire(&mut self) -> Fate {
                let $pins = &mut self.0;
                $retire
            }

            fn is_read(&self) -> bool {
                let $pins = &self.0;
                $is_read
            }
        }
    };
}

wrong_pins!(WrittenInPlace, pins, pins.retire(), {
    let _ = pins;
    false
});
wrong_pins!(
    FreedTooSoon,
    pins,
    {
        let _ = pins.retire();
        Fate::Free
    },
    pins.is_read()
);
wrong_pins!(
    NeverRetired,
    pins,
    {
        let _ = pins;
        Fate::Kept
    },
    pins.is_read()
);

#[test]
fn i5_a_version_that_is_read_is_written_in_place() {
    let violation = finds::<Over<WrittenInPlace>>(Rule::I5, &reader_then_writer(Mode::Snapshot));
    assert_eq!(violation.what(), "it reads 1 in anon, and should read 0");
    assert_eq!((violation.event(), violation.ticket()), (Some("reads"), Some(ticket(1))));
}

#[test]
fn i11_a_version_that_is_read_is_freed() {
    let violation = finds::<Over<FreedTooSoon>>(Rule::I11, &reader_then_writer(Mode::Snapshot));
    assert_eq!((violation.event(), violation.what()), (Some("reads"), "what it reads is freed"));
}

#[test]
fn i11_a_version_that_nobody_needs_is_kept() {
    finds::<Over<NeverRetired>>(Rule::I11, &reader_then_writer(Mode::Snapshot));
}

wrong! { CommitsBeforeItsTurn, mode => mode;
    fn commit(&mut self, ticket: Ticket, then: Option<Context>) {
        self.order.commit(ticket, then.map(|highest| (highest, ticket)));
        if self.order.oldest().is_some_and(|oldest| oldest.ticket != ticket) {
            self.out.push_back(Next::Commit { ticket, covered: false });
        }
    }

    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.out.pop_front().or_else(|| self.order.decide())
    }
}

#[test]
fn i7_an_effect_that_overtakes() {
    let scenario = Scenario::new(Mode::Snapshot, 0)
        .event("slow", |s| s.none(|e| e.defer("slow")))
        .event("fast", |s| s.none(|e| e.defer("fast")));
    let violation = finds::<CommitsBeforeItsTurn>(Rule::I7, &scenario);
    assert_eq!(violation.event(), Some("fast"));
    assert_eq!(violation.what(), "its commit begins before ticket 1 has committed");
}

wrong! { CommitsWhileItReads, mode => mode;
    fn downgrade(&mut self, ticket: Ticket) {
        self.order.downgrade(ticket);
        self.out.push_back(Next::Commit { ticket, covered: false });
    }

    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.out.pop_front().or_else(|| self.order.decide())
    }
}

#[test]
fn i8_actions_that_run_between_two_steps() {
    let scenario = Scenario::new(Mode::Snapshot, 0)
        .event("writes", |s| s.global(|e| e.defer("wrote")).anon(|e| e.see(*e.read())));
    finds::<CommitsWhileItReads>(Rule::I8, &scenario);
}

wrong! { NoneOnlyEventsCount, mode => mode;
    fn take_ticket(&mut self, highest: Context) -> Ticket {
        self.order.take_ticket(highest.max(Context::Anon), ())
    }
}

wrong! { RenouncesAreIgnored, mode => mode;
    fn renounce(&mut self, _: Ticket, _: Context) {}
}

#[test]
fn i4_a_none_only_event_that_delays_others() {
    let scenario = Scenario::new(Mode::Snapshot, 0)
        .event("pure", |s| s.none(|e| e.defer("pure")))
        .event("writes", |s| s.global(|e| *e.write() += 1));
    let violation = finds::<NoneOnlyEventsCount>(Rule::I4, &scenario);
    assert_eq!(violation.event(), Some("writes"));
}

#[test]
fn i4_an_event_that_has_renounced_and_delays_others() {
    let scenario = Scenario::new(Mode::ReadWrite, 0)
        .event("pure", |s| s.highest(Context::Global).renounce(Context::None).none(|_| ()))
        .event("reads", |s| s.anon(|e| e.see(*e.read())));
    let violation = finds::<RenouncesAreIgnored>(Rule::I4, &scenario);
    assert_eq!(violation.event(), Some("reads"));
}

wrong! { StateIsHeldUntilTheCommit, mode => mode;
    fn commit(&mut self, ticket: Ticket, then: Option<Context>) {
        self.held.push_back((ticket, then));
    }

    fn decide(&mut self) -> Option<Next<Ticket>> {
        let oldest = self.order.oldest().map(|oldest| oldest.ticket);
        if let Some(i) = self.held.iter().position(|(ticket, _)| Some(*ticket) == oldest) {
            let (ticket, then) = self.held.remove(i).unwrap();
            self.order.commit(ticket, then.map(|highest| (highest, ticket)));
        }
        self.order.decide()
    }
}

#[test]
fn i6_state_that_is_held_until_the_commit() {
    let slow = |mode| Scenario::new(mode, 0).event("slow", |s| s.none(|e| e.defer("slow")));
    let readers = slow(Mode::ReadWrite)
        .event("reads", |s| s.anon(|e| e.see(*e.read())))
        .event("writes", |s| s.global(|e| *e.write() += 1));
    let violation = finds::<StateIsHeldUntilTheCommit>(Rule::I6, &readers);
    assert_eq!(violation.event(), Some("writes"), "a reader counts until its commit");
    let writers = slow(Mode::Snapshot)
        .event("writes", |s| s.global(|e| *e.write() += 1))
        .event("reads", |s| s.anon(|e| e.see(*e.read())));
    let violation = finds::<StateIsHeldUntilTheCommit>(Rule::I6, &writers);
    assert_eq!(violation.event(), Some("reads"), "anon is closed until the commit");
}

wrong! { AloneAtOnce, mode => mode;
    fn alone(&mut self, ticket: Ticket) {
        self.out.push_back(Next::Run { ticket, context: Context::Global, with: ticket });
    }

    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.out.pop_front().or_else(|| self.order.decide())
    }
}

#[test]
fn i9_alone_without_a_wait() {
    let slow = Scenario::new(Mode::Snapshot, 0)
        .event("slow", |s| s.none(|e| e.defer("slow")))
        .event("asks", |s| s.alone(|e| e.act("asked")));
    let violation = finds::<AloneAtOnce>(Rule::I9, &slow);
    assert_eq!(violation.what(), "it is let be alone while ticket 1 is in the way");
    let own = Scenario::new(Mode::Snapshot, 0)
        .event("asks", |s| s.none(|e| e.defer("first")).alone(|e| e.act("asked")));
    let violation = finds::<AloneAtOnce>(Rule::I9, &own);
    assert_eq!(violation.what(), "what it has deferred has not run yet");
}

wrong! { PanicsLoseTheirTickets, mode => mode;
    fn abandon(&mut self, _: Ticket, _: bool) -> Abandoned {
        Abandoned::Left(Context::None)
    }
}

wrong! { PoisonDoesNotCover, mode => mode;
    fn abandon(&mut self, ticket: Ticket, _: bool) -> Abandoned {
        let _ = self.order.abandon(ticket, true);
        Abandoned::Poisons
    }
}

wrong! { PoisonIsForgottenAtTheCommit, mode => mode;
    fn decide(&mut self) -> Option<Next<Ticket>> {
        match self.order.decide() {
            Some(Next::Commit { ticket, .. }) => Some(Next::Commit { ticket, covered: false }),
            next => next,
        }
    }
}

wrong! { PoisonIsNotCleared, mode => mode;
    fn take_ticket_to_repair(&mut self) -> Ticket {
        self.order.take_ticket(Context::Global, ())
    }
}

wrong! { PoisonIsClearedTooSoon, mode => mode;
    fn take_ticket(&mut self, highest: Context) -> Ticket {
        match highest {
            Context::Global => self.order.take_ticket_to_repair(()),
            _ => self.order.take_ticket(highest, ()),
        }
    }
}

wrong! { RestoredStatesPoison, mode => mode;
    fn abandon(&mut self, ticket: Ticket, _: bool) -> Abandoned {
        self.order.abandon(ticket, false)
    }
}

fn panic_half_done(e: &mut Event<'_, i64>) {
    *e.write() = 1;
    e.panic();
}

fn breaks_then_reads(mode: Mode) -> Scenario<i64> {
    Scenario::new(mode, 0)
        .event("breaks", |s| s.global(panic_half_done))
        .event("reads", |s| s.none(|e| e.defer("read")).anon(|e| e.see(*e.read())))
}

#[test]
fn i12_a_panic_after_which_the_order_stops() {
    let scenario = Scenario::new(Mode::Snapshot, 0)
        .event("breaks", |s| s.none(|e| e.panic()))
        .event("writes", |s| s.global(|e| *e.write() += 1));
    let violation = finds::<PanicsLoseTheirTickets>(Rule::I12, &scenario);
    assert_eq!(violation.what(), "it panicked, and the order stops");
}

#[test]
fn i12_poison_that_does_not_cover() {
    let scenario = breaks_then_reads(Mode::Snapshot);
    let violation = finds::<PoisonDoesNotCover>(Rule::I12, &scenario);
    assert_eq!(violation.what(), "it is let into anon, and poison covers it");
    let violation = finds::<PoisonIsForgottenAtTheCommit>(Rule::I12, &scenario);
    assert_eq!(violation.what(), "what it deferred should be dropped at its commit");
}

#[test]
fn i12_poison_that_is_not_cleared_or_too_soon() {
    let scenario = breaks_then_reads(Mode::ReadWrite)
        .repair("repairs", |s| s.global(|e| *e.write() = 2))
        .event("reads again", |s| s.anon(|e| e.see(*e.read())));
    let violation = finds::<PoisonIsNotCleared>(Rule::I12, &scenario);
    assert_eq!(violation.event(), Some("repairs"));
    let scenario =
        breaks_then_reads(Mode::ReadWrite).event("writes", |s| s.global(|e| *e.write() = 2));
    let violation = finds::<PoisonIsClearedTooSoon>(Rule::I12, &scenario);
    assert_eq!(violation.event(), Some("writes"));
}

#[test]
fn i12_a_panic_that_poisons_a_transactional_domain() {
    let scenario = breaks_then_reads(Mode::Snapshot).transactional();
    finds::<RestoredStatesPoison>(Rule::I12, &scenario);
}

wrong! { SubEventsComeTooSoon, mode => mode;
    fn commit(&mut self, ticket: Ticket, then: Option<Context>) {
        self.order.commit(ticket, None);
        if let Some(highest) = then {
            self.order.take_ticket(highest, ());
        }
    }
}

wrong! { SubEventsAreLost, mode => mode;
    fn commit(&mut self, ticket: Ticket, _: Option<Context>) {
        self.order.commit(ticket, None);
    }
}

#[test]
fn i1_a_sub_event_that_has_its_ticket_too_soon_or_never() {
    let scenario = Scenario::new(Mode::Snapshot, 0)
        .event("twice", |s| s.none(|e| e.defer("first")).commit().none(|e| e.defer("second")))
        .event("once", |s| s.none(|e| e.defer("once")));
    finds::<SubEventsComeTooSoon>(Rule::I1, &scenario);
    let violation = finds::<SubEventsAreLost>(Rule::I1, &scenario);
    assert_eq!(violation.what(), "its sub-event does not begin");
}

wrong! { NeverDone, mode => mode;
    fn decide(&mut self) -> Option<Next<Ticket>> {
        Some(self.order.decide().unwrap_or(Next::Moved))
    }
}

wrong! { UpgradesTwice, mode => mode;
    fn want(&mut self, ticket: Ticket, context: Context) {
        self.order.want(ticket, context, ticket);
        self.order.want(ticket, context, ticket);
    }
}

#[test]
fn step_functions_that_never_stop_or_panic() {
    let scenario = writer_then_reader(Mode::Snapshot);
    let violation = finds::<NeverDone>(Rule::Steps, &scenario);
    assert!(violation.what().contains("decisions in a row"), "{violation}");
    let violation = finds::<UpgradesTwice>(Rule::Steps, &scenario);
    assert!(violation.what().contains("only an event in none can upgrade"), "{violation}");
}

fn ticket(number: u64) -> Ticket {
    Ticket::from_number(number)
}
