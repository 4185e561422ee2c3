//! Load on spiped, which encrypts connections, by peers that are cheaper than spiped.
//!
//! spiped is one half of a pair, and the other half is here. This half makes no key exchange of its
//! own (spiped's `-f`), and discards encrypted bytes without decrypting them, so that spiped does
//! nearly all of the work.
//!
//! * [`peer`]: the other end of the encryption.
//! * [`load`]: the load, and the measurement.

pub mod load;
pub mod peer;
