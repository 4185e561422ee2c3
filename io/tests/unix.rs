//! N10: Unix sockets under connections, transports and tasks: credentials, descriptors, names.
mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use common::start;
use dapple::Cx;
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Protocol};
use dapple_io::transport::TransportOptions;

#[test]
fn n10_the_peer_of_a_unix_socket_is_known() {
    let (rt, io) = start(1);
    let (one, other) = UnixStream::pair().unwrap();
    let stream = io.adopt(one).unwrap();
    assert!(stream.peer_addr().is_unnamed());
    let who = stream.peer_credentials().unwrap();
    assert_eq!(who.process, std::process::id());
    let stream = stream.into_async().unwrap();
    assert_eq!(stream.peer_credentials().unwrap(), who);
    drop(other);
    let (tcp, _peer) = common::tcp_pair();
    let error = io.adopt(tcp).unwrap().peer_credentials().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let (datagram, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert_eq!(io.adopt(datagram).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(rt);
}

fn file_with(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}

fn text_of(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// A protocol that sends plain bytes, and bytes with numbered files, in turn.
struct Gives(usize);

impl Protocol for Gives {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        for n in 0..self.0 {
            conn.send(b"plain");
            let fds = (0..n % 3).map(|k| file_with(&format!("{n}.{k}"))).collect();
            conn.send_with_fds(b"files", fds);
        }
        conn.close();
    }

    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
}

struct Takes {
    bytes: usize,
    texts: Vec<String>,
    tell: mpsc::Sender<(usize, Vec<String>, String)>,
}

impl Protocol for Takes {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.bytes += conn.input().len();
        conn.consume(conn.input().len());
        self.texts.extend(conn.take_fds().into_iter().map(text_of));
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let texts = std::mem::take(&mut self.texts);
        self.tell.send((self.bytes, texts, format!("{reason:?}"))).unwrap();
    }
}

#[test]
fn n10_descriptors_come_in_order_with_all_the_bytes() {
    let (rt, io) = start(2);
    for rounds in [1, 5, 200] {
        let (one, other) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let takes = Takes { bytes: 0, texts: Vec::new(), tell };
        let options = ConnOptions { max_fds: 10_000, ..ConnOptions::default() };
        io.adopt(other).unwrap().serve(&rt.handle().new_color(), options, takes);
        let gives = io.adopt(one).unwrap();
        gives.serve(&rt.handle().new_color(), ConnOptions::default(), Gives(rounds));
        let (bytes, texts, reason) = told.recv().unwrap();
        let wanted: Vec<String> =
            (0..rounds).flat_map(|n| (0..n % 3).map(move |k| format!("{n}.{k}"))).collect();
        assert_eq!((bytes, texts), (rounds * 10, wanted), "{reason}");
    }
}

#[test]
fn n5_descriptors_that_are_not_allowed_are_refused_and_none_leaks() {
    let (rt, io) = start(1);
    for allowed in [0, 2] {
        let (one, other) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let takes = Takes { bytes: 0, texts: Vec::new(), tell };
        let options = ConnOptions { max_fds: allowed, ..ConnOptions::default() };
        io.adopt(other).unwrap().serve(&rt.handle().new_color(), options, takes);
        let sender = io.adopt(one).unwrap().into_async().unwrap();
        // The other end of each descriptor reads the end when the last copy is closed.
        let (fds, ends): (Vec<_>, Vec<_>) = (0..5).map(|_| UnixStream::pair().unwrap()).unzip();
        let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        assert_eq!(rt.block_on(sender.send_with_fds(b"five", &borrowed)).unwrap(), 4);
        drop(borrowed);
        drop((sender, fds));
        let (bytes, texts, reason) = told.recv().unwrap();
        assert_eq!(texts, Vec::<String>::new());
        match allowed {
            // The system closes descriptors that the reader does not ask for.
            0 => assert_eq!((bytes, &*reason), (4, "Peer")),
            _ => assert!(bytes == 0 && reason.contains("more descriptors than"), "{reason}"),
        }
        for mut end in ends {
            assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
        }
    }
}

#[test]
fn n10_what_a_peer_says_before_it_closes_is_heard_though_it_takes_nothing() {
    let (rt, io) = start(1);
    for _ in 0..20 {
        let (one, mut other) = UnixStream::pair().unwrap();
        /// Sends 10 MB, and reports what arrives.
        struct Talks(Vec<u8>, Option<bool>, mpsc::Sender<(Vec<u8>, Option<bool>, String)>);
        impl Protocol for Talks {
            fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
                conn.send(&vec![7; 10_000_000]);
                conn.notify_written();
            }
            fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
                self.0.extend(conn.input());
                conn.consume(conn.input().len());
            }
            fn on_written(&mut self, _: &mut Conn, _: &mut Cx) {
                unreachable!("nobody has taken it");
            }
            fn on_write_closed(&mut self, conn: &mut Conn, _: &mut Cx) {
                self.1 = Some(conn.can_send());
            }
            fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
                let heard = std::mem::take(&mut self.0);
                self.2.send((heard, self.1, format!("{reason:?}"))).unwrap();
            }
        }
        let (tell, told) = mpsc::channel();
        let talks = Talks(Vec::new(), None, tell);
        io.adopt(one).unwrap().serve(&rt.handle().new_color(), ConnOptions::default(), talks);
        other.read_exact(&mut [0; 1_000]).unwrap();
        other.write_all(b"busy").unwrap();
        other.shutdown(std::net::Shutdown::Both).unwrap();
        let (heard, can_send, reason) = told.recv().unwrap();
        assert_eq!((&heard[..], &*reason), (&b"busy"[..], "Peer"));
        assert_ne!(can_send, Some(true));
    }
}

