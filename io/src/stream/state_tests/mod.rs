//! A search of the connection's step function: every order in which a peer, the system, a protocol,
//! the program and the clock can follow short scripts, over buffers of a few bytes.
//!
//! The model of the system is a socket with a receive queue (bytes, urgent marks, the end, a reset)
//! and a send queue of two bytes. Its edges are those of epoll: they are reported once, and gather
//! until they are looked at. A peer may act between any two steps of an event. Time passes where
//! the script says so and, when nothing else can happen, up to the timer.
//!
//! In every state in which only time can pass, and when a connection closes, the search checks that
//!
//! - input that has arrived has been delivered, unless the protocol does not take input now, and
//!   the end has been reported, before an error that came after it;
//! - output waits only for a full socket, a protocol that waits for room has none, and a protocol
//!   that wants to be called again has been called;
//! - all output has left exactly once when the connection closes by itself, and is not lost then;
//! - a connection whose peer has reset it is over, and a paused one is over for no other reason;
//! - the timer is not later than the deadline, and a limit ends the connection in time;
//! - no event follows another one without use, and an aborted connection closes at the next step.
//!
//! The same search then has to find the fault in variants with one mistake each, which is in the
//! step function, in its driver, or in a protocol.
//!
//! The world and the search are in this file. `script` has what varies. `protocol`, `socket` and
//! `driver` act in the world. `rules` has the checks.
//!
//! Files, and a peer that sends more than nine bytes, are not modelled.

mod driver;
mod protocol;
mod rules;
mod script;
mod socket;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::OnceLock;

use self::script::{Act, KINDS, Kind, OUTSIDE, Outside, WRONG, Wrong, scripts};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> ConnOptions {
    ConnOptions {
        max_fds: 0,
        idle_timeout: 4 * SECOND,
        frame_timeout: 3 * SECOND,
        write_timeout: 2 * SECOND,
        linger_timeout: SECOND,
        max_input: 3,
        high_water: 2,
    }
}

fn instant(second: u32) -> Instant {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    *BEGIN.get_or_init(dapple::clock::now) + second * SECOND
}

/// An item of the receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Item {
    Byte,
    Mark,
    End,
    Reset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Socket {
    received: VecDeque<Item>,
    /// The number of bytes that the peer has not taken.
    sent: usize,
    /// Whether a write has found the socket full.
    is_full: bool,
    is_reset: bool,
    /// Whether our side is closed.
    is_shut: bool,
    is_gone: bool,
}

/// The history of a world, to compare with. The step function knows nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Log {
    /// The number of bytes that the protocol was allowed to send. `arrived` of them have reached
    /// the peer.
    promised: usize,
    arrived: usize,
    /// Whether the protocol has seen congestion, and has not been told of room since.
    is_scarce: bool,
    wants_back: bool,
    is_paused: bool,
    has_ended: bool,
    was_told_of_end: bool,
    is_told_to_drain: bool,
    /// The number of bytes that had arrived, unread, when the drain began.
    before_drain: usize,
    was_told_to_drain: bool,
    wants_shut: bool,
    /// The second of the last byte read or written, or of the end of a pause.
    active: u32,
    /// The second since which the rest of a message is awaited.
    incomplete: Option<u32>,
    /// The second since which output waits without progress.
    waits: Option<u32>,
    /// The second since which the connection lingers.
    lingers: Option<u32>,
    /// The number of bytes that were discarded while the connection lingered.
    lingered: usize,
    /// Whether more input was left than is allowed when the connection ended.
    was_too_long: bool,
    /// Whether a write has failed. Nothing is read then.
    has_written_in_vain: bool,
    /// Whether the protocol, or a drain, has ended the connection.
    was_closed: bool,
    was_aborted: bool,
    /// The number of useless events in a row.
    useless: u8,
    was_useful: bool,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    /// A TCP socket, which announces that a read may stop early.
    Tcp,
    /// A Unix socket, where a read stops at descriptors without an announcement.
    Unix,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    state: State,
    family: Family,
    kind: Kind,
    wrong: Wrong,
    second: u32,
    input: usize,
    output: usize,
    socket: Socket,
    /// The readiness that the system has reported and that has not been looked at.
    edges: Readiness,
    /// Whether an event is queued. `runs` has the budget of a running one.
    is_queued: bool,
    runs: Option<Budget>,
    timer: Option<Instant>,
    was_armed: bool,
    script: VecDeque<Act>,
    outside: Outside,
    resumes: u8,
    log: Log,
}

type Found = Result<(), String>;

