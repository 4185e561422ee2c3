//! Rules for a TLS session that gets arbitrary bytes from its peer.

use std::sync::OnceLock;

use dapple::sync::Arc;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::session::{Answer, Handshake, Next, READ, Reading, Session};

/// The plain bytes that a reader takes at once.
const ROOM: usize = 16 * 1024;

/// Checks the rules for an input, whose first byte chooses the case.
///
/// * `s`: the bytes that follow are sent to a server. `c`: they are sent to a client.
/// * `p`: a client and a server talk. The bytes that follow are the sizes of the pieces in which
///   their bytes arrive.
/// * `x`: the same, but one byte is changed. Of the bytes that follow, one chooses the record (of
///   the server's records if it is 128 or more), two choose the place in it, and one is the change.
///   The sizes come after these four.
pub fn tls(input: &[u8]) {
    match input {
        [b's', said @ ..] => talks_to_itself(&server, said),
        [b'c', said @ ..] => talks_to_itself(&client, said),
        [b'p', sizes @ ..] => arrives_whole(&converse(sizes, |_, _, _| {})),
        [b'x', record, high, low, how, sizes @ ..] => {
            let (from, place) = (Sender::of(*record), usize::from(*high) << 8 | usize::from(*low));
            let mut changed = 0;
            let both = converse(sizes, |who, number, bytes| {
                if (who, number) == (from, usize::from(record & 127)) {
                    let at = place % bytes.len();
                    bytes[at] ^= how;
                    changed = *how;
                }
            });
            match changed {
                0 => arrives_whole(&both),
                _ => arrives_whole_or_ends_badly(&both),
            }
        }
        _ => {}
    }
}

/// The side that sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

impl Sender {
    fn of(record: u8) -> Sender {
        if record < 128 { Sender::Client } else { Sender::Server }
    }
}

/// A client and a server.
type Both = (Side, Side);

fn arrives_whole((client, server): &Both) {
    assert_eq!((&client.end, &server.end), (&Some(Ok(())), &Some(Ok(()))));
    assert!(client.got == ANSWER && server.got == question(), "all has arrived");
}

/// Checks that each side has got a prefix of what was sent, and all of it if it was told of a clean
/// end.
fn arrives_whole_or_ends_badly((client, server): &Both) {
    assert!(ANSWER.starts_with(&client.got) && question().starts_with(&server.got));
    assert!(client.end != Some(Ok(())) || client.got == ANSWER, "the answer was cut off");
    assert!(server.end != Some(Ok(())) || server.got == question(), "the question was cut off");
    assert!(client.end.is_some() && server.end.is_some(), "each comes to an end");
}

/// Checks that bytes that arrive at once have the same outcome as bytes that arrive one by one.
fn talks_to_itself(make: &dyn Fn() -> Connection, said: &[u8]) {
    let outcomes = [usize::MAX, 1].map(|piece| {
        let mut side = Side::new(make());
        let mut rest = said;
        while !rest.is_empty() && side.end.is_none() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            side.takes(now, ROOM);
            rest = later;
        }
        side.peer_closes();
        (side.got, side.end)
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].1.is_some(), "a session whose peer has gone ends");
}

/// One of the two sides of a session.
struct Side {
    session: Session,
    stage: Stage,
    got: Vec<u8>,
    /// The bytes that this side has sent and that have not arrived yet.
    sent: Vec<u8>,
    /// The number of records that this side has sent.
    records: usize,
    /// The clean end that this side has read, or its error; `None` before that.
    end: Option<Result<(), String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshakes,
    Talks,
    HasTalked,
}

impl Side {
    fn new(connection: Connection) -> Side {
        let mut side = Side {
            session: Session::new(connection),
            stage: Stage::Handshakes,
            got: Vec::new(),
            sent: Vec::new(),
            records: 0,
            end: None,
        };
        side.takes(&[], 1);
        side
    }

    /// Receives bytes of the peer in the pieces that the session asks for, and does what it asks
    /// for in between.
    fn takes(&mut self, mut bytes: &[u8], room: usize) {
        while self.end.is_none()
            && let Some(most) = self.wants(room)
        {
            if bytes.is_empty() {
                return;
            }
            let (now, later) = bytes.split_at(most.min(bytes.len()));
            self.receives(now);
            bytes = later;
        }
    }

