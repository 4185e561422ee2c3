//! N10: datagrams: batches, segments, full sockets, refusals, Unix sockets, tasks.
mod common;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::Duration;

use common::start;
use dapple::Cx;
use dapple_io::datagram::{
    Datagram, DatagramOptions, DatagramProtocol, DatagramSocket, Datagrams, Outbox,
};
use dapple_io::{Addr, Io};

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind(local()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

fn echo(io: &Io, rt: &dapple::Runtime) -> (Datagrams<impl DatagramProtocol>, SocketAddr) {
    let socket = io.bind_udp(local()).unwrap();
    let address = socket.local_addr().ip().unwrap();
    let served = socket.on_datagrams(&rt.handle().new_color(), |datagram, out, _| {
        datagram.reply(datagram.bytes(), out);
    });
    (served, address)
}

#[test]
fn n10_what_comes_is_answered_in_order() {
    for workers in [1, 2, 4] {
        let (rt, io) = start(workers);
        let (served, address) = echo(&io, &rt);
        let client = client();
        client.connect(address).unwrap();
        let mut buffer = [0; 2_000];
        for n in 0..200u32 {
            // Few enough at once to fit into the socket's buffer.
            for k in 0..20 {
                client.send(&(n * 20 + k).to_be_bytes()).unwrap();
            }
            for k in 0..20 {
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], (n * 20 + k).to_be_bytes());
            }
        }
        // A datagram without bytes is a datagram, too.
        client.send(&[]).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 0);
        served.close();
        rt.wait_idle();
        client.send(&[1]).unwrap();
        let refused = client.recv(&mut buffer).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// A protocol that reports its calls.
struct Tells(mpsc::Sender<String>);

impl DatagramProtocol for Tells {
    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut Outbox, _: &mut Cx) {
        let cut = if datagram.is_truncated() { " cut" } else { "" };
        self.0.send(format!("{}{cut}", datagram.bytes().len())).unwrap();
    }

    fn on_room(&mut self, out: &mut Outbox, _: &mut Cx) {
        self.0.send(format!("room, {} queued", out.queued())).unwrap();
    }

    fn on_error(&mut self, error: io::Error, out: &mut Outbox, _: &mut Cx) {
        self.0.send(format!("{:?}, {} dropped", error.kind(), out.dropped())).unwrap();
    }

    fn on_close(&mut self, _: &mut Cx) {
        self.0.send("closed".to_owned()).unwrap();
    }
}

#[test]
fn n5_what_is_longer_than_allowed_comes_cut() {
    let (rt, io) = start(1);
    let socket = io.bind_udp(local()).unwrap();
    let address = socket.local_addr().ip().unwrap();
    let (tx, rx) = mpsc::channel();
    let options = DatagramOptions { max_datagram: 100, ..DatagramOptions::default() };
    let served = socket.serve(&rt.handle().new_color(), options, Tells(tx));
    let client = client();
    for (length, told) in [(1, "1"), (100, "100"), (101, "100 cut"), (60_000, "100 cut"), (0, "0")]
    {
        client.send_to(&vec![0; length], address).unwrap();
        assert_eq!(rx.recv_timeout(Duration::from_secs(60)).unwrap(), told);
    }
    served.close();
    assert_eq!(rx.recv().unwrap(), "closed");
}

#[test]
fn n10_a_protocol_may_close_at_its_first_datagram() {
    for _ in 0..50 {
        let (rt, io) = start(2);
        // An address of its own, because it is bound again below, while other tests bind arbitrary
        // ports of 127.0.0.1.
        let waiting = UdpSocket::bind("127.0.0.2:0").unwrap();
        let address = waiting.local_addr().unwrap();
        for _ in 0..10 {
            client().send_to(b"x", address).unwrap();
        }
        let (tx, rx) = mpsc::channel();
        let socket = DatagramSocket::adopt(&io, waiting).unwrap();
        let served = socket.on_datagrams(&rt.handle().new_color(), move |_, out, _| {
            tx.send(()).unwrap();
            out.close();
        });
        // The channel ends with the closure, which was called once.
        drop(served);
        assert_eq!(rx.iter().count(), 1);
        rt.wait_idle();
        drop(io.bind_udp(address).unwrap());
    }
}

