//! The outcomes that a session reports, and when it reports them.
use std::io;

use super::*;
use crate::tls::fuzzing;

/// Returns a client and a server that have completed their handshake.
fn pair() -> (Session, Session) {
    let mut both = [Session::new(fuzzing::client()), Session::new(fuzzing::server())];
    loop {
        let mut is_done = 0;
        for n in [0, 1] {
            match both[n].handshake().unwrap() {
                Handshake::Done => is_done += 1,
                Handshake::Send => {
                    let mut sent = Vec::new();
                    both[n].send(&mut sent).unwrap();
                    let _ = both[1 - n].receive(&sent);
                }
                Handshake::Read(_) => {}
            }
        }
        if is_done == 2 {
            let [client, server] = both;
            return (client, server);
        }
    }
}

fn sealed(session: &mut Session, what: &[u8]) -> Vec<u8> {
    assert_eq!(session.seal(&mut |to| to.write(what)).unwrap(), what.len());
    let mut sent = Vec::new();
    session.send(&mut sent).unwrap();
    sent
}

/// Performs one call of a reader.
fn read(session: &mut Session, room: usize) -> (Vec<u8>, io::Result<Next>) {
    let mut got = Vec::new();
    let next = session.read(&mut Reading::of(room), |plain| got.extend(plain));
    (got, next)
}

fn kind(next: io::Result<Next>) -> io::ErrorKind {
    next.unwrap_err().kind()
}

#[test]
fn n7_what_came_before_a_damaged_record_is_read_before_the_error_and_that_stays() {
    let (mut client, mut server) = pair();
    let (good, mut bad) = (sealed(&mut client, b"hello"), sealed(&mut client, b"damaged"));
    *bad.last_mut().unwrap() ^= 1;
    // The records arrive in one piece, with more bytes behind them.
    let answer = server.receive(&[good, bad, vec![0; 10_000]].concat());
    assert_eq!(answer, Answer::Made, "the peer is told");
    let (got, next) = read(&mut server, 100);
    assert_eq!((&got[..], next.unwrap()), (&b"hello"[..], Next::Done(5)));
    for _ in 0..3 {
        let (got, next) = read(&mut server, 100);
        assert_eq!((got.len(), kind(next)), (0, io::ErrorKind::InvalidData));
    }
    assert_eq!(server.held(), 0);
}

#[test]
fn n7_an_end_that_was_said_is_one_and_a_cut_is_an_error() {
    let (mut client, mut server) = pair();
    let _ = server.receive(&sealed(&mut client, b"all"));
    client.end();
    let mut end = Vec::new();
    client.send(&mut end).unwrap();
    let _ = server.receive(&end);
    assert_eq!(read(&mut server, 100).0, b"all");
    assert_eq!(read(&mut server, 100).1.unwrap(), Next::Done(0));

    let (mut client, mut server) = pair();
    let _ = server.receive(&sealed(&mut client, b"all"));
    let _ = server.receive(&[]);
    assert_eq!(read(&mut server, 100).0, b"all");
    assert_eq!(kind(read(&mut server, 100).1), io::ErrorKind::UnexpectedEof);
    let mut alone = Session::new(fuzzing::server());
    let _ = alone.receive(&[]);
    assert_eq!(alone.handshake().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn n7_a_small_reader_gets_all_and_what_it_has_no_room_for_stays() {
    let (mut client, mut server) = pair();
    let what: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let _ = server.receive(&sealed(&mut client, &what));
    let (mut got, mut most_held) = (Vec::new(), 0);
    while got.len() < what.len() {
        most_held = most_held.max(server.held());
        let (some, next) = read(&mut server, 700);
        assert!(!some.is_empty() && some.len() <= 700, "{next:?}");
        got.extend(some);
    }
    assert!(got == what && most_held > 0);
    assert_eq!(server.held(), 0);
    assert_eq!(read(&mut server, 0).1.unwrap(), Next::Done(0), "no room is no end");
    assert!(matches!(read(&mut server, 1).1.unwrap(), Next::Read(_)));
    // An error of the socket is reported once.
    server.fail(io::ErrorKind::ConnectionReset.into());
    assert_eq!(kind(read(&mut server, 1).1), io::ErrorKind::ConnectionReset);
    assert!(matches!(read(&mut server, 1).1.unwrap(), Next::Read(_)));
}
