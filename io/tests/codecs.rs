//! N4, N5, N10: messages of several formats, over transports, in callback style and for tasks.
mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Weak, mpsc};

use common::start;
use dapple::Cx;
use dapple_io::codec::{Codec, Decoded, Frames, Lines, Messages, Reader, Width};
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Connection, Protocol};
use dapple_io::transport::TransportOptions;

#[test]
fn n5_lines_have_a_bound_and_their_ends_are_not_counted() {
    let lines = Lines::new(4);
    let message = |message, taken| Decoded::Message { message, taken };
    assert_eq!(lines.decode(b"", 0), Decoded::Incomplete);
    assert_eq!(lines.decode(b"\n", 0), message(0..0, 1));
    assert_eq!(lines.decode(b"\r\n", 0), message(0..0, 2));
    assert_eq!(lines.decode(b"abcd", 0), Decoded::Incomplete);
    assert_eq!(lines.decode(b"abcd\r", 0), Decoded::Incomplete);
    assert_eq!(lines.decode(b"abcd\r\nx", 5), message(0..4, 6));
    assert_eq!(lines.decode(b"ab\rd\n", 0), message(0..4, 5));
    for long in [&b"abcde"[..], b"abcde\n", b"abcd\rx", b"abcde\r\n"] {
        assert!(matches!(lines.decode(long, 0), Decoded::Invalid(_)), "{long:?}");
    }
    let mut out = Vec::new();
    assert!(lines.encode(b"abcde", &mut out).unwrap_err().is_too_long());
    for wrong in [&b"a\nb"[..], b"a\r", b"\n"] {
        assert!(lines.encode(wrong, &mut out).unwrap_err().is_invalid());
    }
    assert!(out.is_empty());
    lines.crlf().encode(b"a\rb", &mut out).unwrap();
    assert_eq!(out, b"a\rb\r\n");
}

#[test]
fn n4_frames_have_lengths_of_several_kinds() {
    let cases: [(Frames, &[u8]); 6] = [
        (Frames::new(300), &[0, 0, 0, 2, 7, 8]),
        (Frames::new(300).width(Width::One), &[2, 7, 8]),
        (Frames::new(300).width(Width::Two), &[0, 2, 7, 8]),
        (Frames::new(300).width(Width::Two).little_endian(), &[2, 0, 7, 8]),
        (Frames::new(300).little_endian(), &[2, 0, 0, 0, 7, 8]),
        (Frames::record_marks(300), &[128, 0, 0, 2, 7, 8]),
    ];
    for (codec, stream) in cases {
        let mut out = Vec::new();
        codec.encode(&[7, 8], &mut out).unwrap();
        assert_eq!(out, stream, "{codec:?}");
        let around = stream.len() - 2;
        let wanted = Decoded::Message { message: around..stream.len(), taken: stream.len() };
        assert_eq!(codec.decode(stream, 0), wanted);
        assert_eq!(codec.decode(&stream[..stream.len() - 1], 0), Decoded::Incomplete);
        assert!(codec.encode(&[0; 301], &mut out).unwrap_err().is_too_long());
    }
    let one = Frames::new(300).width(Width::One);
    assert!(one.encode(&[0; 256], &mut Vec::new()).unwrap_err().is_too_long());
    assert!(one.encode(&[0; 255], &mut Vec::new()).is_ok());
    let fragment = Frames::record_marks(300).decode(&[0, 0, 0, 2, 7, 8], 0);
    assert_eq!(fragment, Decoded::Invalid("messages of several fragments are not supported"));
    let long = Frames::new(300).decode(&[0, 0, 1, 45], 0);
    assert_eq!(long, Decoded::Invalid("a message is longer than allowed"));
}

#[test]
fn n4_a_transport_takes_any_codec_and_its_limits() {
    let (rt, io) = start(2);
    let (one, mut other) = UnixStream::pair().unwrap();
    let options = TransportOptions {
        conn: ConnOptions { max_input: 10, ..ConnOptions::default() },
        ..TransportOptions::default()
    };
    let stream = io.adopt(one).unwrap();
    let transport =
        stream.deliver_by(Lines::new(1_000), &rt.handle().new_color(), options, |line, _| {
            line.reply(&line.bytes().to_ascii_uppercase()).unwrap();
        });
    // The line is longer than the connection's own limit, and arrives byte by byte.
    let line = [&[b'a'; 900][..], b"\n"].concat();
    for byte in &line {
        other.write_all(&[*byte]).unwrap();
    }
    let mut answer = vec![0; line.len()];
    other.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line.to_ascii_uppercase());
    assert!(transport.send(b"two\nlines").unwrap_err().is_invalid());
    assert!(transport.send(&[b'x'; 1_001]).unwrap_err().is_too_long());
    transport.send(b"unasked").unwrap();
    let mut answer = [0; 8];
    other.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"unasked\n");
    // A line that is too long closes the connection, after the replies to earlier lines have been
    // sent.
    other.write_all(b"last\n").unwrap();
    other.write_all(&[b'x'; 1_001]).unwrap();
    let mut rest = Vec::new();
    let _ = other.read_to_end(&mut rest);
    assert_eq!(rest, b"LAST\n");
    drop(other);
    let start = std::time::Instant::now();
    while !transport.is_closed() {
        assert!(start.elapsed().as_secs() < 60, "it stays");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(transport.send(b"x").unwrap_err().is_closed());
}

