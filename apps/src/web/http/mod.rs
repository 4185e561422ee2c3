//! HTTP/1.1 as far as a server of files needs it (RFC 9110, RFC 9112).
//!
//! * [`request`]: parsing, with limits.
//! * [`head`]: writing the head of a response.
//! * [`conditions`]: If-Match, If-None-Match, If-Modified-Since, If-Range, Range.
//! * [`date`](self::date): dates.

pub(super) mod conditions;
pub(super) mod date;
pub(super) mod head;
pub(super) mod request;
