//! A connection as a step function: its state, and its next action.
//!
//! This file reads, writes and calls nothing. [`link`](super::link) reports what has happened:
//! readiness, the results of reads and writes, the time, the requests of the protocol. Then it asks
//! [`next`](State::next) what to do, does that, reports the result, and asks again, until the
//! answer is to wait or to close. So `state_tests` can search every order of what a peer, the
//! system, a protocol and the clock may do, without a socket.
//!
//! Reading and writing do not depend on each other. If the peer reads nothing, the connection still
//! reads what it sends, because the peer may wait for that. A dependency between the directions is
//! up to the protocol, which leaves input unconsumed while it is congested, or pauses.
//!
//! The state of each direction is in [`direction`](super::direction).

use std::time::{Duration, Instant};

use super::ConnOptions;
use super::buffer::{Filled, Flushed};
use super::direction::{FromPeer, ToPeer};
use crate::readiness::{Readiness, Trust};

/// The number of descriptors in the out-buffer, for files or to be sent, from which on no more
/// should be added.
const MOST_FILES: usize = 16;

/// The number of bytes that a closed connection still reads and discards. The search in tests uses
/// a small number.
const LINGER_BYTES: usize = if cfg!(test) { 4 } else { 4 * 1024 * 1024 };

/// The stage of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// The connection is open, and the protocol talks.
    Open(Open),
    /// The protocol has ended. The out-buffer is still written.
    Closing { why: Why, from_peer: FromPeer, to_peer: ToPeer },
    /// All output is written, and our side is closed. Up to `left` bytes that still arrive are read
    /// and discarded. If the socket were closed at once, the system would discard the output that
    /// the peer has not read.
    Lingering { why: Why, from_peer: FromPeer, left: usize, since: Instant },
    /// The connection is over.
    Closed(Why),
}

/// A connection over which its protocol talks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Open {
    intake: Intake,
    congestion: Congestion,
    from_peer: FromPeer,
    to_peer: ToPeer,
    ours: Ours,
    program: Program,
    /// The time at which something was last read or written, or a pause ended.
    active: Instant,
    /// The time from which the frame timeout of an incomplete message counts.
    frame: Option<Instant>,
}

/// The protocol's attitude to input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Intake {
    /// The protocol takes what arrives.
    Takes,
    /// Something has arrived, and the protocol is to be told.
    HasInput,
    /// The protocol is to be called again, even if nothing new has arrived.
    Again,
    /// The protocol takes no input until it resumes.
    Paused,
}

/// Whether the protocol still has to be told that a congestion of the out-buffer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Congestion {
    /// There was no congestion, or the protocol has been told of room since.
    None,
    /// The out-buffer was congested, so the protocol may have stopped, and it has not been told of
    /// room since.
    Unresolved,
}

/// The stage of our side of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ours {
    Open,
    /// Our side closes when the out-buffer is written.
    Ending,
    Ended,
}

/// What the protocol has to be told about the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Program {
    Runs,
    /// The program is about to end, and the protocol is to be told.
    Ends,
}

/// The reason why a connection ended: [`CloseReason`](super::CloseReason) without the system's
/// error.
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

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read once, and report [`filled`](State::filled) or [`read_failed`](State::read_failed).
    Read,
    /// Write, and report [`flushed`](State::flushed) or [`fail`](State::fail).
    Write,
    /// Call the protocol.
    Call(Call),
    /// Close our side of the socket, and report [`shut`](State::shut).
    ShutDown,
    /// Ask the socket for its error, and report [`fail`](State::fail).
    AskError,
    /// Let other colors have their turn, and go on in another event.
    Yield,
    /// Wait for the system, and for the time of [`limit`](State::limit).
    Wait,
    /// Close the socket, and tell the protocol.
    Close(Why),
}

/// The reason for a call of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Data,
    Room,
    End,
    Drain,
}

/// The amounts in the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The number of bytes that were read and not consumed.
    pub(super) input: usize,
    /// The number of bytes that are to be written.
    pub(super) output: u64,
    /// The number of descriptors in the output: files, and descriptors to be sent.
    pub(super) files: usize,
}

impl Load {
    /// Returns `true` if the protocol should make no more output for now.
    pub(super) fn is_congested(self, options: &ConnOptions) -> bool {
        self.output >= options.high_water.max(1) as u64 || self.files >= MOST_FILES
    }

    /// Returns `true` if the protocol may make output again, after there was too much.
    fn has_room(self, options: &ConnOptions) -> bool {
        self.output <= options.high_water as u64 / 2 && self.files <= MOST_FILES / 2
    }
}

/// The numbers of actions that one event may still take before other colors have their turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    reads: u8,
    writes: u8,
    /// Calls for other reasons than new input.
    calls: u8,
}

