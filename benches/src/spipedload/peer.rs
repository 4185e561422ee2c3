//! The other end of spiped's encryption, without a key exchange, and without decryption.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};

/// Encrypted bytes of up to 1,024 that a program sends.
pub const PACKET: usize = 1_060;

/// The key that both ends have: the hash of the bytes of a file.
pub struct Secret(digest::Digest);

/// Which end of the encryption this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It connects, as `spiped -e` does.
    Client,
    /// It is connected to, as `spiped -d` is.
    Server,
}

impl Secret {
    /// The secret of the bytes of a key file.
    pub fn of(file: &[u8]) -> Secret {
        Secret(digest::digest(&digest::SHA256, file))
    }

    /// The handshake, with 1 for the end's part of the key exchange.
    ///
    /// # Errors
    ///
    /// Those of the connection.
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

/// Takes what has come and throws it away, without a copy; 0 at the end.
///
/// # Errors
///
/// Those of `recv`.
pub fn discard(stream: &TcpStream) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC the bytes of a TCP socket are not written anywhere (tcp(7)).
    let n =
        unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), 1 << 24, libc::MSG_TRUNC) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
