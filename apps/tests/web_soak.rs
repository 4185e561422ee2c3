//! A soak test of `dapple web`. Clients come and go in every way, while files, certificate and log
//! change. The server answers every polite client, and keeps neither memory nor descriptors nor
//! connections of clients that have gone. The test takes `DAPPLE_SOAK_SECONDS` seconds, or 30.
mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Web, command};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const BIG: usize = 3_000_000;

/// A generator of pseudorandom numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The state that all clients share.
struct Soak {
    is_over: AtomicBool,
    plain: SocketAddr,
    secure: SocketAddr,
    tls: Arc<ClientConfig>,
    answers: AtomicU64,
    connections: AtomicU64,
}

impl Soak {
    fn connect(&self, address: SocketAddr) -> TcpStream {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn secure(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let tls = ClientConnection::new(Arc::clone(&self.tls), "localhost".try_into().unwrap());
        StreamOwned::new(tls.unwrap(), self.connect(self.secure))
    }

    fn go_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// Closes a connection so that the peer sees a reset.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as u32;
    let fd = std::os::fd::AsRawFd::as_raw_fd(stream);
    // SAFETY: `stream` keeps `fd` open. The pointer is to a live `linger`, and `size` is its size.
    let status = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    assert_eq!(status, 0);
}

const ASKED: [(&str, &str, &[u16]); 8] = [
    ("/a.txt", "", &[200]),
    ("/text.js", "Accept-Encoding: br, gzip\r\n", &[200]),
    ("/big.bin", "Range: bytes=1000-70000\r\n", &[206]),
    ("/big.bin", "Range: bytes=0-9,100-109,5000-5009\r\n", &[206]),
    ("/changes.txt", "If-None-Match: \"x\"\r\n", &[200, 404]),
    ("/nothing", "", &[404]),
    ("/sub/", "", &[200, 503]),
    ("/sub", "", &[301]),
];

/// Sends one request, and reads the whole response.
fn ask(stream: &mut (impl Read + Write), chance: &mut Chance) {
    let (target, fields, statuses) = ASKED[chance.below(ASKED.len() as u64) as usize];
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{target}: {e}"));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(statuses.contains(&status), "{target}: {head}");
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
}

fn polite(soak: &Soak, seed: u64) {
    let mut chance = Chance(seed);
    while soak.go_on() {
        let count = 1 + chance.below(10);
        let mut plain = soak.connect(soak.plain);
        let mut secure = (chance.below(4) == 0).then(|| soak.secure());
        for _ in 0..count {
            match &mut secure {
                Some(secure) => ask(secure, &mut chance),
                None => ask(&mut plain, &mut chance),
            }
            soak.answers.fetch_add(1, Ordering::Relaxed);
        }
        // Clients leave in different ways: by a reset, by closing one direction, or by closing
        // both.
        match chance.below(3) {
            0 => reset(&plain),
            1 => plain.shutdown(std::net::Shutdown::Write).unwrap(),
            _ => {}
        }
    }
}

/// Sends a request that ends in the middle, or reads only the beginning of a response.
fn rude(soak: &Soak, seed: u64) {
    let mut chance = Chance(seed);
    let starts: [&[u8]; 6] = [
        b"",
        b"GET /a.txt HTTP/1.1\r\nHost: x\r\n",
        b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?zip HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nxxx",
    ];
    while soak.go_on() {
        let address = if chance.below(2) == 0 { soak.plain } else { soak.secure };
        let mut stream = soak.connect(address);
        let _ = stream.write_all(starts[chance.below(6) as usize]);
        if chance.below(2) == 0 {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(chance.below(20) + 1)));
            let _ = stream.read(&mut [0; 1000]);
        }
        if chance.below(2) == 0 {
            reset(&stream);
        }
        if chance.below(4) == 0 {
            // A TLS session that is reset after its handshake, in the middle of a response.
            let mut secure = soak.secure();
            let _ = secure.write_all(starts[2]);
            let _ = secure.read(&mut [0; 100]);
            reset(&secure.sock);
        }
    }
}

