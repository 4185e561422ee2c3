//! A stream that sends small writes together.
//!
//! hyper flushes after each response, even if it goes on with the next one at once. So this stream
//! buffers small writes and reports each flush as done. When the connection's task has nothing more
//! to do, the task sends the buffer, in one TLS record and one system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

/// The maximum number of buffered bytes. A write of this size or more is not buffered.
const MOST: usize = 16 * 1024;

/// The maximum number of reads between two [`send`](Gathered::send)s. It keeps a peer that sends
/// faster than the server answers from occupying the worker.
const MOST_READS: u32 = 4;

/// A stream that buffers small writes. It has two owners on one task: hyper, and the task itself,
/// which calls [`send`](Gathered::send). See the module.
pub(super) struct Gathered<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    /// The buffered bytes. Those from `written` on have not been written yet.
    out: Vec<u8>,
    written: usize,
    reads: u32,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Gathered(Arc::new(Mutex::new(Inner { stream, out: Vec::new(), written: 0, reads: 0 })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Gathered(Arc::clone(&self.0))
    }
}

impl<S: Write + Unpin> Gathered<S> {
    /// Sends the buffered bytes. The task calls it whenever it has nothing more to do.
    pub(super) fn send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        inner.reads = 0;
        inner.send(cx)
    }
}

impl<S: Write + Unpin> Inner<S> {
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        // Frees the memory, so that another connection can use it.
        (self.out, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: Read + Unpin> Read for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        if inner.reads == MOST_READS {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut inner.stream).poll_read(cx, buf);
        inner.reads += u32::from(read.is_ready());
        read
    }
}

impl<S: Write + Unpin> Write for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if inner.out.len() + len > MOST {
            ready!(inner.write_out(cx))?;
            if len >= MOST {
                return Pin::new(&mut inner.stream).poll_write_vectored(cx, bufs);
            }
        }
        bufs.iter().for_each(|buf| inner.out.extend_from_slice(buf));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the task sends the bytes when it has nothing more to do.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        ready!(inner.send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that takes at most `room` bytes, and then blocks.
    struct Sink {
        taken: Vec<u8>,
        calls: usize,
        room: usize,
        is_closed: bool,
    }

    impl Write for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.calls += 1;
            let n = buf.len().min(self.room);
            if n == 0 {
                return Poll::Pending;
            }
            self.room -= n;
            self.taken.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(room: usize) -> Gathered<Sink> {
        Gathered::new(Sink { taken: Vec::new(), calls: 0, room, is_closed: false })
    }

    fn write(gathered: &Gathered<Sink>, bytes: &[u8]) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut gathered.clone()).poll_write(&mut cx, bytes) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    fn taken(gathered: &Gathered<Sink>) -> Vec<u8> {
        gathered.inner().stream.taken.clone()
    }

    fn calls(gathered: &Gathered<Sink>) -> usize {
        gathered.inner().stream.calls
    }

    #[test]
    fn small_writes_are_sent_together_and_large_ones_behind_them() {
        let mut cx = Context::from_waker(Waker::noop());
        let all = gathered(usize::MAX);
        for piece in [b"one, ", b"two, "] {
            assert_eq!(write(&all, piece), Some(5));
            assert!(Pin::new(&mut all.clone()).poll_flush(&mut cx).is_ready());
        }
        assert_eq!(calls(&all), 0);
        assert!(all.send(&mut cx).is_ready());
        assert!(all.send(&mut cx).is_ready(), "there is nothing more");
        assert_eq!((taken(&all), calls(&all)), (b"one, two, ".to_vec(), 1));
        let large = vec![b'x'; MOST + 1];
        write(&all, b"three");
        assert_eq!(write(&all, &large), Some(large.len()));
        assert_eq!(calls(&all), 3);
        assert!(taken(&all).starts_with(b"one, two, threexxx"));
        write(&all, b"four");
        assert!(Pin::new(&mut all.clone()).poll_shutdown(&mut cx).is_ready());
        assert!(taken(&all).ends_with(b"xfour"));
        assert!(all.inner().stream.is_closed);
    }

    #[test]
    fn what_a_peer_does_not_take_is_bounded_and_nothing_is_lost() {
        let mut cx = Context::from_waker(Waker::noop());
        let all = gathered(100);
        let mut sent = Vec::new();
        let mut is_full = false;
        for n in 0..10_000u32 {
            let piece = n.to_le_bytes();
            match write(&all, &piece) {
                Some(4) => sent.extend(piece),
                None => {
                    is_full = true;
                    all.inner().stream.room += 5_000;
                    assert_eq!(write(&all, &piece), None, "all that has gathered goes first");
                    break;
                }
                other => panic!("{other:?}"),
            }
            assert!(all.inner().out.len() <= MOST);
        }
        assert!(is_full && sent.len() <= MOST + 100);
        assert!(all.send(&mut cx).is_pending(), "the peer has taken 5,100 bytes");
        all.inner().stream.room = usize::MAX;
        assert!(all.send(&mut cx).is_ready());
        assert!(taken(&all) == sent);
    }
}