#[test]
fn n10_a_client_that_does_not_read_holds_up_no_other() {
    let most = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
    if most.is_ok_and(|most| most.trim().parse().is_ok_and(|most: u32| most > 40)) {
        eprintln!("skipped: queues are longer than what is sent here");
        return;
    }
    let (rt, io) = start(1);
    let folder = tempfile::tempdir().unwrap();
    let bind = |name: &str| {
        let socket = UnixDatagram::bind(folder.path().join(name)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    };
    let (silent, reader) = (bind("silent"), bind("reader"));
    let server = folder.path().join("server");
    let socket = DatagramSocket::bind(&io, Addr::unix(&server)).unwrap();
    let (tx, rx) = mpsc::channel();
    let served = socket.on_datagrams(&rt.handle().new_color(), move |datagram, out, _| {
        datagram.reply(datagram.bytes(), out);
        tx.send(out.dropped()).unwrap();
    });
    let mut buffer = [0; 10];
    for n in 0..100u8 {
        silent.send_to(&[n], &server).unwrap();
        reader.send_to(&[n], &server).unwrap();
        assert_eq!((reader.recv(&mut buffer).unwrap(), buffer[0]), (1, n));
    }
    let dropped = rx.try_iter().last().unwrap();
    assert!(dropped > 50, "{dropped}: replies to the silent client were not dropped");
    // Then the worker rests.
    rt.wait_idle();
    let before = rt.metrics().parks();
    std::thread::sleep(Duration::from_millis(50));
    assert!(rt.metrics().parks() - before < 100);
    served.close();
    rt.wait_idle();
    assert!(!server.exists());
}

#[test]
fn n11_a_socket_is_closed_with_its_runtime_or_its_colors() {
    for foreign in [false, true] {
        let (rt, io) = start(2);
        let other = dapple::Runtime::builder().workers(1).build().unwrap();
        let color = if foreign { other.handle().new_color() } else { rt.handle().new_color() };
        let socket = io.bind_udp("127.0.0.3:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().ip().unwrap();
        let served = socket.on_datagrams(&color, |datagram, out, _| {
            datagram.reply(datagram.bytes(), out);
        });
        let flood = std::thread::spawn(move || {
            let client = client();
            for _ in 0..20_000 {
                let _ = client.send_to(b"x", address);
            }
        });
        std::thread::sleep(Duration::from_millis(5));
        drop(other);
        if !foreign {
            rt.shutdown(Duration::ZERO);
        }
        flood.join().unwrap();
        let start = std::time::Instant::now();
        drop((served, color));
        while UdpSocket::bind(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the port stays bound");
            std::thread::sleep(Duration::from_millis(5));
            // The reactor notices the end when a datagram arrives.
            let _ = client().send_to(b"x", address);
        }
    }
}

#[test]
fn n10_segments_arrive_one_by_one() {
    let (rt, io) = start(2);
    let (served, _) = echo(&io, &rt);
    let client = client();
    let address = client.local_addr().unwrap();
    for (length, segment) in [(10, 10), (10, 3), (1, 5), (60_000, 1_200), (80_000, 1_400)] {
        let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let sent = bytes.clone();
        served.with(move |_, out, _| out.send_segments(&sent, segment, address));
        let (mut all, mut buffer) = (Vec::<u8>::new(), [0; 2_000]);
        while all.len() < bytes.len() {
            let n = client.recv(&mut buffer).unwrap();
            let left = bytes.len() - all.len();
            assert_eq!(n, left.min(usize::from(segment)), "{length} in {segment}");
            all.extend(&buffer[..n]);
        }
        assert!(all == bytes);
    }
}

#[test]
fn n10_a_refusal_is_told_and_costs_no_other_datagram() {
    let (rt, io) = start(1);
    let gone = client().local_addr().unwrap();
    let socket = io.bind_udp(local()).unwrap();
    socket.connect(gone).unwrap();
    let (tx, rx) = mpsc::channel();
    let served = socket.serve(&rt.handle().new_color(), DatagramOptions::default(), Tells(tx));
    served.with(|_, out, _| out.send(b"nobody hears this"));
    let told = rx.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(told, "ConnectionRefused, 0 dropped");
    // Now a socket has this address.
    let server = UdpSocket::bind(gone).unwrap();
    served.with(|_, out, _| out.send(b"heard"));
    let mut buffer = [0; 100];
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(server.recv(&mut buffer).unwrap(), 5);
    // This datagram is too long for the system.
    served.with(|_, out, _| out.send(&[0; 65_536]));
    let told = rx.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(told.ends_with(", 1 dropped"), "{told}");
}

#[test]
fn n10_who_sends_again_whenever_it_is_refused_holds_up_nobody() {
    struct Again(u32);
    impl DatagramProtocol for Again {
        fn on_datagram(&mut self, _: Datagram<'_>, _: &mut Outbox, _: &mut Cx) {}

        fn on_error(&mut self, _: io::Error, out: &mut Outbox, _: &mut Cx) {
            self.0 += 1;
            // No socket has this port.
            out.send_to(b"again", SocketAddr::from(([127, 0, 0, 1], 0)));
        }
    }
    let (rt, io) = start(1);
    let served = io.bind_udp(local()).unwrap();
    let color = rt.handle().new_color();
    let served = served.serve(&color, DatagramOptions::default(), Again(0));
    served.with(|protocol, out, cx| protocol.on_error(io::ErrorKind::Other.into(), out, cx));
    rt.wait_idle();
    let (tx, rx) = mpsc::channel();
    served.with(move |protocol, out, _| tx.send((protocol.0, out.queued())).unwrap());
    let (errors, queued) = rx.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!((2..20).contains(&errors), "{errors}");
    assert_eq!(queued, 0);
}

#[test]
fn n10_a_task_that_sends_to_a_full_unix_socket_waits_until_it_is_read_or_the_runtime_ends() {
    let (rt, io) = start(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reader");
    let reader = UnixDatagram::bind(&path).unwrap();
    let socket = DatagramSocket::bind(&io, Addr::unix(folder.path().join("sender"))).unwrap();
    let socket = socket.into_async().unwrap();
    let to = Addr::unix(&path);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let mut buffer = [0; 4];
            for n in 0..2000u32 {
                assert_eq!(reader.recv(&mut buffer).unwrap(), 4);
                assert_eq!(u32::from_be_bytes(buffer), n);
            }
        });
        futures_lite::future::block_on(async {
            for n in 0..2000u32 {
                socket.send_to(&n.to_be_bytes(), &to).await.unwrap();
            }
        });
        reads.join().unwrap();
    });
    // Nothing reads from now on.
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let sends = async {
            for _ in 0..100_000 {
                if let Err(error) = socket.send_to(b"full", &to).await {
                    return error.to_string();
                }
            }
            "its queue has no end".to_owned()
        };
        tell.send(futures_lite::future::block_on(sends)).unwrap();
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(rt);
    assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), "the runtime has ended");
}

