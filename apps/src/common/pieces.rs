//! Bodies that are made while they are sent.

use std::io;

use bytes::Bytes;

/// What is made piece by piece, on the blocking pool.
pub(crate) trait Pieces: Send + 'static {
    /// The next piece; `None`: that was all. It may block.
    fn next(&mut self) -> io::Result<Option<Bytes>>;
}

/// A body without anything in it.
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
