//! Bodies that are made while they are sent.

use std::io;

use bytes::Bytes;

/// A body that is made piece by piece, on the blocking pool.
pub(crate) trait Pieces: Send + 'static {
    /// Makes the next piece. Returns `None` at the end. It may block.
    fn next(&mut self) -> io::Result<Option<Bytes>>;
}

/// An empty body.
pub(crate) struct Nothing;

impl Pieces for Nothing {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

impl Pieces for Box<dyn Pieces> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        (**self).next()
    }
}
