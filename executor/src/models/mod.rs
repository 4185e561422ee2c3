//! Loom models: small programs in every interleaving, with every value that the memory orderings
//! allow.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p dapple --lib --release --target-dir target-loom`

mod access;
mod closing;
mod domain;
mod life;
mod lock;
mod order;
mod private;
mod quiesce;
mod sleep;
mod wake;

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // If the variable `LOOM_MAX_PREEMPTIONS` is set, its number counts instead; loom reads it
    // itself.
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        builder.preemption_bound = Some(3);
    }
    builder.check(f);
}