impl Budget {
    pub(super) const EVENT: Budget = Budget { reads: 4, writes: 3, calls: 2 };
}

/// Takes one of `left`. Returns `false` if none is left.
fn take_one(left: &mut u8) -> bool {
    let taken = left.checked_sub(1);
    taken.inspect(|less| *left = *less).is_some()
}

impl Open {
    /// Returns `true` if the connection takes what the peer sends. It does not while the protocol
    /// is paused, has left input because there is no room for its output, or has asked to be called
    /// again so that others get their turn.
    fn reads(&self, load: Load) -> bool {
        let leaves_input = self.congestion == Congestion::Unresolved && load.input > 0;
        self.intake == Intake::Takes && !leaves_input
    }

    /// Returns the next action, or an error if the connection is over.
    fn next(
        &mut self,
        load: Load,
        options: &ConnOptions,
        budget: &mut Budget,
    ) -> Result<Next, Over> {
        if self.intake == Intake::HasInput {
            self.intake = Intake::Takes;
            return Ok(Next::Call(Call::Data));
        }
        if self.from_peer.take_end() {
            return Ok(Next::Call(Call::End));
        }
        if load.is_congested(options) {
            self.congestion = Congestion::Unresolved;
        }
        let may_leave = self.congestion == Congestion::Unresolved || self.intake != Intake::Takes;
        if !may_leave && load.input > options.max_input {
            return Err(Over::WhenWritten(Why::InputLimit));
        }
        let has_room = self.congestion == Congestion::Unresolved && load.has_room(options);
        if has_room && take_one(&mut budget.calls) {
            self.congestion = Congestion::None;
            return Ok(Next::Call(Call::Room));
        }
        let writes = load.output > 0 && self.to_peer.may_take();
        // A write may make room now that the socket may take some.
        if self.congestion == Congestion::Unresolved && writes && take_one(&mut budget.writes) {
            return Ok(Next::Write);
        }
        if self.intake == Intake::Again && take_one(&mut budget.calls) {
            self.intake = Intake::Takes;
            return Ok(Next::Call(Call::Data));
        }
        let reads = self.from_peer.is_ready() && self.reads(load);
        if reads && take_one(&mut budget.reads) {
            return Ok(Next::Read);
        }
        match self.from_peer {
            FromPeer::Failed => return Ok(Next::AskError),
            // No read is made that could return the error, so the socket is asked for it.
            FromPeer::Failing if !reads && self.intake != Intake::Again => {
                return Ok(Next::AskError);
            }
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
            (Ours::Ended, FromPeer::Ended) if self.intake == Intake::Takes => {
                return Err(Over::Now);
            }
            _ => {}
        }
        match has_room || writes || reads || self.intake == Intake::Again {
            true => Ok(Next::Yield),
            false => Ok(Next::Wait),
        }
    }
}

/// The ways in which a connection ends by itself.
enum Over {
    /// The connection closes when the out-buffer is written.
    WhenWritten(Why),
    /// Both sides have ended, so the connection closes now.
    Now,
}

impl State {
    /// Makes the state of a new connection. `trust` says whether a short read proves that nothing
    /// is left.
    pub(super) fn new(now: Instant, trust: Trust) -> State {
        State::Open(Open {
            intake: Intake::Takes,
            congestion: Congestion::None,
            from_peer: FromPeer::Quiet(trust),
            to_peer: ToPeer::Free,
            ours: Ours::Open,
            program: Program::Runs,
            active: now,
            frame: None,
        })
    }

    /// Returns the next action.
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

    /// Returns the direction to the peer, while something may be written.
    fn outgoing(&mut self) -> Option<&mut ToPeer> {
        match self {
            State::Open(Open { to_peer, .. }) | State::Closing { to_peer, .. } => Some(to_peer),
            State::Lingering { .. } | State::Closed(_) => None,
        }
    }

    /// Reports readiness.
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

