//! N11: a short read does not prove that nothing is left, because a read stops at a byte that the
//! peer has marked as urgent.
mod common;

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::start;
use dapple::Cx;
use dapple_io::tcp::{Conn, ConnOptions, Protocol, TransportOptions};
use futures_lite::io::AsyncReadExt;

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(20);

fn pair() -> (TcpStream, TcpStream) {
    let (client, server) = common::tcp_pair();
    client.set_nodelay(true).unwrap();
    (client, server)
}

fn send_urgent(stream: &TcpStream) {
    // SAFETY: the pointer is to one byte of a static string, and the length is one.
    let sent = unsafe { libc::send(stream.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

/// The pieces that are sent. Each but the last is followed by an urgent byte.
const PIECES: [&[u8]; 4] = [b"one ", b"two ", b"three ", b"four"];

fn send_pieces(mut stream: &TcpStream, pause: Duration) {
    for (n, piece) in PIECES.iter().enumerate() {
        stream.write_all(piece).unwrap();
        thread::sleep(pause);
        if n + 1 < PIECES.len() {
            send_urgent(stream);
        }
    }
}

/// Returns the bytes without the urgent ones. Those stay out of the stream, unless the reader wants
/// them inline. If several urgent bytes have not been read, all but the last are inline anyway
/// (tcp(7)).
fn plain(read: &[u8]) -> Vec<u8> {
    read.iter().copied().filter(|byte| *byte != b'!').collect()
}

fn want_inline(stream: &TcpStream, inline: bool) {
    socket2::SockRef::from(stream).set_out_of_band_inline(inline).unwrap();
}

#[test]
fn n11_a_stream_reads_on_behind_an_urgent_byte() {
    for pause in [Duration::ZERO, MOMENT] {
        for is_sent_before in [true, false] {
            for inline in [false, true] {
                let (rt, io) = start(1);
                let (client, server) = pair();
                want_inline(&server, inline);
                if is_sent_before {
                    send_pieces(&client, pause);
                    thread::sleep(MOMENT);
                }
                let mut server = io.adopt(server).unwrap().into_async().unwrap();
                thread::sleep(MOMENT);
                let sender = (!is_sent_before).then(|| {
                    let client = client.try_clone().unwrap();
                    thread::spawn(move || send_pieces(&client, pause))
                });
                let mut all = Vec::new();
                while plain(&all).len() < PIECES.concat().len() {
                    let mut some = [0; 64];
                    let reads = rt.handle().timeout(MINUTE, server.read(&mut some));
                    let n = rt.block_on(reads).expect("all of it is there").unwrap();
                    all.extend_from_slice(&some[..n]);
                }
                assert_eq!(plain(&all), PIECES.concat(), "{pause:?} {is_sent_before} {inline}");
                sender.into_iter().for_each(|sender| sender.join().unwrap());
            }
        }
    }
}

struct Collects(mpsc::Sender<u8>);

impl Protocol for Collects {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        let bytes = conn.input().to_vec();
        conn.consume(bytes.len());
        bytes.into_iter().for_each(|byte| self.0.send(byte).unwrap());
    }
}

#[test]
fn n11_a_connection_reads_on_behind_an_urgent_byte() {
    for pause in [Duration::ZERO, MOMENT] {
        for inline in [false, true] {
            let (rt, io) = start(1);
            let (client, server) = pair();
            want_inline(&server, inline);
            send_pieces(&client, pause);
            thread::sleep(MOMENT);
            let (tx, rx) = mpsc::channel();
            let color = rt.handle().new_color();
            let server = io.adopt(server).unwrap();
            let _connection = server.serve(&color, ConnOptions::default(), Collects(tx));
            let mut all = Vec::new();
            while plain(&all).len() < PIECES.concat().len() {
                all.push(rx.recv_timeout(MINUTE).expect("all of it is there"));
            }
            assert_eq!(plain(&all), PIECES.concat());
        }
    }
}

#[test]
fn n11_a_transport_delivers_what_is_behind_an_urgent_byte() {
    let (rt, io) = start(1);
    let (mut client, server) = pair();
    client.write_all(&[0, 0, 0, 2, b'h']).unwrap();
    send_urgent(&client);
    client.write_all(b"i").unwrap();
    thread::sleep(MOMENT);
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    let color = rt.handle().new_color();
    io.adopt(server).unwrap().deliver(&color, TransportOptions::default(), move |message, _| {
        tx.lock().unwrap().send(message.bytes().to_vec()).unwrap();
    });
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), b"hi");
}
