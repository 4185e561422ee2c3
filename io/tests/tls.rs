//! N7: TLS streams for async tasks. N5: time limits.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapple::Runtime;
use dapple_io::tcp::{Accepting, AsyncStream, Listener};
use dapple_io::tls::{MOST_SEALED, TlsStream};
use dapple_io::{Io, TimeoutStream};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> (Runtime, Io) {
    let rt = dapple_io::runtime().workers(workers).build().unwrap();
    let io = Io::of(&rt.handle());
    (rt, io)
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Serves each connection by `serve`, and passes its result on.
fn listen<F, Fut>(io: &Io, serve: F) -> (Listener, std::sync::mpsc::Receiver<std::io::Result<()>>)
where
    F: Fn(AsyncStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let (tell, told) = std::sync::mpsc::channel();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
        let (color, tell) = (cx.new_color(), tell.clone());
        let served = serve(stream.into_async().unwrap());
        cx.spawn(&color, async move { tell.send(served.await).unwrap_or(()) }).detach();
    });
    (listener.unwrap(), told)
}

/// Starts a server that sends its input back.
fn echo(
    io: &Io,
    config: &Arc<ServerConfig>,
) -> (Listener, std::sync::mpsc::Receiver<std::io::Result<()>>) {
    let config = Arc::clone(config);
    listen(io, move |stream| {
        let config = Arc::clone(&config);
        async move {
            let (mut read, mut write) = split(TlsStream::accept(stream, config).await?);
            copy(&mut read, &mut write).await?;
            write.close().await
        }
    })
}

/// Returns a blocking client.
fn client(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let tls = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(LONG)).unwrap();
    StreamOwned::new(tls, tcp)
}