    /// Reports the outcome of a read, which returned `bytes` bytes.
    pub(super) fn filled(&mut self, filled: &Filled, bytes: usize, now: Instant) {
        match self {
            State::Open(open) => {
                open.from_peer.filled(filled);
                if matches!(filled, Filled::Full | Filled::Drained) {
                    open.active = now;
                    open.intake = Intake::HasInput;
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
            // The peer is gone, so there is no need to linger.
            State::Lingering { why, .. } => *self = State::Closed(why),
            _ => self.fail(Why::Io),
        }
    }

    /// Reports that a write has left `after` of `before` bytes.
    pub(super) fn flushed(&mut self, before: u64, after: u64, flushed: &Flushed, now: Instant) {
        if let Some(to_peer) = self.outgoing() {
            to_peer.flushed(before, after, flushed, now);
        }
        if let State::Open(open) = self
            && after < before
        {
            // Progress restarts the time of what follows, silence or the rest of a message.
            open.active = now;
        }
    }

    /// Reports that our side of the socket is closed, or that closing it failed because the peer is
    /// gone.
    pub(super) fn shut(&mut self, outcome: Result<(), ()>, now: Instant) {
        match *self {
            State::Open(ref mut open) => open.ours = Ours::Ended,
            State::Closing { why, from_peer, .. } if from_peer.is_over() => {
                *self = State::Closed(why);
            }
            State::Closing { why, mut from_peer, .. } if outcome.is_ok() => {
                from_peer.mark_ready();
                *self = State::Lingering { why, from_peer, left: LINGER_BYTES, since: now };
            }
            State::Closing { why, .. } => *self = State::Closed(why),
            State::Lingering { .. } | State::Closed(_) => {}
        }
    }

    /// Reports that a read may return something, although the system has not said so.
    pub(super) fn may_read(&mut self) {
        if let State::Open(Open { from_peer, .. }) = self {
            from_peer.mark_ready();
        }
    }

    /// Reports that the program is about to end. Bytes that have arrived and were not read yet
    /// count as begun: they are read first, if the connection takes input and the event's budget of
    /// reads allows it.
    pub(super) fn drain(&mut self) {
        if let State::Open(open) = self {
            open.from_peer.mark_ready();
            open.program = Program::Ends;
        }
    }

    /// Returns the deadline of what the connection waits for, and the reason to close it then.
    /// Returns `None` if it waits for nothing that has to happen.
    pub(super) fn limit(&mut self, load: Load, options: &ConnOptions) -> Option<(Instant, Why)> {
        if let Some(since) = self.outgoing().and_then(|to_peer| to_peer.waits_since()) {
            return Some((later(since, options.write_timeout), Why::WriteTimeout));
        }
        match self {
            State::Open(Open { intake: Intake::Paused, .. }) => None,
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

    /// Closes the connection if the deadline of [`limit`](Self::limit) has passed.
    pub(super) fn check_limit(&mut self, load: Load, options: &ConnOptions, now: Instant) {
        if let Some((until, why)) = self.limit(load, options)
            && now >= until
        {
            self.fail(why);
        }
    }

    /// Reports that input was consumed. The rest is a message of its own, with its own time.
    pub(super) fn consumed(&mut self) {
        if let State::Open(open) = self {
            open.frame = None;
        }
    }

    /// Reports that the protocol wants to be called again.
    pub(super) fn come_back(&mut self) {
        if let State::Open(open) = self
            && open.intake != Intake::Paused
        {
            open.intake = Intake::Again;
        }
    }

    pub(super) fn pause(&mut self) {
        if let State::Open(open) = self {
            open.intake = Intake::Paused;
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self, State::Open(Open { intake: Intake::Paused, .. }))
    }

    /// Ends a pause. The protocol is called again.
    pub(super) fn resume(&mut self, now: Instant) {
        if let State::Open(open) = self
            && open.intake == Intake::Paused
        {
            open.intake = Intake::Again;
            // The peer did not cause the pause, so its times start anew.
            (open.active, open.frame) = (now, None);
        }
    }

    /// Returns `true` if more can be sent.
    pub(super) fn sends(&self) -> bool {
        matches!(self, State::Open(Open { ours: Ours::Open, .. }))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, State::Open(_))
    }

    /// Closes our side when the out-buffer is written, and leaves the peer's side open.
    pub(super) fn shut_down_write(&mut self) {
        if let State::Open(open) = self
            && open.ours == Ours::Open
        {
            open.ours = Ours::Ending;
        }
    }

    /// Reports that the peer no longer reads, although it may still send. The out-buffer is lost.
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

    /// Ends the protocol. Both sides close when the out-buffer is written.
    pub(super) fn end(&mut self, why: Why) {
        if let State::Open(Open { from_peer, to_peer, .. }) = *self {
            *self = State::Closing { why, from_peer, to_peer };
        }
    }

    /// Closes the connection now, whatever is in the out-buffer.
    pub(super) fn abort(&mut self) {
        self.end(Why::Closed);
        match *self {
            State::Closing { why, .. } | State::Lingering { why, .. } => {
                *self = State::Closed(why);
            }
            State::Open(_) | State::Closed(_) => {}
        }
    }

    /// Closes the connection now, because of a failure.
    pub(super) fn fail(&mut self, why: Why) {
        if !matches!(self, State::Closed(_)) {
            *self = State::Closed(why);
        }
    }
}

/// Returns `at + delay`, or a time about 34 years after `at` if the sum overflows.
pub(super) fn later(at: Instant, delay: Duration) -> Instant {
    at.checked_add(delay).unwrap_or_else(|| at + Duration::from_secs(1 << 30))
}

#[cfg(test)]
#[path = "state_tests/mod.rs"]
mod tests;
