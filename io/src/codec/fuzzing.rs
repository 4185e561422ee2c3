//! A fuzz target for codecs: rules that hold whatever bytes a peer sends.

use super::{Codec, Decoded, Frames, Lines, Width};

/// Checks how a codec cuts messages out of a stream. The first three bytes choose the codec and the
/// maximum length of a message, and the others are the stream.
pub fn frames(input: &[u8]) {
    let Some(([kind, high, low], stream)) = input.split_first_chunk() else { return };
    let most = usize::from(*high) << 8 | usize::from(*low);
    match kind % 6 {
        0 => check(&Frames::new(most), most, 4, stream),
        1 => check(&Frames::new(most).width(Width::One), most, 1, stream),
        2 => check(&Frames::new(most).width(Width::Two).little_endian(), most, 2, stream),
        3 => check(&Frames::record_marks(most), most, 4, stream),
        4 => check(&Lines::new(most), most, 2, stream),
        _ => check(&Lines::new(most).crlf(), most, 2, stream),
    }
}

/// Checks one codec. `around` is the maximum number of bytes around a message.
fn check(codec: &impl Codec, most: usize, around: usize, stream: &[u8]) {
    let mut rest = stream;
    loop {
        let decoded = codec.decode(rest, 0);
        // The result does not depend on how much of the input was seen before.
        for seen in (0..=rest.len()).step_by(rest.len() / 16 + 1) {
            if codec.decode(&rest[..seen], 0) == Decoded::Incomplete {
                assert_eq!(codec.decode(rest, seen), decoded);
            }
        }
        match decoded {
            Decoded::Message { message, taken } => {
                assert!(message.end <= taken && taken <= rest.len() && taken > 0);
                assert!(message.len() <= most && taken - message.len() <= around);
                // No message is found before all of it is there.
                for end in (0..taken).step_by(taken / 64 + 1) {
                    assert_eq!(codec.decode(&rest[..end], 0), Decoded::Incomplete);
                }
                let bytes = &rest[message];
                let mut written = Vec::new();
                // The text of a line may end with carriage returns, but a message to send may not.
                if codec.encode(bytes, &mut written).is_ok() {
                    let again = codec.decode(&written, 0);
                    let Decoded::Message { message, taken } = again else {
                        panic!("an encoded message does not decode: {again:?}")
                    };
                    assert_eq!((&written[message], taken), (bytes, written.len()));
                } else {
                    assert!(written.is_empty() && bytes.ends_with(b"\r"));
                }
                rest = &rest[taken..];
            }
            Decoded::Incomplete => {
                assert!(rest.len() <= most.saturating_add(around), "the buffered input is bounded");
                assert!(rest.len() <= codec.room());
                return;
            }
            Decoded::Invalid(_) => return,
        }
    }
}
