//! A connection as a step function: what it knows, and what it does next.
//!
//! Nothing is read, written or called from here. [`link`](super::link) says what has happened:
//! readiness, the results of reads and writes, the time, what the protocol asks for. Then it asks
//! [`next`](State::next) what to do, does that, says what came of it, and asks again, until the
//! answer is to wait, or that it is over. So every order of what a peer, the system, a protocol and
//! the clock may do can be searched without a socket; `state_tests` does that.
//!
//! Reading and writing do not depend on each other: that the peer takes nothing is no reason not to
//! take what it sends, as it may wait for that. What does depend is up to the protocol: it leaves
//! input while it is congested, or pauses.
//!
//! What is known of each direction is in [`direction`](super::direction).

use std::time::{Duration, Instant};

use super::ConnOptions;
use super::buffer::{Filled, Flushed};
use super::direction::{FromPeer, ToPeer};
use crate::reactor::{Readiness, Trust};

/// Files in the out-buffer, each an open descriptor, from which on no more should be added.
const MOST_FILES: usize = 16;

/// Bytes that a closed connection still reads and throws away; few where that is searched.
const LINGER_BYTES: usize = if cfg!(test) { 4 } else { 4 * 1024 * 1024 };

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// The protocol talks.
    Open(Open),
    /// The protocol has ended; what is in the out-buffer is still written.
    Closing { why: Why, from_peer: FromPeer, to_peer: ToPeer },
    /// All is written, our side is closed; what still comes is read and thrown away, so many bytes
    /// at most. If it was closed at once, the system would throw away what was sent last.
    Lingering { why: Why, from_peer: FromPeer, left: usize, since: Instant },
    /// The connection is over.
    Closed(Why),
}

/// A connection over which its protocol talks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Open {
    turn: Turn,
    room: Room,
    from_peer: FromPeer,
    to_peer: ToPeer,
    ours: Ours,
    program: Program,
    /// The last time that something was read, written, or completed.
    active: Instant,
    /// The first byte of an input that is not complete.
    frame: Option<Instant>,
}

/// What the protocol does about input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Turn {
    /// The protocol takes what comes.
    Takes,
    /// Something has come, of which it is to be told.
    HasInput,
    /// It is to be called again, though nothing new may have come.
    Again,
    /// The protocol takes no input until it resumes.
    Paused,
}

/// What the protocol knows of the out-buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Room {
    Ample,
    /// So much has waited that it may have stopped making more, and it has not been told of room
    /// since.
    Scarce,
}

/// How far our side of the socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ours {
    Open,
    /// The connection closes when the out-buffer is written.
    Ending,
    Ended,
}

/// What the protocol has been told of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Program {
    Runs,
    /// It is about to end, and the protocol is to be told.
    Ends,
}

/// Why a connection ended: [`CloseReason`](super::CloseReason) without the system's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Why {
    Closed,
    Peer,
    IdleTimeout,
    FrameTimeout,
    WriteTimeout,
    InputLimit,
    Protocol(&'static str),
    Io,
    Panicked,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read once; then [`filled`](State::filled) or [`read_failed`](State::read_failed).
    Read,
    /// Write; then [`flushed`](State::flushed) or [`fail`](State::fail).
    Write,
    /// Call the protocol.
    Call(Call),
    /// Close our side of the socket; then [`shut`](State::shut).
    ShutDown,
    /// Ask the socket for its error; then [`fail`](State::fail).
    AskError,
    /// Let others have their turn, and go on.
    Yield,
    /// Wait for the system; the time, if that matters, is [`limit`](State::limit).
    Wait,
    /// Let go of the socket, and tell the protocol.
    Close(Why),
}

/// What the protocol is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Data,
    Room,
    End,
    Drain,
}

/// What is in the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Bytes that were read and not consumed.
    pub(super) input: usize,
    /// Bytes that are to be written.
    pub(super) output: u64,
    /// Files among them.
    pub(super) files: usize,
}

impl Load {
    /// Says whether so much output waits that no more should be made.
    pub(super) fn is_congested(self, options: &ConnOptions) -> bool {
        self.output >= options.high_water.max(1) as u64 || self.files >= MOST_FILES
    }

