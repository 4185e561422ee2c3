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
//! - output waits only for a socket that is full, and whoever waits for room has none; whoever
//!   wants to be called again has been;
//! - all that was sent has left once, when the connection closes by itself, and is not lost there;
//! - a connection whose peer has reset it is over, and one that is paused is not, but for that;
//! - the timer is at what is waited for, or before, and a limit ends what it is for, in time;
//! - no event follows another one for nothing.
//!
//! Then the same search has to find what is wrong with variants, each with one mistake: of the step
//! function, of what drives it, or of a protocol.
//!
//! Not modelled: files, an abort, and a peer who sends more than nine bytes.

use std::collections::{HashSet, VecDeque};
use std::sync::OnceLock;

use super::*;

/// Bytes that a read has room for; that the system takes without the peer.
const ROOM: usize = 2;
const SOCKET: usize = 2;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> ConnOptions {
    ConnOptions {
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
    *BEGIN.get_or_init(Instant::now) + second * SECOND
}

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Send(usize),
    /// Marks the place as urgent.
    Mark,
    End,
    Reset,
    Take(usize),
    /// Does nothing for a second.
    Wait,
}

const ACTS: [Act; 8] = [
    Act::Send(1),
    Act::Send(3),
    Act::Mark,
    Act::End,
    Act::Reset,
    Act::Take(1),
    Act::Take(8),
    Act::Wait,
];

/// What comes from elsewhere, once, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outside {
    Nothing,
    Drain,
    Close,
    ShutDown,
    Pause,
    Send,
}

const OUTSIDE: [Outside; 6] = [
    Outside::Nothing,
    Outside::Drain,
    Outside::Close,
    Outside::ShutDown,
    Outside::Pause,
    Outside::Send,
];

/// How a protocol behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Answers each byte by one, while there is room.
    Echo,
    /// The same; when the peer has ended, our side ends, and nothing else.
    Half,
    Sink,
    /// One byte in a call, and then it comes back.
    Lazy,
    /// Takes all, and pauses; it is resumed from elsewhere.
    Pauser,
    /// Messages of three bytes.
    Threes,
    /// Sends five bytes as there is room, and closes.
    Pusher,
    /// Answers what has come, and closes.
    Leaver,
    /// Sends two bytes, and our side ends; then it takes what comes.
    Asks,
    /// Our side ends at once. It takes nothing before the peer's end, and then a byte in a call; it
    /// closes when it has all.
    Late,
    /// The same; at the peer's end it pauses, and is resumed from elsewhere.
    Holds,
}

const KINDS: [Kind; 11] = [
    Kind::Late,
    Kind::Holds,
    Kind::Echo,
    Kind::Half,
    Kind::Sink,
    Kind::Lazy,
    Kind::Pauser,
    Kind::Threes,
    Kind::Pusher,
    Kind::Leaver,
    Kind::Asks,
];

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wrong {
    Nothing,
    RoomIsNotTold,
    MarksAreNotSeen,
    EndsAreNotAnnounced,
    WritableIsNotSeen,
    ResetsAreNotSeen,
    DoesNotLinger,
    DoesNotComeAgain,
    DoesNotComeBack,
    DrainIsNotTold,
    EndIsNotTold,
    TimerIsArmedOnce,
    BytesProlongAMessage,
    CloseDropsTheOutput,
    OurSideStaysOpen,
    FullSocketsAreTried,
    ResumeIsForgotten,
    NewOutputIsNotWritten,
    ShortReadsAreProof,
    ProgressIsForgotten,
    ResumeKeepsTheClocks,
    LingersBehindTheEnd,
    DrainsBeforeItReads,
    FailsBeforeItReads,
    EndIsOverBeforeItIsTold,
}

