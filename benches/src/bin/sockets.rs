//! Connections accepted and connected, compared with tokio, and datagrams, compared with a bare
//! loop of recvmmsg(2) and sendmmsg(2): the number of each per CPU second.
//!
//! `cargo run --release -p dapple-benches --bin sockets`
//!
//! The measured code runs on one thread on the first core, and its peers run on the second core.
//! The CPU time is that of the thread, including the time that it spends in the system. The client
//! resets its connections, so none is left in TIME_WAIT.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, Command, value_parser};
use core_affinity::{CoreId, set_for_current};
use dapple::{Cx, Runtime};
use dapple_benches::measure::{median, thread_cpu_nanos};
use dapple_io::Io;
use dapple_io::stream::{Conn, ConnOptions, Protocol};
use dapple_io::tcp::Accepting;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The number of connections that are open at once.
const WINDOW: u64 = 64;

/// The number of datagrams that a client sends at once. A socket's buffer holds more.
const BURST: usize = 32;

/// The bytes of a datagram.
const SIZE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Accept,
    Connect,
    Datagrams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Dapple,
    /// tokio for connections, the bare loop for datagrams.
    Peer,
}

/// The throughput of a run, per second of the thread's CPU time and per second of wall time.
struct Took {
    per_cpu_second: f64,
    per_second: f64,
}

/// Makes the socket reset its connection when it is closed.
fn reset_on_close(socket: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, length) = ((&raw const linger).cast(), size_of_val(&linger) as libc::socklen_t);
    // SAFETY: `socket` is borrowed, so its descriptor is open. `value` points to the live `linger`,
    // and `length` is its size.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, length)
    };
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Starts a runtime with one worker on the first core.
fn dapple() -> io::Result<Runtime> {
    dapple_io::runtime().workers(1).cores([0]).build()
}

fn worker_cpu(rt: &Runtime) -> u64 {
    rt.handle().new_color().call(|_| thread_cpu_nanos()).join().expect("it does not panic")
}

fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}

/// A protocol that sends a byte and waits for the peer to close.
struct Greets;

impl Protocol for Greets {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        conn.send(b"x");
    }

    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
}

/// Connects `count` times. Reads a byte from each connection, and resets it.
fn clients(address: SocketAddr, count: u64) -> io::Result<()> {
    set_for_current(CoreId { id: 1 });
    let mut open = std::collections::VecDeque::new();
    for _ in 0..count {
        open.push_back(TcpStream::connect(address)?);
        if open.len() as u64 == WINDOW {
            let mut first: TcpStream = open.pop_front().expect("there are some");
            first.read_exact(&mut [0])?;
            reset_on_close(&first);
        }
    }
    for mut one in open {
        one.read_exact(&mut [0])?;
        reset_on_close(&one);
    }
    Ok(())
}

/// Accepts `count` connections. Returns the server's CPU time in nanoseconds, and the wall time.
fn accept(who: Who, count: u64) -> io::Result<(u64, Duration)> {
    match who {
        Who::Dapple => {
            let rt = dapple()?;
            let listener =
                Io::of(&rt.handle()).listen(local(), Accepting::PerWorker, |s, cx| {
                    s.serve(&cx.new_color(), ConnOptions::default(), Greets);
                })?;
            let (begin, cpu) = (Instant::now(), worker_cpu(&rt));
            let address = listener.local_addr();
            thread::spawn(move || clients(address, count)).join().expect("no panic")?;
            while listener.connections() > 0 {
                thread::yield_now();
            }
            Ok((worker_cpu(&rt) - cpu, begin.elapsed()))
        }
        Who::Peer => {
            let (tell, told) = mpsc::channel();
            let server = thread::spawn(move || {
                set_for_current(CoreId { id: 0 });
                let done = Arc::new(AtomicU64::new(0));
                tokio_runtime()?.block_on(async {
                    let listener = tokio::net::TcpListener::bind(local()).await?;
                    tell.send(listener.local_addr()?).expect("somebody waits");
                    let cpu = thread_cpu_nanos();
                    for _ in 0..count {
                        let (mut stream, _) = listener.accept().await?;
                        let done = Arc::clone(&done);
                        tokio::spawn(async move {
                            stream.set_nodelay(true)?;
                            stream.write_all(b"x").await?;
                            let _ = stream.read(&mut [0; 64]).await;
                            done.fetch_add(1, Ordering::Relaxed);
                            io::Result::Ok(())
                        });
                    }
                    while done.load(Ordering::Relaxed) < count {
                        tokio::task::yield_now().await;
                    }
                    io::Result::Ok(thread_cpu_nanos() - cpu)
                })
            });
            let address = told.recv().map_err(io::Error::other)?;
            let begin = Instant::now();
            thread::spawn(move || clients(address, count)).join().expect("no panic")?;
            Ok((server.join().expect("no panic")?, begin.elapsed()))
        }
    }
}