    /// Says whether so little waits that more may be made, after there was too much.
    fn has_room(self, options: &ConnOptions) -> bool {
        self.output <= options.high_water as u64 / 2 && self.files <= MOST_FILES / 2
    }
}

/// What one event may still do before others have their turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    reads: u8,
    writes: u8,
    /// Calls for something else than input that has come.
    calls: u8,
}

impl Budget {
    pub(super) const EVENT: Budget = Budget { reads: 4, writes: 3, calls: 2 };
}

/// Takes one of so many. False: none is left.
fn take_one(left: &mut u8) -> bool {
    let taken = left.checked_sub(1);
    taken.inspect(|less| *left = *less).is_some()
}

impl Open {
    /// Says whether it takes what the peer sends. It does not if the protocol is paused, or has
    /// left input because there is no room for its output, or because others are to have their
    /// turn.
    fn reads(&self, load: Load) -> bool {
        let leaves_input = self.room == Room::Scarce && load.input > 0;
        self.turn == Turn::Takes && !leaves_input
    }

    /// What is next; `Err`: it is over.
    fn next(
        &mut self,
        load: Load,
        options: &ConnOptions,
        budget: &mut Budget,
    ) -> Result<Next, Over> {
        if self.turn == Turn::HasInput {
            self.turn = Turn::Takes;
            return Ok(Next::Call(Call::Data));
        }
        if self.from_peer.take_end() {
            return Ok(Next::Call(Call::End));
        }
        if load.is_congested(options) {
            self.room = Room::Scarce;
        }
        let may_leave = self.room == Room::Scarce || self.turn != Turn::Takes;
        if !may_leave && load.input > options.max_input {
            return Err(Over::WhenWritten(Why::InputLimit));
        }
        let has_room = self.room == Room::Scarce && load.has_room(options);
        if has_room && take_one(&mut budget.calls) {
            self.room = Room::Ample;
            return Ok(Next::Call(Call::Room));
        }
        let writes = load.output > 0 && self.to_peer.may_take();
        // Now that the socket may take some, there may be room.
        if self.room == Room::Scarce && writes && take_one(&mut budget.writes) {
            return Ok(Next::Write);
        }
        if self.turn == Turn::Again && take_one(&mut budget.calls) {
            self.turn = Turn::Takes;
            return Ok(Next::Call(Call::Data));
        }
        let reads = self.from_peer.is_ready() && self.reads(load);
        if reads && take_one(&mut budget.reads) {
            return Ok(Next::Read);
        }
        match self.from_peer {
            FromPeer::Failed => return Ok(Next::AskError),
            // No read will find out.
            FromPeer::Failing if !reads && self.turn != Turn::Again => return Ok(Next::AskError),
            _ => {}
        }
        if self.program == Program::Ends {
            self.program = Program::Runs;
            return Ok(Next::Call(Call::Drain));
        }
        if writes && take_one(&mut budget.writes) {
            return Ok(Next::Write);
        }
        match (self.ours, self.from_peer) {
            (Ours::Ending, _) if load.output == 0 => return Ok(Next::ShutDown),
            (Ours::Ended, FromPeer::Ended) if self.turn == Turn::Takes => return Err(Over::Now),
            _ => {}
        }
        match has_room || writes || reads || self.turn == Turn::Again {
            true => Ok(Next::Yield),
            false => Ok(Next::Wait),
        }
    }
}

/// How a connection ends by itself.
enum Over {
    /// What is in the out-buffer is still written.
    WhenWritten(Why),
    /// Both sides have ended.
    Now,
}

impl State {
    /// `trust`: whether a short read proves that nothing is left.
    pub(super) fn new(now: Instant, trust: Trust) -> State {
        State::Open(Open {
            turn: Turn::Takes,
            room: Room::Ample,
            from_peer: FromPeer::Quiet(trust),
            to_peer: ToPeer::Free,
            ours: Ours::Open,
            program: Program::Runs,
            active: now,
            frame: None,
        })
    }

