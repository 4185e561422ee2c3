//! A key-value server in callback style, for clients of Redis: PING, GET, SET, DEL, INCR.
//!
//! A color per connection, and one for each of 16 shards of the keys: what concerns one shard is
//! serial, and needs no lock. A reply is made on the shard's color, and goes to its place in the
//! order of the requests by a `Sequencer`.
//!
//! `cargo run -p dapple-io --example kv -- 127.0.0.1:6379`, and then `redis-cli` or
//! `redis-benchmark -t set,get`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use dapple::{Colored, Cx, Handle, Sequencer};
use dapple_io::Io;
use dapple_io::codec::{Codec, Decoded, EncodeError, Reader};
use dapple_io::stream::{Conn, ConnOptions, Connection, Protocol};
use dapple_io::tcp::Accepting;

const SHARDS: usize = 16;

/// Most bytes of a request.
const MOST: usize = 1024 * 1024;

/// Requests as arrays of strings, which is what clients of Redis send.
struct Requests;

impl Codec for Requests {
    fn decode(&self, input: &[u8], _: usize) -> Decoded {
        match strings(input) {
            Ok(Some((_, taken))) => Decoded::Message { message: 0..taken, taken },
            Ok(None) if input.len() > MOST => Decoded::Invalid("a request is too long"),
            Ok(None) => Decoded::Incomplete,
            Err(why) => Decoded::Invalid(why),
        }
    }

    fn encode(&self, reply: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(reply);
        Ok(())
    }

    fn room(&self) -> usize {
        MOST
    }
}

type Strings<'a> = (Vec<&'a [u8]>, usize);

/// The strings of the request at the front, and how many bytes it takes.
fn strings(input: &[u8]) -> Result<Option<Strings<'_>>, &'static str> {
    let mut at = 0;
    // A line that is a sign and a number.
    let number = |at: &mut usize, sign: u8| {
        let rest = &input[*at..];
        let Some(end) = rest.windows(2).take(32).position(|two| two == b"\r\n") else {
            return if rest.len() < 32 { Ok(None) } else { Err("a number is too long") };
        };
        let line = &rest[..end];
        *at += end + 2;
        let digits = line.strip_prefix(&[sign]).and_then(|rest| std::str::from_utf8(rest).ok());
        let number = digits.and_then(|digits| digits.parse::<usize>().ok());
        number.filter(|number| *number <= MOST).map(Some).ok_or("that is no request")
    };
    let Some(count) = number(&mut at, b'*')? else { return Ok(None) };
    let mut all = Vec::new();
    for _ in 0..count {
        let Some(length) = number(&mut at, b'$')? else { return Ok(None) };
        let Some(string) = input.get(at..at + length + 2) else { return Ok(None) };
        all.push(string.strip_suffix(b"\r\n").ok_or("a string does not end")?);
        at += length + 2;
    }
    Ok(Some((all, at)))
}

type Shard = HashMap<Vec<u8>, Vec<u8>>;

fn bulk(value: Option<&Vec<u8>>) -> Vec<u8> {
    match value {
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        None => b"$-1\r\n".to_vec(),
    }
}

/// Does what a request with a key asks for.
fn execute(shard: &mut Shard, request: &[Vec<u8>]) -> Vec<u8> {
    match request {
        [get, key] if get.eq_ignore_ascii_case(b"GET") => bulk(shard.get(key)),
        [set, key, value] if set.eq_ignore_ascii_case(b"SET") => {
            shard.insert(key.clone(), value.clone());
            b"+OK\r\n".to_vec()
        }
        [del, key] if del.eq_ignore_ascii_case(b"DEL") => {
            format!(":{}\r\n", u8::from(shard.remove(key).is_some())).into_bytes()
        }
        [incr, key] if incr.eq_ignore_ascii_case(b"INCR") => {
            let text = shard.get(key).map_or("0".into(), |value| String::from_utf8_lossy(value));
            match text.parse::<i64>().ok().and_then(|n| n.checked_add(1)) {
                Some(n) => {
                    shard.insert(key.clone(), n.to_string().into_bytes());
                    format!(":{n}\r\n").into_bytes()
                }
                None => b"-ERR value is not an integer or out of range\r\n".to_vec(),
            }
        }
        _ => b"-ERR unknown command, or a wrong number of arguments\r\n".to_vec(),
    }
}

struct Client {
    requests: Reader<Requests>,
    replies: Sequencer<Vec<u8>>,
    store: Arc<Store>,
}

struct Store {
    shards: Vec<Colored<Shard>>,
    hash: RandomState,
}

impl Store {
    fn new(h: &Handle) -> Store {
        let shard = |_| {
            let color = h.color_builder().label("shard").build();
            Colored::new(&color, Shard::new())
        };
        Store { shards: (0..SHARDS).map(shard).collect(), hash: RandomState::new() }
    }

    fn shard(&self, key: &[u8]) -> &Colored<Shard> {
        &self.shards[self.hash.hash_one(key) as usize % SHARDS]
    }
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while !conn.is_congested()
            && let Some(message) = self.requests.next(conn)
        {
            let Ok(Some((strings, _))) = strings(&message) else { return };
            let request: Vec<Vec<u8>> = strings.into_iter().map(<[u8]>::to_vec).collect();
            let place = self.replies.reserve();
            match request.get(1) {
                Some(key) => self.store.shard(key).post(move |shard, _| {
                    place.complete(execute(shard, &request));
                }),
                None => place.complete(b"+PONG\r\n".to_vec()),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6379".to_owned());
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let store = Arc::new(Store::new(&rt.handle()));
    let address = address.parse().map_err(io::Error::other)?;
    let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
        let (color, store) = (cx.new_color(), Arc::clone(&store));
        stream.serve_with(&color, ConnOptions::default(), |me: std::sync::Weak<Connection<_>>| {
            // In the order of the requests, whichever shard is ready first.
            let replies = Sequencer::new(&color, move |reply: Vec<u8>, _| {
                if let Some(me) = me.upgrade() {
                    me.with(move |_, conn, _| conn.send(&reply));
                }
            });
            Client { requests: Reader::new(Requests), replies, store }
        });
    })?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
