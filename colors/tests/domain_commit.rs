//! I7-I9, I12, I15: commit order, poison, and room, step by step.
mod common;

use common::{Test, all, commit, commits, in_global, order, run};
use dapple_colors::Context::{Anon, Global, None as InNone};
use dapple_colors::{Abandoned, Doing, Mode, Next, Oldest, Order, Ticket};

#[test]
fn i7_commits_come_one_after_the_other_in_ticket_order() {
    let mut order = order(Mode::Snapshot);
    let tickets = [(); 3].map(|()| order.take_ticket(InNone, ""));
    for ticket in [tickets[2], tickets[1]] {
        order.commit(ticket, None);
        assert_eq!(all(&mut order), []);
    }
    order.commit(tickets[0], None);
    for ticket in tickets {
        assert_eq!(all(&mut order), [commit(ticket)], "one at a time");
        assert_eq!(order.oldest(), Some(Oldest { ticket, doing: Doing::Commits }));
        let posted = order.take_ticket(InNone, "");
        assert!(posted > tickets[2], "its actions may post");
        order.renounce(posted, InNone);
        assert!(order.committed().is_some());
    }
    assert_eq!(order.uncommitted(), 3);
}

#[test]
#[should_panic(expected = "nothing is being committed")]
fn i7_nothing_has_committed_that_was_not_told_to() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(InNone, "");
    order.commit(ticket, None);
    order.committed();
}

#[test]
fn i8_the_oldest_event_commits_when_it_has_ended_and_not_before() {
    let mut order = order(Mode::Snapshot);
    let ticket = in_global(&mut order);
    order.downgrade(ticket);
    assert_eq!(all(&mut order), []);
    commits(&mut order, ticket);
    assert!(order.is_empty());
}

#[test]
fn i9_alone_waits_for_all_earlier_commits_and_for_its_own_actions() {
    let mut order = order(Mode::Snapshot);
    let pure = order.take_ticket(InNone, "");
    let asks = in_global(&mut order);
    let reader = order.take_ticket(Anon, "");
    order.want(reader, Anon, "reads");
    order.alone(asks, "asks");
    assert_eq!(all(&mut order), []);
    commits(&mut order, pure);
    assert_eq!(order.oldest(), Some(Oldest { ticket: asks, doing: Doing::WaitsToBeAlone }));
    assert_eq!(all(&mut order), [commit(asks)], "its own actions");
    assert_eq!(order.committed(), None);
    assert_eq!(all(&mut order), [run(asks, Global, "asks")]);
    order.alone(asks, "asks again");
    assert_eq!(all(&mut order), [commit(asks)]);
    assert_eq!(order.committed(), None);
    assert_eq!(all(&mut order), [run(asks, Global, "asks again")]);
    order.downgrade(asks);
    assert_eq!(all(&mut order), [run(reader, Anon, "reads")]);
    commits(&mut order, asks);
}

#[test]
#[should_panic(expected = "only an event in global can be alone")]
fn i9_anon_is_not_alone() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.want(ticket, Anon, "reads");
    order.alone(ticket, "asks");
}

#[test]
fn i12_poison_covers_what_is_later() {
    let mut order = order(Mode::Snapshot);
    let before = order.take_ticket(InNone, "");
    let breaks = in_global(&mut order);
    let [reads, writes] = [Anon, Global].map(|highest| order.take_ticket(highest, ""));
    let pure = order.take_ticket(InNone, "");
    order.want(reads, Anon, "reads");
    order.want(writes, Global, "writes");
    assert_eq!(order.abandon(breaks, false), Abandoned::Poisons);
    assert!(order.is_poisoned());
    let skip = |ticket, with| Next::Skip { ticket: Some(ticket), with };
    assert_eq!(all(&mut order), [skip(reads, "reads"), skip(writes, "writes")]);
    for ticket in [reads, writes] {
        assert_eq!(order.abandon(ticket, false), Abandoned::Left(InNone));
    }
    order.commit(pure, Some((Anon, "sub-event")));
    order.commit(before, None);
    for ticket in [before, breaks, reads, writes, pure] {
        let covered = ticket > breaks;
        assert_eq!(order.decide(), Some(Next::Commit { ticket, covered }));
        assert_eq!(order.committed(), Some(""), "a covered event has no sub-event");
    }
    assert_eq!(all(&mut order), [Next::Skip { ticket: None, with: "sub-event" }]);
    assert!(order.is_empty());
}