    /// What is to be done next.
    pub(super) fn next(&mut self, load: Load, options: &ConnOptions, budget: &mut Budget) -> Next {
        match self {
            State::Open(open) => match open.next(load, options, budget) {
                Ok(next) => next,
                Err(over) => {
                    match over {
                        Over::WhenWritten(why) => self.end(why),
                        Over::Now => self.fail(Why::Closed),
                    }
                    self.next(load, options, budget)
                }
            },
            State::Closing { .. } if load.output == 0 => Next::ShutDown,
            State::Closing { to_peer, .. } => match to_peer.may_take() {
                true if take_one(&mut budget.writes) => Next::Write,
                true => Next::Yield,
                false => Next::Wait,
            },
            State::Lingering { from_peer, .. } => match from_peer.is_ready() {
                true if take_one(&mut budget.reads) => Next::Read,
                true => Next::Yield,
                false => Next::Wait,
            },
            State::Closed(why) => Next::Close(*why),
        }
    }

    /// The direction to the peer, while something may be written.
    fn outgoing(&mut self) -> Option<&mut ToPeer> {
        match self {
            State::Open(Open { to_peer, .. }) | State::Closing { to_peer, .. } => Some(to_peer),
            State::Lingering { .. } | State::Closed(_) => None,
        }
    }

    /// The system has told of readiness.
    pub(super) fn edge(&mut self, edge: Readiness) {
        match self {
            State::Open(Open { from_peer, to_peer, .. })
            | State::Closing { from_peer, to_peer, .. } => {
                from_peer.edge(edge);
                to_peer.edge(edge);
            }
            State::Lingering { from_peer, .. } => from_peer.edge(edge),
            State::Closed(_) => {}
        }
    }

    /// A read has brought something, or nothing, or the end; `bytes` of it.
    pub(super) fn filled(&mut self, filled: &Filled, bytes: usize, now: Instant) {
        match self {
            State::Open(open) => {
                open.from_peer.filled(filled);
                if matches!(filled, Filled::Full | Filled::Drained) {
                    open.active = now;
                    open.turn = Turn::HasInput;
                }
            }
            State::Lingering { why, from_peer, left, .. } => {
                from_peer.filled(filled);
                *left = left.saturating_sub(bytes);
                if from_peer.is_over() || *left == 0 {
                    *self = State::Closed(*why);
                }
            }
            State::Closing { .. } | State::Closed(_) => {}
        }
    }

    pub(super) fn read_failed(&mut self) {
        match *self {
            // It has what it wanted.
            State::Lingering { why, .. } => *self = State::Closed(why),
            _ => self.fail(Why::Io),
        }
    }

    /// A write has left `after` of `before` bytes.
    pub(super) fn flushed(&mut self, before: u64, after: u64, flushed: &Flushed, now: Instant) {
        if let Some(to_peer) = self.outgoing() {
            to_peer.flushed(before, after, flushed, now);
        }
        if let State::Open(open) = self
            && after < before
        {
            // What follows, silence or the rest of a message, counts from here.
            open.active = now;
        }
    }

    /// Our side of the socket is closed; or that has failed, as the peer is gone.
    pub(super) fn shut(&mut self, outcome: Result<(), ()>, now: Instant) {
        match *self {
            State::Open(ref mut open) => open.ours = Ours::Ended,
            State::Closing { why, from_peer, .. } if from_peer.is_over() => {
                *self = State::Closed(why);
            }
            State::Closing { why, mut from_peer, .. } if outcome.is_ok() => {
                from_peer.awakes();
                *self = State::Lingering { why, from_peer, left: LINGER_BYTES, since: now };
            }
            State::Closing { why, .. } => *self = State::Closed(why),
            State::Lingering { .. } | State::Closed(_) => {}
        }
    }

    /// A read may bring something, though the system has not said so.
    pub(super) fn may_read(&mut self) {
        if let State::Open(Open { from_peer, .. }) = self {
            from_peer.awakes();
        }
    }

    /// The program is about to end. What has arrived but was not read yet counts as begun.
    pub(super) fn drain(&mut self) {
        if let State::Open(open) = self {
            open.from_peer.awakes();
            open.program = Program::Ends;
        }
    }

