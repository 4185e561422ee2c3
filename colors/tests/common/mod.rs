//! Helpers: an order, and shorthands for what it decides.
use dapple_colors::{Context, Mode, Next, Order, Ticket};

pub type Test = Order<&'static str, &'static str>;

pub fn order(mode: Mode) -> Test {
    Order::new(mode, usize::MAX)
}

pub fn run(ticket: Ticket, context: Context, with: &'static str) -> Next<&'static str> {
    Next::Run { ticket, context, with }
}

pub fn commit(ticket: Ticket) -> Next<&'static str> {
    Next::Commit { ticket, covered: false }
}

/// Returns everything that the order decides now.
pub fn all(order: &mut Test) -> Vec<Next<&'static str>> {
    std::iter::from_fn(|| order.decide()).collect()
}

/// Posts an event and lets it enter global.
pub fn in_global(order: &mut Test) -> Ticket {
    let ticket = order.take_ticket(Context::Global, "");
    order.want(ticket, Context::Global, "writes");
    assert_eq!(all(order), [run(ticket, Context::Global, "writes")]);
    ticket
}

/// Commits the event, which has to be the oldest.
pub fn commits(order: &mut Test, ticket: Ticket) {
    order.commit(ticket, None);
    assert_eq!(order.decide(), Some(commit(ticket)));
    assert!(order.committed().is_some());
}
