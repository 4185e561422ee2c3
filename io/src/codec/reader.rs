//! Taking messages off an input, one by one.

use super::{Codec, Decoded, EncodeError, decode};
use crate::stream::Conn;

/// Takes messages off the input of a connection in callback style, and remembers how much of an
/// incomplete one it has looked at.
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
    /// Reads messages as `codec` has them.
    pub fn new(codec: C) -> Self {
        Reader { codec, seen: 0 }
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// Takes the next message off the input. `None`: there is none yet; or the connection is
    /// [congested](Conn::is_congested), and the protocol is called again when there is room for its
    /// answers; or there can be none, because the peer has broken the rules of the format, and the
    /// connection closes.
    ///
    /// # Panics
    ///
    /// When the codec takes more than there is, or nothing for a message.
    pub fn next(&mut self, conn: &mut Conn) -> Option<Vec<u8>> {
        self.try_next(conn).unwrap_or_else(|why| {
            conn.reject(why);
            None
        })
    }

    /// Takes the next message off the input as [`next`](Self::next) does, but leaves it to the
    /// protocol what to do about input that is no message. A protocol that answers later closes the
    /// connection when what came before has its answers.
    ///
    /// # Errors
    ///
    /// The rule of the format that the peer has broken, as the codec says it. The input is left as
    /// it is, and a later call gives the same error, unless the connection is congested or closed
    /// then.
    ///
    /// # Panics
    ///
    /// When the codec takes more than there is, or nothing for a message.
    pub fn try_next(&mut self, conn: &mut Conn) -> Result<Option<Vec<u8>>, &'static str> {
        if conn.is_closed() || conn.is_congested() {
            return Ok(None);
        }
        let Some((message, taken)) = self.take(conn.input())? else { return Ok(None) };
        conn.consume(taken);
        Ok(Some(message))
    }

    /// Appends a message to the connection's out-buffer.
    ///
    /// # Errors
    ///
    /// If the format does not allow such a message; nothing is sent then.
    pub fn send(&self, conn: &mut Conn, message: &[u8]) -> Result<(), EncodeError> {
        let mut outcome = Ok(());
        conn.write(|out| outcome = self.codec.encode(message, out));
        outcome
    }

    /// The message at the front of an input, and how many bytes it takes.
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
