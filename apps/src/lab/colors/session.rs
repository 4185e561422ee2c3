//! A server of encrypted sessions, as that of SFS: each has a cipher with a state, by which
//! requests are decrypted and checked, and replies of 8 KB encrypted.

use std::collections::VecDeque;
use std::sync::Arc;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use super::run::{Asking, Peer};

/// Bytes of a reply, and of a request.
const REPLY: usize = 8_192;
const REQUEST: usize = 64;
/// Blocks of the file that is read.
const BLOCKS: u64 = 16;

/// One direction of a session: a message's nonce is its number.
struct Sealed {
    cipher: ChaCha20Poly1305,
    next: u64,
}

impl Sealed {
    fn new(session: u64, direction: u8) -> Sealed {
        let mut key = [direction; 32];
        key[..8].copy_from_slice(&session.to_le_bytes());
        Sealed { cipher: ChaCha20Poly1305::new(&key.into()), next: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next.to_le_bytes());
        self.next += 1;
        nonce.into()
    }

    fn seal(&mut self, message: &mut Vec<u8>) {
        let nonce = self.nonce();
        // It fails for messages of 256 GB.
        let _ = self.cipher.encrypt_in_place(&nonce, b"", message);
    }

    fn open(&mut self, message: &mut Vec<u8>) -> bool {
        let nonce = self.nonce();
        self.cipher.decrypt_in_place(&nonce, b"", message).is_ok()
    }
}

/// A byte of the file: each block is another one.
fn byte(at: usize) -> u8 {
    (at * 31 + at / REPLY * 7) as u8
}

/// The file that all sessions read, from memory.
pub(super) fn file() -> Arc<Vec<u8>> {
    Arc::new((0..BLOCKS as usize * REPLY).map(byte).collect())
}

/// Both ends of a session, as far as its requests go.
pub(super) struct Session {
    file: Arc<Vec<u8>>,
    client: Sealed,
    input: Sealed,
    output: Sealed,
    /// The blocks that are asked for and not sent yet; `None` for a request that was not genuine.
    blocks: VecDeque<Option<u64>>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Session {
    pub(super) fn new(file: &Arc<Vec<u8>>, number: u64) -> Session {
        Session {
            file: Arc::clone(file),
            client: Sealed::new(number, 1),
            input: Sealed::new(number, 1),
            output: Sealed::new(number, 2),
            blocks: VecDeque::new(),
            request: Vec::with_capacity(REQUEST + 16),
            reply: Vec::with_capacity(REPLY + 16),
        }
    }

    /// Decrypts and checks what has come.
    fn accept(&mut self) {
        let is_genuine = self.input.open(&mut self.request);
        let number = self.request.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        self.blocks.push_back(is_genuine.then_some(number % BLOCKS));
    }
}

/// The next request of a client: the number of a block.
fn ask(client: &mut Sealed, request: &mut Vec<u8>) {
    let number = (client.next % BLOCKS).to_le_bytes();
    request.clear();
    request.resize(REQUEST, 0);
    request[..8].copy_from_slice(&number);
    client.seal(request);
}

impl Peer for Session {
    const LEAST: usize = REPLY;

    fn receive(&mut self) {
        ask(&mut self.client, &mut self.request);
        self.accept();
    }

    fn take(&mut self, request: &[u8]) {
        self.request.clear();
        self.request.extend_from_slice(request);
        self.accept();
    }

    /// The block, or an empty message for who has sent something that is not genuine.
    fn reply(&mut self) -> &[u8] {
        self.reply.clear();
        if let Some(Some(block)) = self.blocks.pop_front() {
            let at = block as usize * REPLY;
            self.reply.extend_from_slice(&self.file[at..at + REPLY]);
        }
        self.output.seal(&mut self.reply);
        &self.reply
    }
}

/// The client of a session.
pub(super) struct Client {
    output: Sealed,
    input: Sealed,
    request: Vec<u8>,
}

impl Client {
    pub(super) fn new(number: u64) -> Client {
        let (output, input) = (Sealed::new(number, 1), Sealed::new(number, 2));
        Client { output, input, request: Vec::new() }
    }
}

impl Asking for Client {
    fn request(&mut self) -> &[u8] {
        ask(&mut self.output, &mut self.request);
        &self.request
    }

    /// Only now and then it decrypts a reply: that takes as long as to make it.
    fn is_right(&mut self, reply: &[u8]) -> bool {
        let number = self.input.next;
        if !number.is_multiple_of(64) {
            self.input.next += 1;
            return reply.len() == REPLY + 16;
        }
        let mut reply = reply.to_vec();
        let at = (number % BLOCKS) as usize * REPLY;
        let is_block = |reply: &[u8]| reply.iter().zip(at..).all(|(own, at)| *own == byte(at));
        self.input.open(&mut reply) && reply.len() == REPLY && is_block(&reply)
    }
}

/// Checks two answers as their client does.
///
/// # Errors
///
/// A message, if one is wrong.
pub(super) fn check(file: &Arc<Vec<u8>>) -> Result<(), String> {
    let mut session = Session::new(file, 7);
    let mut client = Sealed::new(7, 2);
    for block in 0..2 {
        session.receive();
        let mut reply = session.reply().to_vec();
        let wanted = &file[block * REPLY..(block + 1) * REPLY];
        if !client.open(&mut reply) || reply != wanted {
            return Err("the session server answers something else".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_notices_what_is_wrong() {
        let file = file();
        check(&file).unwrap();
        let session = || (Session::new(&file, 3), Client::new(3));
        let (mut server, mut client) = session();
        server.take(client.request());
        assert!(client.is_right(server.reply()));
        // Not what was sent.
        let (mut server, mut client) = session();
        let mut request = client.request().to_vec();
        request[3] ^= 1;
        server.take(&request);
        assert!(!client.is_right(server.reply()));
        // Another block.
        let (mut server, mut client) = session();
        server.take(client.request());
        server.blocks = [Some(1)].into();
        assert!(!client.is_right(server.reply()));
        // Somebody else's key.
        let (mut server, mut client) = (Session::new(&file, 4), Client::new(3));
        server.take(client.request());
        assert!(!client.is_right(server.reply()));
    }
}
