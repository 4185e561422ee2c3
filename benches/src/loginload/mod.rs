//! Load on a pooler of PostgreSQL's connections: clients that log in over TLS, ask nothing and go,
//! and beside them a few that stay and ask at their own pace.
//!
//! * [`client`]: a connection, as far as it matters here.
//! * [`load`]: what the clients do, and what it took.

pub mod client;
pub mod load;
