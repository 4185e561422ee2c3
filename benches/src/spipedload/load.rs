//! The load on spiped, and the measurement.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::nanos_of;
use crate::measure::process_cpu_nanos;
use crate::spipedload::peer::{End, PACKET, Secret, discard};

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `spiped -e` encrypts what each connection sends, as fast as it can.
    Bytes,
    /// `spiped -d` answers clients that connect, exchange keys, get one byte and disconnect.
    Connections,
}

impl What {
    /// All kinds of load.
    pub const ALL: [What; 2] = [What::Bytes, What::Connections];

    /// Returns the name of the load on the command line.
    pub fn name(self) -> &'static str {
        match self {
            What::Bytes => "bytes",
            What::Connections => "connections",
        }
    }

    /// Returns the unit that is counted.
    pub fn unit(self) -> &'static str {
        match self {
            What::Bytes => "MB",
            What::Connections => "connections",
        }
    }
}

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// The units per second of wall time.
    pub per_second: f64,
    /// The CPU time of spiped, in nanoseconds per unit.
    pub cpu: f64,
    /// The number of cores that spiped used, on average.
    pub cores: f64,
    /// The number of cores that this program used, on average.
    pub own_cores: f64,
}

/// The settings of a measurement.
pub struct Load<'a> {
    /// The folder that contains the key file, and in which sockets are created.
    pub folder: &'a Path,
    /// The number of simultaneous connections.
    pub connections: usize,
    /// The duration of the measurement, which follows 0.5 s of warming up.
    pub lasts: Duration,
}

impl Load<'_> {
    /// Measures the spiped that was built in the folder `spiped`.
    ///
    /// # Errors
    ///
    /// Returns the errors of the system, and an error if spiped ends or a connection fails.
    pub fn measure(&self, what: What, spiped: &Path, workers: usize) -> io::Result<Came> {
        let key = self.folder.join("key");
        let secret = Arc::new(Secret::of(&std::fs::read(&key)?));
        let counted = Arc::new(AtomicU64::new(0));
        let target = match what {
            What::Bytes => listen({
                let counted = Arc::clone(&counted);
                let secret = Arc::clone(&secret);
                move |stream| {
                    let (secret, counted) = (Arc::clone(&secret), Arc::clone(&counted));
                    // If this thread fails, spiped notices it, and then the client does.
                    thread::spawn(move || take_encrypted(stream, &secret, &counted));
                    Ok(())
                }
            })?,
            What::Connections => listen(greet)?,
        };
        let way = if what == What::Bytes { "-e" } else { "-d" };
        let spiped = Spiped::start(spiped, workers, way, target, &key, self.folder)?;
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections)
                .map(|_| {
                    scope.spawn(|| match what {
                        What::Bytes => send(&spiped, &ends),
                        What::Connections => connect_again(&spiped, &secret, &ends, &counted),
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(500));
            // An error is returned only after the clients have ended.
            let cpu = spiped.cpu();
            let (began, own) = (Instant::now(), process_cpu_nanos());
            let before = counted.load(Relaxed);
            thread::sleep(self.lasts);
            let (count, took) = (counted.load(Relaxed) - before, began.elapsed().as_nanos() as f64);
            let (after, own) = (spiped.cpu(), process_cpu_nanos() - own);
            ends.store(true, Relaxed);
            drop(spiped.ended());
            for client in clients {
                client.join().expect("a client does not panic")?;
            }
            let cpu = after? - cpu?;
            let count =
                count as f64 * if what == What::Bytes { 1024e-6 / PACKET as f64 } else { 1.0 };
            Ok(Came {
                per_second: count / took * 1e9,
                cpu: cpu as f64 / count,
                cores: cpu as f64 / took,
                own_cores: own as f64 / took,
            })
        })
    }
}

/// A running spiped and its socket. The process is killed when the value is dropped.
struct Spiped(Child, PathBuf);