#[test]
fn n10_descriptors_go_over_unix_sockets_only() {
    let (rt, io) = start(1);
    let (tcp, _peer) = common::tcp_pair();
    let stream = io.adopt(tcp).unwrap().into_async().unwrap();
    let file = file_with("x");
    let error = rt.block_on(stream.send_with_fds(b"x", &[file.as_fd()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn n10_a_stream_that_others_have_too_is_left_and_adopted_again() {
    let (rt, io) = start(1);
    let (one, mut other) = UnixStream::pair().unwrap();
    for round in 0..5u8 {
        /// Answers one byte, and aborts the connection.
        struct Once(mpsc::Sender<()>);
        impl Protocol for Once {
            fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
                let bytes = conn.input().to_vec();
                conn.send(&bytes);
                conn.consume(bytes.len());
                conn.notify_written();
            }
            fn on_written(&mut self, conn: &mut Conn, _: &mut Cx) {
                conn.abort();
            }
            fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
                self.0.send(()).unwrap();
            }
        }
        let (tell, told) = mpsc::channel();
        // A duplicate of the same socket, with the same number each time.
        let copy = one.try_clone().unwrap();
        io.adopt(copy).unwrap().serve(&rt.handle().new_color(), ConnOptions::default(), Once(tell));
        other.write_all(&[round]).unwrap();
        let mut byte = [0];
        other.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [round]);
        told.recv().unwrap();
        rt.wait_idle();
    }
    let before = rt.metrics().parks();
    other.write_all(b"nobody listens").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(rt.metrics().parks() - before < 50);
}

#[test]
fn n11_a_read_that_stops_at_descriptors_is_no_proof() {
    // The reader does not ask for descriptors. The bytes behind them are read all the same.
    let (rt, io) = start(1);
    let (one, other) = UnixStream::pair().unwrap();
    let sender = io.adopt(one).unwrap().into_async().unwrap();
    let file = file_with("x");
    // All bytes are there before the reader looks.
    for _ in 0..20 {
        rt.block_on(sender.send_with_fds(b"ab", &[file.as_fd()])).unwrap();
    }
    let (tell, told) = mpsc::channel();
    struct Counts(usize, mpsc::Sender<usize>);
    impl Protocol for Counts {
        fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
            self.0 += conn.input().len();
            conn.consume(conn.input().len());
            self.1.send(self.0).unwrap();
        }
    }
    let reader = io.adopt(other).unwrap();
    reader.serve(&rt.handle().new_color(), ConnOptions::default(), Counts(0, tell));
    while told.recv_timeout(std::time::Duration::from_secs(60)).unwrap() < 40 {}
}

