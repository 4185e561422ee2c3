//! HTTP/1.1, as far as a server of files needs it (RFC 9110, RFC 9112).
//!
//! * [`request`]: parsing, with limits.
//! * [`head`]: writing the head of a response.
//! * [`coding`]: content codings.
//! * [`date`](self::date): dates.

pub(super) mod coding;
pub(super) mod date;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
pub(super) mod head;
pub(super) mod request;
