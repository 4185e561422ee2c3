//! Messages over a stream, for tasks.

use std::io;
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};

use super::{Codec, Reader};

/// The number of bytes that an incomplete message may have even if the codec has less
/// [room](Codec::room).
const MOST: usize = 1024 * 1024;

/// The maximum number of bytes that one read takes.
const CHUNK: usize = 16 * 1024;

/// A stream for tasks that a codec turns into messages.
///
/// # Examples
///
/// ```
/// use dapple_io::codec::{Lines, Messages};
/// # let rt = dapple_io::runtime().build()?;
/// # let io = dapple_io::Io::of(&rt.handle());
/// # let (one, other) = std::os::unix::net::UnixStream::pair()?;
/// let (one, other) = (io.adopt(one)?.into_async()?, io.adopt(other)?.into_async()?);
/// rt.block_on(async {
///     let mut one = Messages::new(one, Lines::new(100));
///     let mut other = Messages::new(other, Lines::new(100));
///     one.send(b"hello").await?;
///     assert_eq!(other.next().await?.as_deref(), Some(&b"hello"[..]));
///     drop(one);
///     assert_eq!(other.next().await?, None);
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Messages<S, C> {
    stream: S,
    reader: Reader<C>,
    /// Bytes that were read. Those from `start` on have not been returned in messages.
    input: Vec<u8>,
    start: usize,
    /// Bytes of messages that have not been written.
    output: Vec<u8>,
}

impl<S, C: Codec> Messages<S, C> {
    /// Returns a stream of messages over a stream of bytes, from which nothing has been read yet.
    pub fn new(stream: S, codec: C) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Messages { stream, reader: Reader::new(codec), input, start: 0, output }
    }

    /// Returns a reference to the stream of bytes.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the stream of bytes, and the bytes that were read but not returned in messages.
    ///
    /// A part of a message that has not been written is lost.
    ///
    /// # Examples
    ///
    /// A line that bytes of another format follow:
    ///
    /// ```
    /// use dapple_io::codec::{Lines, Messages};
    /// # use std::{io::Write, os::unix::net::UnixStream};
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// peer.write_all(b"a head\nand a body")?;
    /// let mut lines = Messages::new(io.adopt(ours)?.into_async()?, Lines::new(100));
    /// let head = rt.block_on(lines.next())?;
    /// assert_eq!(head.as_deref(), Some(&b"a head"[..]));
    /// let (stream, read) = lines.into_parts();
    /// assert_eq!(read, b"and a body");      // more of it may come from `stream`
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.input.drain(..self.start);
        (self.stream, self.input)
    }
}

impl<S: AsyncRead + Unpin, C: Codec> Messages<S, C> {
    /// Returns the next message, or `None` if the peer has closed its side.
    ///
    /// At the end, [`into_parts`](Self::into_parts) has what the peer has sent of an incomplete
    /// message. Dropping the returned future loses nothing. See the [type](Self) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidData` if the input breaks the rules of the format, or if a message is not
    /// complete within 1 MiB or the codec's [room](Codec::room), whichever is more. Otherwise,
    /// returns the error of the stream.
    ///
    /// # Panics
    ///
    /// Panics if the codec takes more bytes than there are, or takes none for a message.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.reader.take(&self.input[self.start..]) {
                Ok(Some((message, taken))) => {
                    self.start += taken;
                    return Ok(Some(message));
                }
                Ok(None) => {}
                Err(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            }
            self.input.drain(..self.start);
            self.start = 0;
            let most = self.reader.codec().room().max(MOST);
            if self.input.len() > most {
                let why = "a message is too long";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let (stream, input) = (&mut self.stream, &mut self.input);
            let before = input.len();
            let n = std::future::poll_fn(|cx| {
                input.resize(before + CHUNK, 0);
                let polled = Pin::new(&mut *stream).poll_read(cx, &mut input[before..]);
                // Whatever the outcome, only bytes that were read stay in the buffer.
                let read = match &polled {
                    std::task::Poll::Ready(Ok(n)) => *n,
                    _ => 0,
                };
                input.truncate(before + read);
                polled
            })
            .await?;
            if n == 0 {
                return Ok(None);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, C: Codec> Messages<S, C> {
    /// Sends a message, and waits until it has been written.
    ///
    /// If the returned future is dropped, a part of the message may be unwritten. The next call
    /// writes that part first. See the [type](Self) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the format does not allow the message, and `WriteZero` if the
    /// stream takes no more bytes. Otherwise, returns the error of the stream.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.reader.codec().encode(message, &mut self.output)?;
        while !self.output.is_empty() {
            let (stream, output) = (&mut self.stream, &self.output);
            let n = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, output));
            match n.await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => drop(self.output.drain(..n)),
            }
        }
        let stream = &mut self.stream;
        std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
    }
}
