//! Records of TLS 1.3 (RFC 8446, section 5): one direction of a connection whose handshake is over.
//!
//! A record consists of a header of 5 bytes, the encrypted content followed by a byte that gives
//! its type, and a tag. Records are sealed and opened in place.

use std::io;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// The maximum number of content bytes in a record.
pub const CONTENT: usize = 1 << 14;

/// The bytes of a record's header.
pub const HEADER: usize = 5;

/// The bytes after the content of a sent record: its type and the tag.
const TRAILER: usize = 1 + TAG;

const TAG: usize = 16;

/// The maximum number of bytes after a record's header. A peer may pad, or use a longer tag.
pub const PAYLOAD: usize = CONTENT + 256;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The first byte of the handshake message that a server may send at any time.
const NEW_SESSION_TICKET: u8 = 4;

/// Returns the total length of a sent record with `content` bytes of content.
pub fn sealed_len(content: usize) -> usize {
    HEADER + content + TRAILER
}

/// One direction of a connection: its key and the number of its next record.
pub struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Direction {
    /// Creates a direction from what rustls extracts: the number of the next record, and the
    /// secrets.
    ///
    /// # Errors
    ///
    /// Returns an error if the cipher is not one of the three that this module knows, or if the key
    /// or the IV has a wrong length.
    pub fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(io::Error::other("an unsupported cipher")),
        };
        let key = UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| io::Error::other("a key of a wrong length"))?;
        let iv = iv.as_ref().try_into().map_err(|_| io::Error::other("an IV of a wrong length"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, number })
    }

    /// Returns the nonce of the next record, and counts the record.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `record` in place. Its content must already stand behind the space for the header.
    ///
    /// # Errors
    ///
    /// Returns an error if the cipher refuses.
    ///
    /// # Panics
    ///
    /// Panics if `record` does not have the length of a record with at most [`CONTENT`] bytes.
    pub fn seal(&mut self, record: &mut [u8]) -> io::Result<()> {
        let payload = record.len() - HEADER;
        assert!((TRAILER..=CONTENT + TRAILER).contains(&payload), "a record's length");
        let header = [APPLICATION_DATA, 3, 3, (payload >> 8) as u8, payload as u8];
        record[..HEADER].copy_from_slice(&header);
        let (content, tag) = record[HEADER..].split_at_mut(payload - TAG);
        content[payload - TRAILER] = APPLICATION_DATA;
        let nonce = self.nonce();
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), content)
            .map_err(|_| io::Error::other("a record cannot be encrypted"))?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Opens the complete `record` in place. Returns its content, which is empty if the record is a
    /// session ticket.
    ///
    /// # Errors
    ///
    /// Returns an error if the record is not authentic, or if the peer ends the connection or
    /// changes its key by it.
    ///
    /// # Panics
    ///
    /// Panics if `record` is shorter than a header.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let (header, payload) = record.split_at_mut(HEADER);
        if header[0] == ALERT {
            return Err(io::Error::other("the server ends the connection by an alert"));
        }
        let aad = Aad::from(<[u8; HEADER]>::try_from(&*header).expect("it was split so"));
        let nonce = self.nonce();
        let opened = self
            .key
            .open_in_place(nonce, aad, payload)
            .map_err(|_| io::Error::other("a record that is not authentic"))?;
        // Zeros after the type are padding.
        let end = opened.iter().rposition(|b| *b != 0);
        let (content, kind) = opened.split_at(end.unwrap_or_default());
        match (kind.first(), content.first()) {
            (Some(&APPLICATION_DATA), _) => Ok(content),
            (Some(&HANDSHAKE), Some(&NEW_SESSION_TICKET)) => Ok(&[]),
            (Some(&HANDSHAKE), _) => Err(io::Error::other("the server changes its key")),
            (Some(&ALERT), _) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::other("a record of no known type")),
        }
    }
}

/// Returns the length of the first record in `bytes`, including its header, or `None` if the header
/// is incomplete.
///
/// # Errors
///
/// Returns an error if the record is longer than a record may be.
pub fn record_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let payload = usize::from(high) << 8 | usize::from(low);
    match payload <= PAYLOAD {
        true => Ok(Some(HEADER + payload)),
        false => Err(io::Error::other("a record that is too long")),
    }
}
