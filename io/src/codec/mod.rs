//! Codecs: where messages begin and end in a stream of bytes, without any I/O.
//!
//! [`Frames`] puts a length before each message, and [`Lines`] a line feed behind it. A program's
//! own format is a [`Codec`], which has two required methods. Codecs are used by
//! [transports](crate::stream::Stream::deliver_by), by protocols in callback style ([`Reader`]),
//! and by tasks ([`Messages`]).

// Messages that follow their length.
mod frames;
// Messages that end with a line feed.
mod lines;
// Messages for tasks.
mod messages;
// A fuzz target.
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
// Taking messages off an input.
mod reader;

use std::fmt;
use std::ops::Range;

pub use self::frames::{Frames, Width};
pub use self::lines::Lines;
pub use self::messages::Messages;
pub use self::reader::Reader;

/// The answer of [`Codec::decode`]: what the front of an input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole message.
    Message {
        /// The range of the message's bytes in the input.
        message: Range<usize>,
        /// The number of bytes to remove from the input, at least one. They include what is around
        /// the message.
        taken: usize,
    },
    /// The start of a message, or nothing.
    Incomplete,
    /// The input is no start of a message of this format. The text says why.
    Invalid(&'static str),
}

/// A format, which says where messages begin and end in a stream of bytes.
///
/// # Examples
///
/// Messages that end with a zero byte, and have no other:
///
/// ```
/// use dapple_io::codec::{Codec, Decoded, EncodeError};
///
/// struct ZeroEnded;
///
/// impl Codec for ZeroEnded {
///     fn decode(&self, input: &[u8], seen: usize) -> Decoded {
///         match input[seen..].iter().position(|byte| *byte == 0) {
///             Some(at) => Decoded::Message { message: 0..seen + at, taken: seen + at + 1 },
///             None if input.len() > 1_000 => Decoded::Invalid("a message is too long"),
///             None => Decoded::Incomplete,
///         }
///     }
///
///     fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
///         if message.contains(&0) {
///             return Err(EncodeError::invalid());
///         }
///         out.extend_from_slice(message);
///         out.push(0);
///         Ok(())
///     }
/// }
///
/// assert_eq!(ZeroEnded.decode(b"ab", 0), Decoded::Incomplete);
/// assert_eq!(ZeroEnded.decode(b"ab\0c", 2), Decoded::Message { message: 0..2, taken: 3 });
/// ```
pub trait Codec: Send + Sync + 'static {
    /// Says what is at the front of `input`.
    ///
    /// The first `seen` bytes of `input` were there when the input was last found incomplete, so a
    /// codec need not search them again. At the first look `seen` is zero.
    fn decode(&self, input: &[u8], seen: usize) -> Decoded;

    /// Appends a message to `out`, in the form that it has in the stream.
    ///
    /// # Errors
    ///
    /// Returns an error if the format does not allow the message. `out` is then unchanged.
    fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Returns the maximum number of bytes of input that an incomplete message may have.
    ///
    /// A [transport](crate::stream::Stream::deliver_by) keeps at least this number of bytes,
    /// whatever the limit of its connection. A protocol in callback style sets
    /// [`max_input`](crate::stream::ConnOptions::max_input) to this number itself. The default is
    /// zero, which leaves the limit of the connection as it is.
    fn room(&self) -> usize {
        0
    }
}

/// Asks a codec what is at the front of `input`, and checks that its answer makes sense.
///
/// # Panics
///
/// Panics if the codec takes more bytes than there are, or takes none for a message.
pub(crate) fn decode(codec: &(impl Codec + ?Sized), input: &[u8], seen: usize) -> Decoded {
    let decoded = codec.decode(input, seen.min(input.len()));
    if let Decoded::Message { message, taken } = &decoded {
        let is_inside = message.start <= message.end && message.end <= *taken;
        let makes_sense = *taken > 0 && *taken <= input.len() && is_inside;
        assert!(
            makes_sense,
            "a codec took {taken} bytes, with the message at {message:?}, from {} bytes of input",
            input.len()
        );
    }
    decoded
}

/// The reason why a format does not allow a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    is_too_long: bool,
}

impl EncodeError {
    /// Returns the error for a message that is longer than the codec allows.
    pub fn too_long() -> EncodeError {
        EncodeError { is_too_long: true }
    }

    /// Returns the error for a message with bytes that the format does not allow.
    pub fn invalid() -> EncodeError {
        EncodeError { is_too_long: false }
    }

    /// Returns `true` if the message is longer than the codec allows.
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Returns `true` if the message has bytes that the format does not allow.
    pub fn is_invalid(&self) -> bool {
        !self.is_too_long
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_too_long {
            true => "the message is longer than the codec allows",
            false => "the message has bytes that the format does not allow",
        })
    }
}

impl std::error::Error for EncodeError {}

impl From<EncodeError> for std::io::Error {
    fn from(error: EncodeError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, error)
    }
}