    /// Tells this side that the peer has closed its side of the socket.
    fn peer_closes(&mut self) {
        if self.end.is_none() && self.wants(ROOM).is_some() {
            self.receives(&[]);
            assert_eq!(self.wants(ROOM), None, "nothing is asked of a peer that has gone");
        }
    }

    fn receives(&mut self, bytes: &[u8]) {
        if self.session.receive(bytes) == Answer::Made {
            self.sends();
        }
        assert!(self.session.held() <= READ, "the buffered input is bounded");
    }

    /// Goes on until the session needs bytes of the peer, and returns the most that it takes.
    /// Returns `None` if the session has ended.
    fn wants(&mut self, room: usize) -> Option<usize> {
        while self.end.is_none() {
            let most = match self.stage {
                Stage::Handshakes => self.handshakes(),
                Stage::Talks | Stage::HasTalked => self.reads(room),
            };
            if most.is_some() {
                assert_eq!(self.session.held(), 0, "what is held is fed first");
                return most;
            }
        }
        None
    }

    fn handshakes(&mut self) -> Option<usize> {
        match self.session.handshake() {
            Err(error) => self.end = Some(Err(error.to_string())),
            Ok(Handshake::Done) => self.stage = Stage::Talks,
            Ok(Handshake::Send) => self.sends(),
            Ok(Handshake::Read(most)) => return Some(most),
        }
        None
    }

    fn reads(&mut self, room: usize) -> Option<usize> {
        match self.session.read(&mut Reading::of(room), |plain| self.got.extend(plain)) {
            Err(error) => self.end = Some(Err(error.to_string())),
            Ok(Next::Done(0)) => self.end = Some(Ok(())),
            Ok(Next::Done(n)) => assert!(n <= room),
            Ok(Next::Later(_)) => {}
            Ok(Next::Send) => self.sends(),
            Ok(Next::Read(most)) => return Some(most),
        }
        None
    }

    fn sends(&mut self) {
        self.session.send(&mut self.sent).expect("writing to memory cannot fail");
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
        self.stage = Stage::HasTalked;
    }

    /// Takes what this side has sent, after `change` was called on each record.
    fn take_sent(&mut self, mut change: impl FnMut(usize, &mut [u8])) -> Vec<u8> {
        let mut sent = std::mem::take(&mut self.sent);
        let mut rest = &mut sent[..];
        while let [_, _, _, high, low, ..] = rest {
            let len = 5 + (usize::from(*high) << 8 | usize::from(*low));
            let (record, later) = rest.split_at_mut(len);
            change(self.records, record);
            self.records += 1;
            rest = later;
        }
        sent
    }
}

const ANSWER: &[u8] = b"an answer";

/// Returns the question, which is longer than two records.
fn question() -> Vec<u8> {
    (0..40_000_u32).map(|n| n as u8).collect()
}

/// Lets a client ask and a server answer, after which each closes its side. `change` is called on
/// each record, with its sender and its number.
fn converse(sizes: &[u8], mut change: impl FnMut(Sender, usize, &mut [u8])) -> Both {
    let (mut client, mut server) = (Side::new(client()), Side::new(server()));
    let mut sizes =
        sizes.iter().map(|size| usize::from(*size) * 16 + 1).chain([1 << 16].repeat(9)).cycle();
    let mut move_all = |from: &mut Side, who: Sender, to: &mut Side| {
        let bytes = from.take_sent(|number, record| change(who, number, record));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1);
            let (now, later) = rest.split_at(size.min(rest.len()));
            to.takes(now, size);
            rest = later;
        }
        !bytes.is_empty()
    };
    loop {
        let asked = move_all(&mut client, Sender::Client, &mut server);
        let answered = move_all(&mut server, Sender::Server, &mut client);
        if client.stage == Stage::Talks && client.end.is_none() {
            client.says(&question());
        } else if server.end == Some(Ok(())) && server.stage == Stage::Talks {
            server.says(ANSWER);
        } else if !asked && !answered {
            client.peer_closes();
            server.peer_closes();
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

pub(super) fn server() -> Connection {
    ServerConnection::new(Arc::clone(&configs().server)).unwrap().into()
}

pub(super) fn client() -> Connection {
    let name = "localhost".try_into().unwrap();
    ClientConnection::new(Arc::clone(&configs().client), name).unwrap().into()
}
