//! A client of the hashing server. It sends lines, each of which is a number of rounds, and gets a
//! hash for each line. The socket is non-blocking.

use std::io::{self, ErrorKind, Read, Write};

/// The maximum length of a line, in bytes.
const MOST: usize = 64;

pub struct Client<S> {
    socket: S,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(socket: S) -> Self {
        Client { socket, input: Vec::new(), output: Vec::new() }
    }

    /// Writes, reads and answers until the socket is no longer ready. Returns `false` if the client
    /// has closed its side.
    pub fn ready(&mut self) -> io::Result<bool> {
        loop {
            while !self.output.is_empty() {
                match self.socket.write(&self.output) {
                    Ok(n) => drop(self.output.drain(..n)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            self.answer()?;
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let rounds = std::str::from_utf8(&line).ok().and_then(|line| line.trim().parse().ok());
            let rounds: u64 = rounds.ok_or(ErrorKind::InvalidData)?;
            writeln!(self.output, "{:016x}", hash(rounds))?;
        }
        if self.input.len() > MOST { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}

/// Returns the hash of a number of rounds. A round takes about 1 ns.
fn hash(rounds: u64) -> u64 {
    (0..rounds).fold(1, |hash, _| (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
}