/// Changes a served file, and makes the servers reload their certificate and reopen their log.
fn change(soak: &Soak, site: &Path, web: [&Web; 2]) {
    let mut n = 0;
    while soak.go_on() {
        let file = site.join("changes.txt");
        match n % 5 {
            0 => fs::remove_file(&file).unwrap_or(()),
            _ => fs::write(&file, "x".repeat(n % 5_000)).unwrap(),
        }
        if n.is_multiple_of(4) {
            web.iter().for_each(|web| web.signal(libc::SIGHUP));
        }
        n += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the resident memory of a process in KiB, and its number of descriptors.
fn held(web: &Web) -> (u64, usize) {
    let of = |name: &str| format!("/proc/{}/{name}", web.child.id());
    let status = fs::read_to_string(of("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (memory, fs::read_dir(of("fd")).unwrap().count())
}

/// Waits until the only open connection is the one that asks. Returns what the process holds then.
fn at_rest(web: &Web, ask: impl Fn() -> String) -> (u64, usize) {
    let start = Instant::now();
    loop {
        let figures = ask();
        let open = figures.lines().find(|line| line.starts_with("web_connections_open ")).unwrap();
        if open == "web_connections_open 1" {
            std::thread::sleep(Duration::from_millis(200));
            return held(web);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{open}: some do not go");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn n5_those_who_have_gone_leave_nothing_behind() {
    let seconds = std::env::var("DAPPLE_SOAK_SECONDS").map_or(30, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    fs::create_dir_all(site.join("sub")).unwrap();
    fs::write(site.join("a.txt"), "0123456789").unwrap();
    fs::write(site.join("text.js"), "let line;\n".repeat(2_000)).unwrap();
    fs::write(site.join("big.bin"), vec![7; BIG]).unwrap();
    fs::write(site.join("sub/b.txt"), "b").unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let [cert, keys, log] = ["cert.pem", "key.pem", "log"].map(|name| folder.path().join(name));
    fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&keys, key.serialize_pem()).unwrap();
    let start = |args: &[&str], scheme: &str| {
        let mut command =
            command(&["--listen", "127.0.0.1:0", "--list", "--metrics", "--dashboard"]);
        // Each server gets a log of its own, because two servers are not meant to append to the
        // same log.
        command.arg(&site).args(args).arg("--access-log").arg(log.with_extension(scheme));
        command.stderr(std::process::Stdio::null());
        Web::spawn_at(command, &format!("{scheme}://"))
    };
    let plain = start(&[], "http");
    let pair = [cert.to_str().unwrap(), keys.to_str().unwrap()];
    let secure = start(&["--tls", pair[0], pair[1]], "https");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let soak = Soak {
        is_over: AtomicBool::new(false),
        plain: plain.address,
        secure: secure.address,
        tls: Arc::new(tls),
        answers: AtomicU64::new(0),
        connections: AtomicU64::new(0),
    };
    let figures_of_plain = || plain.get("/_dapple/metrics").text().to_owned();
    let figures_of_secure = || {
        let mut stream = soak.secure();
        let asks = b"GET /_dapple/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(asks).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        String::from_utf8(all).unwrap()
    };
    // The first part fills what the server keeps, such as caches and the workers' memory.
    let mut before = None;
    for part in [seconds / 3, seconds - seconds / 3] {
        soak.is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let soak = &soak;
                scope.spawn(move || polite(soak, seed));
                scope.spawn(move || rude(soak, 100 + seed));
            }
            scope.spawn(|| change(&soak, &site, [&plain, &secure]));
            std::thread::sleep(Duration::from_secs(part));
            soak.is_over.store(true, Ordering::Relaxed);
        });
        let now = [at_rest(&plain, figures_of_plain), at_rest(&secure, figures_of_secure)];
        let (answers, connections) = (&soak.answers, &soak.connections);
        println!(
            "{} answers, {} connections; KiB and descriptors: {now:?}",
            answers.load(Ordering::Relaxed),
            connections.load(Ordering::Relaxed)
        );
        if let Some(before) = before.replace(now) {
            for ((memory, fds), (memory_before, fds_before)) in now.into_iter().zip(before) {
                assert!(fds <= fds_before + 4, "{fds} descriptors, {fds_before} before");
                assert!(
                    memory <= memory_before + 24 * 1024,
                    "{memory} KiB, {memory_before} before"
                );
            }
        }
    }
    assert!(soak.answers.load(Ordering::Relaxed) > 500);
    for web in [plain, secure] {
        web.signal(libc::SIGTERM);
        let (status, said) = web.end();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("all connections were closed in order"), "{said}");
    }
}

/// Starts a server that may open at most `most` descriptors.
fn with_descriptors(most: u32, args: &[&str], scheme: &str, site: &Path) -> Web {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" web \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_dapple")).args(["--listen", "127.0.0.1:0", "--metrics"]);
    command.args(["--cache", "0"]).args(args).arg(site).stderr(std::process::Stdio::null());
    Web::spawn_at(command, &format!("{scheme}://"))
}

#[test]
fn n5_without_descriptors_some_are_turned_away_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        fs::write(folder.path().join(format!("{n}.bin")), vec![7; 300_000]).unwrap();
    }
    let web = with_descriptors(60, &[], "http", folder.path());
    let ask = || web.get("/_dapple/metrics").text().to_owned();
    assert_eq!(web.get("/0.bin").body.len(), 300_000);
    let (_, fds) = at_rest(&web, ask);
    // With 150 clients, no descriptor is left for a file. With 25, some clients get theirs.
    for count in [150, 25, 150, 25] {
        let mut clients: Vec<_> =
            (0..count).filter_map(|_| TcpStream::connect(web.address).ok()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            let request = format!("GET /{}.bin HTTP/1.1\r\nHost: x\r\n\r\n", n % 20);
            // The server has closed the connections that it turned away.
            let _ = client.write_all(request.as_bytes());
            let _ =
                client.set_read_timeout(Some(Duration::from_millis(if n < 40 { 500 } else { 5 })));
        }
        let mut statuses = std::collections::BTreeMap::new();
        for client in &mut clients {
            let mut head = [0; 12];
            let status = match client.read_exact(&mut head) {
                Ok(()) => String::from_utf8_lossy(&head[9..]).into_owned(),
                Err(_) => "none".to_owned(),
            };
            *statuses.entry(status).or_insert(0) += 1;
        }
        assert!(statuses.keys().all(|s| ["200", "503", "none"].contains(&&**s)), "{statuses:?}");
        assert!(count > 100 || statuses.contains_key("200"), "{statuses:?}");
        drop(clients);
        // Afterwards, everything is as it was before.
        let start = Instant::now();
        while std::panic::catch_unwind(|| ask().len()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the server does not recover");
        }
        let (_, now) = at_rest(&web, ask);
        assert!(now <= fds + 1, "{now} descriptors, {fds} before");
        assert_eq!(web.get("/7.bin").body.len(), 300_000);
    }
}
