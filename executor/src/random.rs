//! Randomness from outside: the one place where any comes in that the builder's seed does not give.

use std::hash::RandomState;
#[cfg(feature = "sim")]
use std::hash::{BuildHasher, DefaultHasher};

#[cfg(not(feature = "sim"))]
pub(crate) type HashKeys = RandomState;

/// Keys for a hash table that strangers fill: nobody can tell which of their entries collide.
#[cfg(not(feature = "sim"))]
pub(crate) fn hash_keys() -> HashKeys {
    RandomState::new()
}

/// Keys for a hash table that strangers fill: nobody can tell which of their entries collide. In a
/// simulation they are the same in each run.
#[cfg(feature = "sim")]
pub(crate) fn hash_keys() -> HashKeys {
    HashKeys((!crate::sync::is_simulated()).then(RandomState::new))
}

/// See [`hash_keys`].
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
