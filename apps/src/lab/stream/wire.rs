//! The messages between nodes, as bytes.

use super::tree::Name;

/// The bytes of the content of a stream's message; `SIGNATURE` is the size of its signature.
const CONTENT: usize = 128;
pub(super) const SIGNATURE: usize = 64;
const HEAD: usize = 9;

const DATA: u8 = 0;
const JOIN: u8 = 1;
const LEAVE: u8 = 2;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A message of a group's stream, and its number there.
    Data { group: Name, number: u32 },
    /// A request of `who` to get the messages of a group from now on.
    Join { group: Name, who: Name },
    /// A request of `who` to get the messages of a group no longer.
    Leave { group: Name, who: Name },
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [kind, g0, g1, w0, w1, n0, n1, n2, n3] = *head;
        let group = Name::from_be_bytes([g0, g1]);
        let (who, number) = (Name::from_be_bytes([w0, w1]), u32::from_be_bytes([n0, n1, n2, n3]));
        match kind {
            DATA if rest.len() == CONTENT + SIGNATURE => Some(Message::Data { group, number }),
            JOIN if rest.is_empty() => Some(Message::Join { group, who }),
            LEAVE if rest.is_empty() => Some(Message::Leave { group, who }),
            _ => None,
        }
    }

    /// Encodes the message. The signature of a stream's message is zero at first.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (kind, group, who, number) = match self {
            Message::Data { group, number } => (DATA, group, 0, number),
            Message::Join { group, who } => (JOIN, group, who, 0),
            Message::Leave { group, who } => (LEAVE, group, who, 0),
        };
        let mut bytes = vec![kind];
        bytes.extend(group.to_be_bytes());
        bytes.extend(who.to_be_bytes());
        bytes.extend(number.to_be_bytes());
        if kind == DATA {
            bytes.extend((0..CONTENT).map(|at| (at as u8) ^ (number as u8)));
            bytes.extend([0; SIGNATURE]);
        }
        bytes
    }
}

/// Splits a message of a stream into the signed content and the signature.
pub(super) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len() - SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_as_it_was_sent() {
        let all = [
            Message::Data { group: 31, number: 70_000 },
            Message::Join { group: 7, who: 300 },
            Message::Leave { group: 0, who: 1 },
        ];
        for message in all {
            let bytes = message.to_bytes();
            assert_eq!(Message::parse(&bytes), Some(message));
            assert_eq!(Message::parse(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Message::parse(&[&bytes[..], &[0]].concat()), None);
        }
        assert_eq!(Message::parse(&[9; HEAD]), None);
        assert_eq!(Message::parse(&[]), None);
    }
}
