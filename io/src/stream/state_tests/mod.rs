//! The connection's step function, searched: every order in which a peer, the system, a protocol,
//! the program and the clock can do what short scripts say, over buffers of a few bytes.
//!
//! The model of the system is a socket with a receive queue (bytes, urgent marks, the end, a reset)
//! and a send queue of two bytes, whose edges are those of epoll: they are told once, and gather
//! until they are looked at. A peer may act between any two steps of an event. Time passes where
//! the script says so; and when nothing else can happen, up to the timer.
//!
//! Wherever nothing but time is left, and when a connection closes, it is checked that
//!
//! - what has arrived has been delivered, unless the protocol does not take input now, and the end
//!   has been told, before an error that came after it;
//! - output waits only for a socket that is full, and a protocol that waits for room has none; one
//!   that wants to be called again has been;
//! - all that was sent has left once, when the connection closes by itself, and is not lost there;
//! - a connection whose peer has reset it is over, and one that is paused is not, but for that;
//! - the timer is at what is waited for, or before, and a limit ends what it is for, in time;
//! - no event follows another one for nothing, and what was aborted closes at the next step.
//!
//! Then the same search has to find what is wrong with variants, each with one mistake: of the step
//! function, of what drives it, or of a protocol.
//!
//! Where what is: the world and the search here; `script`, what is varied; `protocol`, `socket` and
//! `driver`, what acts in the world; `rules`, what is checked.
//!
//! Not modelled: files, and a peer who sends more than nine bytes.

mod driver;
mod protocol;
mod rules;
mod script;
mod socket;

use std::collections::{HashSet, VecDeque};
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

/// What stands in the receive queue.
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
    /// Bytes that the peer has not taken.
    sent: usize,
    /// A write has found it full.
    is_full: bool,
    is_reset: bool,
    /// Our side is closed.
    is_shut: bool,
    is_gone: bool,
}

/// What has happened, to compare with; nothing of it is known to the step function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Log {
    /// Bytes that the protocol was let send; that the peer has got.
    promised: usize,
    arrived: usize,
    /// The protocol has seen so much output that it stops, and has not been told of room.
    is_scarce: bool,
    wants_back: bool,
    is_paused: bool,
    has_ended: bool,
    was_told_of_end: bool,
    is_told_to_drain: bool,
    /// Bytes that had arrived when the drain was asked for, and were not read.
    before_drain: usize,
    was_told_to_drain: bool,
    wants_shut: bool,
    /// The last byte read, or written; or the end of a pause.
    active: u32,
    /// What is left of a message waits since then.
    incomplete: Option<u32>,
    /// Output waits without progress since then.
    waits: Option<u32>,
    /// It lingers since then.
    lingers: Option<u32>,
    /// Bytes that were thrown away while it lingered.
    lingered: usize,
    /// More input was left than is allowed when it ended.
    was_too_long: bool,
    /// A write has failed: nobody reads then.
    has_written_in_vain: bool,
    /// The protocol, or a drain, has ended it.
    was_closed: bool,
    was_aborted: bool,
    /// Events that were of no use, one after the other.
    useless: u8,
    was_useful: bool,
}

/// What kind of socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    /// A read that stops early is announced.
    Tcp,
    /// A read stops where descriptors go along with the bytes, and nobody says so.
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
    /// What the system has told and nobody has looked at.
    edges: Readiness,
    /// An event is queued; one is under way.
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
            // What the system says of a new socket.
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

    /// Says whether the protocol takes input: it may be paused, or leave some as there is no room.
    fn takes(&self) -> bool {
        let leaves_input = self.log.is_scarce && self.input > 0;
        !(self.log.is_paused || leaves_input)
    }

    fn now(&self) -> Instant {
        instant(self.second)
    }
}

/// Searches one script; says how many states there are, or what is wrong and how it came to that.
fn search(first: World) -> Result<usize, String> {
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let told = |rule: String| format!("{rule}: {world:#?}");
        let mut nexts = world.nexts().map_err(told)?;
        if nexts.is_empty() {
            world.check_at_rest().map_err(told)?;
            nexts.extend(world.let_time_pass());
        }
        for next in nexts {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

/// Searches all of it; says how many scripts and states there were.
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
