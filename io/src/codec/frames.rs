//! Frames: messages that follow their length.

use super::{Codec, Decoded, EncodeError};

/// The number of bytes of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One byte, for messages of up to 255 bytes.
    One,
    /// Two bytes, for messages of up to 65,535 bytes.
    Two,
    /// Four bytes, for messages of up to 4 GiB.
    Four,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
        }
    }

    fn most(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// A codec for messages that follow their length.
///
/// A length has four bytes, the most significant one first, unless it is configured otherwise.
///
/// # Examples
///
/// ```
/// use dapple_io::codec::{Codec, Decoded, Frames, Width};
/// let mut out = Vec::new();
/// Frames::new(1_000).encode(b"abc", &mut out).unwrap();
/// assert_eq!(out, [0, 0, 0, 3, b'a', b'b', b'c']);
/// let small = Frames::new(1_000).width(Width::Two).little_endian();
/// let decoded = small.decode(&[3, 0, b'a', b'b', b'c'], 0);
/// assert_eq!(decoded, Decoded::Message { message: 2..5, taken: 5 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    most: usize,
    width: Width,
    order: Order,
    mark: Mark,
}

/// The order of the bytes of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

/// The meaning of the highest bit of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Last,
}

const LAST: u32 = 1 << 31;

impl Frames {
    /// Returns a codec for messages of up to `most` bytes.
    pub const fn new(most: usize) -> Frames {
        Frames { most, width: Width::Four, order: Order::Big, mark: Mark::None }
    }

    /// Returns a codec for messages of RPC over TCP (record marking, RFC 5531, section 11).
    ///
    /// libasync's `axprt` has the same format. The highest bit of a length says that a fragment is
    /// the last one. Messages of several fragments are refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::codec::{Codec, Decoded, Frames};
    /// let records = Frames::record_marks(1_000);
    /// let mut out = Vec::new();
    /// records.encode(b"abc", &mut out).unwrap();
    /// assert_eq!(out, [0x80, 0, 0, 3, b'a', b'b', b'c']);
    /// assert_eq!(records.decode(&out, 0), Decoded::Message { message: 4..7, taken: 7 });
    /// // Without the mark, more fragments follow.
    /// assert!(matches!(records.decode(&[0, 0, 0, 3], 0), Decoded::Invalid(_)));
    /// ```
    #[doc(alias = "axprt_stream")]
    pub const fn record_marks(most: usize) -> Frames {
        Frames { mark: Mark::Last, ..Frames::new(most) }
    }

    /// Sets the number of bytes of a length. With [record marks](Self::record_marks) it stays four.
    /// See the [type](Self) for an example.
    pub const fn width(self, width: Width) -> Frames {
        match self.mark {
            Mark::None => Frames { width, ..self },
            Mark::Last => self,
        }
    }

    /// Puts the least significant byte of a length first. See the [type](Self) for an example.
    pub const fn little_endian(self) -> Frames {
        Frames { order: Order::Little, ..self }
    }

    fn read(self, header: &[u8]) -> u64 {
        let byte = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        match self.order {
            Order::Big => header.iter().fold(0, byte),
            Order::Little => header.iter().rev().fold(0, byte),
        }
    }

    /// Returns the length of a message, or the reason why a message may not have that length.
    fn length(self, announced: u64) -> Result<usize, &'static str> {
        let announced = match self.mark {
            Mark::None => announced,
            Mark::Last if announced & u64::from(LAST) == 0 => {
                return Err("messages of several fragments are not supported");
            }
            Mark::Last => announced & !u64::from(LAST),
        };
        let length = usize::try_from(announced).ok().filter(|length| *length <= self.most);
        length.ok_or("a message is longer than allowed")
    }
}

impl Codec for Frames {
    fn decode(&self, input: &[u8], _: usize) -> Decoded {
        let width = self.width.bytes();
        let Some((header, rest)) = input.split_at_checked(width) else {
            return Decoded::Incomplete;
        };
        match self.length(self.read(header)) {
            Ok(length) if length <= rest.len() => {
                Decoded::Message { message: width..width + length, taken: width + length }
            }
            Ok(_) => Decoded::Incomplete,
            Err(why) => Decoded::Invalid(why),
        }
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let allowed = match self.mark {
            Mark::None => self.width.most(),
            Mark::Last => u64::from(!LAST),
        };
        if message.len() > self.most || message.len() as u64 > allowed {
            return Err(EncodeError::too_long());
        }
        let mark = if self.mark == Mark::Last { LAST } else { 0 };
        let length = message.len() as u32 | mark;
        let width = self.width.bytes();
        match self.order {
            Order::Big => out.extend_from_slice(&length.to_be_bytes()[4 - width..]),
            Order::Little => out.extend_from_slice(&length.to_le_bytes()[..width]),
        }
        out.extend_from_slice(message);
        Ok(())
    }

    fn room(&self) -> usize {
        self.most.saturating_add(self.width.bytes())
    }
}
