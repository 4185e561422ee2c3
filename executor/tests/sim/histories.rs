//! Histories of whole programs keep the rules.

use std::time::Duration;

use dapple::{Domain, sim};

use super::{holds, start};

#[test]
fn e13_a_history_begins_where_it_is_asked_for() {
    holds(10, |sim| {
        let rt = start(1);
        let h = rt.handle();
        h.post_default(|_| ());
        rt.wait_idle();
        let history = sim.history();
        h.post_default(|_| sim::wrote("x", "text"));
        rt.wait_idle();
        let ran = history.events().iter().filter(|event| event.began.is_some()).count();
        assert_eq!((ran, history.values().len()), (1, 1));
        assert_eq!(sim.history().events().len(), 0);
        history.check_at_rest();
    });
    // A run that is told has more records, but none of them belongs to the history.
    let failure = sim::find(&sim::Config::new().seeds(0..1).run_twice(), |sim| {
        let rt = start(1);
        rt.handle().post_default(|_| ());
        rt.wait_idle();
        assert_eq!(sim.history().events().len(), 0, "nothing has happened yet");
    });
    assert!(failure.is_none(), "{failure:?}");
}

#[test]
fn e13_histories_of_a_bit_of_everything_keep_the_rules() {
    holds(150, |sim| {
        let history = sim.history();
        let rt = start(1 + sim.seed() as usize % 3);
        let h = rt.handle();
        let colors: Vec<_> = (0..3).map(|_| h.new_color()).collect();
        let domain = Domain::snapshot(&h, 0u64);
        for n in 0..8usize {
            let (next, other) = (colors[n % 3].clone(), colors[(n + 1) % 3].clone());
            let domain = domain.clone();
            colors[(n + 2) % 3].post(move |cx| {
                cx.post_shared(&other, |_| sim::work(Duration::from_millis(2)));
                cx.post_set(&[next.exclusive(), other.shared()], |_| ());
                cx.post_uncolored(|_| sim::work(Duration::from_micros(10)));
                domain.global(|cx| {
                    *cx.state_mut() += 1;
                    sim::wrote("state", cx.state());
                });
                domain.anon(move |cx| {
                    sim::read("state", cx.state());
                    cx.defer(move |cx| cx.post(&next, |_| ()));
                });
            });
        }
        rt.wait_idle();
        history.check_at_rest();
        rt.shutdown(Duration::from_secs(1));
        history.check_ended();
    });
}
