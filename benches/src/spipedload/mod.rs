//! Load on spiped, which encrypts connections, by peers that are cheaper than it is.
//!
//! spiped is one half of a pair; the other half is here. It does without a key exchange of its own
//! (spiped's `-f`), and throws encrypted bytes away unseen, so that nearly all of the work is
//! spiped's.
//!
//! * [`peer`]: the other end of the encryption.
//! * [`load`]: what is measured.

pub mod load;
pub mod peer;
