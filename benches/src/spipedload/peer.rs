//! The other end of spiped's encryption, without a key exchange and without decryption.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};

/// The bytes of an encrypted packet, which carries up to 1,024 bytes of content.
pub const PACKET: usize = 1_060;

/// The key that both ends know: the hash of the bytes of a file.
pub struct Secret(digest::Digest);

/// An end of the encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end that connects, like `spiped -e`.
    Client,
    /// The end that is connected to, like `spiped -d`.
    Server,
}

impl Secret {
    /// Derives the secret from the bytes of a key file.
    pub fn of(file: &[u8]) -> Secret {
        Secret(digest::digest(&digest::SHA256, file))
    }

    /// Makes the handshake, with 1 as this end's part of the key exchange.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    ///
    /// # Panics
    ///
    /// Panics if the system has no random bytes.
    ///
    /// # Sources
    ///
    /// spiped's DESIGN.md.
    pub fn handshake(&self, stream: &mut (impl Read + Write), end: End) -> io::Result<()> {
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        rand::fill(&mut ours).expect("the system has random bytes");
        stream.write_all(&ours)?;
        stream.read_exact(&mut theirs)?;
        let nonces = match end {
            End::Client => [ours, theirs].concat(),
            End::Server => [theirs, ours].concat(),
        };
        let mut keys = [0; 64];
        let once = const { NonZeroU32::new(1).unwrap() };
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, once, &nonces, self.0.as_ref(), &mut keys);
        let (client, server) = keys.split_at(32);
        let key = if end == End::Client { client } else { server };
        let mut y = [0; 256 + 32];
        y[255] = 1;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &y[..256]);
        y[256..].copy_from_slice(tag.as_ref());
        let mut of_peer = [0; 256 + 32];
        if end == End::Server {
            stream.read_exact(&mut of_peer)?;
        }
        stream.write_all(&y)?;
        if end == End::Client {
            stream.read_exact(&mut of_peer)?;
        }
        Ok(())
    }
}

/// Receives what has arrived and discards it without a copy. Returns the number of bytes, or 0 at
/// the end of the stream.
///
/// # Errors
///
/// Returns the errors of `recv`.
pub fn discard(stream: &TcpStream) -> io::Result<usize> {
    // SAFETY: with `MSG_TRUNC`, the kernel discards the bytes of a TCP socket and writes nothing
    // (tcp(7)), so the pointer may be null.
    let n =
        unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), 1 << 24, libc::MSG_TRUNC) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
