//! Bodies of responses: nothing, some bytes, a part of a file, content that is made piece by piece,
//! or several of these.
//!
//! A file that the page cache has is read on the worker. What has to come from a disk is read on
//! the blocking pool, one piece ahead of the piece that is being sent. So a client that takes
//! nothing keeps three things in memory: the piece that it does not take, one more, and the
//! connection's buffers. See [`CHUNK`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use dapple::{Handle, JoinHandle};
use hyper::body::{Frame, SizeHint};

use crate::common::cached;
use crate::common::pieces::Pieces;

/// The size in bytes of a buffer, and of the largest piece of a file.
pub(crate) const CHUNK: usize = 128 * 1024;

/// The length in bytes above which a body's file is closed on the blocking pool.
const LARGE: u64 = 16 * 1024 * 1024;

/// The maximum number of free buffers that are kept.
const MOST_FREE: usize = 64;

/// A free list of buffers for files. A buffer returns to it when it has been sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Buffers {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Buffer {
        let bytes = self.free().pop().unwrap_or_else(|| vec![0; CHUNK].into());
        Buffer { bytes, from: 0, to: 0, home: self.clone() }
    }
}

/// A buffer that is partly filled: with the bytes `from..to`.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
    home: Buffers,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.free();
        if free.len() < MOST_FREE {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A piece of a body.
pub(crate) enum Piece {
    Bytes(Bytes),
    Buffer(Buffer),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.remaining(),
            Piece::Buffer(buffer) => buffer.to - buffer.from,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Bytes(bytes) => bytes.chunk(),
            Piece::Buffer(buffer) => &buffer.bytes[buffer.from..buffer.to],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Bytes(bytes) => bytes.advance(count),
            Piece::Buffer(buffer) => {
                assert!(count <= buffer.to - buffer.from, "advanced past the end");
                buffer.from += count;
            }
        }
    }
}

type Made = (Box<dyn Pieces>, io::Result<Option<Bytes>>);

pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    File(FileBody),
    Pieces {
        handle: Handle,
        made: Option<JoinHandle<Made>>,
    },
    /// Several bodies, one after the other.
    Parts(VecDeque<Body>),
    /// A body that reports its length when it ends.
    Counted(Box<Body>, Count),
}

/// The number of bytes of a body that have been handed out, and the function to which it is
/// reported.
pub(crate) struct Count {
    len: u64,
    tell: Option<Box<dyn FnOnce(u64) + Send>>,
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(self.len);
        }
    }
}

impl Body {
    pub(crate) fn text(text: impl Into<Bytes>) -> Body {
        Body::Bytes(text.into())
    }

    /// Creates a body that is made while it is sent. The first piece is begun at once.
    pub(crate) fn pieces(handle: &Handle, pieces: impl Pieces) -> Body {
        let made = Some(make(handle, Box::new(pieces)));
        Body::Pieces { handle: handle.clone(), made }
    }

    /// Calls `tell` with the number of bytes handed out, when the body has been sent or is dropped.
    pub(crate) fn counted(self, tell: impl FnOnce(u64) + Send + 'static) -> Body {
        Body::Counted(Box::new(self), Count { len: 0, tell: Some(Box::new(tell)) })
    }
}

fn make(handle: &Handle, mut pieces: Box<dyn Pieces>) -> JoinHandle<Made> {
    handle.offload(move || {
        let piece = pieces.next();
        (pieces, piece)
    })
}

/// A part of a file.
pub(crate) struct FileBody {
    file: Arc<File>,
    /// The offset of the next byte that has not been handed out.
    at: u64,
    /// The number of bytes that have not been handed out.
    left: u64,
    buffers: Buffers,
    handle: Handle,
    is_large: bool,
    /// Whether the file system keeps everything in memory. It is `None` while that is not known:
    /// until a read shows that the file system cannot tell which data is in memory.
    kept: Option<bool>,
    /// The next piece, if it is being read from a disk.
    ahead: Option<JoinHandle<io::Result<Buffer>>>,
}

impl FileBody {
    pub(crate) fn new(
        file: Arc<File>,
        at: u64,
        len: u64,
        in_memory: bool,
        buffers: &Buffers,
        handle: &Handle,
    ) -> FileBody {
        let kept = in_memory.then_some(true);
        let (buffers, handle, is_large) = (buffers.clone(), handle.clone(), len > LARGE);
        FileBody { file, at, left: len, buffers, handle, is_large, kept, ahead: None }
    }

