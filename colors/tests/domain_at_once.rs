//! The shortcuts of `Order` decide the same as the long way.
//!
//! Random transitions run on two orders. One order takes every shortcut that it can, the other one
//! takes none. Their decisions, and the fate of the tickets, have to be the same.

mod seeded;

use dapple_colors::{Context, Mode, Next, Order, Ticket};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Posts an event that wants this context at once.
    Post(Context),
    /// Posts an event that begins in none.
    Begin(Context),
    Repair,
    /// Lets the event at this index, modulo their number, take its next step.
    Step(usize, u8),
    /// Ends the current commit.
    Committed,
    Room,
}

fn op() -> impl Strategy<Value = Op> {
    let context = prop_oneof![Just(Context::Anon), Just(Context::Global)];
    let highest = prop_oneof![Just(Context::None), Just(Context::Anon), Just(Context::Global)];
    prop_oneof![
        6 => context.prop_map(Op::Post),
        2 => highest.prop_map(Op::Begin),
        1 => Just(Op::Repair),
        10 => (0..8usize, any::<u8>()).prop_map(|(at, what)| Op::Step(at, what)),
        6 => Just(Op::Committed),
        1 => Just(Op::Room),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    None(Context),
    Waits,
    In(Context),
    Covered,
}

/// An order, and the positions of its events.
struct World {
    order: Order<u64, ()>,
    events: Vec<(Ticket, At)>,
    committing: Option<Ticket>,
    takes_short_cuts: bool,
    short_cuts: usize,
    /// The tickets that entered, were covered, or committed, in the order of these decisions.
    story: Vec<(u64, &'static str)>,
}

impl World {
    fn new(mode: Mode, takes_short_cuts: bool) -> Self {
        World {
            order: Order::new(mode, 6),
            events: Vec::new(),
            committing: None,
            takes_short_cuts,
            short_cuts: 0,
            story: Vec::new(),
        }
    }

    fn set(&mut self, ticket: Ticket, at: At) {
        self.events.iter_mut().find(|e| e.0 == ticket).expect("it is there").1 = at;
    }

    fn enters(&mut self, ticket: Ticket, context: Context) {
        self.story.push((ticket.number(), context.name()));
        self.set(ticket, At::In(context));
    }

    fn decide(&mut self) {
        while let Some(next) = self.order.decide() {
            match next {
                Next::Run { ticket, context: Context::None, .. } => {
                    self.events.push((ticket, At::None(Context::Global)));
                    self.story.push((ticket.number(), "begins"));
                }
                Next::Run { ticket, context, .. } => self.enters(ticket, context),
                Next::Skip { ticket: Some(ticket), .. } => {
                    self.story.push((ticket.number(), "is covered"));
                    self.set(ticket, At::Covered);
                }
                Next::Skip { ticket: None, .. } => self.story.push((0, "is covered")),
                Next::Commit { ticket, covered } => {
                    self.story
                        .push((ticket.number(), if covered { "is dropped" } else { "commits" }));
                    self.committing = Some(ticket);
                    // Events with even tickets have deferred nothing, so their commits end at once.
                    if ticket.number().is_multiple_of(2) {
                        self.committed();
                    }
                }
                Next::Room { .. } => self.story.push((0, "room")),
                Next::Moved => {}
            }
        }
    }

    fn committed(&mut self) {
        if self.committing.take().is_some() {
            self.order.committed();
        }
    }

    fn post(&mut self, context: Context) {
        if self.takes_short_cuts
            && let Some(ticket) = self.order.enter_at_once(context, || ())
        {
            self.short_cuts += 1;
            self.events.push((ticket, At::Waits));
            self.enters(ticket, context);
            return assert_eq!(self.order.decide(), None, "there is nothing to decide");
        }
        let ticket = self.order.take_ticket(context, ());
        self.events.push((ticket, At::Waits));
        self.order.want(ticket, context, ticket.number());
    }

    fn commit(&mut self, ticket: Ticket, then: bool) {
        self.events.retain(|e| e.0 != ticket);
        // Events with even tickets have deferred nothing.
        if self.takes_short_cuts && !then && ticket.number().is_multiple_of(2) {
            let may_follow = self.order.commit_at_once(ticket, |_| ()).is_some();
            if may_follow {
                self.short_cuts += 1;
                self.story.push((ticket.number(), "commits"));
                return assert_eq!(self.order.decide(), None, "there is nothing to decide");
            }
        }
        self.order.commit(ticket, then.then_some((Context::Global, 0)));
    }

    fn step(&mut self, at: usize, what: u8) {
        if self.events.is_empty() {
            return;
        }
        let (ticket, at) = self.events[at % self.events.len()];
        let wants = |this: &mut Self, context| {
            this.order.want(ticket, context, ticket.number());
            this.set(ticket, At::Waits);
        };
        match (at, what % 8) {
            (At::Waits, _) => {}
            (At::Covered, _) | (_, 7) => {
                self.events.retain(|e| e.0 != ticket);
                let _ = self.order.abandon(ticket, what & 8 != 0);
            }
            (At::None(Context::Global), 0 | 1) => wants(self, Context::Global),
            (At::None(highest), 2 | 3) if highest > Context::None => wants(self, Context::Anon),
            (At::None(highest), 4) if highest > Context::None => {
                self.order.renounce(ticket, Context::None);
                self.set(ticket, At::None(Context::None));
            }
            (At::In(Context::Global), 0 | 1) => {
                self.order.downgrade(ticket);
                self.set(ticket, At::In(Context::Anon));
            }
            (At::In(Context::Global), 2) => {
                self.order.alone(ticket, ticket.number());
                self.set(ticket, At::Waits);
            }
            (_, what) => self.commit(ticket, what == 6),
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Post(context) => self.post(context),
            Op::Begin(highest) => {
                let ticket = self.order.take_ticket(highest, ());
                self.events.push((ticket, At::None(highest)));
            }
            Op::Repair => {
                let ticket = self.order.take_ticket_to_repair(());
                self.events.push((ticket, At::Waits));
                self.order.want(ticket, Context::Global, ticket.number());
            }
            Op::Step(at, what) => self.step(at, what),
            Op::Committed => self.committed(),
            Op::Room => self.order.wait_for_room(0),
        }
        self.decide();
    }
}

proptest! {
    #![proptest_config(seeded::seeded(2_000))]

    #[test]
    fn short_cuts_decide_what_the_long_way_decides(
        ops in prop::collection::vec(op(), 1..60),
        snapshot: bool,
    ) {
        let mode = if snapshot { Mode::Snapshot } else { Mode::ReadWrite };
        let (mut short, mut long) = (World::new(mode, true), World::new(mode, false));
        for op in ops {
            short.run(op);
            long.run(op);
            prop_assert_eq!(&short.story, &long.story);
            prop_assert_eq!(&short.events, &long.events);
            prop_assert_eq!(short.order.oldest(), long.order.oldest());
            prop_assert_eq!(short.order.uncommitted(), long.order.uncommitted());
        }
        prop_assert_eq!(long.short_cuts, 0);
    }
}

#[test]
fn an_event_with_nothing_in_its_way_takes_both_short_cuts() {
    let mut order: Order<(), ()> = Order::new(Mode::ReadWrite, 9);
    for context in [Context::Anon, Context::Global, Context::Anon] {
        let ticket = order.enter_at_once(context, || ()).expect("nothing is in its way");
        assert!(order.commit_at_once(ticket, |_| ()).is_some());
        assert!(order.is_empty());
    }
    let reader = order.enter_at_once(Context::Anon, || ()).expect("nothing is in its way");
    assert!(order.enter_at_once(Context::Global, || ()).is_none(), "it waits for the reader");
    let other = order.enter_at_once(Context::Anon, || ()).expect("readers get along");
    assert!(order.commit_at_once(other, |_| ()).is_none(), "it is not the oldest");
    assert!(order.commit_at_once(reader, |_| ()).is_some());
}
