//! A PostgreSQL client over TLS 1.3. It logs in with a password, and asks queries that return a
//! row.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::filesload::config::{CIPHERS, config};

/// The time after which a pooler that does not respond is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings that clients need to log in.
pub struct Login {
    /// The address of the pooler.
    pub to: SocketAddr,
    /// The name of the user, which is also the name of the database.
    pub user: String,
    /// The password of the user.
    pub password: String,
    tls: Arc<ClientConfig>,
}

impl Login {
    /// Creates the settings. Certificates are not verified, and no session is resumed.
    ///
    /// # Errors
    ///
    /// Returns the errors of rustls.
    pub fn new(to: SocketAddr, user: String, password: String) -> io::Result<Login> {
        let mut tls = (*config(CIPHERS[0].1).map_err(io::Error::other)?).clone();
        tls.resumption = Resumption::disabled();
        tls.alpn_protocols.clear();
        Ok(Login { to, user, password, tls: Arc::new(tls) })
    }

    /// Connects, makes the handshake, and logs in.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection, and an error if the pooler has no TLS or reports an
    /// error.
    pub fn connect(&self) -> io::Result<Client> {
        let mut socket = TcpStream::connect(self.to)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // SSLRequest.
        socket.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
        let mut answer = [0];
        socket.read_exact(&mut answer)?;
        if answer != *b"S" {
            return Err(io::Error::other("the pooler has no TLS"));
        }
        let name = ServerName::IpAddress(self.to.ip().into());
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut client = Client(StreamOwned::new(tls, socket));
        let user = format!("user\0{0}\0database\0{0}\0\0", self.user);
        let startup =
            [&((8 + user.len()) as u32).to_be_bytes()[..], &[0, 3, 0, 0], user.as_bytes()];
        client.0.write_all(&startup.concat())?;
        let (_, kind) = client.message(b'R')?;
        if kind.starts_with(&3u32.to_be_bytes()) {
            client.send(b'p', &[self.password.as_bytes(), b"\0"].concat())?;
        }
        client.message(b'Z')?;
        Ok(client)
    }
}

/// A connection that is logged in.
pub struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Sends a query that returns a row, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection, and an error if the pooler reports one.
    pub fn ask(&mut self, query: &str) -> io::Result<()> {
        self.send(b'Q', &[query.as_bytes(), b"\0"].concat())?;
        self.message(b'D')?;
        self.message(b'Z')?;
        Ok(())
    }

    /// Ends the session and closes the connection.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connection.
    pub fn go(mut self) -> io::Result<()> {
        self.send(b'X', &[])
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = (4 + body.len()) as u32;
        self.0.write_all(&[&[kind][..], &length.to_be_bytes(), body].concat())?;
        self.0.flush()
    }

    /// Returns the next message of the wanted kind. Earlier messages are skipped.
    fn message(&mut self, wanted: u8) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let length = (u32::from_be_bytes(length) as usize).saturating_sub(4);
            if length > 1 << 20 {
                return Err(io::Error::other("a message of more than a megabyte"));
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body)?;
            if kind == b'E' {
                let text = String::from_utf8_lossy(&body).replace('\0', " ");
                return Err(io::Error::other(format!("the pooler says: {text}")));
            }
            if kind == wanted {
                return Ok((kind, body));
            }
        }
    }
}
