//! A reader that takes messages off an input, one by one.

use super::{Codec, Decoded, EncodeError, decode};
use crate::stream::Conn;

/// A reader that takes messages off the input of a connection in callback style.
///
/// It remembers how much of an incomplete message the codec has seen.
///
/// # Examples
///
/// A protocol that answers each line with its length:
///
/// ```
/// use std::{io::{BufRead, BufReader, Write}, net::TcpStream};
/// use dapple_io::{Io, codec::{Lines, Reader}, tcp::{Accepting, Conn, ConnOptions, Protocol}};
/// use dapple::Cx;
///
/// struct Counts(Reader<Lines>);
///
/// impl Protocol for Counts {
///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
///         while let Some(line) = self.0.next(conn) {
///             let answer = line.len().to_string();
///             self.0.send(conn, answer.as_bytes()).expect("a number is a line");
///         }
///     }
/// }
///
/// let rt = dapple_io::runtime().build()?;
/// let local = "127.0.0.1:0".parse().unwrap();
/// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, |stream, cx| {
///     let counts = Counts(Reader::new(Lines::new(1_000)));
///     stream.serve(&cx.new_color(), ConnOptions::default(), counts);
/// })?;
/// let mut client = TcpStream::connect(listener.local_addr())?;
/// client.write_all(b"four\nseven!!\n")?;
/// let answers: Result<Vec<_>, _> = BufReader::new(client).lines().take(2).collect();
/// assert_eq!(answers?, ["4", "7"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<C> {
    codec: C,
    seen: usize,
}

impl<C: Codec> Reader<C> {
    /// Creates a reader for the format of `codec`.
    pub fn new(codec: C) -> Self {
        Reader { codec, seen: 0 }
    }

    /// Returns the codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// Takes the next message off the input, or returns `None` if there is none for now.
    ///
    /// There is none in these cases:
    ///
    /// * The next message is incomplete.
    /// * The connection is [congested](Conn::is_congested). The protocol is called again when there
    ///   is room for its answers.
    /// * The peer has broken the rules of the format. The connection then closes.
    /// * The connection is closed.
    ///
    /// See the [type](Self) for an example.
    ///
    /// # Panics
    ///
    /// Panics if the codec takes more bytes than there are, or takes none for a message.
    pub fn next(&mut self, conn: &mut Conn) -> Option<Vec<u8>> {
        self.try_next(conn).unwrap_or_else(|why| {
            conn.reject(why);
            None
        })
    }

    /// Takes the next message off the input, or returns an error if the input is no message.
    ///
    /// This is [`next`](Self::next), but the protocol itself decides what to do about invalid
    /// input. For example, a protocol that answers later closes the connection when the messages
    /// before have their answers.
    ///
    /// # Errors
    ///
    /// Returns the rule of the format that the peer has broken, as the codec names it. The input
    /// stays as it is, and a later call returns the same error, unless the connection is congested
    /// or closed by then.
    ///
    /// # Panics
    ///
    /// Panics if the codec takes more bytes than there are, or takes none for a message.
    ///
    /// # Examples
    ///
    /// A protocol that tells the peer what is wrong:
    ///
    /// ```
    /// use dapple_io::{codec::{Lines, Reader}, stream::{Conn, Protocol}};
    /// # use std::{io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// struct Explains(Reader<Lines>);
    ///
    /// impl Protocol for Explains {
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut dapple::Cx) {
    ///         loop {
    ///             match self.0.try_next(conn) {
    ///                 Ok(Some(line)) => conn.send(&line),
    ///                 Ok(None) => return,
    ///                 Err(why) => {
    ///                     conn.send(why.as_bytes());
    ///                     return conn.close();
    ///                 }
    ///             }
    ///         }
    ///     }
    /// }
    /// # let rt = dapple_io::runtime().build()?;
    /// # let (ours, mut client) = UnixStream::pair()?;
    /// # let stream = dapple_io::Io::of(&rt.handle()).adopt(ours)?;
    /// # let options = dapple_io::stream::ConnOptions::default();
    /// # stream.serve(&rt.handle().new_color(), options, Explains(Reader::new(Lines::new(10))));
    /// client.write_all(b"hello, \nthis is a long line\n")?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "hello, a line is longer than allowed");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_next(&mut self, conn: &mut Conn) -> Result<Option<Vec<u8>>, &'static str> {
        if conn.is_closed() || conn.is_congested() {
            return Ok(None);
        }
        let Some((message, taken)) = self.take(conn.input())? else { return Ok(None) };
        conn.consume(taken);
        Ok(Some(message))
    }

    /// Appends a message to the connection's out-buffer. See the [type](Self) for an example.
    ///
    /// # Errors
    ///
    /// Returns an error if the format does not allow the message. Nothing is sent then.
    pub fn send(&self, conn: &mut Conn, message: &[u8]) -> Result<(), EncodeError> {
        let mut outcome = Ok(());
        conn.write(|out| outcome = self.codec.encode(message, out));
        outcome
    }

    /// Returns the message at the front of an input, and the number of bytes that it takes.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
        match decode(&self.codec, input, self.seen) {
            Decoded::Message { message, taken } => {
                self.seen = 0;
                Ok(Some((input[message].to_vec(), taken)))
            }
            Decoded::Incomplete => {
                self.seen = input.len();
                Ok(None)
            }
            Decoded::Invalid(why) => Err(why),
        }
    }
}