/// Starts a thread on the second core that accepts connections forever and sends a byte on each.
fn greeter() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(local())?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        set_for_current(CoreId { id: 1 });
        for mut stream in listener.incoming().flatten() {
            if stream.write_all(b"x").is_err() {
                return;
            }
        }
    });
    Ok(address)
}

/// A protocol that reads a byte, resets the connection, and begins the next one.
struct Next {
    io: Io,
    address: SocketAddr,
    left: Arc<AtomicU64>,
    done: mpsc::Sender<()>,
}

impl Next {
    fn connect(self, color: &dapple::Color) {
        let on = color.clone();
        self.io.clone().connect_then(self.address, color, move |stream, _| {
            if let Ok(stream) = stream {
                reset_on_close(&stream.as_fd());
                stream.serve(&on, ConnOptions::default(), self);
            }
        });
    }
}

impl Protocol for Next {
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        conn.abort();
        let one_less = |left: u64| left.checked_sub(1);
        let (order, left) = (Ordering::Relaxed, &self.left);
        if left.fetch_update(order, order, one_less).is_err() {
            let _ = self.done.send(());
            return;
        }
        let (io, address) = (self.io.clone(), self.address);
        let (left, done) = (Arc::clone(left), self.done.clone());
        let color = cx.color().expect("a connection has a color");
        Next { io, address, left, done }.connect(&color);
    }
}

