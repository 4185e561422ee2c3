//! N4: framed messages keep the order of their stream, however many workers deliver.
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Domain, Runtime, Sequencer};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, ConnOptions, Listener, Message, Transport, TransportOptions};

const MINUTE: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> (Runtime, Io) {
    let rt = dapple_io::runtime().workers(workers).pin_cores(false).build().unwrap();
    let io = Io::of(&rt.handle());
    (rt, io)
}

/// Serves each connection by `serve`.
fn listen(
    io: &Io,
    serve: impl Fn(dapple_io::tcp::TcpStream, &dapple::Color) -> Transport + Send + Sync + 'static,
) -> Listener {
    io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, move |stream, cx| {
        serve(stream, &cx.new_color());
    })
    .unwrap()
}

fn connect(listener: &Listener) -> TcpStream {
    let stream = TcpStream::connect(listener.local_addr()).unwrap();
    stream.set_read_timeout(Some(MINUTE)).unwrap();
    stream.set_write_timeout(Some(MINUTE)).unwrap();
    stream
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Returns the next message, or `None` at the end.
fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(header) as usize];
    stream.read_exact(&mut bytes).unwrap();
    Some(bytes)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

#[test]
fn n4_tickets_and_replies_are_in_the_order_of_the_stream() {
    const MESSAGES: u32 = 3_000;
    for workers in [1, 2, 4] {
        let (rt, io) = runtime(workers);
        // For each connection, the numbers in the order in which events saw them in global.
        let domain = Domain::snapshot(&rt.handle(), HashMap::<u16, Vec<u32>>::new());
        let serving = domain.clone();
        let listener = listen(&io, move |stream, color| {
            stream.deliver_to(color, TransportOptions::default(), &serving, |message, d, _| {
                let peer = message.transport().peer_addr().ip().unwrap();
                let (k, port) = (number(message.bytes()), peer.port());
                match k % 3 {
                    0 => d.global_then(move |mut g| {
                        g.state_mut().entry(port).or_default().push(k);
                        g.downgrade_then(move |mut a| {
                            thread::yield_now();
                            a.defer(move |_| message.reply(&k.to_be_bytes()).unwrap());
                            a.commit()
                        })
                    }),
                    1 => d.anon(move |a| {
                        thread::yield_now();
                        a.defer(move |_| message.reply(&k.to_be_bytes()).unwrap());
                    }),
                    _ => d.none(move |n| {
                        n.defer(move |_| message.reply(&k.to_be_bytes()).unwrap());
                    }),
                }
            })
        });
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = connect(&listener);
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let sender = thread::spawn(move || {
                        for k in 0..MESSAGES {
                            writer.write_all(&frame(&k.to_be_bytes())).unwrap();
                        }
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let replies: Vec<u32> =
                        std::iter::from_fn(|| receive(&mut stream).map(|r| number(&r))).collect();
                    sender.join().unwrap();
                    assert!(replies.into_iter().eq(0..MESSAGES), "all replies, in order");
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        let (tx, rx) = mpsc::channel();
        domain.anon(move |a| tx.send(a.state().clone()).unwrap());
        for (_, seen) in rx.recv_timeout(MINUTE).unwrap() {
            assert!(seen.into_iter().eq((0..MESSAGES).filter(|k| k % 3 == 0)));
        }
    }
}

#[test]
fn n4_replies_of_colors_are_in_order_through_a_sequencer() {
    let (_rt, io) = runtime(4);
    let listener = listen(&io, |stream, color| {
        let replies: Arc<Mutex<Option<Sequencer<Message>>>> = Arc::default();
        stream.deliver(color, TransportOptions::default(), move |message, cx| {
            let sequencer = replies
                .lock()
                .unwrap()
                .get_or_insert_with(|| {
                    Sequencer::new(message.transport().color(), |done: Message, _| {
                        done.reply(done.bytes()).unwrap();
                    })
                })
                .clone();
            let place = sequencer.reserve();
            cx.post_uncolored(move |_| {
                thread::yield_now();
                place.complete(message);
            });
        })
    });
    let mut stream = connect(&listener);
    for k in 0..1_000u32 {
        stream.write_all(&frame(&k.to_be_bytes())).unwrap();
    }
    for k in 0..1_000u32 {
        assert_eq!(number(&receive(&mut stream).unwrap()), k);
    }
}

fn echo(
    stream: dapple_io::tcp::TcpStream,
    color: &dapple::Color,
    o: TransportOptions,
) -> Transport {
    stream.deliver(color, o, |message, _| message.reply(message.bytes()).unwrap())
}

#[test]
fn n4_a_message_in_pieces_and_many_in_one_piece() {
    let (_rt, io) = runtime(2);
    let listener = listen(&io, |stream, color| echo(stream, color, TransportOptions::default()));
    let mut stream = connect(&listener);
    stream.set_nodelay(true).unwrap();
    for byte in frame(b"in pieces").into_iter().chain(frame(b"")) {
        stream.write_all(&[byte]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(receive(&mut stream).unwrap(), b"in pieces");
    assert_eq!(receive(&mut stream).unwrap(), b"");
    let many: Vec<u8> = (0..5_000u32).flat_map(|k| frame(&k.to_be_bytes())).collect();
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(&many).unwrap());
    for k in 0..5_000u32 {
        assert_eq!(number(&receive(&mut stream).unwrap()), k);
    }
    sender.join().unwrap();
}

#[test]
fn n4_too_long_a_message_ends_its_connection_only() {
    let (_rt, io) = runtime(2);
    let options = TransportOptions { max_message: 100, ..TransportOptions::default() };
    let (tx, errors) = mpsc::channel();
    let tx = Mutex::new(tx);
    let listener = listen(&io, move |stream, color| {
        let transport = echo(stream, color, options);
        tx.lock().unwrap().send(transport.send(&[0; 101]).unwrap_err()).unwrap();
        transport
    });
    let (mut bad, mut good) = (connect(&listener), connect(&listener));
    bad.write_all(&frame(&[1; 100])).unwrap();
    bad.write_all(&[0xFF; 8]).unwrap();
    assert_eq!(receive(&mut bad).unwrap(), [1; 100], "what came before is answered");
    assert_eq!(receive(&mut bad), None);
    good.write_all(&frame(b"still here")).unwrap();
    assert_eq!(receive(&mut good).unwrap(), b"still here");
    assert!(errors.recv_timeout(MINUTE).unwrap().is_too_long());
}

#[test]
fn n4_a_full_domain_stops_the_reading_and_nothing_is_dropped() {
    const MESSAGES: u32 = 40_000;
    let (rt, io) = runtime(2);
    let domain = Domain::builder().max_uncommitted(50).read_write(&rt.handle(), Vec::<u32>::new());
    let (go, wait) = mpsc::channel::<()>();
    domain.none(move |_| wait.recv_timeout(MINUTE).unwrap());
    let serving = domain.clone();
    let listener = listen(&io, move |stream, color| {
        stream.deliver_to(color, TransportOptions::default(), &serving, |message, d, _| {
            d.global(move |g| g.state_mut().push(number(&message.bytes()[..4])));
        })
    });
    let mut stream = connect(&listener);
    let sent = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&sent);
    // More than the buffers of the system take.
    let sender = thread::spawn(move || {
        for k in 0..MESSAGES {
            let bytes = [&k.to_be_bytes()[..], &[0; 1_000]].concat();
            stream.write_all(&frame(&bytes)).unwrap();
        }
        also.store(true, SeqCst);
        stream
    });
    let start = Instant::now();
    while domain.uncommitted() < 50 {
        assert!(start.elapsed() < MINUTE, "the domain fills");
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(domain.uncommitted(), 50);
    assert!(!sent.load(SeqCst), "the sender is held up");
    go.send(()).unwrap();
    let stream = sender.join().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let start = Instant::now();
    loop {
        let (tx, rx) = mpsc::channel();
        domain.anon(move |a| tx.send(a.state().len()).unwrap());
        if rx.recv_timeout(MINUTE).unwrap() == MESSAGES as usize {
            break;
        }
        assert!(start.elapsed() < MINUTE, "all arrive");
    }
    domain.anon(|a| assert!(a.state().iter().copied().eq(0..MESSAGES)));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn n4_too_many_in_flight_stop_the_reading_until_some_are_done() {
    let (_rt, io) = runtime(2);
    let options = TransportOptions { max_in_flight: 10, ..TransportOptions::default() };
    let held = Arc::new(Mutex::new(Vec::new()));
    let also = Arc::clone(&held);
    let listener = listen(&io, move |stream, color| {
        let held = Arc::clone(&also);
        stream.deliver(color, options, move |message, _| held.lock().unwrap().push(message))
    });
    let mut stream = connect(&listener);
    let mut expected = 0u32;
    for k in 0..100u32 {
        stream.write_all(&frame(&k.to_be_bytes())).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let start = Instant::now();
    while expected < 100 {
        let batch = std::mem::take(&mut *held.lock().unwrap());
        assert!(batch.len() <= 10);
        for message in batch {
            assert_eq!(number(message.bytes()), expected);
            message.reply(message.bytes()).unwrap();
            expected += 1;
        }
        assert!(start.elapsed() < MINUTE, "stuck at {expected}");
        thread::sleep(Duration::from_millis(1));
    }
    for k in 0..100u32 {
        assert_eq!(number(&receive(&mut stream).unwrap()), k);
    }
    assert_eq!(receive(&mut stream), None, "closed when nothing is in flight");
}

#[test]
fn n4_a_pause_is_no_silence_of_the_peer() {
    let (_rt, io) = runtime(2);
    let conn = ConnOptions {
        idle_timeout: Duration::from_millis(50),
        frame_timeout: Duration::from_millis(50),
        ..ConnOptions::default()
    };
    let options = TransportOptions { max_in_flight: 1, conn, ..TransportOptions::default() };
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    let listener = listen(&io, move |stream, color| {
        let tx = tx.lock().unwrap().clone();
        stream.deliver(color, options, move |message, _| tx.send(message).unwrap())
    });
    let mut stream = connect(&listener);
    stream.write_all(&[frame(b"one"), frame(b"two")].concat()).unwrap();
    let one = rx.recv_timeout(MINUTE).unwrap();
    thread::sleep(Duration::from_millis(200));
    one.reply(b"first").unwrap();
    drop(one);
    assert_eq!(rx.recv_timeout(MINUTE).unwrap().bytes(), b"two");
    assert_eq!(receive(&mut stream).unwrap(), b"first");
    // Now the peer's silence counts.
    assert_eq!(receive(&mut stream), None);
}

#[test]
fn n4_close_writes_what_was_sent() {
    let (_rt, io) = runtime(2);
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    let listener = listen(&io, move |stream, color| {
        let transport = echo(stream, color, TransportOptions::default());
        transport.send(b"hello").unwrap();
        transport.close();
        assert!(transport.send(b"too late").unwrap_err().is_closed());
        tx.lock().unwrap().send(transport.clone()).unwrap();
        transport
    });
    let mut stream = connect(&listener);
    assert_eq!(receive(&mut stream).unwrap(), b"hello");
    assert_eq!(receive(&mut stream), None);
    drop(stream);
    let transport = rx.recv_timeout(MINUTE).unwrap();
    let start = Instant::now();
    while !transport.is_closed() {
        assert!(start.elapsed() < MINUTE);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn e11_a_runtime_that_ends_closes_its_transports() {
    for _ in 0..10 {
        let (rt, io) = runtime(2);
        let state = Arc::new(());
        let domain = Domain::snapshot(&rt.handle(), Arc::clone(&state));
        let (tx, transports) = mpsc::channel();
        let tx = Mutex::new(tx);
        let listener = listen(&io, move |stream, color| {
            let options = TransportOptions::default();
            let transport = stream.deliver_to(color, options, &domain, |message, d, _| {
                d.none(move |n| n.defer(move |_| message.reply(message.bytes()).unwrap()));
            });
            tx.lock().unwrap().send(transport.clone()).unwrap();
            transport
        });
        let mut stream = connect(&listener);
        stream.write_all(&frame(b"hello")).unwrap();
        assert_eq!(receive(&mut stream).unwrap(), b"hello");
        let transport = transports.recv_timeout(MINUTE).unwrap();
        drop((listener, io));
        drop(rt);
        assert_eq!(receive(&mut stream), None, "the peer sees the end");
        assert!(transport.send(b"too late").is_err() || transport.is_closed());
        drop((transport, transports));
        assert_eq!(Arc::strong_count(&state), 1, "the domain is gone");
    }
}

#[test]
fn e11_what_was_refused_to_one_thread_is_sent_by_the_next() {
    let (rt, io) = runtime(2);
    let (tx, transports) = mpsc::channel();
    let tx = Mutex::new(tx);
    let listener = listen(&io, move |stream, color| {
        let transport = echo(stream, color, TransportOptions::default());
        tx.lock().unwrap().send(transport.clone()).unwrap();
        transport
    });
    let mut stream = connect(&listener);
    let transport = transports.recv_timeout(MINUTE).unwrap();
    let (h, also) = (rt.handle(), transport.clone());
    // This event delays the end of the runtime, and sends after a thread from outside has been
    // refused.
    let (go, wait) = mpsc::channel::<()>();
    h.post_uncolored(move |_| {
        wait.recv_timeout(MINUTE).unwrap();
        also.send(b"two").unwrap();
    });
    let ends = thread::spawn(move || rt.shutdown(MINUTE));
    while h.is_running() {
        thread::yield_now();
    }
    transport.send(b"one").unwrap();
    go.send(()).unwrap();
    assert_eq!(receive(&mut stream).unwrap(), b"one");
    assert_eq!(receive(&mut stream).unwrap(), b"two");
    drop(stream);
    ends.join().unwrap();
}

#[test]
fn n4_draining_finishes_what_is_in_flight_and_delivers_no_more() {
    let (rt, io) = runtime(2);
    let (tell, delivered) = mpsc::channel();
    let tell = Mutex::new(tell);
    let listener = listen(&io, move |stream, color| {
        let tell = tell.lock().unwrap().clone();
        stream.deliver(color, TransportOptions::default(), move |message, _| {
            tell.send(message).unwrap();
        })
    });
    let mut peer = connect(&listener);
    peer.write_all(&frame(b"one")).unwrap();
    let one: Message = delivered.recv_timeout(MINUTE).unwrap();
    io.drain_connections();
    // After the connection has been told to drain, it delivers no more.
    let color = one.transport().color().clone();
    let (tell, told) = mpsc::channel();
    color.post(move |_| tell.send(()).unwrap());
    told.recv_timeout(MINUTE).unwrap();
    peer.write_all(&frame(b"two")).unwrap();
    assert!(delivered.recv_timeout(Duration::from_millis(100)).is_err(), "it drains");
    one.reply(b"the answer").unwrap();
    drop(one);
    assert_eq!(receive(&mut peer).unwrap(), b"the answer");
    assert!(receive(&mut peer).is_none(), "and that is the end");
    assert!(delivered.try_recv().is_err());
    drop(rt);
}
