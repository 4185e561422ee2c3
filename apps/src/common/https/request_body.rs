//! Bodies of requests: read piece by piece, with a limit of silence; and what becomes of one that
//! nobody wants.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use dapple::Handle;
use futures_lite::future::poll_once;
use http::{HeaderMap, header};
use hyper::body::{Body as _, Incoming};

/// How long a client may send nothing of a body that it has begun.
const SILENCE: Duration = Duration::from_secs(60);

/// How long one is read that nobody wants.
const DRAINED_FOR: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    TooLarge,
    Io(io::Error),
}

/// Bytes that are read of what nobody wants.
pub(crate) const MOST_LEFT: u64 = 1024 * 1024;

/// See the module.
pub(crate) struct RequestBody {
    incoming: Incoming,
    handle: Handle,
    /// The client waits to be told before it sends: by a first look at the body, or by the answer.
    waits: bool,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, headers: &HeaderMap, handle: &Handle) -> Self {
        let waits = headers.contains_key(header::EXPECT);
        RequestBody { incoming, handle: handle.clone(), waits }
    }

    /// Says whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// How long it is, if the client has said so.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// What comes next; `None`: that was all.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.waits = false;
        loop {
            let mut next = std::future::poll_fn(|cx| Pin::new(&mut self.incoming).poll_frame(cx));
            // Mostly it is there already, and no timer is needed.
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

    /// All of it; one that is too large is refused.
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

    /// Nobody wants the rest. It is read all the same, for a while and up to so many bytes, so that
    /// the client hears why instead of being cut off. The answer does not wait for it.
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
