//! A server on mio, with one thread and one loop. (`after.rs` is the same server on dapple.)
//!
//! `cargo run -p dapple-io --example mio-before -- 127.0.0.1:7007`, and then
//! `echo 1000 | nc -N 127.0.0.1 7007`.

use std::collections::HashMap;
use std::io::{self, ErrorKind};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use client::Client;

#[path = "client.rs"]
mod client;

const LISTENER: Token = Token(0);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, Client<TcpStream>> = HashMap::new();
    let mut last = LISTENER.0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    last += 1;
                    let (token, both) = (Token(last), Interest::READABLE | Interest::WRITABLE);
                    poll.registry().register(&mut socket, token, both)?;
                    clients.insert(token, Client::new(socket));
                }
            } else if let Some(client) = clients.get_mut(&event.token())
                && !client.ready().unwrap_or(false)
            {
                clients.remove(&event.token());
            }
        }
    }
}