#[test]
fn n10_tasks_receive_descriptors() {
    let (rt, io) = start(2);
    let (one, other) = UnixStream::pair().unwrap();
    let (one, other) = (io.adopt(one).unwrap(), io.adopt(other).unwrap());
    let (one, other) = (one.into_async().unwrap(), other.into_async().unwrap());
    let file = file_with("text");
    rt.block_on(async {
        one.send_with_fds(b"x", &[file.as_fd()]).await.unwrap();
        let mut byte = [0; 8];
        let (n, fds) = other.receive_with_fds(&mut byte, 4).await.unwrap();
        assert_eq!((n, fds.len()), (1, 1));
        assert_eq!(fds.into_iter().map(text_of).collect::<String>(), "text");
        let error = one.send_with_fds(b"", &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn n10_pipes_that_others_have_too_are_left_and_adopted_again() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    let (rt, io) = start(1);
    let (read, write) = std::io::pipe().unwrap();
    for round in 0..5u8 {
        let (from, to) = (read.try_clone().unwrap(), write.try_clone().unwrap());
        let pipes = io.adopt_pipes(Some(from.into()), Some(to.into())).unwrap();
        let mut pipes = pipes.into_async().unwrap();
        rt.block_on(async {
            pipes.write_all(&[round]).await.unwrap();
            let mut byte = [0];
            pipes.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [round]);
            pipes.close().await.unwrap();
        });
    }
}

#[test]
#[cfg(feature = "tls")]
fn n7_tls_runs_over_a_unix_socket() {
    use dapple_io::tls::TlsStream;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use std::sync::Arc;
    let (rt, io) = start(2);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots);
    let client = Arc::new(client.with_no_client_auth());
    let (one, other) = UnixStream::pair().unwrap();
    let one = io.adopt(one).unwrap().into_async().unwrap();
    let serve = rt.handle().spawn(&rt.handle().new_color(), async move {
        let mut stream = TlsStream::accept(one, Arc::new(server)).await.unwrap();
        let mut bytes = vec![0; 100_000];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.close().await.unwrap();
    });
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(client, name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, other);
    let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    stream.write_all(&bytes).unwrap();
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == bytes);
    serve.join().unwrap();
}

#[test]
#[cfg(feature = "hyper")]
fn n2_hyper_runs_over_a_unix_socket() {
    use hyper::service::service_fn;
    let (rt, io) = start(2);
    let (one, mut other) = UnixStream::pair().unwrap();
    let one = io.adopt(one).unwrap().into_async().unwrap();
    let serve = rt.handle().spawn(&rt.handle().new_color(), async move {
        let answer = |request: hyper::Request<hyper::body::Incoming>| async move {
            Ok::<_, std::convert::Infallible>(hyper::Response::new(request.uri().path().to_owned()))
        };
        hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(one, service_fn(answer))
            .await
            .unwrap();
    });
    other.write_all(b"GET /over/unix HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("/over/unix"), "{answer}");
    serve.join().unwrap();
}

#[test]
fn n4_a_transport_runs_over_a_unix_socket() {
    let (rt, io) = start(2);
    let (one, mut other) = UnixStream::pair().unwrap();
    let stream = io.adopt(one).unwrap();
    let color = rt.handle().new_color();
    let transport = stream.deliver(&color, TransportOptions::default(), |message, _| {
        let mut reply = message.bytes().to_vec();
        reply.reverse();
        message.reply(&reply).unwrap();
    });
    other.write_all(&[0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 1, b'x']).unwrap();
    let mut replies = [0; 12];
    other.read_exact(&mut replies).unwrap();
    let (tell, told) = mpsc::channel();
    let also = tell.clone();
    transport.on_close(move |_| tell.send("gone").unwrap());
    drop(other);
    assert_eq!(told.recv().unwrap(), "gone");
    transport.on_close(move |_| also.send("gone before").unwrap());
    assert_eq!(told.recv().unwrap(), "gone before");
    assert_eq!(&replies, &[0, 0, 0, 3, b'c', b'b', b'a', 0, 0, 0, 1, b'x']);
}