/// A protocol that greets the name in each line.
struct Hello(Reader<Lines>, mpsc::Sender<String>);

impl Protocol for Hello {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while let Some(name) = self.0.next(conn) {
            let hello = [b"hello ", &name[..]].concat();
            if self.0.send(conn, &hello).is_err() {
                self.0.send(conn, b"?").unwrap();
            }
        }
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let _ = self.1.send(format!("{reason:?}"));
    }
}

#[test]
fn n10_a_protocol_reads_messages_one_by_one() {
    let (rt, io) = start(1);
    let (one, mut other) = UnixStream::pair().unwrap();
    let (tx, rx) = mpsc::channel();
    let hello = Hello(Reader::new(Lines::new(10)), tx);
    io.adopt(one).unwrap().serve(&rt.handle().new_color(), ConnOptions::default(), hello);
    other.write_all(b"Ada\r\nBob\nMaximilian\n").unwrap();
    let mut answer = [0; 22];
    other.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello Ada\nhello Bob\n?\n");
    other.write_all(b"somebody else").unwrap();
    let mut rest = Vec::new();
    let _ = other.read_to_end(&mut rest);
    assert_eq!(rx.recv().unwrap(), "Protocol(\"a line is longer than allowed\")");
}

/// A protocol that answers each line in a later event.
struct Later(Reader<Lines>, mpsc::Sender<String>, Weak<Connection<Later>>);

impl Protocol for Later {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        if conn.is_paused() {
            return;
        }
        let line = match self.0.try_next(conn) {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(why) => {
                assert_eq!(self.0.try_next(conn), Err(why));
                conn.send(why.as_bytes());
                return conn.close();
            }
        };
        conn.pause();
        self.2.upgrade().unwrap().with(move |_, conn, _| {
            conn.send(&[&line[..], b"; "].concat());
            conn.resume();
        });
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let _ = self.1.send(format!("{reason:?}"));
    }
}

#[test]
fn n10_a_protocol_may_say_itself_what_is_wrong_with_a_message() {
    let (rt, io) = start(1);
    let (one, mut other) = UnixStream::pair().unwrap();
    let (tx, rx) = mpsc::channel();
    let later = |me| Later(Reader::new(Lines::new(10)), tx, me);
    io.adopt(one).unwrap().serve_with(&rt.handle().new_color(), ConnOptions::default(), later);
    other.write_all(b"Ada\nBob\na name that is too long").unwrap();
    let mut answers = String::new();
    other.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "Ada; Bob; a line is longer than allowed");
    drop(other);
    assert_eq!(rx.recv().unwrap(), "Closed");
}

#[test]
fn n5_a_peer_that_reads_no_answers_is_not_read_any_more() {
    let (rt, io) = start(1);
    let (one, mut other) = UnixStream::pair().unwrap();
    let (tx, _rx) = mpsc::channel();
    let hello = Hello(Reader::new(Lines::new(2_000)), tx);
    io.adopt(one).unwrap().serve(&rt.handle().new_color(), ConnOptions::default(), hello);
    other.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let (line, mut written) = ([&[b'x'; 999][..], b"\n"].concat(), 0);
    while let Ok(n) = other.write(&line[written % 1_000..]) {
        written += n;
        assert!(written < 100 << 20, "it takes everything, and keeps the answers");
    }
    // All answers arrive once they are read.
    let answers = written / 1_000 * 1_006;
    other.set_write_timeout(None).unwrap();
    std::io::copy(&mut (&other).take(answers as u64), &mut std::io::sink()).unwrap();
}

#[test]
fn n10_tasks_send_and_receive_messages_and_a_dropped_call_loses_nothing() {
    let (rt, io) = start(2);
    let (one, other) = UnixStream::pair().unwrap();
    let one = Messages::new(io.adopt(one).unwrap().into_async().unwrap(), Frames::new(100_000));
    let other = io.adopt(other).unwrap().into_async().unwrap();
    let (mut one, mut other) = (one, Messages::new(other, Frames::new(100_000)));
    let h = rt.handle();
    rt.block_on(async {
        for length in [0, 1, 1_000, 50_000, 100_000] {
            let message = vec![7; length];
            let send = h.spawn(&h.new_color(), async move {
                one.send(&message).await.unwrap();
                one
            });
            let received = loop {
                let soon = std::time::Duration::from_micros(50);
                // The call is cancelled again and again.
                if let Ok(received) = h.timeout(soon, other.next()).await {
                    break received.unwrap().unwrap();
                }
            };
            assert_eq!(received, vec![7; length]);
            one = send.await.unwrap();
        }
        let error = one.send(&vec![0; 100_001]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        drop(one);
        assert_eq!(other.next().await.unwrap(), None);
    });
}