    fn next_len(&self) -> usize {
        usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK)
    }

    /// Reads without blocking. Returns `WouldBlock` if the data has to be read on the blocking
    /// pool.
    fn read_cached(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.kept.is_none() {
            if let Some(n) = cached::try_read(&self.file, buf, self.at)? {
                return Ok(n);
            }
            self.kept = Some(cached::is_in_memory(&self.file));
        }
        match self.kept {
            Some(true) => cached::read_blocking(&self.file, buf, self.at),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn read_ahead(&mut self) -> JoinHandle<io::Result<Buffer>> {
        let (file, at, len) = (Arc::clone(&self.file), self.at, self.next_len());
        let mut buffer = self.buffers.take();
        self.handle.offload(move || {
            buffer.to = cached::read_blocking(&file, &mut buffer.bytes[..len], at)?;
            Ok(buffer)
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        if self.ahead.is_none() {
            let mut buffer = self.buffers.take();
            let len = self.next_len();
            match self.read_cached(&mut buffer.bytes[..len]) {
                Ok(n) => {
                    buffer.to = n;
                    return Poll::Ready(self.got(buffer));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        let mut ahead = self.ahead.take().unwrap_or_else(|| self.read_ahead());
        let Poll::Ready(outcome) = Pin::new(&mut ahead).poll(cx) else {
            self.ahead = Some(ahead);
            return Poll::Pending;
        };
        let buffer = outcome.map_err(io::Error::other)?;
        let buffer = self.got(buffer?)?;
        if self.left > 0 {
            self.ahead = Some(self.read_ahead());
        }
        Poll::Ready(Ok(buffer))
    }

    fn got(&mut self, buffer: Buffer) -> io::Result<Buffer> {
        if buffer.to == 0 {
            // The file has become shorter. The client was promised more bytes, and only an error
            // shows it that some are missing.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += buffer.to as u64;
        self.left -= buffer.to as u64;
        Ok(buffer)
    }
}

impl Drop for FileBody {
    /// Closes a large file on the blocking pool. If the file was replaced in the meantime, the last
    /// close frees its blocks, which takes long if there are many.
    fn drop(&mut self) {
        if self.is_large {
            let file = Arc::clone(&self.file);
            self.handle.offload(move || drop(file)).detach();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Piece>>>> {
        let piece = match &mut *self {
            Body::Empty => return Poll::Ready(None),
            Body::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Piece::Bytes(bytes)
            }
            Body::File(file) if file.left == 0 => return Poll::Ready(None),
            Body::File(file) => Piece::Buffer(ready!(file.poll_next(cx))?),
            Body::Pieces { handle, made } => {
                let Some(making) = made else { return Poll::Ready(None) };
                let (pieces, piece) =
                    ready!(Pin::new(making).poll(cx)).map_err(io::Error::other)?;
                *made = None;
                match piece? {
                    None => return Poll::Ready(None),
                    Some(bytes) => {
                        *made = Some(make(handle, pieces));
                        Piece::Bytes(bytes)
                    }
                }
            }
            Body::Parts(parts) => {
                while let Some(part) = parts.front_mut() {
                    if let Some(frame) = ready!(Pin::new(part).poll_frame(cx)) {
                        return Poll::Ready(Some(frame));
                    }
                    parts.pop_front();
                }
                return Poll::Ready(None);
            }
            Body::Counted(body, count) => {
                let frame = ready!(Pin::new(&mut **body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    count.len += frame.data_ref().map_or(0, |piece| piece.remaining() as u64);
                }
                return Poll::Ready(frame);
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::File(file) => file.left == 0,
            Body::Pieces { made, .. } => made.is_none(),
            Body::Parts(parts) => parts.iter().all(Body::is_end_stream),
            Body::Counted(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::File(file) => SizeHint::with_exact(file.left),
            Body::Pieces { .. } => SizeHint::default(),
            Body::Counted(body, _) => body.size_hint(),
            Body::Parts(parts) => {
                let exact = |part: &Body| part.size_hint().exact();
                parts
                    .iter()
                    .map(exact)
                    .sum::<Option<u64>>()
                    .map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
