//! Prints the digests of the runs of 100 seeds. They are the same in each run, each build, and with
//! each allocator: `.ci/run` compares a debug build with a release build, and two allocators.
//!
//! `cargo run -p dapple --features sim --example sim-digest`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dapple::sim::{self, Config};
use dapple::{Domain, Runtime};

/// Runs about a hundred events of all kinds.
fn body(sim: &sim::Sim, digest: &AtomicU64) {
    let rt = Runtime::builder().workers(3).build().expect("fibers");
    let h = rt.handle();
    let colors: Vec<_> = (0..6).map(|_| h.new_color()).collect();
    let domain = Domain::snapshot(&h, 0u64);
    for n in 0..20usize {
        let (next, other) = (colors[(n * 5 + 2) % 6].clone(), colors[(n + 3) % 6].clone());
        let domain = domain.clone();
        colors[n % 6].post(move |cx| {
            // The heap is different in each run.
            let junk: Vec<u8> = Vec::with_capacity(n * 1_000);
            cx.handle().post_set(&[next.exclusive(), other.shared()], |_| ());
            cx.post_shared(&other, move |_| drop(junk));
            domain.global(|cx| *cx.state_mut() += 1);
            domain.anon(move |cx| cx.defer(move |cx| cx.post(&next, |_| ())));
            let handle = cx.handle();
            let task = handle.clone().spawn(&other, async move {
                handle.sleep(Duration::from_micros(50)).await;
                handle.offload(|| ()).await
            });
            drop(task);
        });
    }
    rt.wait_idle();
    sim.advance(Duration::from_millis(50));
    rt.wait_idle();
    digest.store(sim.digest(), SeqCst);
}

fn main() {
    for seed in 0..100 {
        let digest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&digest);
        let report = sim::run(&Config::new(), seed, move |sim| body(sim, &seen));
        assert_eq!(report.failure, None, "seed {seed}");
        let (digest, steps, time) = (digest.load(SeqCst), report.steps, report.time);
        println!("seed {seed}: {digest:016x}, {} events, {steps} steps, {time:?}", report.events);
    }
}
