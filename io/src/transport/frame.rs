//! Frames: a message is its length, four bytes with the most significant one first, and so many
//! bytes.

/// Bytes of a message's length.
pub(super) const HEADER: usize = 4;

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// A message of so many bytes, behind its length.
    Message(usize),
    Incomplete,
    TooLong,
}

/// Looks at the front of the input, for messages of `most` bytes at most.
pub(super) fn front(input: &[u8], most: usize) -> Front {
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
        return Front::Incomplete;
    };
    match usize::try_from(u32::from_be_bytes(*header)) {
        Ok(length) if length <= most => match length <= rest.len() {
            true => Front::Message(length),
            false => Front::Incomplete,
        },
        _ => Front::TooLong,
    }
}

/// The length of a message as it stands before it; `None`: it is longer than `most`, or than the
/// format allows.
pub(super) fn header(message: &[u8], most: usize) -> Option<[u8; HEADER]> {
    let length = u32::try_from(message.len()).ok()?;
    (message.len() <= most).then(|| length.to_be_bytes())
}