#[test]
fn n10_unix_datagrams_wait_for_room_and_too_much_is_dropped() {
    let (rt, io) = start(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let socket = DatagramSocket::bind(&io, Addr::unix(folder.path().join("sender"))).unwrap();
    socket.connect(Addr::unix(&path)).unwrap();
    let (tx, rx) = mpsc::channel();
    let options = DatagramOptions { max_queued: 100_000, ..DatagramOptions::default() };
    let served = socket.serve(&rt.handle().new_color(), options, Tells(tx));
    let (tell, told) = mpsc::channel();
    // More datagrams than the receiver's queue takes, and than may be queued here.
    served.with(move |_, out, _| {
        for n in 0..2_000u32 {
            out.send(&[n.to_be_bytes(); 25].concat());
        }
        tell.send((out.queued(), out.dropped())).unwrap();
    });
    let (queued, dropped) = told.recv().unwrap();
    let kept = 2_000 - u32::try_from(dropped).unwrap();
    // Each queued datagram counts 160 bytes more than its length. Some were sent before the limit.
    assert_eq!(queued, 100_000 / 260 * 100);
    assert!(kept > 384 && kept < 1_000, "{kept}");
    // Waits until the socket waits for room.
    rt.wait_idle();
    let mut buffer = [0; 200];
    for n in 0..kept {
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 100);
        assert_eq!(buffer[..4], n.to_be_bytes());
    }
    assert_eq!(rx.recv_timeout(Duration::from_secs(60)).unwrap(), "room, 0 queued");
    // The receiver learns the address of the sender.
    served.with(|_, out, _| out.send(b"x"));
    let (_, from) = receiver.recv_from(&mut buffer).unwrap();
    assert_eq!(from.as_pathname(), Some(&*folder.path().join("sender")));
    // A queued datagram is sent before the socket closes.
    served.with(|_, out, _| {
        out.send(b"last");
        out.close();
    });
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
    assert_eq!(rx.recv().unwrap(), "closed");
}

#[test]
fn c11_a_protocol_that_panics_loses_its_socket_only() {
    let (rt, io) = start(1);
    let socket = io.bind_udp(local()).unwrap();
    let address = socket.local_addr().ip().unwrap();
    socket.on_datagrams(&rt.handle().new_color(), |datagram, out, _| {
        assert!(datagram.bytes() != b"bad", "on purpose");
        datagram.reply(b"good", out);
    });
    let client = client();
    client.connect(address).unwrap();
    let mut buffer = [0; 100];
    client.send(b"x").unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
    client.send(b"bad").unwrap();
    let start = std::time::Instant::now();
    while rt.metrics().panics() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    rt.wait_idle();
    // The socket is closed.
    client.send(b"x").unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    // Another socket can take the address, on the same worker.
    drop(io.bind_udp(address).unwrap());
}

#[test]
fn n10_tasks_send_and_receive() {
    let (rt, io) = start(2);
    let (served, address) = echo(&io, &rt);
    let socket = io.bind_udp(local()).unwrap().into_async().unwrap();
    rt.block_on(async {
        let mut buffer = [0; 100];
        for n in 0..100u32 {
            socket.send_to(&n.to_be_bytes(), &address.into()).await.unwrap();
            let (length, from) = socket.receive_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], from), (&n.to_be_bytes()[..], address.into()));
        }
    });
    served.close();
    let stream = common::tcp_pair().0;
    let error = DatagramSocket::adopt(&io, stream).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let adopted = DatagramSocket::adopt(&io, UdpSocket::bind(local()).unwrap()).unwrap();
    assert!(adopted.local_addr().ip().is_some());
}
