//! A supervisor. It starts programs, prints their output, and restarts each one that ends, after a
//! delay that grows if the program ends within 5 s. When the supervisor is told to end, it ends all
//! programs first.
//!
//! `cargo run -p dapple-io --example supervise -- 'web=sleep 2' 'job=echo done; sleep 1'`. Then
//! `kill -HUP` restarts all programs, and `kill` ends the supervisor.

use std::collections::HashMap;
use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dapple::{Colored, Cx};
use dapple_io::child::Child;
use dapple_io::codec::{Lines, Reader};
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Protocol};
use dapple_io::{ColoredExt, CxExt, Io};

/// The run time after which a program is restarted with the shortest delay.
const STEADY: Duration = Duration::from_secs(5);

/// The first and the longest delay before a program is restarted.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

struct Program {
    command: String,
    child: Option<Child>,
    since: Instant,
    wait: Duration,
}

/// All programs, on one color.
struct Supervisor {
    me: Option<Colored<Supervisor>>,
    programs: HashMap<String, Program>,
    /// Tells `main` that all programs have ended, by being dropped.
    end: Option<mpsc::Sender<()>>,
    is_ending: bool,
}

/// A protocol that prints the lines of a program, each after the program's name.
struct Prints(String, Reader<Lines>);

impl Protocol for Prints {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while let Some(line) = self.1.next(conn) {
            println!("{}: {}", self.0, String::from_utf8_lossy(&line));
        }
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {}
}

impl Supervisor {
    fn start(&mut self, name: String, cx: &mut Cx) {
        let (Some(me), Some(program)) = (self.me.clone(), self.programs.get_mut(&name)) else {
            return;
        };
        if self.is_ending {
            return; // the end came while the program waited for its restart
        }
        program.since = cx.handle().now();
        let mut command = Command::new("sh");
        command.args(["-c", &program.command]).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = cx.io().spawn_child(&mut command).and_then(|mut child| {
            // A program may print nothing for a long time, so there is no idle timeout.
            let forever = ConnOptions { idle_timeout: Duration::MAX, ..ConnOptions::default() };
            if let Some(output) = child.take_stdio()? {
                let prints = Prints(name.clone(), Reader::new(Lines::new(10_000)));
                output.serve(&cx.new_color(), forever, prints);
            }
            Ok(child)
        });
        match started {
            Ok(mut child) => {
                println!("{name} started");
                let (also, on) = (me.clone(), me.color().clone());
                child.on_exit(&on, move |status, cx| {
                    let told = status.map_or_else(|e| e.to_string(), |status| status.to_string());
                    also.run_here(cx, |supervisor, cx| supervisor.ended(name, &told, cx));
                });
                child.kill_on_drop();
                program.child = Some(child);
            }
            Err(error) => self.ended(name, &error.to_string(), cx),
        }
    }

    fn ended(&mut self, name: String, told: &str, cx: &mut Cx) {
        println!("{name} ended: {told}");
        let now = cx.handle().now();
        let (Some(me), Some(program)) = (&self.me, self.programs.get_mut(&name)) else { return };
        program.child = None;
        if self.is_ending {
            return self.end_if_over();
        }
        let is_steady = now - program.since >= STEADY;
        program.wait = if is_steady { WAITS[0] } else { (program.wait * 2).min(WAITS[1]) };
        me.post_after(program.wait, move |supervisor, cx| supervisor.start(name, cx));
    }

    fn signal_all(&self, signal: i32) {
        for child in self.programs.values().filter_map(|program| program.child.as_ref()) {
            // This fails if the program has just ended.
            let _ = child.signal(signal);
        }
    }

    fn end(&mut self) {
        self.is_ending = true;
        self.signal_all(libc::SIGTERM);
        self.end_if_over();
    }

    fn end_if_over(&mut self) {
        if self.programs.values().all(|program| program.child.is_none()) {
            self.me = None;
            self.end = None;
        }
    }
}

fn main() -> io::Result<()> {
    let rt = dapple_io::runtime().workers(1).build()?;
    let io = Io::of(&rt.handle());
    let (end, ends) = mpsc::channel();
    let begin = rt.handle().now();
    let programs = std::env::args().skip(1).map(|text| {
        let (name, command) = text.split_once('=').ok_or("supervise NAME=COMMAND...")?;
        let (command, wait) = (command.to_owned(), WAITS[0] / 2);
        Ok((name.to_owned(), Program { command, child: None, since: begin, wait }))
    });
    let programs: Result<HashMap<_, _>, &str> = programs.collect();
    let programs = programs.map_err(io::Error::other)?;
    let names: Vec<String> = programs.keys().cloned().collect();
    let supervisor = Supervisor { me: None, programs, end: Some(end), is_ending: false };
    let supervisor = Colored::new(&rt.handle().default_color(), supervisor);
    let me = supervisor.clone();
    supervisor.post(move |supervisor, cx| {
        supervisor.me = Some(me);
        names.into_iter().for_each(|name| supervisor.start(name, cx));
    });
    let _term = supervisor.on_signal(&io, libc::SIGTERM, |supervisor, _| supervisor.end())?;
    let _int = supervisor.on_signal(&io, libc::SIGINT, |supervisor, _| supervisor.end())?;
    let _hup = supervisor.on_signal(&io, libc::SIGHUP, |supervisor, _| {
        supervisor.signal_all(libc::SIGTERM);
    })?;
    let _ = ends.recv();
    println!("all programs have ended");
    Ok(())
}