impl Spiped {
    fn start(
        built: &Path,
        workers: usize,
        way: &str,
        target: SocketAddr,
        key: &Path,
        folder: &Path,
    ) -> io::Result<Spiped> {
        let socket = folder.join("socket");
        let mut command = Command::new(built.join("spiped/spiped"));
        command.args([way, "-F", "-R", "-n", "1000", "-p", "/dev/null", "-s"]).arg(&socket);
        command.args(["-t", &format!("[{}]:{}", target.ip(), target.port()), "-k"]).arg(key);
        command.env("DAPPLE_WORKERS", workers.to_string()).stdin(Stdio::null());
        let mut spiped = Spiped(command.spawn()?, socket);
        // The socket file exists before spiped listens on it.
        let began = Instant::now();
        while let Err(error) = spiped.connect() {
            if began.elapsed() > Duration::from_secs(10) {
                return Err(error);
            }
            if let Some(status) = spiped.0.try_wait()? {
                return Err(io::Error::other(format!("spiped has ended: {status}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(spiped)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.1)
    }

    fn pid(&self) -> libc::pid_t {
        self.0.id() as libc::pid_t
    }

    fn cpu(&self) -> io::Result<u64> {
        nanos_of(&[self.pid()])
    }

    /// Kills the process.
    fn ended(&self) -> io::Result<()> {
        // SAFETY: `kill` takes no pointers. The process is our child and is waited for, after
        // `start` has returned it, only in `drop`, so the kernel cannot have reused its id.
        match unsafe { libc::kill(self.pid(), libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Spiped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        drop(std::fs::remove_file(&self.1));
    }
}

/// Listens on a thread of its own, until the program ends.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A client that disconnects too early causes this error, so it is ignored.
            drop(serve(stream));
        }
    });
    Ok(address)
}

/// Sets a socket's buffer size or low-water mark, so that a thread is not woken for few bytes.
fn set(socket: &impl AsRawFd, option: libc::c_int, bytes: libc::c_int) -> io::Result<()> {
    let (value, size) = ((&raw const bytes).cast(), size_of_val(&bytes) as libc::socklen_t);
    // SAFETY: `socket` is borrowed, so its descriptor is open. `value` points to the live `bytes`,
    // which the call only reads, and `size` is its size.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Serves a connection of `spiped -e`: makes the handshake, then counts and discards the bytes.
fn take_encrypted(mut stream: TcpStream, secret: &Secret, counted: &AtomicU64) -> io::Result<()> {
    secret.handshake(&mut stream, End::Server)?;
    set(&stream, libc::SO_RCVLOWAT, 1 << 17)?;
    loop {
        match discard(&stream)? {
            0 => return Ok(()),
            n => counted.fetch_add(n as u64, Relaxed),
        };
    }
}

/// Serves a connection of `spiped -d`: sends one byte.
fn greet(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"x")
}

/// Runs a client of `spiped -e`, which sends bytes until the end.
fn send(spiped: &Spiped, ends: &AtomicBool) -> io::Result<()> {
    let mut stream = spiped.connect()?;
    set(&stream, libc::SO_SNDBUF, 1 << 20)?;
    let bytes = vec![0; 1 << 18];
    while !ends.load(Relaxed) {
        match stream.write_all(&bytes) {
            Err(_) if ends.load(Relaxed) => return Ok(()),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Runs a client of `spiped -d`, which makes one connection after the other.
fn connect_again(
    spiped: &Spiped,
    secret: &Secret,
    ends: &AtomicBool,
    counted: &AtomicU64,
) -> io::Result<()> {
    let one = || {
        let mut stream = spiped.connect()?;
        secret.handshake(&mut stream, End::Client)?;
        stream.read_exact(&mut [0; PACKET])
    };
    while !ends.load(Relaxed) {
        match one() {
            Err(_) if ends.load(Relaxed) => return Ok(()),
            outcome => outcome?,
        }
        counted.fetch_add(1, Relaxed);
    }
    Ok(())
}
