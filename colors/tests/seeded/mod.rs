//! Random tests that can be repeated.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// Returns a configuration of this many cases, with a seed that is printed.
///
/// `PROPTEST_RNG_SEED` repeats a seed, `PROPTEST_CASES` changes the number of cases.
pub fn seeded(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let seed = match default.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64),
    };
    println!("PROPTEST_RNG_SEED={seed}");
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    let rng_seed = RngSeed::Fixed(seed);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}
