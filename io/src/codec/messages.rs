//! Messages over a stream, for tasks.

use std::io;
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};

use super::{Codec, Reader};

/// Bytes of an incomplete message at most, if the codec does not say.
const MOST: usize = 1024 * 1024;

/// Bytes that one read takes at most.
const CHUNK: usize = 16 * 1024;

/// Messages over a stream for tasks, as a codec has them.
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
    /// What was read and is no message yet: from `start` on.
    input: Vec<u8>,
    start: usize,
    /// What is being sent.
    output: Vec<u8>,
}

impl<S, C: Codec> Messages<S, C> {
    /// Reads and writes messages over a stream, of which nothing has been read.
    pub fn new(stream: S, codec: C) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Messages { stream, reader: Reader::new(codec), input, start: 0, output }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, and what of it was read and is no message yet.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.input.drain(..self.start);
        (self.stream, self.input)
    }
}

impl<S: AsyncRead + Unpin, C: Codec> Messages<S, C> {
    /// The next message. `None`: the peer has closed its side; what it has sent of a message that
    /// is not complete is in [`into_parts`](Self::into_parts). A call that is dropped loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// `InvalidData` if what comes is no message, or no end of it comes within what the codec
    /// [has room for](Codec::room), or within 1 MiB if it does not say; otherwise those of the
    /// stream.
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
                let why = "a message is longer than there is room for";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let (stream, input) = (&mut self.stream, &mut self.input);
            let before = input.len();
            let n = std::future::poll_fn(|cx| {
                input.resize(before + CHUNK, 0);
                let polled = Pin::new(&mut *stream).poll_read(cx, &mut input[before..]);
                // Whatever it is: there is nothing in it but what was read.
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
    /// Sends a message, and waits until it has been written. A call that is dropped may leave a
    /// part of it unwritten; the next one writes that first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the format does not allow such a message; otherwise those of the stream.
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