const WRONG: [Wrong; 24] = [
    Wrong::ShortReadsAreProof,
    Wrong::ProgressIsForgotten,
    Wrong::ResumeKeepsTheClocks,
    Wrong::LingersBehindTheEnd,
    Wrong::DrainsBeforeItReads,
    Wrong::FailsBeforeItReads,
    Wrong::EndIsOverBeforeItIsTold,
    Wrong::RoomIsNotTold,
    Wrong::MarksAreNotSeen,
    Wrong::EndsAreNotAnnounced,
    Wrong::WritableIsNotSeen,
    Wrong::ResetsAreNotSeen,
    Wrong::DoesNotLinger,
    Wrong::DoesNotComeAgain,
    Wrong::DoesNotComeBack,
    Wrong::DrainIsNotTold,
    Wrong::EndIsNotTold,
    Wrong::TimerIsArmedOnce,
    Wrong::BytesProlongAMessage,
    Wrong::CloseDropsTheOutput,
    Wrong::OurSideStaysOpen,
    Wrong::FullSocketsAreTried,
    Wrong::ResumeIsForgotten,
    Wrong::NewOutputIsNotWritten,
];

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

/// Edges that were told and not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Edges {
    readable: bool,
    writable: bool,
    closed: bool,
    failed: bool,
    urgent: bool,
}

