//! Load on file servers over TLS 1.3: HTTP/1.1 requests on plain blocking threads, with one
//! connection per client.
//!
//! The client has to be cheaper than every server that it measures. rustls makes the handshake. The
//! records after it are opened and sealed here, in place, so that nothing is copied or allocated
//! beyond what the system does.
//!
//! * [`load`]: what each client asks for, and the measurement.
//! * [`http`]: requests, and the parts of a response that are needed.
//! * [`tls`]: connections, from the handshake on.
//! * [`records`]: opening and sealing records.
//! * [`config`]: the configuration that all connections share.
//!
//! Left out on purpose: certificates are not verified, bodies are not compared with anything, and
//! chunked responses are refused because they do not state their length in advance.

pub mod config;
pub mod http;
pub mod load;
pub mod records;
pub mod tls;