fn must(holds: bool, rule: &str) -> Found {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

impl World {
    fn new(family: Family, kind: Kind, script: &[Act], outside: Outside, wrong: Wrong) -> World {
        let trust = match family {
            Family::Unix if wrong != Wrong::TrustsUnixSockets => Trust::Doubt,
            Family::Unix | Family::Tcp => Trust::Proof,
        };
        let mut world = World {
            state: State::new(instant(0), trust),
            family,
            kind,
            wrong,
            second: 0,
            input: 0,
            output: 0,
            socket: Socket::default(),
            // The system reports a new socket as writable.
            edges: Readiness { writable: true, ..Readiness::default() },
            is_queued: true,
            runs: None,
            timer: None,
            was_armed: false,
            script: script.iter().copied().collect(),
            outside,
            resumes: 2,
            log: Log::default(),
        };
        match kind {
            Kind::Pusher => world.push(),
            Kind::Asks => {
                world.send();
                world.send();
                world.shut_down_write();
            }
            Kind::Late | Kind::Holds => world.shut_down_write(),
            _ => {}
        }
        world
    }

    fn load(&self) -> Load {
        Load { input: self.input, output: self.output as u64, files: 0 }
    }

    fn is_congested(&self) -> bool {
        self.load().is_congested(&options())
    }

    /// Returns `true` if the protocol takes input. It may be paused, or leave input because there
    /// is no room.
    fn takes(&self) -> bool {
        let leaves_input = self.log.is_scarce && self.input > 0;
        !(self.log.is_paused || leaves_input)
    }

    fn now(&self) -> Instant {
        instant(self.second)
    }
}

/// Searches one script. Returns the number of states, or a broken rule and the world in which it
/// broke.
fn search(first: World) -> Result<usize, String> {
    let first = Rc::new(first);
    let mut seen = HashSet::<_, BuildHasherDefault<Fast>>::default();
    seen.insert(Rc::clone(&first));
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let told = |rule: String| format!("{rule}: {world:#?}");
        let mut nexts = world.nexts().map_err(told)?;
        if nexts.is_empty() {
            world.check_at_rest().map_err(told)?;
            nexts.extend(world.let_time_pass());
        }
        for next in nexts.into_iter().map(Rc::new) {
            if seen.insert(Rc::clone(&next)) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

/// A hasher with which the searches take a third of the time in a debug build.
#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        // The high bits of a product depend on all bits of its factors, and the low bits do not.
        let sum = (self.0 ^ n).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let product = u128::from(sum) * 0xf39c_c060_5ced_c835;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

/// Searches all scripts. Returns the numbers of scripts and of states.
fn search_all(family: Family, most: usize, wrong: Wrong) -> Result<(usize, usize), String> {
    let (mut searched, mut states) = (0, 0);
    for script in scripts(most) {
        for &kind in KINDS {
            for &outside in OUTSIDE {
                let world = World::new(family, kind, &script, outside, wrong);
                states += search(world)
                    .map_err(|found| format!("{kind:?}, {outside:?}, peer {script:?}: {found}"))?;
                searched += 1;
            }
        }
    }
    Ok((searched, states))
}

#[test]
fn n6_whatever_a_peer_does_every_connection_gets_on() {
    let (searched, states) =
        search_all(Family::Tcp, 3, Wrong::Nothing).unwrap_or_else(|found| panic!("{found}"));
    println!("{searched} scripts, {states} states");
}

#[test]
fn n11_a_connection_over_a_unix_socket_gets_on_where_reads_stop_unannounced() {
    let (searched, states) =
        search_all(Family::Unix, 2, Wrong::Nothing).unwrap_or_else(|found| panic!("{found}"));
    println!("{searched} scripts, {states} states");
}

#[test]
#[ignore = "takes minutes: run by .ci/long"]
fn n6_whatever_a_peer_does_in_long_scripts_every_connection_gets_on() {
    let (searched, states) =
        search_all(Family::Tcp, 5, Wrong::Nothing).unwrap_or_else(|found| panic!("{found}"));
    println!("{searched} scripts, {states} states");
}

#[test]
fn n6_what_is_wrong_with_a_connection_is_found() {
    let wrong = WRONG.iter().filter(|wrong| **wrong != Wrong::Nothing);
    let family = |wrong| match wrong {
        Wrong::TrustsUnixSockets => Family::Unix,
        _ => Family::Tcp,
    };
    let is_missed = |wrong: &&Wrong| search_all(family(**wrong), 3, **wrong).is_ok();
    let missed: Vec<&Wrong> = wrong.filter(is_missed).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