const NO_EDGES: Edges =
    Edges { readable: false, writable: false, closed: false, failed: false, urgent: false };

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
    lingers: Option<u32>,
    was_too_long: bool,
    /// A write has failed: nobody reads then.
    has_written_in_vain: bool,
    /// Bytes that were thrown away since.
    lingered: usize,
    /// The protocol, or a drain, has ended it.
    was_closed: bool,
    /// Events that were of no use, one after the other.
    useless: u8,
    was_useful: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    state: State,
    kind: Kind,
    wrong: Wrong,
    second: u32,
    input: usize,
    output: usize,
    socket: Socket,
    edges: Edges,
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
    fn new(kind: Kind, script: &[Act], outside: Outside, wrong: Wrong) -> World {
        let mut world = World {
            state: State::new(instant(0)),
            kind,
            wrong,
            second: 0,
            input: 0,
            output: 0,
            socket: Socket::default(),
            // What the system says of a new socket.
            edges: Edges { writable: true, ..NO_EDGES },
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

    fn now(&self) -> Instant {
        instant(self.second)
    }
}

/// What the protocol does.
impl World {
    fn send(&mut self) {
        if self.state.sends() {
            self.output += 1;
            self.log.promised += 1;
            self.log.is_scarce |= self.is_congested();
        }
    }

    fn consume(&mut self, n: usize) {
        if n > 0 {
            self.input -= n;
            self.state.consumed();
            self.log.incomplete = None;
        }
    }

    fn end(&mut self, why: Why) {
        self.log.was_closed |= self.state.is_open();
        match self.wrong {
            Wrong::CloseDropsTheOutput => {
                self.output = 0;
                self.state.abort();
            }
            _ => self.state.end(why),
        }
    }

    fn shut_down_write(&mut self) {
        self.log.wants_shut |= self.state.sends();
        if self.wrong != Wrong::OurSideStaysOpen {
            self.state.shut_down_write();
        }
    }

    fn pause(&mut self) {
        self.log.is_paused = true;
        self.state.pause();
    }

    fn push(&mut self) {
        while self.log.promised < 5 && self.state.sends() {
            if self.is_congested() {
                return;
            }
            self.send();
        }
        self.end(Why::Closed);
    }

    fn echo(&mut self) {
        while self.input > 0 && !self.is_congested() {
            self.consume(1);
            self.send();
        }
        if self.kind == Kind::Half && self.log.was_told_of_end && self.input == 0 {
            self.shut_down_write();
        }
    }

    fn take_late(&mut self) {
        if !self.log.was_told_of_end {
            return;
        }
        self.consume(self.input.min(1));
        match self.input {
            0 => self.end(Why::Closed),
            _ => self.come_back(),
        }
    }

    fn come_back(&mut self) {
        self.log.wants_back = self.state.is_open();
        if self.wrong != Wrong::DoesNotComeBack {
            self.state.come_back();
        }
    }

    fn on_data(&mut self) {
        match self.kind {
            Kind::Echo | Kind::Half => self.echo(),
            Kind::Sink | Kind::Pusher | Kind::Asks => self.consume(self.input),
            Kind::Lazy => {
                self.consume(self.input.min(1));
                if self.input > 0 {
                    self.come_back();
                }
            }
            Kind::Pauser => {
                self.consume(self.input);
                self.pause();
            }
            Kind::Late | Kind::Holds => self.take_late(),
            Kind::Threes => self.consume(self.input / 3 * 3),
            Kind::Leaver => {
                self.consume(self.input);
                self.send();
                self.end(Why::Closed);
            }
        }
    }

    fn call(&mut self, call: Call) {
        self.log.was_useful = true;
        match call {
            Call::Data => {
                self.log.wants_back = false;
                self.on_data();
            }
            Call::Room => {
                self.log.is_scarce = false;
                match self.kind {
                    Kind::Pusher => self.push(),
                    _ => self.on_data(),
                }
            }
            Call::End => {
                self.log.was_told_of_end = true;
                match self.kind {
                    Kind::Half => self.echo(),
                    Kind::Late => self.take_late(),
                    Kind::Holds => self.pause(),
                    _ => self.end(Why::Peer),
                }
            }
            Call::Drain => {
                self.log.was_told_to_drain = true;
                self.end(Why::Closed);
            }
        }
    }
}

/// What the socket does.
impl World {
    fn tell(&mut self, edges: Edges) {
        if self.socket.is_gone {
            return;
        }
        self.edges = Edges {
            readable: self.edges.readable | edges.readable,
            writable: self.edges.writable | edges.writable,
            closed: self.edges.closed | edges.closed,
            failed: self.edges.failed | edges.failed,
            urgent: self.edges.urgent | edges.urgent,
        };
        self.is_queued = true;
    }

    fn act(&mut self, act: Act) {
        let socket = &mut self.socket;
        match act {
            Act::Send(n) => {
                socket.received.extend((0..n).map(|_| Item::Byte));
                self.tell(Edges { readable: true, ..NO_EDGES });
            }
            Act::Mark => {
                socket.received.push_back(Item::Mark);
                self.tell(Edges { readable: true, urgent: true, ..NO_EDGES });
            }
            Act::End => {
                socket.received.push_back(Item::End);
                self.tell(Edges { readable: true, closed: true, ..NO_EDGES });
            }
            Act::Reset => {
                socket.received.push_back(Item::Reset);
                (socket.is_reset, socket.sent) = (true, 0);
                self.tell(Edges {
                    readable: true,
                    writable: true,
                    closed: true,
                    failed: true,
                    urgent: false,
                });
            }
            Act::Take(n) => {
                let taken = n.min(socket.sent);
                socket.sent -= taken;
                self.log.arrived += taken;
                if taken > 0 && std::mem::take(&mut socket.is_full) {
                    self.tell(Edges { writable: true, ..NO_EDGES });
                }
            }
            Act::Wait => self.second += 1,
        }
    }

    fn read(&mut self) {
        while self.socket.received.front() == Some(&Item::Mark) {
            self.socket.received.pop_front();
        }
        let items = self.socket.received.iter();
        let n = items.take_while(|item| **item == Item::Byte).count().min(ROOM);
        self.socket.received.drain(..n);
        self.log.before_drain = self.log.before_drain.saturating_sub(n);
        let filled = match (n, self.socket.received.front()) {
            (ROOM, _) => Filled::Full,
            (1.., _) => Filled::Drained,
            (0, None | Some(Item::Byte | Item::Mark)) => Filled::Nothing,
            (0, Some(Item::End)) => Filled::Eof,
            (0, Some(Item::Reset)) => {
                self.log.was_useful = true;
                return self.state.read_failed();
            }
        };
        self.log.was_useful |= n > 0 || filled == Filled::Eof;
        if self.state.is_open() {
            self.input += n;
            self.log.has_ended |= filled == Filled::Eof;
            if n > 0 {
                self.log.active = self.second;
            }
            if n > 0 && self.wrong == Wrong::BytesProlongAMessage {
                self.state.consumed();
            }
        }
        if self.log.lingers.is_some() {
            self.log.lingered += n;
        }
        let now = self.now();
        self.state.filled(&filled, n, now);
        if self.wrong == Wrong::ShortReadsAreProof
            && filled == Filled::Drained
            && let State::Open(Open { from_peer, .. }) = &mut self.state
        {
            *from_peer = FromPeer::Quiet(Trust::Doubt);
        }
        if self.wrong == Wrong::EndIsOverBeforeItIsTold
            && let State::Open(open) = &mut self.state
            && open.from_peer == FromPeer::Ending
            && open.ours == Ours::Ended
        {
            self.state = State::Closed(Why::Closed);
        }
    }

    fn write(&mut self) {
        if self.socket.is_reset {
            (self.log.was_useful, self.log.has_written_in_vain) = (true, true);
            return self.state.fail(Why::Io);
        }
        let (before, now) = (self.output, self.now());
        // A byte at a time: the rest is left by the budget, or by a socket that is full.
        let n = before.min(SOCKET - self.socket.sent).min(1);
        self.output -= n;
        self.socket.sent += n;
        self.log.was_useful |= n > 0;
        if n > 0 {
            (self.log.active, self.log.waits) = (self.second, None);
        }
        let is_full = self.output > 0 && self.socket.sent == SOCKET;
        self.socket.is_full |= is_full;
        if self.output > 0 {
            self.log.waits.get_or_insert(self.second);
        }
        let flushed = match self.output {
            0 => Flushed::All,
            _ if !is_full || self.wrong == Wrong::FullSocketsAreTried => Flushed::Budget,
            _ => Flushed::Blocked,
        };
        let waited = self.to_peer().and_then(ToPeer::waits_since);
        self.state.flushed(before as u64, self.output as u64, &flushed, now);
        if self.wrong == Wrong::ProgressIsForgotten
            && let (Some(since), Some(to_peer)) = (waited, self.to_peer_mut())
            && let ToPeer::Waits(new) | ToPeer::Full(new) = to_peer
        {
            *new = since;
        }
    }

    fn to_peer(&self) -> Option<ToPeer> {
        match &self.state {
            State::Open(Open { to_peer, .. }) | State::Closing { to_peer, .. } => Some(*to_peer),
            State::Lingering { .. } | State::Closed(_) => None,
        }
    }

    fn to_peer_mut(&mut self) -> Option<&mut ToPeer> {
        match &mut self.state {
            State::Open(Open { to_peer, .. }) | State::Closing { to_peer, .. } => Some(to_peer),
            State::Lingering { .. } | State::Closed(_) => None,
        }
    }

    fn shut(&mut self) {
        let outcome = match self.socket.is_reset || self.wrong == Wrong::DoesNotLinger {
            false => Ok(()),
            true => Err(()),
        };
        self.socket.is_shut = true;
        self.log.was_useful = true;
        let now = self.now();
        let before = self.state.clone();
        self.state.shut(outcome, now);
        if self.wrong == Wrong::LingersBehindTheEnd
            && let State::Closing { why, from_peer: from_peer @ FromPeer::Ended, .. } = before
        {
            self.state = State::Lingering { why, from_peer, left: LINGER_BYTES, since: now };
        }
        if matches!(self.state, State::Lingering { .. }) {
            self.log.was_too_long = self.input > 3;
            (self.input, self.log.lingers) = (0, Some(self.second));
        }
    }

    /// What was received and not read makes the system reset the connection, and throw away what
    /// the peer has not taken.
    fn close(&mut self, why: Why) -> Found {
        let log = &self.log;
        let is_unread = self.socket.received.contains(&Item::Byte);
        let in_time =
            log.lingers.is_none_or(|since| self.second < since + 1) && log.lingered < LINGER_BYTES;
        let is_by_itself = matches!(why, Why::Closed | Why::Peer | Why::Io);
        if is_by_itself && !log.was_closed && !log.has_written_in_vain {
            must(!log.has_ended || log.was_told_of_end, "an end that was read is told")?;
            must(why == Why::Io || !log.is_paused, "who is paused is not over by itself")?;
            must(!log.wants_back || log.is_paused, "who comes back is called before it is over")?;
            let leaves_input = log.is_scarce && self.input > 0;
            let has_kept = log.is_paused || leaves_input || log.has_ended;
            must(!is_unread || has_kept, "what came before an error is delivered")?;
        }
        let kept = log.arrived + self.socket.sent + self.output;
        must(kept == log.promised || self.socket.is_reset, "all that was sent leaves, once")?;
        match why {
            Why::Closed | Why::Peer => {
                must(self.output == 0 || self.socket.is_reset, "what was promised is written")?;
                let is_lost = is_unread && self.socket.sent > 0 && in_time;
                must(!is_lost || self.socket.is_reset, "what was written last arrives")?;
            }
            Why::Io => must(self.socket.is_reset, "an error is one of the system's")?,
            Why::InputLimit => {
                must(self.input > 3 || log.was_too_long, "the input was too long")?;
            }
            Why::IdleTimeout => must(
                self.input == 0 && self.output == 0 && self.second >= log.active + 4,
                "it was idle",
            )?,
            Why::FrameTimeout => must(
                log.incomplete.is_some_and(|since| self.second >= since + 3),
                "a message took too long",
            )?,
            Why::WriteTimeout => must(
                log.waits.is_some_and(|since| self.second >= since + 2),
                "the peer took nothing for too long",
            )?,
            Why::Protocol(_) | Why::Panicked => return Err("nobody did that".to_owned()),
        }
        (self.socket.is_gone, self.is_queued, self.timer) = (true, false, None);
        Ok(())
    }
}

/// What the driver does.
impl World {
    fn begin_event(&mut self) {
        self.is_queued = false;
        let edges = std::mem::replace(&mut self.edges, NO_EDGES);
        let wrong = self.wrong;
        self.state.edge(Readiness {
            readable: edges.readable,
            writable: edges.writable && wrong != Wrong::WritableIsNotSeen,
            closed: edges.closed && wrong != Wrong::EndsAreNotAnnounced,
            failed: edges.failed && wrong != Wrong::ResetsAreNotSeen,
            urgent: edges.urgent && wrong != Wrong::MarksAreNotSeen,
        });
        if wrong == Wrong::FailsBeforeItReads
            && let State::Open(Open { from_peer: from_peer @ FromPeer::Failing, .. }) =
                &mut self.state
        {
            *from_peer = FromPeer::Failed;
        }
        self.runs = Some(Budget::EVENT);
        self.log.was_useful = edges != NO_EDGES;
    }

    fn step(&mut self) -> Found {
        let load = self.load();
        let Some(budget) = &mut self.runs else { return Ok(()) };
        let next = self.state.next(load, &options(), budget);
        match next {
            Next::Read => self.read(),
            Next::Write if self.wrong == Wrong::NewOutputIsNotWritten => {
                self.runs = None;
                self.rest();
            }
            Next::Write => self.write(),
            Next::Call(Call::Room) if self.wrong == Wrong::RoomIsNotTold => {}
            Next::Call(Call::End) if self.wrong == Wrong::EndIsNotTold => {}
            Next::Call(Call::Drain) if self.wrong == Wrong::DrainIsNotTold => {}
            Next::Call(call) => {
                let is_unread = self.socket.received.front() == Some(&Item::Byte);
                let leaves_input = self.log.is_scarce && self.input > 0;
                let takes = !(self.log.is_paused || leaves_input);
                // Who never has enough does not put it off.
                let is_spent =
                    self.runs.as_ref().is_some_and(|left| left.reads == 0 || left.calls == 0);
                let has_read = !is_unread || !takes || is_spent || self.log.before_drain == 0;
                must(call != Call::Drain || has_read, "what has arrived is read before a drain")?;
                self.call(call);
            }
            Next::ShutDown => self.shut(),
            Next::AskError => {
                must(self.socket.is_reset, "it asks for an error when there is one")?;
                self.state.fail(Why::Io);
            }
            Next::Yield | Next::Wait => {
                self.runs = None;
                self.rest();
                if next == Next::Yield && self.wrong != Wrong::DoesNotComeAgain {
                    self.is_queued = true;
                    self.log.useless = match self.log.was_useful {
                        true => 0,
                        false => self.log.useless + 1,
                    };
                    must(self.log.useless < 2, "events follow each other for something")?;
                }
            }
            Next::Close(why) => {
                self.runs = None;
                self.close(why)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self) {
        if self.input > 0 && !self.log.is_paused && self.log.waits.is_none() {
            self.log.incomplete.get_or_insert(self.log.active);
        }
        let limit = self.state.limit(self.load(), &options());
        let Some((until, _)) = limit else { return };
        let is_armed = self.timer.is_some_and(|armed| armed <= until);
        let may_arm = !self.was_armed || self.wrong != Wrong::TimerIsArmedOnce;
        if !is_armed && may_arm {
            (self.timer, self.was_armed) = (Some(until), true);
        }
    }

    fn come_from_outside(&mut self, what: Outside) {
        match what {
            Outside::Nothing => {}
            Outside::Drain => {
                let received = self.socket.received.iter();
                self.log.before_drain = received.filter(|item| **item == Item::Byte).count();
                self.log.is_told_to_drain = self.state.is_open();
                let before = self.state.clone();
                self.state.drain();
                if let (Wrong::DrainsBeforeItReads, State::Open(was), State::Open(is)) =
                    (self.wrong, before, &mut self.state)
                {
                    is.from_peer = was.from_peer;
                }
            }
            Outside::Close => self.end(Why::Closed),
            Outside::ShutDown => self.shut_down_write(),
            Outside::Pause => self.pause(),
            Outside::Send => self.send(),
        }
    }

    fn resume(&mut self) {
        if self.wrong != Wrong::ResumeIsForgotten {
            let (now, before) = (self.now(), self.state.clone());
            self.state.resume(now);
            if let (Wrong::ResumeKeepsTheClocks, State::Open(was), State::Open(is)) =
                (self.wrong, before, &mut self.state)
            {
                (is.active, is.frame) = (was.active, was.frame);
            }
            (self.log.active, self.log.incomplete) = (self.second, None);
        }
        (self.log.wants_back, self.log.is_paused) = (true, false);
    }

    /// Everything that may happen next, but that time passes.
    fn nexts(&self) -> Result<Vec<World>, String> {
        let mut nexts = Vec::new();
        let mut also = |change: &mut dyn FnMut(&mut World) -> Found| {
            let mut world = self.clone();
            change(&mut world)?;
            nexts.push(world);
            Ok::<(), String>(())
        };
        if let Some(act) = self.script.front() {
            also(&mut |world| {
                world.script.pop_front();
                world.act(*act);
                Ok(())
            })?;
        }
        if self.runs.is_some() {
            also(&mut World::step)?;
            return Ok(nexts);
        }
        if self.socket.is_gone {
            return Ok(nexts);
        }
        if self.is_queued {
            also(&mut |world| {
                world.begin_event();
                Ok(())
            })?;
        }
        if self.outside != Outside::Nothing {
            also(&mut |world| {
                let what = std::mem::replace(&mut world.outside, Outside::Nothing);
                world.come_from_outside(what);
                (world.runs, world.log.was_useful) = (Some(Budget::EVENT), true);
                Ok(())
            })?;
        }
        if self.log.is_paused && self.resumes > 0 {
            also(&mut |world| {
                world.resumes -= 1;
                world.resume();
                (world.runs, world.log.was_useful) = (Some(Budget::EVENT), true);
                Ok(())
            })?;
        }
        if self.timer.is_some_and(|until| until <= self.now()) {
            also(&mut |world| {
                world.fire();
                Ok(())
            })?;
        }
        Ok(nexts)
    }

    fn fire(&mut self) {
        self.timer = None;
        let (load, now) = (self.load(), self.now());
        self.state.check_limit(load, &options(), now);
        (self.runs, self.log.was_useful) = (Some(Budget::EVENT), true);
    }

    /// Nothing can happen but that time passes.
    fn check_at_rest(&self) -> Found {
        let (log, socket) = (&self.log, &self.socket);
        if socket.is_gone {
            return Ok(());
        }
        must(!socket.is_reset, "a connection whose peer has reset it is over")?;
        let has_more = !socket.received.iter().all(|item| *item == Item::Mark);
        let has_end = log.has_ended && socket.received.front() == Some(&Item::End);
        let is_full = socket.sent == SOCKET;
        must(self.output == 0 || is_full, "output waits for a socket that is full")?;
        let mut state = self.state.clone();
        let limit = state.limit(self.load(), &options());
        match &self.state {
            State::Open(_) => {
                let leaves_input = log.is_scarce && self.input > 0;
                let takes = !log.is_paused && !leaves_input;
                must(!has_more || has_end || !takes, "what has arrived is delivered")?;
                must(!log.has_ended || log.was_told_of_end, "the end is told")?;
                let has_room = self.load().has_room(&options());
                must(!log.is_scarce || !has_room, "who waits for room is told of it")?;
                must(!log.wants_back || log.is_paused, "who comes back is called")?;
                must(!log.is_told_to_drain || log.was_told_to_drain, "a drain is told")?;
                let is_done = !log.wants_shut || self.output > 0 || socket.is_shut;
                must(is_done, "our side ends when it is to")?;
                must(!(has_end && socket.is_shut), "it is over when both sides have ended")?;
                let until = match (log.waits, log.is_paused, log.incomplete) {
                    (Some(since), _, _) => Some(since + 2),
                    (None, true, _) => None,
                    (None, false, Some(since)) => Some(since + 3),
                    (None, false, None) => Some(log.active + 4),
                };
                must(limit.map(|l| l.0) == until.map(instant), "a limit counts from its begin")?;
            }
            State::Closing { .. } => must(self.output > 0, "who has written all goes on")?,
            State::Lingering { .. } => {
                must(!log.has_ended, "nobody lingers behind the end")?;
                must(!has_more, "what still comes is read")?;
            }
            State::Closed(_) => return Err("what is closed lets go".to_owned()),
        }
        let is_armed = limit.is_none_or(|(until, _)| self.timer.is_some_and(|at| at <= until));
        must(is_armed, "a timer is armed for what is waited for")
    }

    /// Time passes up to the timer.
    fn let_time_pass(&self) -> Option<World> {
        let until = self.timer.filter(|_| !self.socket.is_gone)?;
        let mut world = self.clone();
        while world.now() < until {
            world.second += 1;
        }
        Some(world)
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

/// All scripts of at most so many acts that a peer can do: after its end it sends nothing, and
/// after a reset it does nothing.
fn scripts(most: usize) -> Vec<Vec<Act>> {
    let mut all = vec![Vec::new()];
    let mut longest: Vec<Vec<Act>> = all.clone();
    for _ in 0..most {
        let longer = longest.iter().flat_map(|script| {
            let has = |act: Act| script.contains(&act);
            let (is_reset, has_ended) = (has(Act::Reset), has(Act::End));
            let follows = move |act: &Act| match act {
                _ if is_reset => false,
                Act::Send(_) | Act::Mark | Act::End => !has_ended,
                _ => true,
            };
            ACTS.into_iter().filter(follows).map(move |act| [&script[..], &[act]].concat())
        });
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// Searches all of it; says how many scripts and states there were.
fn search_all(most: usize, wrong: Wrong) -> Result<(usize, usize), String> {
    let (mut searched, mut states) = (0, 0);
    for script in scripts(most) {
        for kind in KINDS {
            for outside in OUTSIDE {
                let world = World::new(kind, &script, outside, wrong);
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
        search_all(3, Wrong::Nothing).unwrap_or_else(|found| panic!("{found}"));
    println!("{searched} scripts, {states} states");
}

#[test]
#[ignore = "takes minutes: run by .ci/long"]
fn n6_whatever_a_peer_does_in_long_scripts_every_connection_gets_on() {
    let (searched, states) =
        search_all(5, Wrong::Nothing).unwrap_or_else(|found| panic!("{found}"));
    println!("{searched} scripts, {states} states");
}

#[test]
fn n6_what_is_wrong_with_a_connection_is_found() {
    let missed: Vec<Wrong> =
        WRONG.into_iter().filter(|wrong| search_all(3, *wrong).is_ok()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
