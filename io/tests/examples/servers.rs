//! The echo server, the forwarders, the key-value store, the port from mio, and the embedded
//! runtime.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Program, client, example, talk, until};

#[test]
fn the_echo_server_echoes_over_tcp_and_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut echo = Program::start("echo", &["127.0.0.1:0", path.to_str().unwrap()]);
    let port = echo.port();
    assert_eq!(echo.address(), format!("unix:{}", path.display()));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    if let Some(mut nc) = client("nc") {
        let echoed = talk(nc.args(["-N", "127.0.0.1", &port]), &bytes);
        assert!(echoed == bytes, "{} bytes of {}", echoed.len(), bytes.len());
    }
    for target in [format!("TCP:127.0.0.1:{port}"), format!("UNIX-CONNECT:{}", path.display())] {
        let Some(mut socat) = client("socat") else { return };
        let echoed = talk(socat.args(["-t", "20", "-", &target]), &bytes);
        assert!(echoed == bytes, "{target}: {} bytes of {}", echoed.len(), bytes.len());
    }
    echo.ends();
    assert!(!path.exists());
}

#[test]
fn the_forwarders_pass_on_both_ends_by_themselves() {
    passes_on_both_ends("forward");
    passes_on_both_ends("forward_fd");
}

fn passes_on_both_ends(name: &str) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut forward = Program::start(name, &["127.0.0.1:0", &format!("localhost:{port}")]);
    let ours = forward.port();
    // The server answers only after the client's end.
    let answers = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut peer, mut all) = (server.accept().unwrap().0, Vec::new());
            peer.read_to_end(&mut all).unwrap();
            all.reverse();
            peer.write_all(&all).unwrap();
        }
        server
    });
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n / 3) as u8).collect();
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let mut direct = TcpStream::connect(("127.0.0.1", ours.parse().unwrap())).unwrap();
    direct.write_all(&bytes).unwrap();
    direct.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    direct.read_to_end(&mut answer).unwrap();
    assert!(answer == reversed, "{} bytes", answer.len());
    match client("socat") {
        Some(mut socat) => {
            let target = format!("TCP:127.0.0.1:{ours}");
            let answer = talk(socat.args(["-t", "20", "-", &target]), &bytes);
            assert!(answer == reversed, "{} bytes", answer.len());
        }
        None => drop(TcpStream::connect(("127.0.0.1", port))),
    }
    // The server is gone, and the client is told at once.
    drop(answers.join().unwrap());
    let mut refused = TcpStream::connect(("127.0.0.1", ours.parse().unwrap())).unwrap();
    assert_eq!(refused.read(&mut [0; 10]).unwrap_or(0), 0);
    forward.ends();
}

#[test]
fn the_forwarders_take_no_more_than_the_other_side_takes() {
    takes_no_more_than_the_other_side_takes("forward");
    takes_no_more_than_the_other_side_takes("forward_fd");
}

fn takes_no_more_than_the_other_side_takes(name: &str) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap().to_string();
    let mut forward = Program::start(name, &["127.0.0.1:0", &target]);
    let port: u16 = forward.port().parse().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    // The peer reads nothing, so the buffers on the way bound what the client can write.
    client.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let (chunk, mut written) = (vec![7; 64 * 1024], 0usize);
    while let Ok(n) = client.write(&chunk) {
        written += n;
        assert!(written < 64 << 20, "the forwarder takes everything");
    }
    drop(client);
    let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
    while let Ok(n @ 1..) = peer.read(&mut buffer) {
        read += n;
    }
    assert_eq!(read, written);
    forward.ends();
}

/// The steps of the port, from a single color on.
const STEPS: [&str; 4] = ["kv-serial", "kv-work", "kv-connections", "kv-shards"];

/// Returns the file that a step saves to.
fn saved_in(folder: &TempDir) -> PathBuf {
    folder.path().join("saved")
}

/// Starts a step that saves to this folder.
fn start_kv(step: &str, folder: &TempDir) -> Program {
    Program::start(step, &["127.0.0.1:0", saved_in(folder).to_str().unwrap()])
}

/// Sends all requests at once, then closes the sending side, and checks that everything up to the
/// server's end is `wanted`.
fn exchange(port: &str, requests: &str, wanted: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut replies = Vec::new();
    let mut writer = stream.try_clone().unwrap();
    // A server whose replies are not read stops reading, so another thread writes.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(requests.as_bytes()).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut replies).unwrap();
    });
    let replies = String::from_utf8_lossy(&replies);
    let differs = replies.bytes().zip(wanted.bytes()).position(|(is, wanted)| is != wanted);
    let at = differs.unwrap_or(replies.len().min(wanted.len())).saturating_sub(40);
    let part = |text: &str| text.chars().skip(at).take(200).collect::<String>();
    assert!(replies == wanted, "at {at}: {:?} for {:?}", part(&replies), part(wanted));
}

