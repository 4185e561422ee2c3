//! I1-I6, I11: tickets, entry to the contexts, and versions, step by step.
mod common;

use common::{all, commit, commits, in_global, order, run};
use dapple_colors::Context::{Anon, Global, None as InNone};
use dapple_colors::{Abandoned, Doing, Fate, Mode, Next, Oldest, Pins, Ticket};

#[test]
fn i1_tickets_count_from_one() {
    let mut order = order(Mode::Snapshot);
    assert!(order.is_empty() && order.oldest().is_none());
    let numbers = [InNone, Global, Anon].map(|highest| order.take_ticket(highest, "").number());
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(order.take_ticket_to_repair("").number(), 4);
    assert_eq!((order.uncommitted(), order.is_empty()), (4, false));
    let ticket = Ticket::from_number(4);
    assert_eq!((ticket.to_string(), Ticket::from_number(ticket.number())), ("4".into(), ticket));
}

#[test]
fn i1_a_sub_event_takes_its_ticket_at_the_commit() {
    let mut order = order(Mode::Snapshot);
    let parent = order.take_ticket(InNone, "data");
    let other = order.take_ticket(InNone, "other");
    order.commit(parent, Some((Anon, "goes on")));
    let late = order.take_ticket(InNone, "late");
    assert_eq!(all(&mut order), [commit(parent)]);
    assert_eq!(order.committed(), None, "what was kept goes over to the sub-event");
    let sub = Ticket::from_number(late.number() + 1);
    assert_eq!(all(&mut order), [run(sub, InNone, "goes on")]);
    assert_eq!(*order.data(sub), "data");
    order.want(sub, Anon, "reads");
    assert_eq!(all(&mut order), [run(sub, Anon, "reads")]);
    for (ticket, data) in [(other, "other"), (late, "late"), (sub, "data")] {
        order.commit(ticket, None);
        assert_eq!(all(&mut order), [commit(ticket)]);
        assert_eq!(order.committed(), Some(data));
    }
    assert!(order.is_empty());
}

#[test]
fn i1_an_abandoned_event_keeps_its_place_and_the_order_goes_on() {
    let mut order = order(Mode::ReadWrite);
    let tickets = [InNone, Anon, Global, Anon].map(|highest| order.take_ticket(highest, ""));
    let [none, anon, global, last] = tickets;
    order.want(anon, Anon, "reads");
    order.want(last, Anon, "reads last");
    assert_eq!(all(&mut order), [run(anon, Anon, "reads")]);
    assert_eq!(order.abandon(global, false), Abandoned::Left(InNone));
    assert_eq!(all(&mut order), [run(last, Anon, "reads last")]);
    assert_eq!(order.abandon(anon, false), Abandoned::Left(Anon));
    assert_eq!(order.abandon(last, false), Abandoned::Left(Anon));
    assert_eq!(all(&mut order), []);
    assert_eq!(order.abandon(none, false), Abandoned::Left(InNone));
    for ticket in tickets {
        assert_eq!(order.decide(), Some(commit(ticket)));
        assert_eq!(order.committed(), Some(""));
    }
    assert!(order.is_empty() && !order.is_poisoned());
}

#[test]
#[should_panic(expected = "only an event in none can upgrade")]
fn i2_anon_does_not_upgrade() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.want(ticket, Anon, "reads");
    let _ = order.decide();
    order.want(ticket, Global, "writes");
}

#[test]
#[should_panic(expected = "global was not declared")]
fn i2_no_event_goes_higher_than_it_has_declared() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Anon, "");
    order.want(ticket, Global, "writes");
}

#[test]
#[should_panic(expected = "none was not declared")]
fn i2_nobody_upgrades_to_none() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Anon, "");
    order.want(ticket, InNone, "");
}

#[test]
#[should_panic(expected = "only an event in global can downgrade")]
fn i2_none_does_not_downgrade() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.downgrade(ticket);
}

#[test]
#[should_panic(expected = "cannot commit")]
fn i2_an_event_that_waits_does_not_commit() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.want(ticket, Global, "");
    order.commit(ticket, None);
}

#[test]
#[should_panic(expected = "cannot be abandoned")]
fn i2_an_event_that_has_ended_is_not_abandoned() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.commit(ticket, None);
    let _ = order.abandon(ticket, false);
}

