//! Checksums of contents: those that clients send are verified, and stored with the file.
//!
//! The stored checksum is a SHA-1, because ownCloud's clients and rclone ask for that. It is in an
//! extended attribute, together with the size, the modification time and the inode that the file
//! had. If the file has changed since, the checksum is no longer returned. A file system without
//! extended attributes stores no checksums.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::Found;
use crate::common::cached;

/// The name of the extended attribute.
const ATTRIBUTE: &str = "user.dapple.sha1";

/// The error that a checksum is of a known kind, but malformed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct BadChecksum;

/// The checksum that the contents of a file are expected to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Checksum {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Checksum {
    /// Parses a list such as `SHA1:.. MD5:..`. Returns the first checksum of a known kind.
    ///
    /// # Errors
    ///
    /// Returns an error if that checksum is malformed.
    pub(in crate::files) fn parse(text: &str) -> Result<Option<Checksum>, BadChecksum> {
        for one in text.split_ascii_whitespace() {
            let (kind, digits) = one.split_once(':').unwrap_or((one, ""));
            let known = match kind.to_ascii_uppercase().as_str() {
                "SHA1" | "SHA-1" => from_hex(digits).map(Checksum::Sha1),
                "SHA256" | "SHA-256" => from_hex(digits).map(Checksum::Sha256),
                _ => continue,
            };
            return known.map(Some).ok_or(BadChecksum);
        }
        Ok(None)
    }
}

fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A computation of the checksum of contents that arrive piece by piece.
#[derive(Debug)]
pub(in crate::files) struct Hasher {
    expected: Checksum,
    sha1: Sha1,
    /// The SHA-256, if the expected checksum is one.
    sha256: Option<Sha256>,
}

impl Hasher {
    pub(in crate::files) fn new(expected: Checksum) -> Hasher {
        let sha256 = matches!(expected, Checksum::Sha256(_)).then(Sha256::new);
        Hasher { expected, sha1: Sha1::new(), sha256 }
    }

    pub(in crate::files) fn update(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Returns the SHA-1 if the contents have the expected checksum.
    pub(in crate::files) fn finish(self) -> Option<[u8; 20]> {
        let sha1: [u8; 20] = self.sha1.finalize().into();
        let is_right = match self.expected {
            Checksum::Sha1(expected) => expected == sha1,
            Checksum::Sha256(expected) => {
                self.sha256.is_some_and(|sha256| <[u8; 32]>::from(sha256.finalize()) == expected)
            }
        };
        is_right.then_some(sha1)
    }
}

/// Reads a file, and returns its SHA-1 if it has the expected checksum. It blocks.
pub(in crate::files) fn verify(file: &File, expected: Checksum) -> io::Result<Option<[u8; 20]>> {
    let (mut hasher, mut buffer) = (Hasher::new(expected), vec![0; 128 * 1024]);
    let mut at = 0;
    loop {
        match cached::read_blocking(file, &mut buffer, at)? {
            0 => return Ok(hasher.finish()),
            n => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
        }
    }
}

/// Returns a text that changes with the contents. It does not contain the time of the last status
/// change, because storing the checksum changes that time.
fn mark(found: &Found) -> String {
    let version = &found.version;
    format!("{:x}-{:x}-{:x}", version.size, version.modified, found.inode)
}

/// Stores a checksum with a file whose state is `found`.
pub(in crate::files) fn keep(file: impl AsFd, found: &Found, sha1: &[u8; 20]) {
    let value = format!("{} {}", mark(found), to_hex(sha1));
    // A failure is harmless: the client compares something else.
    if let Err(error) =
        rustix::fs::fsetxattr(file, ATTRIBUTE, value.as_bytes(), XattrFlags::empty())
    {
        tracing::debug!(%error, "cannot store a checksum");
    }
}

/// Returns the stored checksum, if the file has not changed since.
pub(in crate::files) fn kept(file: impl AsFd, found: &Found) -> Option<[u8; 20]> {
    let mut value = [0; 128];
    let len = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value).ok()?;
    let (of, digits) = std::str::from_utf8(value.get(..len)?).ok()?.split_once(' ')?;
    if of == mark(found) { from_hex(digits) } else { None }
}

pub(in crate::files) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_checked() {
        let of = |text: &str| {
            let mut hasher = Hasher::new(Checksum::parse(text).unwrap().unwrap());
            hasher.update(b"ab");
            hasher.update(b"c");
            hasher.finish().map(|sha1| to_hex(&sha1))
        };
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&format!("SHA1:{sha1}")).as_deref(), Some(sha1));
        assert_eq!(of(&format!("MD5:x sha1:{}", sha1.to_uppercase())).as_deref(), Some(sha1));
        assert_eq!(of(&format!("SHA256:{sha256}")).as_deref(), Some(sha1));
        assert_eq!(of(&format!("SHA1:{}", sha1.replace('9', "8"))), None);
        for other in ["", "MD5:900150983cd24fb0d6963f7d28e17f72", "x"] {
            assert_eq!(Checksum::parse(other), Ok(None), "{other}");
        }
        let signed = format!("SHA1:+{}", &sha1[1..]);
        for bad in ["SHA1:", "SHA1:12", "SHA1", "MD5:x SHA256:zz", &signed] {
            assert_eq!(Checksum::parse(bad), Err(BadChecksum), "{bad}");
        }
    }
}
