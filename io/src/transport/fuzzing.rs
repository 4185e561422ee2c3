//! Rules for what a peer sends to a transport, of any bytes.

use super::frame::{Front, HEADER, front, header};

/// Checks where messages are cut out: two bytes say how many a message may have, and the others
/// arrive.
pub fn frames(input: &[u8]) {
    let Some(([high, low], stream)) = input.split_first_chunk() else { return };
    let most = usize::from(*high) << 8 | usize::from(*low);
    let (mut rest, mut written) = (stream, Vec::new());
    loop {
        let announced = rest
            .get(..HEADER)
            .map(|bytes| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)));
        match front(rest, most) {
            Front::Message(length) => {
                assert_eq!(announced, Some(length as u64));
                let (whole, behind) = rest.split_at(HEADER + length);
                // It is not taken for one before all of it is there.
                for end in (0..whole.len()).step_by(whole.len() / 64 + 1) {
                    assert_eq!(front(&whole[..end], most), Front::Incomplete);
                }
                let message = &whole[HEADER..];
                written.extend(header(message, most).expect("it is not too long"));
                written.extend(message);
                rest = behind;
            }
            Front::Incomplete => {
                assert!(announced.is_none_or(|length| length <= most as u64));
                assert!(rest.len() < HEADER + most, "what is held is bounded");
                break;
            }
            Front::TooLong => {
                assert!(announced.is_some_and(|length| length > most as u64));
                assert_eq!(front(&rest[..HEADER], most), Front::TooLong, "it is known at once");
                break;
            }
        }
    }
    assert!(stream.starts_with(&written) && written.len() + rest.len() == stream.len());
    assert_eq!(header(&vec![0; most + 1], most), None);
}
