//! Bodies of requests: reading them piece by piece with a time limit, and discarding unwanted ones.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use dapple::Handle;
use futures_lite::future::poll_once;
use http::{HeaderMap, header};
use hyper::body::{Body as _, Incoming};

/// The time for which a client may send nothing of a body that it has begun.
const SILENCE: Duration = Duration::from_secs(60);

/// The time for which an unwanted body is read.
const DRAINED_FOR: Duration = Duration::from_secs(10);

/// The reason why a body was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    TooLarge,
    Io(io::Error),
}

/// The maximum number of bytes that are read of an unwanted body.
pub(crate) const MOST_LEFT: u64 = 1024 * 1024;

/// The body of a request. See the module.
pub(crate) struct RequestBody {
    incoming: Incoming,
    handle: Handle,
    /// Whether the client waits for a `100 Continue`, which hyper sends at the first read of the
    /// body, or for the answer.
    waits: bool,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, headers: &HeaderMap, handle: &Handle) -> Self {
        let waits = headers.contains_key(header::EXPECT);
        RequestBody { incoming, handle: handle.clone(), waits }
    }

    /// Returns `true` if the body is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Returns the length of the body, if the client has announced it.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection breaks off, or if the client sends nothing for 60 s.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.waits = false;
        loop {
            let mut next = std::future::poll_fn(|cx| Pin::new(&mut self.incoming).poll_frame(cx));
            // Usually the next piece is there already, and no timer is needed.
            let frame = match poll_once(&mut next).await {
                Some(frame) => frame,
                None => self.handle.timeout(SILENCE, next).await?,
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads the whole body, of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// Returns `TooLarge` if the body is longer, or the error of a read.
    pub(crate) async fn read(&mut self, most: usize) -> Result<Vec<u8>, ReadError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await.map_err(ReadError::Io)? {
            if all.len() + bytes.len() > most {
                return Err(ReadError::TooLarge);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// Discards the rest of a body that nobody wants.
    ///
    /// It is read nevertheless, for at most 10 s and up to `most` bytes, so that the client
    /// receives the answer instead of being cut off. The answer does not wait for it.
    pub(crate) fn discard(mut self, most: u64) {
        if self.is_empty() || self.waits {
            return;
        }
        let handle = self.handle.clone();
        let drain = async move {
            let mut left = most;
            while let Ok(Some(bytes)) = self.next().await {
                left = left.saturating_sub(bytes.len() as u64);
                if left == 0 {
                    return;
                }
            }
        };
        let limited = handle.timeout(DRAINED_FOR, drain);
        handle.spawn(&handle.new_color(), limited).detach();
    }
}
