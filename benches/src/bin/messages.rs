//! Framed messages over TCP that are answered: the number of messages per CPU second of a worker.
//!
//! `cargo run --release -p dapple-benches --bin messages`
//!
//! One worker on the first core answers each message with its bytes. Clients on the second core
//! keep a window of messages in flight on each of their connections. The CPU time is that of the
//! worker's thread, including the time that it spends in the system.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use clap::{Arg, Command, value_parser};
use dapple::{Cx, Domain, Runtime};
use dapple_benches::measure::{median, thread_cpu_nanos};
use dapple_io::Io;
use dapple_io::tcp::{self, Accepting, Listener, TransportOptions};

/// The part of the program that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// A handler on the connection's own color.
    Handler,
    /// A domain, in deferred actions of events in global.
    Domain,
}

const ALL: [(&str, To); 2] = [("handler", To::Handler), ("domain", To::Domain)];

#[derive(Clone, Copy)]
struct Load {
    /// The messages of all connections together.
    messages: u64,
    connections: u64,
    window: u64,
    /// The bytes of a message, without its length prefix.
    size: usize,
}

impl Load {
    /// Returns the number of messages that a client sends at once: half a window, so that there is
    /// always one half in flight.
    fn half(self) -> u64 {
        (self.window / 2).max(1)
    }

    /// Returns the number of half windows that each client sends.
    fn halves(self) -> u64 {
        self.messages / self.connections / self.half()
    }
}

fn listen(rt: &Runtime, to: To) -> io::Result<Listener> {
    let any = "127.0.0.1:0".parse().expect("an address");
    let answered = Domain::snapshot(&rt.handle(), 0u64);
    let serve = move |stream: tcp::TcpStream, cx: &mut Cx| {
        let (color, options) = (cx.new_color(), TransportOptions::default());
        match to {
            To::Handler => {
                stream.deliver(&color, options, |message, _| {
                    let _ = message.reply(message.bytes());
                });
            }
            To::Domain => {
                stream.deliver_to(&color, options, &answered, |message, answered, _| {
                    answered.global(move |g| {
                        *g.state_mut() += 1;
                        g.defer(move |_| _ = message.reply(message.bytes()));
                    });
                });
            }
        };
    };
    Io::of(&rt.handle()).listen(any, Accepting::PerWorker, serve)
}

/// Runs a client: it sends its messages, a window of them at a time, and reads the answers.
fn ask(address: SocketAddr, load: Load) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut frame = (load.size as u32).to_be_bytes().to_vec();
    frame.resize(4 + load.size, b'm');
    let sent = frame.repeat(load.half() as usize);
    let mut answers = vec![0; sent.len()];
    stream.write_all(&sent)?;
    for _ in 1..load.halves() {
        stream.write_all(&sent)?;
        stream.read_exact(&mut answers)?;
    }
    stream.read_exact(&mut answers)
}

/// Returns the CPU time of the only worker so far, in nanoseconds.
fn worker_cpu(rt: &Runtime) -> u64 {
    let (tell, told) = mpsc::channel();
    rt.handle().post_default(move |_| tell.send(thread_cpu_nanos()).expect("somebody waits"));
    told.recv().expect("the worker answers")
}

/// Returns the messages per second of the worker's CPU time, and per second of wall time.
fn run(to: To, load: Load) -> io::Result<(f64, f64)> {
    let rt = dapple_io::runtime().workers(1).cores([0]).build().map_err(io::Error::other)?;
    let listener = listen(&rt, to)?;
    let address = listener.local_addr();
    let (begin, cpu) = (Instant::now(), worker_cpu(&rt));
    let clients: Vec<_> = (0..load.connections)
        .map(|_| {
            thread::spawn(move || {
                core_affinity::set_for_current(core_affinity::CoreId { id: 1 });
                ask(address, load)
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client does not panic")?;
    }
    let answered = load.half() * load.halves().max(1) * load.connections;
    let cpu = (worker_cpu(&rt) - cpu) as f64 / 1e9;
    Ok((answered as f64 / cpu, answered as f64 / begin.elapsed().as_secs_f64()))
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    let most = value_parser!(u64).range(1..=100_000_000);
    Arg::new(name).long(name).value_name("N").default_value(default).value_parser(most).help(help)
}

fn main() -> ExitCode {
    let args = Command::new("messages")
        .about("Framed messages over TCP that are answered, per CPU second of a worker")
        .arg(number("rounds", "15", "Runs of each kind, interleaved; medians are printed"))
        .arg(number("messages", "400000", "Messages of a run"))
        .arg(number("connections", "4", "Clients"))
        .arg(number("window", "128", "Messages that a client has open"))
        .arg(number("size", "16", "Bytes of a message"))
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("WHO")
                .value_parser(ALL.map(|(name, _)| name))
                .help("Only these answer [default: both]"),
        )
        .get_matches();
    let of = |name: &str| *args.get_one::<u64>(name).expect("it has a default");
    let (messages, connections) = (of("messages"), of("connections"));
    let load = Load { messages, connections, window: of("window"), size: of("size") as usize };
    let only = args.get_one::<String>("to");
    let chosen = ALL.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name));
    let mut runs: Vec<_> = chosen.map(|(name, to)| (name, to, Vec::new())).collect();
    for _ in 0..of("rounds") {
        for (_, to, runs) in &mut runs {
            match run(*to, load) {
                Ok(took) => runs.push(took),
                Err(error) => {
                    eprintln!("messages: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    println!("{:<10} {:>15} {:>12}", "to", "per CPU second", "per second");
    for (name, _, runs) in runs {
        let (cpu, wall): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
        println!("{name:<10} {:>15.0} {:>12.0}", median(&cpu), median(&wall));
    }
    ExitCode::SUCCESS
}