/// Makes `count` connections. Returns the CPU time in nanoseconds, and the wall time.
fn connect(who: Who, count: u64) -> io::Result<(u64, Duration)> {
    let address = greeter()?;
    match who {
        Who::Dapple => {
            let rt = dapple()?;
            let (io, (done, ended)) = (Io::of(&rt.handle()), mpsc::channel());
            let (begin, cpu) = (Instant::now(), worker_cpu(&rt));
            let left = Arc::new(AtomicU64::new(count - WINDOW));
            for _ in 0..WINDOW {
                let (io, left, done) = (io.clone(), Arc::clone(&left), done.clone());
                let color = rt.handle().new_color();
                Next { io, address, left, done }.connect(&color);
            }
            for _ in 0..WINDOW {
                ended.recv().map_err(io::Error::other)?;
            }
            Ok((worker_cpu(&rt) - cpu, begin.elapsed()))
        }
        Who::Peer => thread::spawn(move || {
            set_for_current(CoreId { id: 0 });
            let (begin, cpu) = (Instant::now(), thread_cpu_nanos());
            tokio_runtime()?.block_on(async {
                let tasks: Vec<_> = (0..WINDOW)
                    .map(|k| {
                        tokio::spawn(async move {
                            let own = count / WINDOW + u64::from(k < count % WINDOW);
                            for _ in 0..own {
                                let mut stream = tokio::net::TcpStream::connect(address).await?;
                                stream.set_nodelay(true)?;
                                reset_on_close(&stream);
                                stream.read_exact(&mut [0]).await?;
                            }
                            io::Result::Ok(())
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await??;
                }
                io::Result::Ok((thread_cpu_nanos() - cpu, begin.elapsed()))
            })
        })
        .join()
        .expect("no panic"),
    }
}

/// Sends bursts of datagrams and reads the replies, on the second core. Four clients run at once,
/// so that the server always has work.
fn bursts(address: SocketAddr, count: u64) -> io::Result<()> {
    let each = count / 4 / BURST as u64;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                set_for_current(CoreId { id: 1 });
                let socket = UdpSocket::bind(local())?;
                socket.set_read_timeout(Some(Duration::from_millis(500)))?;
                socket.connect(address)?;
                let mut buffer = [0; 2 * SIZE];
                for _ in 0..each {
                    for _ in 0..BURST {
                        socket.send(&[7; SIZE])?;
                    }
                    for _ in 0..BURST {
                        socket.recv(&mut buffer)?;
                    }
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no panic")?;
    }
    Ok(())
}

/// Runs a bare loop that receives up to 32 datagrams in one call and sends them back in another.
fn bare_echo(socket: &UdpSocket, ends: &AtomicBool) {
    const BATCH: usize = 32;
    let mut bytes = vec![[0u8; 2 * SIZE]; BATCH];
    // SAFETY: `sockaddr_in` and `mmsghdr` consist of integers and raw pointers, for which zero
    // bytes are valid values.
    let (mut addresses, mut messages): ([libc::sockaddr_in; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut slices: Vec<libc::iovec> = bytes
        .iter_mut()
        .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
        .collect();
    for at in 0..BATCH {
        let header = &mut messages[at].msg_hdr;
        header.msg_iov = &mut slices[at];
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut addresses[at]).cast();
    }
    while !ends.load(Ordering::Relaxed) {
        for at in 0..BATCH {
            messages[at].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            slices[at].iov_len = 2 * SIZE;
        }
        // SAFETY: the messages point to `slices`, `bytes` and `addresses`, which live until the end
        // of the function and do not move. The call writes no more than the lengths that they
        // state.
        let came = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let Ok(came) = usize::try_from(came) else { continue };
        for at in 0..came {
            slices[at].iov_len = messages[at].msg_len as usize;
        }
        // SAFETY: the messages point to `slices`, `bytes` and `addresses`, which live until the end
        // of the function and do not move. `came` is at most `BATCH`.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), came as u32, 0) };
    }
}

/// Echoes `count` datagrams. Returns the server's CPU time in nanoseconds, and the wall time.
fn datagrams(who: Who, count: u64) -> io::Result<(u64, Duration)> {
    match who {
        Who::Dapple => {
            let rt = dapple()?;
            let socket = Io::of(&rt.handle()).bind_udp(local())?;
            let address = socket.local_addr().ip().expect("it is of UDP");
            socket.on_datagrams(&rt.handle().new_color(), |datagram, out, _| {
                datagram.reply(datagram.bytes(), out);
            });
            let (begin, cpu) = (Instant::now(), worker_cpu(&rt));
            bursts(address, count)?;
            Ok((worker_cpu(&rt) - cpu, begin.elapsed()))
        }
        Who::Peer => {
            let socket = UdpSocket::bind(local())?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let (address, ends) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
            let also = Arc::clone(&ends);
            let server = thread::spawn(move || {
                set_for_current(CoreId { id: 0 });
                let cpu = thread_cpu_nanos();
                bare_echo(&socket, &also);
                thread_cpu_nanos() - cpu
            });
            let begin = Instant::now();
            bursts(address, count)?;
            let took = begin.elapsed();
            ends.store(true, Ordering::Relaxed);
            Ok((server.join().expect("no panic"), took))
        }
    }
}

fn run(what: What, who: Who, count: u64) -> io::Result<Took> {
    let (cpu, wall) = match what {
        What::Accept => accept(who, count)?,
        What::Connect => connect(who, count)?,
        What::Datagrams => datagrams(who, count)?,
    };
    let count = count as f64;
    Ok(Took { per_cpu_second: count / (cpu as f64 / 1e9), per_second: count / wall.as_secs_f64() })
}

fn main() -> ExitCode {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        let most = value_parser!(u64).range(1..=10_000_000);
        Arg::new(name)
            .long(name)
            .value_name("N")
            .default_value(default)
            .value_parser(most)
            .help(help)
    };
    let args = Command::new("sockets")
        .about("Connections and datagrams per CPU second, compared with tokio and a bare loop")
        .arg(number("rounds", "15", "Runs of each kind, interleaved; medians are printed"))
        .arg(number("connections", "10000", "Connections of a run"))
        .arg(number("datagrams", "400000", "Datagrams of a run"))
        .get_matches();
    let of = |name: &str| *args.get_one::<u64>(name).expect("it has a default");
    let connections = of("connections").max(WINDOW);
    let all = [
        ("accept", What::Accept, connections, "tokio"),
        ("connect", What::Connect, connections, "tokio"),
        ("datagrams", What::Datagrams, of("datagrams"), "bare loop"),
    ];
    println!("{:<10} {:<10} {:>15} {:>12}", "what", "who", "per CPU second", "per second");
    for (name, what, count, peer) in all {
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..of("rounds") {
            for (who, runs) in [Who::Dapple, Who::Peer].into_iter().zip(&mut runs) {
                match run(what, who, count) {
                    Ok(took) => runs.push(took),
                    Err(error) => {
                        eprintln!("sockets: {name}: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
        for (who, runs) in ["dapple", peer].into_iter().zip(&runs) {
            let cpu: Vec<f64> = runs.iter().map(|took| took.per_cpu_second).collect();
            let wall: Vec<f64> = runs.iter().map(|took| took.per_second).collect();
            println!("{name:<10} {who:<10} {:>15.0} {:>12.0}", median(&cpu), median(&wall));
        }
        let pairs = runs[0].iter().zip(&runs[1]);
        let ratios: Vec<f64> =
            pairs.map(|(ours, theirs)| ours.per_cpu_second / theirs.per_cpu_second).collect();
        println!("{name:<10} {:<10} {:>14.2}x", "ratio", median(&ratios));
    }
    ExitCode::SUCCESS
}