#[test]
#[should_panic(expected = "the event has not committed")]
fn i2_a_ticket_ends_with_the_commit() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    commits(&mut order, ticket);
    order.renounce(ticket, InNone);
}

#[test]
fn i3_anon_is_closed_while_an_earlier_event_may_reach_global() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let mut order = order(mode);
        let writer = order.take_ticket(Global, "");
        let reader = order.take_ticket(Anon, "");
        order.want(reader, Anon, "reads");
        assert_eq!(all(&mut order), []);
        order.want(writer, Global, "writes");
        assert_eq!(all(&mut order), [run(writer, Global, "writes")]);
        order.downgrade(writer);
        assert_eq!(all(&mut order), [run(reader, Anon, "reads")]);
    }
}

#[test]
fn i3_an_event_that_may_reach_global_enters_anon_without_a_wait() {
    let mut order = order(Mode::Snapshot);
    let first = order.take_ticket(Global, "");
    let second = order.take_ticket(Anon, "");
    order.want(second, Anon, "reads second");
    order.want(first, Anon, "reads first");
    let expected = [run(first, Anon, "reads first"), run(second, Anon, "reads second")];
    assert_eq!(all(&mut order), expected);
}

#[test]
fn i3_global_is_closed_while_an_earlier_event_may_enter() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        for before in [Anon, Global] {
            let mut order = order(mode);
            let first = order.take_ticket(before, "");
            let second = order.take_ticket(Global, "");
            order.want(second, Global, "writes");
            assert_eq!(all(&mut order), []);
            order.renounce(first, InNone);
            assert_eq!(all(&mut order), [run(second, Global, "writes")]);
        }
    }
}

#[test]
fn i3_readers_hold_back_global_in_read_write_only() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let mut order = order(mode);
        let readers = [order.take_ticket(Anon, ""), order.take_ticket(Anon, "")];
        let writer = order.take_ticket(Global, "");
        for reader in readers {
            order.want(reader, Anon, "reads");
        }
        order.want(writer, Global, "writes");
        let mut expected = readers.map(|reader| run(reader, Anon, "reads")).to_vec();
        if mode == Mode::Snapshot {
            expected.push(run(writer, Global, "writes"));
        }
        assert_eq!(all(&mut order), expected);
        order.commit(readers[1], None);
        assert_eq!(all(&mut order), []);
        order.commit(readers[0], None);
        let expected = match mode {
            Mode::Snapshot => vec![commit(readers[0])],
            Mode::ReadWrite => vec![run(writer, Global, "writes"), commit(readers[0])],
        };
        assert_eq!(all(&mut order), expected);
    }
}

#[test]
fn i3_global_is_entered_by_one_event_after_the_other() {
    let mut order = order(Mode::Snapshot);
    let [a, b] = [(); 2].map(|()| order.take_ticket(Global, ""));
    order.want(b, Global, "b");
    order.want(a, Global, "a");
    assert_eq!(all(&mut order), [run(a, Global, "a")]);
    order.downgrade(a);
    assert_eq!(all(&mut order), [run(b, Global, "b")]);
}

#[test]
fn i3_many_events_before_a_reader_do_not_keep_it_waiting() {
    for before in [1, 63, 64, 65, 1_000] {
        let mut order = order(Mode::Snapshot);
        let writer = in_global(&mut order);
        for _ in 0..before {
            order.take_ticket(Anon, "");
        }
        let reader = order.take_ticket(Anon, "");
        order.want(reader, Anon, "reads");
        assert_eq!(all(&mut order), []);
        order.downgrade(writer);
        let decided = all(&mut order);
        assert_eq!(decided.last(), Some(&run(reader, Anon, "reads")), "{before} events before it");
    }
}

#[test]
fn i4_a_none_only_event_delays_nobody() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let mut order = order(mode);
        let pure = order.take_ticket(InNone, "");
        let writer = in_global(&mut order);
        order.commit(writer, None);
        let reader = order.take_ticket(Anon, "");
        order.want(reader, Anon, "reads");
        assert_eq!(all(&mut order), [run(reader, Anon, "reads")]);
        order.commit(reader, None);
        assert_eq!(all(&mut order), [], "it keeps its place in commit order");
        for ticket in [pure, writer, reader] {
            if ticket == pure {
                order.commit(pure, None);
            }
            assert_eq!(all(&mut order), [commit(ticket)]);
            assert!(order.committed().is_some());
        }
    }
}

