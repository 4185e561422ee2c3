//! N2: streams for async tasks.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::{JoinHandle, Runtime};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, AsyncStream, Listener};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt, copy, split};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> (Runtime, Io) {
    let rt = dapple_io::runtime().workers(workers).build().unwrap();
    let io = Io::of(&rt.handle());
    (rt, io)
}

/// Starts a server that sends its input back, until the peer closes its side.
fn echo(io: &Io) -> Listener {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    io.listen(address, Accepting::PerWorker, |stream, cx| {
        let color = cx.new_color();
        let echo: JoinHandle<io::Result<u64>> = cx.spawn(&color, async move {
            let (mut read, mut write) = split(stream.into_async()?);
            let n = copy(&mut read, &mut write).await?;
            write.close().await?;
            Ok(n)
        });
        echo.detach();
    })
    .unwrap()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn n2_streams_carry_what_is_written_both_ways() {
    for workers in [1, 2] {
        let (rt, io) = runtime(workers);
        let listener = echo(&io);
        let address = listener.local_addr();
        let sent = pattern(3_000_000);
        let expected = sent.clone();
        // Far more than the system buffers, so both sides wait for each other again and again.
        let got = rt.block_on(async move {
            let stream = io.connect(address).await?;
            assert_eq!(stream.peer_addr(), address);
            let (mut read, mut write) = split(stream);
            let writer = io.handle().spawn(&io.handle().new_color(), async move {
                write.write_all(&sent).await?;
                write.close().await
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await?;
            writer.await.unwrap()?;
            Ok::<_, io::Error>(got)
        });
        assert!(got.unwrap() == expected);
    }
}

#[test]
fn n2_many_streams_at_once() {
    let (rt, io) = runtime(2);
    let listener = echo(&io);
    let address = listener.local_addr();
    let clients: Vec<_> = (0..100)
        .map(|n: usize| {
            let io = io.clone();
            rt.handle().spawn(&rt.handle().new_color(), async move {
                let mut stream = io.connect(address).await?;
                for round in 0..20 {
                    let message = pattern(1 + n * 13 + round);
                    stream.write_all(&message).await?;
                    let mut answer = vec![0; message.len()];
                    stream.read_exact(&mut answer).await?;
                    assert!(answer == message);
                }
                Ok::<_, io::Error>(())
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap().unwrap();
    }
}

#[test]
fn n2_a_stream_that_waits_is_woken_by_the_end_of_its_peer() {
    let (rt, io) = runtime(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = rt.handle().spawn(&rt.handle().new_color(), async move {
        let mut stream = io.connect(address).await?;
        let mut byte = [0];
        let first = stream.read(&mut byte).await?;
        let second = stream.read(&mut byte).await?;
        Ok::<_, io::Error>((first, second))
    });
    let (mut peer, _) = listener.accept().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    peer.write_all(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!client.is_finished());
    drop(peer);
    assert_eq!(client.join().unwrap().unwrap(), (1, 0));
}

#[test]
fn n2_who_cannot_be_reached_is_an_error() {
    let (rt, io) = runtime(1);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = rt.block_on(io.connect(address)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    // A time limit around a read that never ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let h = rt.handle();
    let read = rt.block_on(async {
        let mut stream = io.connect(address).await?;
        let mut byte = [0];
        let read = async { stream.read(&mut byte).await };
        h.timeout(Duration::from_millis(10), read).await?
    });
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn n2_a_stream_that_is_dropped_closes_its_connection() {
    let (rt, io) = runtime(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream: AsyncStream = rt.block_on(io.connect(address)).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    drop(stream);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn e11_a_stream_that_another_executor_polls_is_told_of_the_end() {
    let (rt, io) = runtime(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream = rt.block_on(io.connect(address)).unwrap();
    let (_peer, _) = listener.accept().unwrap();
    let (began, begins) = mpsc::channel();
    let read = std::thread::spawn(move || {
        futures_lite::future::block_on(async {
            began.send(()).unwrap();
            stream.read(&mut [0]).await
        })
    });
    begins.recv_timeout(LONG).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    drop(rt);
    assert_eq!(read.join().unwrap().unwrap_err().to_string(), "the runtime has ended");
    let late = futures_lite::future::block_on(io.connect(address)).map(drop);
    assert_eq!(late.unwrap_err().to_string(), "the runtime has ended");
}

#[test]
fn e11_streams_that_wait_end_with_the_runtime() {
    let (rt, io) = runtime(2);
    let ended = Arc::new(AtomicUsize::new(0));
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (accepted, accepts) = mpsc::channel();
    let guard = Arc::clone(&ended);
    let listener = io
        .listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, move |stream, cx| {
            let (ends, color) = (Ends(Arc::clone(&guard)), cx.new_color());
            let accepted = accepted.clone();
            cx.spawn(&color, async move {
                let _ends = ends;
                let mut stream = stream.into_async().unwrap();
                accepted.send(()).unwrap();
                let _ = stream.read(&mut [0]).await;
            })
            .detach();
        })
        .unwrap();
    let clients: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
    for _ in &clients {
        accepts.recv_timeout(LONG).unwrap();
    }
    rt.shutdown(Duration::from_millis(50));
    assert_eq!(ended.load(SeqCst), 20, "every task is dropped");
    for mut client in clients {
        client.set_read_timeout(Some(LONG)).unwrap();
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "and its connection closed");
    }
}
