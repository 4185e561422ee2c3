//! The part that all steps share: the command line, `ADDRESS FILE WORKERS`, and the end on a
//! signal.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dapple::Handle;
use dapple_io::Io;
use dapple_io::tcp::{ConnOptions, Listener};

use super::resp::MOST;
use super::saves::Saves;

/// The arguments of the command line.
pub struct Options {
    pub address: SocketAddr,
    pub saves: Arc<Saves>,
}

/// Returns limits with room for the longest request, and 60 s for it to arrive. Between two
/// requests a client may wait as long as it likes.
pub fn limits() -> ConnOptions {
    let (idle_timeout, frame_timeout) = (Duration::MAX, Duration::from_secs(60));
    ConnOptions { max_input: MOST, idle_timeout, frame_timeout, ..ConnOptions::default() }
}

/// Starts a server, and waits for SIGTERM or SIGINT.
pub fn run(start: impl FnOnce(&Handle, &Io, &Options) -> io::Result<Listener>) -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:6379".to_owned());
    let file = arguments.next().unwrap_or_else(|| "kv.saved".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    let options = Options { address, saves: Arc::new(Saves::new(Path::new(&file))) };
    let workers = arguments.next().map(|number| number.parse().map_err(io::Error::other));
    let builder = dapple_io::runtime();
    let rt = match workers.transpose()? {
        Some(workers) => builder.workers(workers).build()?,
        None => builder.build()?,
    };
    let io = Io::of(&rt.handle());
    let listener = start(&rt.handle(), &io, &options)?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
