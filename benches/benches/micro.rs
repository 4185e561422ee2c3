//! Micro benchmarks: `cargo bench -p dapple-benches`.
//!
//! Each benchmark measures the time of one operation on a worker. The group "what it is made of"
//! measures the parts: an atomic exchange, an allocation, a clock reading. There is one worker, so
//! nothing is stolen.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use dapple::{Colored, Cx, Histogramming, Palette, Runtime};

fn runtime(histograms: Histogramming) -> Runtime {
    Runtime::builder().workers(1).histograms(histograms).build().expect("a runtime")
}

/// Returns the time that `body` takes on a worker, including all events that it posts.
fn on_worker(rt: &Runtime, body: impl FnOnce(&mut Cx) + Send + 'static) -> Duration {
    let (tx, rx) = mpsc::channel();
    rt.handle().post(&rt.handle().new_color(), move |cx| {
        let start = Instant::now();
        body(cx);
        // This event is queued after everything that the body posted.
        cx.post_uncolored(move |_| tx.send(start.elapsed()).expect("it is waited for"));
    });
    let took = rx.recv().expect("the worker answers");
    rt.wait_idle();
    took
}

fn posts(c: &mut Criterion) {
    let mut group = c.benchmark_group("post and run");
    for (name, histograms) in [
        ("own color", Histogramming::Sampled),
        ("own color, histograms off", Histogramming::Off),
        ("own color, histograms exact", Histogramming::Exact),
    ] {
        let rt = runtime(histograms);
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                fn step(left: u64, start: Instant, tx: mpsc::Sender<Duration>, cx: &mut Cx) {
                    match left {
                        0 => tx.send(start.elapsed()).expect("it is waited for"),
                        _ => cx.post_here(move |cx| step(left - 1, start, tx, cx)),
                    }
                }
                let (tx, rx) = mpsc::channel();
                rt.handle()
                    .post(&rt.handle().new_color(), move |cx| step(n, Instant::now(), tx, cx));
                rx.recv().expect("the worker answers")
            });
        });
    }
    let rt = runtime(Histogramming::Sampled);
    group.bench_function("uncolored, 1,000 at a time", |b| {
        b.iter_custom(|n| {
            let rounds = n.div_ceil(1_000);
            let took: Duration = (0..rounds)
                .map(|_| {
                    on_worker(&rt, |cx| {
                        for i in 0..1_000u64 {
                            cx.post_uncolored(move |_| {
                                black_box(i);
                            });
                        }
                    })
                })
                .sum();
            took.mul_f64(n as f64 / (rounds * 1_000) as f64)
        });
    });
    group.bench_function("colored value, 1,000 values at a time", |b| {
        let values: Vec<_> =
            (0..1_000).map(|_| Colored::new(&rt.handle().new_color(), 0u64)).collect();
        let values = std::sync::Arc::new(values);
        b.iter_custom(|n| {
            let rounds = n.div_ceil(1_000);
            let took: Duration = (0..rounds)
                .map(|_| {
                    let values = values.clone();
                    on_worker(&rt, move |_| values.iter().for_each(|v| v.post(|n, _| *n += 1)))
                })
                .sum();
            took.mul_f64(n as f64 / (rounds * 1_000) as f64)
        });
    });
    group.finish();
}

fn colors(c: &mut Criterion) {
    let rt = runtime(Histogramming::Sampled);
    let mut group = c.benchmark_group("colors");
    group.bench_function("make and drop, on a worker", |b| {
        b.iter_custom(|n| {
            on_worker(&rt, move |cx| {
                for _ in 0..n {
                    black_box(cx.new_color());
                }
            })
        });
    });
    group.bench_function("look up a known key", |b| {
        let palette = Palette::<u64>::new(&rt.handle());
        let _held: Vec<_> = (0..1_000).map(|k| palette.color(&k)).collect();
        let mut key = 0;
        b.iter(|| {
            key = (key + 7) % 1_000;
            palette.color(&key)
        });
    });
    group.finish();
    rt.wait_idle();
}

fn timers(c: &mut Criterion) {
    let rt = runtime(Histogramming::Sampled);
    let color = rt.handle().new_color();
    c.bench_function("timer: start and cancel, on a worker", |b| {
        let color = color.clone();
        b.iter_custom(|n| {
            let color = color.clone();
            on_worker(&rt, move |cx| {
                for _ in 0..n {
                    cx.post_after(Duration::from_secs(60), &color, |_| ()).cancel();
                }
            })
        });
    });
}

fn figures(c: &mut Criterion) {
    let rt = runtime(Histogramming::Sampled);
    let recorder = rt.handle().histogram("request");
    c.bench_function("user-defined histogram: record, on a worker", |b| {
        b.iter_custom(|times| {
            let recorder = recorder.clone();
            on_worker(&rt, move |_| {
                for n in 0..times {
                    recorder.record_nanos(black_box(n % 100_000 + 1));
                }
            })
        });
    });
}

fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("what it is made of");
    let word = AtomicUsize::new(0);
    group.bench_function("atomic exchange", |b| {
        b.iter(|| word.swap(black_box(1), Ordering::AcqRel))
    });
    group.bench_function("box of 48 bytes", |b| b.iter(|| Box::new(black_box([0u64; 6]))));
    group.bench_function("reading of the clock", |b| b.iter(Instant::now));
    group.finish();
}

criterion_group!(benches, posts, colors, timers, figures, parts);
criterion_main!(benches);
