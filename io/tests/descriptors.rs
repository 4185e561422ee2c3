//! N3: a process without free descriptors sheds connections and recovers. This test is alone in its
//! process, because the limit is the process's.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dapple::Cx;
use dapple_io::Io;
use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol};

struct Echo;
impl Protocol for Echo {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        let bytes = conn.input().to_vec();
        conn.consume(bytes.len());
        conn.send(&bytes);
    }
}

fn limit(n: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to `limit`, which is valid for the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = n.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        before
    }
}

#[test]
fn n3_a_full_process_sheds_and_recovers() {
    let rt = dapple_io::runtime().workers(1).build().unwrap();
    let listener = Io::of(&rt.handle())
        .listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
            let color = cx.new_color();
            stream.serve(&color, ConnOptions::default(), Echo);
        })
        .unwrap();
    let echo = |stream: &mut TcpStream| -> bool {
        let mut answer = [0; 2];
        stream.write_all(b"hi").is_ok() && stream.read_exact(&mut answer).is_ok()
    };
    // The clients' descriptors come from the same process.
    let before = limit(64);
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(listener.local_addr()) {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        clients.push(client);
        // Lets the server accept, so that both sides take descriptors.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(clients.len() > 5);
    let answered = clients.iter_mut().filter_map(|c| echo(c).then_some(())).count();
    assert!(answered > 5, "those that were accepted are served");
    assert!(listener.shed() > 0 || answered == clients.len());
    clients.truncate(2);
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(60), "the listener recovers by itself");
        if let Ok(mut client) = TcpStream::connect(listener.local_addr()) {
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            if echo(&mut client) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    limit(before);
}