    /// What it waits for, and until when; `None`: for nothing that has to come.
    pub(super) fn limit(&mut self, load: Load, options: &ConnOptions) -> Option<(Instant, Why)> {
        if let Some(since) = self.outgoing().and_then(|to_peer| to_peer.waits_since()) {
            return Some((later(since, options.write_timeout), Why::WriteTimeout));
        }
        match self {
            State::Open(Open { turn: Turn::Paused, .. }) => None,
            State::Open(open) if load.input == 0 => {
                open.frame = None;
                Some((later(open.active, options.idle_timeout), Why::IdleTimeout))
            }
            State::Open(open) => {
                let since = *open.frame.get_or_insert(open.active);
                Some((later(since, options.frame_timeout), Why::FrameTimeout))
            }
            State::Lingering { since, why, .. } => {
                Some((later(*since, options.linger_timeout), *why))
            }
            State::Closing { .. } | State::Closed(_) => None,
        }
    }

    /// The time has come for what [`limit`](Self::limit) said, or may have.
    pub(super) fn check_limit(&mut self, load: Load, options: &ConnOptions, now: Instant) {
        if let Some((until, why)) = self.limit(load, options)
            && now >= until
        {
            self.fail(why);
        }
    }

    /// Input has been understood. What follows is a message of its own, with its own time.
    pub(super) fn consumed(&mut self) {
        if let State::Open(open) = self {
            open.frame = None;
        }
    }

    /// The protocol wants to be called again.
    pub(super) fn come_back(&mut self) {
        if let State::Open(open) = self
            && open.turn != Turn::Paused
        {
            open.turn = Turn::Again;
        }
    }

    pub(super) fn pause(&mut self) {
        if let State::Open(open) = self {
            open.turn = Turn::Paused;
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self, State::Open(Open { turn: Turn::Paused, .. }))
    }

    /// Ends a pause: the protocol is called again.
    pub(super) fn resume(&mut self, now: Instant) {
        if let State::Open(open) = self
            && open.turn == Turn::Paused
        {
            open.turn = Turn::Again;
            // What waits has not been the peer's doing.
            (open.active, open.frame) = (now, None);
        }
    }

    /// Says whether more can be sent.
    pub(super) fn sends(&self) -> bool {
        matches!(self, State::Open(Open { ours: Ours::Open, .. }))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, State::Open(_))
    }

    /// Our side closes when the out-buffer is written; the peer's stays.
    pub(super) fn shut_down_write(&mut self) {
        if let State::Open(open) = self
            && open.ours == Ours::Open
        {
            open.ours = Ours::Ending;
        }
    }

    /// The peer takes nothing any more, though it may still send: what waits in the out-buffer is
    /// gone.
    pub(super) fn cannot_write(&mut self) {
        match self {
            State::Open(open) => {
                open.ours = Ours::Ended;
                open.to_peer = ToPeer::Free;
            }
            State::Closing { to_peer, .. } => *to_peer = ToPeer::Free,
            State::Lingering { .. } | State::Closed(_) => {}
        }
    }

    /// The protocol has ended: both sides close when the out-buffer is written.
    pub(super) fn end(&mut self, why: Why) {
        if let State::Open(Open { from_peer, to_peer, .. }) = *self {
            *self = State::Closing { why, from_peer, to_peer };
        }
    }

    /// It closes now, whatever is in the out-buffer.
    pub(super) fn abort(&mut self) {
        self.end(Why::Closed);
        match *self {
            State::Closing { why, .. } | State::Lingering { why, .. } => {
                *self = State::Closed(why);
            }
            State::Open(_) | State::Closed(_) => {}
        }
    }

    /// Something has gone wrong: it closes now.
    pub(super) fn fail(&mut self, why: Why) {
        if !matches!(self, State::Closed(_)) {
            *self = State::Closed(why);
        }
    }
}

/// The sum, or what is as good as never.
pub(super) fn later(at: Instant, delay: Duration) -> Instant {
    at.checked_add(delay).unwrap_or_else(|| at + Duration::from_secs(1 << 30))
}

#[cfg(test)]
#[path = "state_tests/mod.rs"]
mod tests;