#[test]
fn i12_a_repair_ends_the_poison_for_what_is_later() {
    let mut order = order(Mode::ReadWrite);
    let breaks = in_global(&mut order);
    let covered = order.take_ticket(InNone, "");
    let repairs = order.take_ticket_to_repair("");
    let after = order.take_ticket(Anon, "");
    order.want(repairs, Global, "repairs");
    order.want(after, Anon, "reads");
    assert_eq!(order.abandon(breaks, false), Abandoned::Poisons);
    let expected = [run(repairs, Global, "repairs"), commit(breaks)];
    assert_eq!(all(&mut order), expected);
    assert!(order.committed().is_some() && order.is_poisoned());
    order.commit(repairs, None);
    assert!(!order.is_poisoned());
    assert_eq!(all(&mut order), [run(after, Anon, "reads")]);
    for ticket in [covered, after] {
        order.commit(ticket, None);
    }
    for ticket in [covered, repairs, after] {
        let covered = ticket == covered;
        assert_eq!(order.decide(), Some(Next::Commit { ticket, covered }));
        assert!(order.committed().is_some());
    }
}

#[test]
fn i12_a_repair_that_does_not_leave_global_as_it_should_repairs_nothing() {
    for restores in [false, true] {
        let mut order = order(Mode::Snapshot);
        let breaks = in_global(&mut order);
        assert_eq!(order.abandon(breaks, false), Abandoned::Poisons);
        let repairs = order.take_ticket_to_repair("");
        order.want(repairs, Global, "repairs");
        assert_eq!(all(&mut order), [run(repairs, Global, "repairs"), commit(breaks)]);
        let left = order.abandon(repairs, restores);
        assert_eq!(left, if restores { Abandoned::Left(Global) } else { Abandoned::Poisons });
        assert!(order.is_poisoned());
        let renounces = order.take_ticket_to_repair("");
        order.renounce(renounces, Anon);
        order.want(renounces, Anon, "looks");
        assert!(order.committed().is_some());
        assert_eq!(all(&mut order), [run(renounces, Anon, "looks"), commit(repairs)]);
        order.commit(renounces, None);
        assert!(order.is_poisoned(), "it has not been in global");
    }
}

#[test]
fn i12_a_restored_state_does_not_poison_unless_the_event_was_alone() {
    let mut order = order(Mode::Snapshot);
    let restored = in_global(&mut order);
    assert_eq!(order.abandon(restored, true), Abandoned::Left(Global));
    assert_eq!(all(&mut order), [commit(restored)]);
    assert!(order.committed().is_some() && !order.is_poisoned());
    let alone = in_global(&mut order);
    order.alone(alone, "asks");
    assert_eq!(all(&mut order), [commit(alone)]);
    assert!(order.committed().is_none());
    assert_eq!(all(&mut order), [run(alone, Global, "asks")]);
    assert_eq!(order.abandon(alone, true), Abandoned::Poisons);
}

#[test]
fn i12_a_panic_in_anon_poisons_nothing() {
    let mut order = order(Mode::ReadWrite);
    let event = in_global(&mut order);
    order.downgrade(event);
    let writer = order.take_ticket(Global, "");
    order.want(writer, Global, "writes");
    assert_eq!(all(&mut order), []);
    assert_eq!(order.abandon(event, false), Abandoned::Left(Anon));
    assert_eq!(all(&mut order), [run(writer, Global, "writes"), commit(event)]);
}

#[test]
fn i15_who_waits_for_room_is_told_when_there_is_some() {
    let mut order: Test = Order::new(Mode::Snapshot, 2);
    let first = order.take_ticket(InNone, "");
    assert!(!order.is_full());
    order.take_ticket(InNone, "");
    assert!(order.is_full());
    let third = order.take_ticket(InNone, "");
    assert_eq!((third.number(), order.uncommitted()), (3, 3), "a plain post passes");
    order.wait_for_room("one");
    order.wait_for_room("two");
    assert_eq!(all(&mut order), []);
    commits(&mut order, first);
    assert_eq!(all(&mut order), [], "there are still two");
    commits(&mut order, Ticket::from_number(2));
    assert_eq!(order.decide(), Some(Next::Room { with: "one" }));
    order.take_ticket(InNone, "");
    assert_eq!(order.decide(), None, "that was the place");
    assert!(!order.is_empty());
}

#[test]
fn i15_the_oldest_event_is_named() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.take_ticket(Global, "");
    let doing = |order: &Test| {
        let oldest = order.oldest().unwrap();
        assert_eq!(oldest.ticket, ticket);
        oldest.doing
    };
    assert_eq!(doing(&order), Doing::In(InNone));
    order.want(ticket, Global, "writes");
    assert_eq!(doing(&order), Doing::WaitsFor(Global));
    let _ = order.decide();
    assert_eq!(doing(&order), Doing::In(Global));
    order.downgrade(ticket);
    assert_eq!(doing(&order), Doing::In(Anon));
    order.commit(ticket, None);
    assert_eq!(doing(&order), Doing::Commits);
}
