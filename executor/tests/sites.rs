//! A post on behalf of others is reported with the site that the poster passed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dapple::{Context, Domain, Handle, Runtime, Site};

/// Makes an event panic that `post` posts from a site, and returns the site in the report.
fn site_of(post: impl FnOnce(&Handle, Site)) -> String {
    let sites = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&sites);
    let builder = Runtime::builder().workers(2);
    let rt = builder.on_panic(move |report| told.lock().unwrap().push(report.site)).build();
    let rt = rt.unwrap();
    post(&rt.handle(), Site::named("there.c", 7));
    while sites.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    rt.wait_idle();
    let sites = sites.lock().unwrap();
    sites[0].unwrap().to_string()
}

#[test]
fn c11_each_way_to_post_for_others_names_their_place() {
    let there = "there.c:7";
    let ends = || std::panic::resume_unwind(Box::new("on purpose"));
    assert_eq!(site_of(|h, site| h.post_from(site, &h.new_color(), move |_| ends())), there);
    assert_eq!(site_of(|h, site| h.post_shared_from(site, &h.new_color(), move |_| ends())), there);
    assert_eq!(site_of(|h, site| h.post_uncolored_from(site, move |_| ends())), there);
    assert_eq!(
        site_of(|h, site| {
            let (a, b) = (h.new_color(), h.new_color());
            h.post_set_from(site, &[a.exclusive(), b.shared()], move |_| ends());
        }),
        there
    );
    assert_eq!(
        site_of(|h, site| h.new_color().try_reserve().unwrap().post_from(site, move |_| ends())),
        there
    );
    assert_eq!(
        site_of(|h, site| {
            h.post_at_from(site, Instant::now(), &h.new_color(), move |_| ends());
        }),
        there
    );
    assert_eq!(
        site_of(|h, site| {
            h.every_from(site, Duration::from_millis(1), &h.new_color(), move |_| ends());
        }),
        there
    );
    assert_eq!(
        site_of(|h, site| {
            h.offload_then_from(site, &h.new_color(), || (), move |_, _| ends());
        }),
        there
    );
    assert_eq!(
        site_of(|h, site| {
            h.offload_then_from(site, &h.new_color(), ends, |_, _| ());
        }),
        there
    );
}

#[test]
fn i2_the_steps_of_an_event_are_from_its_place_unless_it_says_another() {
    let d = |h: &Handle| Domain::snapshot(h, 0);
    let ends = || -> ! { std::panic::resume_unwind(Box::new("on purpose")) };
    assert_eq!(
        site_of(|h, site| d(h).event_dyn_from(site, Context::Global, move |_| ends())),
        "there.c:7"
    );
    let in_a_step = |h: &Handle, site| {
        let (d, asks) = (d(h), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&asks);
        // The step has to wait for this event, so it becomes an event of its own.
        d.global(move |_| {
            while !asked.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
        });
        d.event_dyn_from(site, Context::Global, move |mut e| {
            e.set_site(Site::named("step.c", 8));
            let done = e.enter_then(Context::Global, move |_| ends()).unwrap();
            asks.store(true, Ordering::Release);
            done
        });
    };
    assert_eq!(site_of(in_a_step), "step.c:8");
    let in_an_action = |h: &Handle, site| {
        d(h).event_dyn_from(site, Context::None, move |mut e| {
            e.defer(move |_| ends());
            e.commit()
        });
    };
    assert_eq!(site_of(in_an_action), "there.c:7");
}

#[test]
fn i2_an_event_knows_where_it_may_go() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let d = Domain::snapshot(&rt.handle(), 0);
    let has_run = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&has_run);
    d.event_dyn(Context::Anon, move |e| {
        assert!(e.may_enter(Context::None).is_ok() && e.may_enter(Context::Anon).is_ok());
        assert!(e.may_enter(Context::Global).unwrap_err().is_undeclared());
        e.enter_then(Context::Anon, move |e| {
            assert!(!e.may_enter(Context::Global).unwrap_err().is_undeclared());
            runs.store(true, Ordering::Release);
            e.commit()
        })
        .unwrap()
    });
    rt.wait_idle();
    assert!(has_run.load(Ordering::Acquire));
}
