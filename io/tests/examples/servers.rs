//! Echo, forwarder, key-value store.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::{Program, client, talk};

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
    // The server answers only when the client's end has come.
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
    // Nobody is there any more: the client is told at once.
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
    // The peer reads nothing: what the client can write is bounded by the buffers on the way.
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

#[test]
fn the_key_value_server_serves_clients_of_redis() {
    let mut kv = Program::start("kv", &["127.0.0.1:0"]);
    let port = kv.port();
    // Pipelined requests, of which the replies come in order.
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    let mut wanted = String::new();
    for n in 0..1_000 {
        let (key, value) = (format!("key{n}"), "x".repeat(n));
        write!(stream, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${n}\r\n{value}\r\n", key.len())
            .unwrap();
        write!(stream, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).unwrap();
        wanted += &format!("+OK\r\n${n}\r\n{value}\r\n");
    }
    write!(stream, "*1\r\n$4\r\nPING\r\n").unwrap();
    wanted += "+PONG\r\n";
    let mut replies = vec![0; wanted.len()];
    stream.read_exact(&mut replies).unwrap();
    assert!(replies == wanted.as_bytes());
    // What is no request ends its connection, and no other.
    let mut odd = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    odd.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = odd.read_to_end(&mut rest);
    assert!(rest.is_empty());
    let Some(mut cli) = client("redis-cli") else { return };
    let commands = b"INCR n\nINCR n\nGET n\nDEL n\nGET n\nSET t text\nINCR t\nEXPLODE now\n";
    let told = String::from_utf8(talk(cli.args(["-p", &port]), commands)).unwrap();
    let lines: Vec<_> = told.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines[..6],
        ["1", "2", "2", "1", "OK", "ERR value is not an integer or out of range"]
    );
    assert!(lines[6].starts_with("ERR unknown command"), "{told}");
    if let Some(mut benchmark) = client("redis-benchmark") {
        let arguments = ["-t", "set,get,incr", "-n", "20000", "-P", "16", "-q", "-p", &port];
        let told = benchmark.args(arguments).output().unwrap();
        assert!(told.status.success());
        let told = String::from_utf8_lossy(&told.stdout);
        assert_eq!(told.matches("requests per second").count(), 3, "{told}");
    }
    kv.ends();
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