#[test]
fn n7_streams_carry_what_is_written_both_ways() {
    let (server, config) = configs();
    for workers in [1, 2] {
        let (rt, io) = runtime(workers);
        let (listener, _) = echo(&io, &server);
        let address = listener.local_addr();
        // Far more than the system buffers, so both sides wait for each other again and again.
        let sent = pattern(5_000_000);
        let (expected, config) = (sent.clone(), Arc::clone(&config));
        let got = rt.block_on(async move {
            let stream = io.connect(address).await?;
            let stream =
                TlsStream::connect(stream, config, "localhost".try_into().unwrap()).await?;
            let (mut read, mut write) = split(stream);
            let writer = io.handle().spawn(&io.handle().new_color(), async move {
                write.write_all(&sent).await?;
                write.close().await
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await?;
            writer.await.unwrap()?;
            Ok::<_, std::io::Error>(got)
        });
        assert!(got.unwrap() == expected);
    }
}

#[test]
fn n7_pieces_of_all_sizes() {
    let (server, config) = configs();
    let (_rt, io) = runtime(1);
    let (listener, _) = echo(&io, &server);
    let mut client = client(listener.local_addr(), &config);
    for len in [1, 2, 100, 16_383, 16_384, 16_385, 70_000, 200_000] {
        let sent = pattern(len);
        // Each piece fits into the buffers on the way, so it can be written before the echo is
        // read.
        client.write_all(&sent).unwrap();
        client.flush().unwrap();
        let mut got = vec![0; len];
        client.read_exact(&mut got).unwrap();
        assert!(got == sent, "{len}");
    }
}

#[test]
fn n7_who_does_not_speak_tls_is_an_error() {
    let (server, _) = configs();
    let (_rt, io) = runtime(1);
    let (listener, told) = echo(&io, &server);
    let mut plain = TcpStream::connect(listener.local_addr()).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
    let mut alert = Vec::new();
    plain.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "it is told so: {alert:?}");
    drop(TcpStream::connect(listener.local_addr()).unwrap());
    assert_eq!(told.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn n7_a_stream_that_is_cut_off_is_told_from_one_that_ends() {
    let (server, config) = configs();
    let (_rt, io) = runtime(1);
    let (listener, told) = echo(&io, &server);
    for ends in [true, false] {
        let mut client = client(listener.local_addr(), &config);
        client.write_all(b"hello").unwrap();
        let mut got = [0; 5];
        client.read_exact(&mut got).unwrap();
        if ends {
            client.conn.send_close_notify();
            client.flush().unwrap();
        }
        client.sock.shutdown(std::net::Shutdown::Write).unwrap();
        let outcome = told.recv_timeout(LONG).unwrap();
        match ends {
            true => assert!(outcome.is_ok()),
            false => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof),
        }
    }
}

#[test]
fn n7_a_peer_that_takes_nothing_holds_little() {
    let (server, config) = configs();
    let (_rt, io) = runtime(1);
    let (tell, sealed) = std::sync::mpsc::channel();
    let (listener, _told) = listen(&io, move |stream| {
        let (server, tell) = (Arc::clone(&server), tell.clone());
        async move {
            let mut stream = TlsStream::accept(stream, server).await?;
            let piece = pattern(100_000);
            let mut total = 0;
            loop {
                total += stream.write(&piece[total % piece.len()..]).await?;
                tell.send(total).unwrap();
            }
        }
    });
    let mut client = client(listener.local_addr(), &config);
    let mut begun = [0; 10];
    client.read_exact(&mut begun).unwrap();
    // Waits until nothing more is taken: the system's buffers are full, and so is the sealed
    // output.
    let mut total = 0;
    while let Ok(more) = sealed.recv_timeout(Duration::from_millis(500)) {
        total = more;
    }
    let system = 16 * 1024 * 1024;
    assert!(total < system + 2 * MOST_SEALED, "{total}");
    // The stream goes on when the peer reads.
    let mut all = vec![0; total];
    client.read_exact(&mut all).unwrap();
    let whole: Vec<u8> = pattern(100_000).into_iter().cycle().skip(10).take(total).collect();
    assert!(all == whole);
}

#[test]
fn n5_reads_and_writes_that_wait_too_long_fail() {
    let (rt, io) = runtime(2);
    let handle = rt.handle();
    let short = Duration::from_millis(50);
    let (listener, told) = listen(&io, move |stream| {
        let handle = handle.clone();
        async move {
            let stream = TimeoutStream::new(stream, &handle).read_limit(short).write_limit(short);
            let (mut read, mut write) = split(stream);
            let mut mode = [0];
            read.read_exact(&mut mode).await?;
            match mode[0] {
                b'r' => read.read_exact(&mut [0; 10]).await,
                _ => write.write_all(&vec![0; 64_000_000]).await,
            }
        }
    });
    for mode in [b"r", b"w"] {
        let mut client = TcpStream::connect(listener.local_addr()).unwrap();
        let start = Instant::now();
        client.write_all(mode).unwrap();
        let error = told.recv_timeout(LONG).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= short, "never early");
    }
    // A write may take any time, as long as the peer takes something.
    let mut client = TcpStream::connect(listener.local_addr()).unwrap();
    client.write_all(b"w").unwrap();
    let mut left = 64_000_000;
    let mut buf = vec![0; 4_000_000];
    while left > 0 {
        std::thread::sleep(Duration::from_millis(10));
        let n = client.read(&mut buf).unwrap();
        assert!(n > 0, "{left}");
        left -= n;
    }
    told.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn n5_a_timer_of_an_earlier_wait_does_not_end_a_later_one() {
    let (rt, io) = runtime(1);
    let handle = rt.handle();
    let limit = Duration::from_millis(200);
    let (listener, told) = listen(&io, move |stream| {
        let handle = handle.clone();
        async move {
            let mut stream = TimeoutStream::new(stream, &handle).read_limit(limit);
            stream.read_exact(&mut [0; 6]).await
        }
    });
    let mut client = TcpStream::connect(listener.local_addr()).unwrap();
    for _ in 0..6 {
        std::thread::sleep(limit / 2);
        client.write_all(b"x").unwrap();
    }
    told.recv_timeout(LONG).unwrap().unwrap();
}