/// Returns a request that consists of these words.
fn words(text: &str) -> String {
    let words: Vec<_> = text.split(' ').collect();
    let each = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n", words.len()) + &each.collect::<String>()
}

#[test]
fn the_key_value_server_answers_pipelined_requests_in_their_order_in_each_step() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let mut kv = start_kv(step, &folder);
        let port = kv.port();
        let (mut requests, mut wanted) = (String::new(), String::new());
        for n in 0..1_000 {
            let (key, value) = (format!("key{n}"), "x".repeat(n + 1));
            requests += &words(&format!("SET {key} {value}"));
            requests += &words(&format!("GET {key}"));
            wanted += &format!("+OK\r\n${}\r\n{value}\r\n", n + 1);
            if n % 100 == 0 {
                // Long computations and saves have their places in the order, too.
                requests += &words(&format!("STRETCH {key} {}", 1_000 * n));
                requests += &words(&format!("TTL {key}"));
                requests += &words("SAVE");
                let hash = stretched(value.as_bytes(), 1_000 * n as u64);
                wanted += &format!("$16\r\n{hash}\r\n:-1\r\n+OK\r\n");
            }
        }
        requests += &words("PING");
        wanted += "+PONG\r\n";
        exchange(&port, &requests, &wanted);
        // An invalid request closes its connection, after the replies to the requests before it.
        let mut requests = words("GET key3") + &words("STRETCH key3 200000") + &words("SAVE");
        let hash = stretched(b"xxxx", 200_000);
        let wanted = format!("$4\r\nxxxx\r\n$16\r\n{hash}\r\n+OK\r\n");
        requests += "GET / HTTP/1.1\r\n\r\n";
        exchange(&port, &requests, &wanted);
        // Saved data is there after the next start, and so is the rest of a key's time.
        let requests =
            words("SET brief soon EX 1") + &words("SET kept yes EX 100") + &words("SAVE");
        exchange(&port, &requests, "+OK\r\n+OK\r\n+OK\r\n");
        kv.ends();
        let mut kv = start_kv(step, &folder);
        let port = kv.port();
        exchange(&port, &(words("GET key3") + &words("GET kept")), "$4\r\nxxxx\r\n$3\r\nyes\r\n");
        until("the key is forgotten", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
            stream.write_all(words("GET brief").as_bytes()).unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).unwrap();
            head == *b"$-1\r"
        });
        kv.ends();
    }
}

#[test]
fn the_key_value_server_keeps_the_order_of_replies_that_it_cannot_send_at_once_in_each_step() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let mut kv = start_kv(step, &folder);
        // About as long as a request may be, with some bytes for the rest of the request.
        let long = "y".repeat(1024 * 1024 - 100);
        let value = "x".repeat(50_000);
        let (set, got) = (format!("SET long {long}"), format!("${}\r\n{long}\r\n", long.len()));
        let mut requests = words(&format!("SET key {value}")) + &words(&set) + &words("GET long");
        let mut wanted = "+OK\r\n+OK\r\n".to_owned() + &got;
        for _ in 0..12 {
            requests += &words("GET key");
            wanted += &format!("$50000\r\n{value}\r\n");
        }
        // More requests arrive while earlier replies are sent, and during a computation.
        requests += &words("STRETCH key 30000000");
        wanted += &format!("$16\r\n{}\r\n", stretched(value.as_bytes(), 30_000_000));
        requests += &words("PING").repeat(200);
        wanted += &"+PONG\r\n".repeat(200);
        exchange(&kv.port(), &requests, &wanted);
        kv.ends();
    }
}

#[test]
fn the_key_value_server_saves_what_was_there_last_in_each_step() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut kv) = (saved_in(&folder), start_kv(step, &folder));
        let port = kv.port();
        std::thread::scope(|scope| {
            for client in 0..8 {
                let port = &port;
                scope.spawn(move || {
                    let (mut requests, mut wanted) = (String::new(), String::new());
                    for n in 1..=20 {
                        let key = format!("key{client}");
                        requests += &(words(&format!("INCR {key}")) + &words("SAVE"));
                        wanted += &format!(":{n}\r\n+OK\r\n");
                    }
                    exchange(port, &requests, &wanted);
                });
            }
        });
        kv.ends();
        let saved = std::fs::read_to_string(&file).unwrap();
        for client in 0..8 {
            let set = words(&format!("SET key{client} 20"));
            assert!(saved.contains(&set), "{step}: {saved}");
        }
        // A truncated file is refused, wherever it was cut.
        let end = saved.rfind("*1").unwrap();
        for cut in [saved.len() - 3, end, end - 3, 3, 0] {
            std::fs::write(&file, &saved[..cut]).unwrap();
            let mut refused = Command::new(example(step));
            refused.args(["127.0.0.1:0", file.to_str().unwrap()]);
            let mut refused = Program::run(refused.stderr(Stdio::piped()));
            until("it refuses the file", || refused.process.try_wait().unwrap().is_some());
            assert!(!refused.process.wait().unwrap().success());
            let mut told = String::new();
            let mut errors = refused.process.stderr.take().unwrap();
            errors.read_to_string(&mut told).unwrap();
            assert!(told.contains("damaged at byte"), "{told}");
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}

