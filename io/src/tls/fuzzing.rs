//! Rules for what a peer sends to a TLS session, of any bytes.

use std::sync::OnceLock;

use dapple::sync::Arc;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::session::{Answer, Next, Reading, Session};

/// What a session holds of what it was given, at most: what one reading brings.
const MOST_TAKEN: usize = 16 * 1024;

/// A byte that says who is talked to, and what is said.
///
/// * `s`: to a server, the bytes that follow; `c`: to a client.
/// * `p`: a client and a server talk; the bytes that follow are the sizes of the pieces in which
///   what they say arrives.
/// * `x`: they do, and a byte is changed: two bytes say at which place, one how.
pub fn tls(input: &[u8]) {
    match input {
        [b's', said @ ..] => talks_to_itself(&server, said),
        [b'c', said @ ..] => talks_to_itself(&client, said),
        [b'p', sizes @ ..] => {
            let (client, server) = converse(sizes, |_, _| {});
            assert_eq!((client.end, server.end), (Some(Ok(())), Some(Ok(()))));
            assert!(client.got == ANSWER && server.got == question(), "all has arrived");
        }
        [b'x', high, low, how, sizes @ ..] => {
            let place = usize::from(*high) << 8 | usize::from(*low);
            let (client, server) = converse(sizes, |at, byte| {
                if at == place {
                    *byte ^= *how;
                }
            });
            // What arrives may be cut off, and is nothing else.
            assert!(ANSWER.starts_with(&client.got) && question().starts_with(&server.got));
        }
        _ => {}
    }
}

/// Bytes that are given at once come to what they come to one by one.
fn talks_to_itself(make: &dyn Fn() -> Connection, said: &[u8]) {
    let outcomes = [usize::MAX, 1].map(|piece| {
        let mut side = Side::new(make());
        let mut rest = said;
        while !rest.is_empty() && side.end.is_none() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            side.takes(now, MOST_TAKEN);
            rest = later;
        }
        side.takes(&[], MOST_TAKEN);
        (side.got, side.end)
    });
    assert_eq!(outcomes[0], outcomes[1]);
}

/// One of two who talk.
struct Side {
    session: Session,
    is_open: bool,
    got: Vec<u8>,
    /// What it has sent, and has not arrived.
    sent: Vec<u8>,
    /// How it ended, or failed.
    end: Option<Result<(), String>>,
}

impl Side {
    fn new(connection: Connection) -> Side {
        let mut side = Side {
            session: Session::new(connection),
            is_open: false,
            got: Vec::new(),
            sent: Vec::new(),
            end: None,
        };
        side.goes_on(&mut &[][..], 1);
        side
    }

    /// Bytes of the peer arrive.
    fn takes(&mut self, mut bytes: &[u8], room: usize) {
        loop {
            let before = bytes.len();
            self.goes_on(&mut bytes, room);
            if bytes.is_empty() || bytes.len() == before {
                return;
            }
        }
    }

    /// Does what the session wants, until it wants bytes of the peer that there are not.
    fn goes_on(&mut self, bytes: &mut &[u8], room: usize) {
        while self.end.is_none() {
            let mut reading = Reading::of(room);
            let next = match self.is_open {
                false => self.session.handshake(),
                true => self.session.read(&mut reading, |plain| self.got.extend(plain)),
            };
            match next {
                Err(error) => self.end = Some(Err(error.to_string())),
                Ok(Next::Done(0)) if self.is_open => self.end = Some(Ok(())),
                Ok(Next::Done(n)) => {
                    assert!(n <= room);
                    self.is_open = true;
                }
                Ok(Next::Later(_)) => {}
                Ok(Next::Send) => self.sends(),
                Ok(Next::Read(most)) => {
                    if bytes.is_empty() {
                        return;
                    }
                    let (now, later) = bytes.split_at(most.min(bytes.len()));
                    *bytes = later;
                    if self.session.receive(now) == Answer::New {
                        self.sends();
                    }
                }
            }
        }
    }

    fn sends(&mut self) {
        self.session.send(&mut self.sent).expect("memory takes all");
    }

    fn says(&mut self, what: &[u8]) {
        let mut said = 0;
        while said < what.len() {
            let seal = &mut |to: &mut dyn std::io::Write| to.write(&what[said..]);
            said += self.session.seal(seal).expect("it can be sealed");
            self.sends();
        }
        self.session.end();
        self.sends();
    }
}

const ANSWER: &[u8] = b"an answer";

/// More than a record holds.
fn question() -> Vec<u8> {
    (0..40_000_u32).map(|n| n as u8).collect()
}

/// A client asks, and a server answers. `change` sees each byte that is sent, by its number.
fn converse(sizes: &[u8], mut change: impl FnMut(usize, &mut u8)) -> (Side, Side) {
    let (mut client, mut server) = (Side::new(client()), Side::new(server()));
    let (mut at, mut has_asked, mut has_answered) = (0, false, false);
    let mut sizes =
        sizes.iter().map(|size| usize::from(*size) * 16 + 1).chain([1 << 16].repeat(9)).cycle();
    loop {
        let mut moved = false;
        for to_server in [true, false] {
            let (from, to) = match to_server {
                true => (&mut client, &mut server),
                false => (&mut server, &mut client),
            };
            let mut bytes = std::mem::take(&mut from.sent);
            for byte in &mut bytes {
                change(at, byte);
                at += 1;
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                moved = true;
                let size = sizes.next().unwrap_or(1);
                let (now, later) = rest.split_at(size.min(rest.len()));
                to.takes(now, size);
                rest = later;
            }
        }
        if client.is_open && client.end.is_none() && !has_asked {
            client.says(&question());
            (has_asked, moved) = (true, true);
        }
        if server.end == Some(Ok(())) && !has_answered {
            server.says(ANSWER);
            (has_answered, moved) = (true, true);
        }
        if !moved {
            return (client, server);
        }
    }
}

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn configs() -> &'static Configs {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Configs { server: Arc::new(server), client: Arc::new(client) }
    })
}

fn server() -> Connection {
    ServerConnection::new(Arc::clone(&configs().server)).unwrap().into()
}

fn client() -> Connection {
    let name = "localhost".try_into().unwrap();
    ClientConnection::new(Arc::clone(&configs().client), name).unwrap().into()
}
