//! Randomness from outside: the one place where any comes in that the builder's seed does not give.

use std::hash::{BuildHasher, DefaultHasher, RandomState};

use crate::sync;

/// Keys for a hash table that strangers fill: nobody can tell which of their entries collide.
pub(crate) fn hash_keys() -> HashKeys {
    HashKeys((!sync::is_simulated()).then(RandomState::new))
}

/// See [`hash_keys`]. In a simulation they are the same in each run.
#[derive(Clone)]
pub(crate) struct HashKeys(Option<RandomState>);

impl BuildHasher for HashKeys {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        match &self.0 {
            Some(keys) => keys.build_hasher(),
            None => DefaultHasher::new(),
        }
    }
}
