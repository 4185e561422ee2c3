//! The DNS forwarder, with dig as its client. A proxy between the forwarder and the name server
//! loses, duplicates and reorders datagrams.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::{Program, client};

/// A loop that runs on a thread of its own until this is dropped.
struct Running(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Running {
    fn start(mut step: impl FnMut() + Send + 'static) -> Running {
        let ends = Arc::new(AtomicBool::new(false));
        let also = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !also.load(Relaxed) {
                step();
            }
        });
        Running(ends, Some(thread))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        let ended = self.1.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Returns the name of the question, and the offset at which the question ends.
fn question(message: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 5)
}

/// Starts a name server that knows `hostN.test`, which has the address 10.0.N/256.N%256.
fn name_server() -> (Running, SocketAddr) {
    let (socket, address) = socket();
    let running = Running::start(move || {
        let mut message = [0; 1_000];
        let Ok((n, from)) = socket.recv_from(&mut message) else { return };
        let (name, end) = question(&message[..n]);
        let number: u16 =
            name.trim_start_matches("host").trim_end_matches(".test").parse().unwrap();
        let mut answer = message[..end].to_vec();
        // An answer, recursion available, one question, one record.
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let [high, low] = number.to_be_bytes();
        // The name of the question, an Internet address, 60 seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, high, low]);
        socket.send_to(&answer, from).unwrap();
    });
    (running, address)
}

/// The number of times that the proxy loses a question or its answer, at most. The forwarder asks
/// eight times.
const LOSSES: u8 = 4;

/// Starts a proxy that forwards datagrams to a server and back. Of every four, about one is lost,
/// one is sent twice, and one is sent after the next one.
fn lossy_proxy(server: SocketAddr, lost: Arc<AtomicU64>) -> (Running, SocketAddr) {
    let (socket, address) = socket();
    let mut clients: HashMap<[u8; 2], SocketAddr> = HashMap::new();
    let mut losses: HashMap<[u8; 2], u8> = HashMap::new();
    let (mut count, mut held): (u64, Option<(Vec<u8>, SocketAddr)>) = (0, None);
    let running = Running::start(move || {
        let mut message = [0; 1_000];
        let Ok((n, from)) = socket.recv_from(&mut message) else {
            if let Some((message, to)) = held.take() {
                socket.send_to(&message, to).unwrap();
            }
            return;
        };
        let number = [message[0], message[1]];
        let to = match from == server {
            true => clients[&number],
            false => {
                clients.insert(number, from);
                server
            }
        };
        // The choice is pseudo-random. In step with the questions, it could lose all answers.
        count =
            count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let message = message[..n].to_vec();
        match count >> 62 {
            0 if losses.get(&number).is_none_or(|losses| *losses < LOSSES) => {
                *losses.entry(number).or_default() += 1;
                lost.fetch_add(1, Relaxed);
            }
            1 => {
                socket.send_to(&message, to).unwrap();
                socket.send_to(&message, to).unwrap();
            }
            2 => {
                if let Some((message, to)) = held.replace((message, to)) {
                    socket.send_to(&message, to).unwrap();
                }
            }
            _ => drop(socket.send_to(&message, to).unwrap()),
        }
    });
    (running, address)
}

#[test]
fn the_dns_forwarder_answers_dig_though_datagrams_are_lost_and_reordered() {
    let Some(_) = client("dig") else { return };
    let (_server, server) = name_server();
    let lost = Arc::new(AtomicU64::new(0));
    let (_proxy, proxy) = lossy_proxy(server, Arc::clone(&lost));
    let mut dns = Program::start("dns", &["127.0.0.1:0", &proxy.to_string()]);
    let port = dns.port();
    let dig = |numbers: std::ops::Range<u16>| {
        let mut dig = client("dig").unwrap();
        // dig asks once, and waits. The forwarder asks again.
        dig.args(["@127.0.0.1", "-p", &port, "+short", "+tries=1", "+timeout=30"]);
        dig.args(numbers.map(|n| format!("host{n}.test"))).output().unwrap()
    };
    let at_once: Vec<_> = thread::scope(|scope| {
        let dig = &dig;
        let ask = |k: u16| scope.spawn(move || dig(250 + k * 5..255 + k * 5));
        let asked: Vec<_> = (0..4u16).map(ask).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (k, output) in (0..4u16).zip(at_once) {
        let told = String::from_utf8(output.stdout).unwrap();
        let numbers = (250 + k * 5)..(255 + k * 5);
        let wanted: Vec<_> = numbers.map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        assert_eq!(told.lines().collect::<Vec<_>>(), wanted);
    }
    assert!(lost.load(Relaxed) > 0, "the proxy loses some");
    dns.ends();
}

#[test]
fn the_dns_forwarder_believes_nobody_else() {
    let (silent, server) = socket();
    let mut dns = Program::start("dns", &["127.0.0.1:0", &server.to_string()]);
    let address: SocketAddr = format!("127.0.0.1:{}", dns.port()).parse().unwrap();
    let (client, _) = socket();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ask = |number: u16, name: &[u8]| {
        let mut message = [&number.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
        message.extend(name);
        message.extend([0, 0, 1, 0, 1]);
        message
    };
    // A message that is too short, or is no question, is not forwarded.
    client.send_to(b"short", address).unwrap();
    let mut answer = ask(7, b"\x01a");
    answer[2] |= 0x80;
    client.send_to(&answer, address).unwrap();
    client.send_to(&ask(7, b"\x01b"), address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut message, mut other) = ([0; 100], [0; 100]);
    let (n, from) = silent.recv_from(&mut message).unwrap();
    assert_eq!(&message[2..n], &ask(7, b"\x01b")[2..]);
    let passed = message[..n].to_vec();
    // An answer to another question, and one with another number.
    for (at, change) in [(13, b'c' ^ b'b'), (1, 1)] {
        let mut wrong = passed.clone();
        wrong[2] |= 0x80;
        wrong[at] ^= change;
        silent.send_to(&wrong, from).unwrap();
    }
    // An answer from another address, with the right number.
    let (stranger, _) = socket();
    let mut forged = passed.clone();
    forged[2] |= 0x80;
    stranger.send_to(&forged, from).unwrap();
    // The forwarder asks again, because it has accepted none of them.
    let (n, _) = silent.recv_from(&mut other).unwrap();
    assert_eq!(other[..n], passed[..]);
    let mut right = passed.clone();
    right[2] |= 0x80;
    right.extend(b"the answer");
    silent.send_to(&right, from).unwrap();
    let n = client.recv(&mut other).unwrap();
    assert_eq!(other[..2], 7u16.to_be_bytes());
    assert_eq!(other[2..n], right[2..]);
    dns.ends();
}
