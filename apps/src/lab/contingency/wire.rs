//! The messages between peers, as bytes.

use super::table::Table;

/// The number of a peer.
pub(super) type Name = usize;

/// A message, which is sent together with the name of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A heartbeat.
    Ping(u32),
    /// The answer to a heartbeat.
    Pong(u32),
    /// Passes the turn: the recipient begins this round.
    Begin(u32),
    /// A part of a round's data, for the recipient to sample.
    Part { round: u32, part: u32, band: Table },
    /// The samples of a part.
    Samples { round: u32, part: u32, samples: Vec<Table> },
    /// The score of a round.
    Score { round: u32, score: u64 },
}

const HEAD: usize = 8;

impl Message {
    pub(super) fn to_bytes(&self, from: Name) -> Vec<u8> {
        let (kind, words) = match self {
            Message::Ping(nth) => (0, vec![u64::from(*nth)]),
            Message::Pong(nth) => (1, vec![u64::from(*nth)]),
            Message::Begin(round) => (2, vec![u64::from(*round)]),
            Message::Part { round, part, band } => (3, tables(*round, *part, &[band])),
            Message::Samples { round, part, samples } => {
                (4, tables(*round, *part, &samples.iter().collect::<Vec<_>>()))
            }
            Message::Score { round, score } => (5, vec![u64::from(*round), *score]),
        };
        let mut bytes = (kind | (from as u64) << 8).to_le_bytes().to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    /// Parses a message and its sender; returns `None` if the bytes are not a message.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Name, Message)> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let head = u64::from_le_bytes(*head);
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let small = |nth: usize| u32::try_from(*words.get(nth)?).ok();
        let message = match (head & 0xff, &words[..]) {
            (0, [_]) => Message::Ping(small(0)?),
            (1, [_]) => Message::Pong(small(0)?),
            (2, [_]) => Message::Begin(small(0)?),
            (kind @ (3 | 4), [_, _, rows, count, cells @ ..]) => {
                let (rows, count) = (u32::try_from(*rows).ok()?, usize::try_from(*count).ok()?);
                let is_whole = count > 0 && !cells.is_empty() && cells.len() % count == 0;
                if !is_whole || !(1..=64).contains(&rows) {
                    return None;
                }
                let columns = cells.chunks(cells.len() / count);
                let table = |columns: &[u64]| Table { rows, columns: columns.to_vec() };
                let (round, part, mut samples) = (small(0)?, small(1)?, columns.map(table));
                match (kind, count) {
                    (3, 1) => Message::Part { round, part, band: samples.next()? },
                    (3, _) => return None,
                    _ => Message::Samples { round, part, samples: samples.collect() },
                }
            }
            (5, [_, score]) => Message::Score { round: small(0)?, score: *score },
            _ => return None,
        };
        Some(((head >> 8) as Name, message))
    }
}

/// Encodes tables of one size, after the round and the part that they belong to.
fn tables(round: u32, part: u32, tables: &[&Table]) -> Vec<u64> {
    let rows = tables.first().map_or(0, |table| table.rows);
    let mut words = vec![round.into(), part.into(), rows.into(), tables.len() as u64];
    words.extend(tables.iter().flat_map(|table| &table.columns));
    words
}

#[cfg(test)]
mod tests {
    use super::super::super::draw::Draw;
    use super::*;

    #[test]
    fn a_message_comes_as_it_was_sent() {
        let table = |seed| Table::random(60, 7, &mut Draw(seed));
        let all = [
            Message::Ping(7),
            Message::Pong(u32::MAX),
            Message::Begin(3),
            Message::Part { round: 2, part: 1, band: table(1) },
            Message::Samples { round: 2, part: 0, samples: vec![table(2), table(3)] },
            Message::Score { round: 5, score: 1 << 40 },
        ];
        for message in all {
            let bytes = message.to_bytes(2);
            assert_eq!(Message::parse(&bytes), Some((2, message)));
            assert_eq!(Message::parse(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Message::parse(&bytes[..HEAD]), None);
        }
        assert_eq!(Message::parse(&[]), None);
        assert_eq!(Message::parse(&[9; 16]), None);
    }
}
