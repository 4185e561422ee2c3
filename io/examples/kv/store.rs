//! The keys and values, and the commands on them. This file does not depend on connections, colors
//! or threads.
//!
//! The commands are PING, GET, SET (with EX), DEL, INCR, EXPIRE and TTL; STRETCH, which computes
//! for a long time; SAVE, which writes all data to a file that the next start reads; and FIGURES,
//! which returns the runtime's metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::resp::{array, bulk, number};

#[derive(Default)]
pub struct Store {
    entries: HashMap<Vec<u8>, Entry>,
    lives: u64,
}

struct Entry {
    value: Arc<[u8]>,
    /// A number that distinguishes this entry from earlier entries of the same key.
    life: u64,
    until: Option<SystemTime>,
}

/// The outcome of a command.
pub enum Outcome {
    Reply(Vec<u8>),
    /// Reply, and remove the key after the time `after`, unless its entry has another `life` by
    /// then.
    Expires {
        reply: Vec<u8>,
        key: Vec<u8>,
        life: u64,
        after: Duration,
    },
    /// Run a computation that returns the reply.
    Work(Work),
    /// Write all data to the file.
    Save,
    /// Reply with the metrics of the runtime.
    Figures,
}

/// A long computation on a value as it was when the command arrived.
pub struct Work {
    value: Arc<[u8]>,
    rounds: u64,
}

impl Work {
    /// Returns the reply: a hash that is hashed again in each round. A round takes about 1 ns.
    pub fn run(self) -> Vec<u8> {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let mut hash = self.value.iter().fold(0xcbf2_9ce4_8422_2325, step);
        for _ in 0..self.rounds {
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        bulk(Some(format!("{hash:016x}").as_bytes()))
    }
}

impl Store {
    pub fn execute(&mut self, request: &[Vec<u8>]) -> Outcome {
        let Some((name, arguments)) = request.split_first() else { return unknown() };
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let reply = match (&*name.to_ascii_uppercase(), &*arguments) {
            (b"PING", []) => b"+PONG\r\n".to_vec(),
            (b"GET", [key]) => bulk(self.entries.get(*key).map(|entry| &*entry.value)),
            (b"SET", [key, value]) => {
                self.set(key, value, None);
                b"+OK\r\n".to_vec()
            }
            (b"SET", [key, value, ex, seconds]) if ex.eq_ignore_ascii_case(b"EX") => {
                let Some(seconds) = parse(seconds) else { return no_number() };
                self.set(key, value, None);
                return self.expires_after(key, seconds, b"+OK\r\n".to_vec());
            }
            (b"DEL", [key]) => number(i64::from(self.entries.remove(*key).is_some())),
            (b"INCR", [key]) => {
                let entry = self.entries.get(*key);
                let old = entry.map_or(Some(0), |entry| parse(&entry.value));
                let Some(new) = old.and_then(|n: i64| n.checked_add(1)) else { return no_number() };
                let until = entry.and_then(|entry| entry.until);
                self.set(key, new.to_string().as_bytes(), until);
                number(new)
            }
            (b"EXPIRE", [key, seconds]) => {
                let Some(seconds) = parse(seconds) else { return no_number() };
                match self.entries.contains_key(*key) {
                    true => return self.expires_after(key, seconds, number(1)),
                    false => number(0),
                }
            }
            (b"TTL", [key]) => match self.entries.get(*key) {
                None => number(-2),
                Some(Entry { until: None, .. }) => number(-1),
                Some(Entry { until: Some(until), .. }) => {
                    number(left(*until).as_secs_f64().round() as i64)
                }
            },
            (b"STRETCH", [key, rounds]) => {
                let Some(rounds) = parse(rounds) else { return no_number() };
                match self.entries.get(*key) {
                    Some(entry) => {
                        return Outcome::Work(Work { value: Arc::clone(&entry.value), rounds });
                    }
                    None => bulk(None),
                }
            }
            (b"SAVE", []) => return Outcome::Save,
            (b"FIGURES", []) => return Outcome::Figures,
            _ => return unknown(),
        };
        Outcome::Reply(reply)
    }

    fn set(&mut self, key: &[u8], value: &[u8], until: Option<SystemTime>) {
        self.lives += 1;
        // A new value with the old deadline keeps its life, so that the armed timer still matches.
        let kept = self.entries.get(key).filter(|_| until.is_some());
        let life = kept.map_or(self.lives, |entry| entry.life);
        self.entries.insert(key.to_vec(), Entry { value: value.into(), life, until });
    }

    fn expires_after(&mut self, key: &[u8], seconds: u64, reply: Vec<u8>) -> Outcome {
        self.lives += 1;
        let (life, after) = (self.lives, Duration::from_secs(seconds.min(u64::from(u32::MAX))));
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.life, entry.until) = (life, Some(SystemTime::now() + after));
        }
        Outcome::Expires { reply, key: key.to_vec(), life, after }
    }

    /// Removes a key whose time is over, unless the key has been set or given a new time since.
    pub fn expire(&mut self, key: &[u8], life: u64) {
        if self.entries.get(key).is_some_and(|entry| entry.life == life) {
            self.entries.remove(key);
        }
    }

    /// Returns the requests that rebuild this store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, entry) in &self.entries {
            bytes.extend(array(&[b"SET", key, &entry.value]));
            if let Some(until) = entry.until {
                let seconds = left(until).as_secs().max(1).to_string();
                bytes.extend(array(&[b"EXPIRE", key, seconds.as_bytes()]));
            }
        }
        bytes
    }
}

fn left(until: SystemTime) -> Duration {
    until.duration_since(SystemTime::now()).unwrap_or_default()
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn unknown() -> Outcome {
    let why = b"-ERR unknown command or wrong number of arguments\r\n";
    Outcome::Reply(why.to_vec())
}

fn no_number() -> Outcome {
    Outcome::Reply(b"-ERR value is not an integer or out of range\r\n".to_vec())
}
