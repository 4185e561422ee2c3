//! A server of encrypted sessions, like that of SFS. Each session has a stateful cipher, which
//! decrypts and checks requests, and encrypts replies of 8 KB.

use std::collections::VecDeque;
use std::sync::Arc;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use super::run::{Asking, Peer};

/// The bytes of a reply; `REQUEST` is that of a request.
const REPLY: usize = 8_192;
const REQUEST: usize = 64;
/// The number of blocks of the file.
const BLOCKS: u64 = 16;

/// One direction of a session, in which the nonce of a message is its number.
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
        // It fails only for messages of 256 GB.
        let _ = self.cipher.encrypt_in_place(&nonce, b"", message);
    }

    fn open(&mut self, message: &mut Vec<u8>) -> bool {
        let nonce = self.nonce();
        self.cipher.decrypt_in_place(&nonce, b"", message).is_ok()
    }
}

/// Returns a byte of the file, whose blocks all differ.
fn byte(at: usize) -> u8 {
    (at * 31 + at / REPLY * 7) as u8
}

/// Makes the file that all sessions read, in memory.
pub(super) fn file() -> Arc<Vec<u8>> {
    Arc::new((0..BLOCKS as usize * REPLY).map(byte).collect())
}

/// The server's end of a session, and the client's end for requests made in this process.
pub(super) struct Session {
    file: Arc<Vec<u8>>,
    client: Sealed,
    input: Sealed,
    output: Sealed,
    /// The requested blocks that are not sent yet; `None` for a request that was not genuine.
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

    /// Decrypts and checks a request.
    fn accept(&mut self) {
        let is_genuine = self.input.open(&mut self.request);
        let number = self.request.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        self.blocks.push_back(is_genuine.then_some(number % BLOCKS));
    }
}

/// Makes a client's next request, which is the number of a block.
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

    /// Makes a reply: the block, or an empty message after a request that was not genuine.
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

/// The client's end of a session.
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

    /// Decrypts only every 64th reply, because decryption costs as much as making the reply. Of the
    /// others only the length is checked.
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

/// Checks two replies as a client does.
///
/// # Errors
///
/// Returns a message if a reply is wrong.
pub(super) fn check(file: &Arc<Vec<u8>>) -> Result<(), String> {
    let mut session = Session::new(file, 7);
    let mut client = Sealed::new(7, 2);
    for block in 0..2 {
        session.receive();
        let mut reply = session.reply().to_vec();
        let wanted = &file[block * REPLY..(block + 1) * REPLY];
        if !client.open(&mut reply) || reply != wanted {
            return Err("the session server gave a wrong reply".to_owned());
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
        // A changed request is refused.
        let (mut server, mut client) = session();
        let mut request = client.request().to_vec();
        request[3] ^= 1;
        server.take(&request);
        assert!(!client.is_right(server.reply()));
        // Another block is not what was asked for.
        let (mut server, mut client) = session();
        server.take(client.request());
        server.blocks = [Some(1)].into();
        assert!(!client.is_right(server.reply()));
        // The server has the key of another session.
        let (mut server, mut client) = (Session::new(&file, 4), Client::new(3));
        server.take(client.request());
        assert!(!client.is_right(server.reply()));
    }
}