#[test]
fn i4_who_renounces_lets_others_go_on() {
    let mut order = order(Mode::Snapshot);
    let first = order.take_ticket(Global, "");
    let reader = order.take_ticket(Anon, "");
    let writer = order.take_ticket(Global, "");
    order.want(reader, Anon, "reads");
    order.want(writer, Global, "writes");
    assert_eq!(all(&mut order), []);
    order.renounce(first, Anon);
    assert_eq!(all(&mut order), [run(reader, Anon, "reads")]);
    order.renounce(first, InNone);
    assert_eq!(all(&mut order), [run(writer, Global, "writes")]);
    order.renounce(first, InNone);
    assert_eq!(all(&mut order), []);
}

#[test]
#[should_panic(expected = "global was not declared")]
fn i4_what_was_renounced_is_not_taken_back() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Global, "");
    order.renounce(ticket, Anon);
    order.renounce(ticket, Global);
}

#[test]
#[should_panic(expected = "only an event in none can renounce")]
fn i4_nobody_renounces_in_anon() {
    let mut order = order(Mode::Snapshot);
    let ticket = order.take_ticket(Anon, "");
    order.want(ticket, Anon, "reads");
    order.renounce(ticket, InNone);
}

#[test]
fn i5_an_event_behind_the_gate_enters_before_any_later_writer() {
    let mut order = order(Mode::Snapshot);
    let reader = order.take_ticket(Anon, "");
    let writer = order.take_ticket(Global, "");
    order.want(writer, Global, "writes");
    assert_eq!(all(&mut order), []);
    order.want(reader, Anon, "reads");
    assert_eq!(all(&mut order), [run(reader, Anon, "reads"), run(writer, Global, "writes")]);
}

#[test]
fn i5_i11_a_version_is_kept_while_it_is_current_or_read() {
    let mut pins = Pins::default();
    pins.pin();
    pins.pin();
    assert_eq!(pins.unpin(), Fate::Kept);
    assert!(pins.is_read());
    assert_eq!(pins.retire(), Fate::Kept);
    assert_eq!(pins.unpin(), Fate::Free);
    let mut pins = Pins::new();
    pins.pin();
    assert_eq!(pins.unpin(), Fate::Kept, "it is current");
    assert!(!pins.is_read());
    assert_eq!(pins.retire(), Fate::Free);
}

#[test]
#[should_panic(expected = "only what is pinned is unpinned")]
fn i11_a_version_is_unpinned_as_often_as_it_was_pinned() {
    let _ = Pins::new().unpin();
}

#[test]
fn i6_state_order_does_not_wait_for_commit_order() {
    for mode in [Mode::Snapshot, Mode::ReadWrite] {
        let mut order = order(mode);
        let slow = order.take_ticket(InNone, "");
        for _ in 0..3 {
            let writer = in_global(&mut order);
            order.downgrade(writer);
            order.commit(writer, None);
        }
        assert_eq!(all(&mut order), []);
        assert_eq!(order.oldest(), Some(Oldest { ticket: slow, doing: Doing::In(InNone) }));
        assert_eq!(order.uncommitted(), 4);
    }
}

#[test]
fn one_call_of_decide_is_bounded() {
    const SLOTS: usize = 1_000_000;
    let mut order = order(Mode::Snapshot);
    let first = order.take_ticket(Global, "");
    for _ in 0..SLOTS {
        order.take_ticket(InNone, "");
    }
    let last = order.take_ticket(Global, "");
    order.want(last, Global, "writes");
    assert_eq!(order.decide(), None, "the first one blocks");
    order.renounce(first, InNone);
    let mut moved = 0;
    let decided = loop {
        match order.decide() {
            Some(Next::Moved) => moved += 1,
            decided => break decided,
        }
    };
    assert_eq!(decided, Some(run(last, Global, "writes")));
    assert!((SLOTS / 1_000..SLOTS / 8).contains(&moved), "{moved} calls");
    assert_eq!(order.decide(), None);
}
