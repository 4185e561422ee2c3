//! Lines: messages that end with a line feed.

use super::{Codec, Decoded, EncodeError};

/// A codec for lines: messages that end with a line feed.
///
/// A message may have any bytes but a line feed. The line feed, and one carriage return before it,
/// do not belong to the message. Bytes after the last line feed are no message. A message that ends
/// with a carriage return cannot be sent.
///
/// # Examples
///
/// ```
/// use dapple_io::codec::{Codec, Decoded, Lines};
/// let lines = Lines::new(80);
/// assert_eq!(lines.decode(b"hello\r\n...", 0), Decoded::Message { message: 0..5, taken: 7 });
/// let mut out = Vec::new();
/// lines.encode(b"hello", &mut out).unwrap();
/// assert_eq!(out, b"hello\n");
/// assert!(lines.encode(b"two\nlines", &mut out).unwrap_err().is_invalid());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    most: usize,
    end: &'static [u8],
}

impl Lines {
    /// Returns a codec for lines of up to `most` bytes, not counting the line end.
    ///
    /// It ends the lines that it writes with a line feed.
    pub const fn new(most: usize) -> Lines {
        Lines { most, end: b"\n" }
    }

    /// Ends written lines with a carriage return and a line feed, as most Internet protocols do.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::codec::{Codec, Lines};
    /// let mut out = Vec::new();
    /// Lines::new(80).crlf().encode(b"hello", &mut out).unwrap();
    /// assert_eq!(out, b"hello\r\n");
    /// ```
    pub const fn crlf(self) -> Lines {
        Lines { end: b"\r\n", ..self }
    }
}

impl Codec for Lines {
    fn decode(&self, input: &[u8], seen: usize) -> Decoded {
        const TOO_LONG: Decoded = Decoded::Invalid("a line is longer than allowed");
        let Some(at) = input[seen..].iter().position(|byte| *byte == b'\n') else {
            // The last byte may be the carriage return of a line end.
            let has_return = usize::from(input.last() == Some(&b'\r'));
            return match input.len() - has_return > self.most {
                true => TOO_LONG,
                false => Decoded::Incomplete,
            };
        };
        let (line, taken) = (&input[..seen + at], seen + at + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.len() > self.most {
            true => TOO_LONG,
            false => Decoded::Message { message: 0..line.len(), taken },
        }
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.contains(&b'\n') || message.ends_with(b"\r") {
            return Err(EncodeError::invalid());
        }
        if message.len() > self.most {
            return Err(EncodeError::too_long());
        }
        out.extend_from_slice(message);
        out.extend_from_slice(self.end);
        Ok(())
    }

    fn room(&self) -> usize {
        self.most.saturating_add(2)
    }
}
