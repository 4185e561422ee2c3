//! Randomness from outside: the one place where any comes in that the builder's seed does not give.

use std::hash::RandomState;

/// Keys for a hash table that strangers fill: nobody can tell which of their entries collide.
pub(crate) fn hash_keys() -> RandomState {
    RandomState::new()
}
