//! A server of lines, all on the default color: the first step of porting a program of callbacks.
//! docs/PORTING.md shows this program.
//!
//! `cargo run -p dapple-io --example lines`, and then `nc 127.0.0.1 PORT`.

use std::io;
use std::time::Duration;

use dapple::{Colored, Cx};
use dapple_io::Io;
use dapple_io::codec::{Lines, Reader};
use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol};

/// What all callbacks share.
struct Program {
    lines: u64,
}

/// A connection.
struct Client {
    lines: Reader<Lines>,
    program: Colored<Program>,
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        while let Some(line) = self.lines.next(conn) {
            let mut program = self.program.get_mut(cx);
            program.lines += 1;
            let answer = format!("{} {}\n", program.lines, String::from_utf8_lossy(&line));
            conn.send(answer.as_bytes());
        }
    }
}

fn main() -> io::Result<()> {
    let rt = dapple_io::runtime().build()?;
    let (h, io) = (rt.handle(), Io::of(&rt.handle()));
    let color = h.default_color();
    let program = Colored::new(&color, Program { lines: 0 });
    let served = program.clone();
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = io.listen(address, Accepting::OnColor(color.clone()), move |stream, _| {
        let client = Client { lines: Reader::new(Lines::new(1_000)), program: served.clone() };
        stream.serve(&color, ConnOptions::default(), client);
    })?;
    program.every(Duration::from_secs(60), |program, _| println!("{} lines", program.lines));
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?; // where the loop was
    rt.shutdown(Duration::from_secs(1));
    Ok(())
}