/// Returns the reply to STRETCH.
fn stretched(value: &[u8], rounds: u64) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    hashed(value.iter().fold(0xcbf2_9ce4_8422_2325, step), rounds)
}

/// Hashes a number in `rounds` rounds, and returns the hash as the servers print it.
fn hashed(first: u64, rounds: u64) -> String {
    let again = |hash: u64, _| (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:016x}", (0..rounds).fold(first, again))
}

#[test]
fn the_key_value_server_serves_clients_of_redis_in_each_step() {
    for step in STEPS {
        let mut kv = Program::start(step, &["127.0.0.1:0"]);
        let port = kv.port();
        let Some(mut cli) = client("redis-cli") else { return };
        let commands = b"INCR n\nINCR n\nGET n\nDEL n\nGET n\nSET t text\nINCR t\nEXPLODE now\n";
        let told = String::from_utf8(talk(cli.args(["-p", &port]), commands)).unwrap();
        let lines: Vec<_> = told.lines().filter(|line| !line.is_empty()).collect();
        let refused = "ERR value is not an integer or out of range";
        assert_eq!(lines[..6], ["1", "2", "2", "1", "OK", refused]);
        assert!(lines[6].starts_with("ERR unknown command"), "{told}");
        if let Some(mut benchmark) = client("redis-benchmark") {
            let arguments = ["-t", "set,get,incr", "-n", "20000", "-P", "16", "-q", "-p", &port];
            let told = benchmark.args(arguments).output().unwrap();
            assert!(told.status.success());
            let told = String::from_utf8_lossy(&told.stdout);
            assert_eq!(told.matches("requests per second").count(), 3, "{told}");
        }
        // The figures name the sites of the program.
        let Some(mut cli) = client("redis-cli") else { return };
        let told = String::from_utf8(talk(cli.args(["-p", &port]), b"FIGURES\n")).unwrap();
        assert!(told.contains("workers, up") && told.contains("posted at"), "{told}");
        kv.ends();
    }
}

#[test]
fn the_server_of_lines_counts_them_and_is_the_one_of_the_guide() {
    let mut server = Program::start("lines", &[]);
    let port = server.port();
    exchange(&port, "hello\nthere\n", "1 hello\n2 there\n");
    exchange(&port, "again\n", "3 again\n");
    server.ends();
    let text = include_str!("../../examples/lines.rs");
    let listing = text.split_once("\n\n").unwrap().1;
    assert!(include_str!("../../../docs/PORTING.md").contains(listing));
}

#[test]
fn the_server_on_mio_and_its_port_answer_the_same() {
    for program in ["mio-before", "mio-after"] {
        let mut server = Program::start(program, &["127.0.0.1:0"]);
        let port = server.port();
        std::thread::scope(|scope| {
            for client in 0..8u64 {
                let port = &port;
                scope.spawn(move || {
                    let (mut lines, mut wanted) = (String::new(), String::new());
                    for n in 0..200 {
                        let rounds = (client + 1) * n;
                        lines += &format!("{rounds}\n");
                        wanted += &(hashed(1, rounds) + "\n");
                    }
                    exchange(port, &lines, &wanted);
                });
            }
        });
        // A line that is no number closes its own connection only.
        let mut odd = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        odd.write_all(b"many\n").unwrap();
        let mut rest = Vec::new();
        let _ = odd.read_to_end(&mut rest);
        assert!(rest.is_empty());
        exchange(&port, "0\n", "0000000000000001\n");
        // The server on mio does not handle SIGTERM.
        if program == "mio-after" {
            server.ends();
        }
    }
}

#[test]
fn e18_the_embedded_runtime_answers_and_reports_to_the_thread_of_the_loop() {
    let mut embed = Program::start("embed", &["127.0.0.1:0"]);
    let port: u16 = embed.port().parse().unwrap();
    for round in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for n in 0..20 {
            let message = format!("round {round}, message {n}");
            stream.write_all(message.as_bytes()).unwrap();
            let mut answer = vec![0; message.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), message.to_uppercase());
            let line = embed.line();
            assert!(line.ends_with("printed by worker 0"), "{line}");
        }
    }
}
