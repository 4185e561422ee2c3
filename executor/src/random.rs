//! Randomness from outside of the program, the only kind that does not come from the builder's
//! seed.

use std::hash::RandomState;
#[cfg(feature = "sim")]
use std::hash::{BuildHasher, DefaultHasher};

#[cfg(not(feature = "sim"))]
pub(crate) type HashKeys = RandomState;

/// Returns keys for a hash table that strangers fill, so that they cannot predict which entries
/// collide.
#[cfg(not(feature = "sim"))]
pub(crate) fn hash_keys() -> HashKeys {
    RandomState::new()
}

/// Returns keys for a hash table that strangers fill, so that they cannot predict which entries
/// collide. In a simulation the keys are the same in each run.
#[cfg(feature = "sim")]
pub(crate) fn hash_keys() -> HashKeys {
    HashKeys((!crate::sync::is_simulated()).then(RandomState::new))
}

/// The keys of a hash table, or `None` in a simulation: see [`hash_keys`].
#[cfg(feature = "sim")]
#[derive(Clone)]
pub(crate) struct HashKeys(Option<RandomState>);

#[cfg(feature = "sim")]
impl BuildHasher for HashKeys {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        match &self.0 {
            Some(keys) => keys.build_hasher(),
            None => DefaultHasher::new(),
        }
    }
}
