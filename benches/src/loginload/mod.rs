//! Load on a PostgreSQL connection pooler: clients that log in over TLS, ask nothing and
//! disconnect, and a few clients that stay and ask at their own pace.
//!
//! * [`client`]: the part of a connection that is needed here.
//! * [`load`]: what the clients do, and the measurement.

pub mod client;
pub mod load;
