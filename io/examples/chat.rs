//! A chat for terminals: a room that everybody connects to, and a client that connects a terminal
//! to the room.
//!
//! `cargo run -p dapple-io --example chat -- room 127.0.0.1:7100`, and then, in other terminals,
//! `chat join NAME 127.0.0.1:7100`. A plain `nc 127.0.0.1 7100` works, too.

use std::collections::HashMap;
use std::io;
use std::sync::{Weak, mpsc};
use std::time::Duration;

use dapple::{Colored, Cx};
use dapple_io::Io;
use dapple_io::codec::{Lines, Reader};
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Connection, Protocol};
use dapple_io::tcp::Accepting;

/// The maximum length of a line, in bytes.
const LINE: usize = 1_000;

fn reader() -> Reader<Lines> {
    Reader::new(Lines::new(LINE))
}

/// Returns options without an idle timeout, because a guest may say nothing for a long time.
fn options() -> ConnOptions {
    ConnOptions { idle_timeout: Duration::MAX, ..ConnOptions::default() }
}

/// The guests in the room, by name. The room has one color, so everybody hears all lines in the
/// same order.
#[derive(Default)]
struct Room(HashMap<String, Weak<Connection<Guest>>>);

impl Room {
    fn tell_all(&self, line: String) {
        for guest in self.0.values().filter_map(Weak::upgrade) {
            let line = line.clone();
            guest.with(move |guest, conn, _| guest.hears(conn, &line));
        }
    }
}

/// A guest, who is in the room or about to enter it. The first line that a guest sends is the name.
struct Guest {
    me: Weak<Connection<Guest>>,
    room: Colored<Room>,
    name: Option<String>,
    lines: Reader<Lines>,
}

impl Guest {
    fn hears(&self, conn: &mut Conn, line: &str) {
        // A guest that does not read misses lines, and delays nobody else.
        if !conn.is_congested() {
            let _ = self.lines.send(conn, line.as_bytes());
        }
    }

    fn comes(&mut self, name: String) {
        let me = self.me.clone();
        self.name = Some(name.clone());
        self.room.post(move |room, _| {
            if let Some(taken) = room.0.get(&name).and_then(Weak::upgrade) {
                drop(taken);
                let Some(me) = me.upgrade() else { return };
                return me.with(|guest, conn, _| {
                    guest.name = None;
                    guest.hears(conn, "* that name is taken, choose another one");
                });
            }
            room.0.insert(name.clone(), me);
            room.tell_all(format!("* {name} has joined"));
        });
    }
}

impl Guest {
    /// Calls `f` in the room, unless the room has refused the name.
    fn in_room(&self, name: String, f: impl FnOnce(&mut Room, &str) + Send + 'static) {
        let me = self.me.clone();
        self.room.post(move |room, _| {
            if room.0.get(&name).is_some_and(|guest| guest.ptr_eq(&me)) {
                f(room, &name);
            }
        });
    }
}

impl Protocol for Guest {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while let Some(line) = self.lines.next(conn) {
            let line = String::from_utf8_lossy(&line).into_owned();
            match self.name.clone() {
                None => self.comes(line),
                Some(name) => self.in_room(name, move |room, name| {
                    room.tell_all(format!("{name}: {line}"));
                }),
            }
        }
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        if let Some(name) = self.name.take() {
            self.in_room(name, |room, name| {
                room.0.remove(name);
                room.tell_all(format!("* {name} has left"));
            });
        }
    }
}

/// One of the two sides of the client, the room or the terminal. Its lines go to the other side.
struct Side {
    lines: Reader<Lines>,
    there: Option<Connection<Side>>,
    end: mpsc::Sender<()>,
}

impl Protocol for Side {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while let Some(line) = self.lines.next(conn) {
            if let Some(there) = &self.there {
                there.with(move |side, conn, _| _ = side.lines.send(conn, &line));
            }
        }
    }

    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        // The terminal or the room has ended.
        if let Some(there) = self.there.take() {
            there.with(|_, conn, _| conn.close());
        }
        conn.close();
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        if let Some(there) = self.there.take() {
            there.with(|_, conn, _| conn.close());
        }
        let _ = self.end.send(());
    }
}

fn room(io: &Io, address: &str) -> io::Result<()> {
    let room = Colored::new(&io.handle().new_color(), Room::default());
    let address = address.parse().map_err(io::Error::other)?;
    let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
        let room = room.clone();
        stream.serve_with(&cx.new_color(), options(), |me| Guest {
            me,
            room,
            name: None,
            lines: reader(),
        });
    })?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}

fn join(io: &Io, name: String, address: String) -> io::Result<()> {
    let (end, ends) = mpsc::channel();
    let color = io.handle().new_color();
    let (on, terminal) = (color.clone(), io.stdio()?);
    io.connect_then(address.clone(), &color, move |room, _| match room {
        Ok(room) => {
            let side = |there| Side { lines: reader(), there, end: end.clone() };
            let room = room.serve(&on, options(), side(None));
            let terminal = terminal.serve(&on, options(), side(Some(room.clone())));
            room.with(move |side, conn, _| {
                let _ = side.lines.send(conn, name.as_bytes());
                side.there = Some(terminal);
            });
        }
        Err(error) => eprintln!("{address}: {error}"),
    });
    // Waits for the end of both sides, or for a connection attempt that failed, which drops the
    // sender.
    let _ = (ends.recv(), ends.recv());
    Ok(())
}

fn main() -> io::Result<()> {
    let rt = dapple_io::runtime().workers(2).build()?;
    let io = Io::of(&rt.handle());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [what, address] if what == "room" => room(&io, address),
        [what, name, address] if what == "join" => join(&io, name.clone(), address.clone()),
        _ => Err(io::Error::other("chat room ADDRESS, or chat join NAME HOST:PORT")),
    }
}
