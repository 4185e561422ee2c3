//! Codecs: where messages begin and end in a stream of bytes, without any I/O.
//!
//! [`Frames`] have their length before them, [`Lines`] an end behind them, and a program's own
//! format is a [`Codec`] of two methods. A codec is used by a
//! [transport](crate::stream::Stream::deliver_by), by a protocol in callback style ([`Reader`]),
//! and by tasks ([`Messages`]).

// With their length before them.
mod frames;
// With an end behind them.
mod lines;
// For tasks.
mod messages;
// Taking messages off an input.
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod reader;

use std::fmt;
use std::ops::Range;

pub use self::frames::{Frames, Width};
pub use self::lines::Lines;
pub use self::messages::Messages;
pub use self::reader::Reader;

/// What stands at the front of an input; see [`Codec::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A message: where in the input it is, and how many bytes of the input it takes with what is
    /// around it.
    Message {
        /// Its bytes.
        message: Range<usize>,
        /// How many bytes are to be taken off the input, at least one.
        taken: usize,
    },
    /// The start of a message, or nothing.
    Incomplete,
    /// No message of this format can begin so; why not.
    Invalid(&'static str),
}

/// Where messages begin and end in a stream of bytes.
///
/// # Examples
///
/// Messages that end with a zero, without one in them:
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
    /// Says what stands at the front of `input`, of which the first `seen` bytes were there when it
    /// was last called incomplete; zero if it is the first look.
    fn decode(&self, input: &[u8], seen: usize) -> Decoded;

    /// Appends a message as it stands in the stream.
    ///
    /// # Errors
    ///
    /// If the format does not allow such a message; `out` is as it was then.
    fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Bytes of input that an incomplete message may have at most. A
    /// [transport](crate::stream::Stream::deliver_by) keeps at least as many, whatever the limit of
    /// its connection; a protocol of one's own sets
    /// [`max_input`](crate::stream::ConnOptions::max_input) to that. By default zero, which leaves
    /// the limit.
    fn room(&self) -> usize {
        0
    }
}

/// What stands at the front of `input`, by a codec whose answer makes sense.
///
/// # Panics
///
/// When the codec takes nothing, or more than there is.
pub(crate) fn decode(codec: &(impl Codec + ?Sized), input: &[u8], seen: usize) -> Decoded {
    let decoded = codec.decode(input, seen.min(input.len()));
    if let Decoded::Message { message, taken } = &decoded {
        let is_inside = message.start <= message.end && message.end <= *taken;
        let makes_sense = *taken > 0 && *taken <= input.len() && is_inside;
        assert!(makes_sense, "a codec takes {taken} bytes, and {message:?}, of {}", input.len());
    }
    decoded
}

/// Why a message cannot stand in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    is_too_long: bool,
}

impl EncodeError {
    /// The message is longer than the codec allows.
    pub fn too_long() -> EncodeError {
        EncodeError { is_too_long: true }
    }

    /// The message has bytes that the format does not allow in one.
    pub fn invalid() -> EncodeError {
        EncodeError { is_too_long: false }
    }

    /// Says whether the message is longer than the codec allows.
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Says whether the message has bytes that the format does not allow in one.
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
