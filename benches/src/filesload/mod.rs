//! Load on servers of files over TLS 1.3: requests of HTTP/1.1 on plain blocking threads, a
//! connection per client.
//!
//! The client has to be cheaper than every server that it measures. rustls makes the handshake; the
//! records after it are opened and sealed here, in place, so that nothing is copied or allocated
//! beyond what the system does.
//!
//! * [`load`]: who asks for what, and what it took.
//! * [`http`]: requests, and the part of an answer that matters.
//! * [`tls`]: connections, from the handshake on.
//! * [`records`]: opening and sealing records.
//! * [`config`]: what all of them have in common.
//!
//! Left out on purpose: certificates are not verified, bodies are not compared with anything, and
//! answers in chunks are refused, as their length is not told in advance.

pub mod config;
pub mod http;
pub mod load;
pub mod records;
pub mod tls;
