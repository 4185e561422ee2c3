//! The behaviour of the socket and of the peer.

use super::*;

/// The number of bytes that a read has room for. [`SOCKET`] is the number that the system takes
/// before the peer reads.
const ROOM: usize = 2;
pub(super) const SOCKET: usize = 2;

impl World {
    fn tell(&mut self, edges: Readiness) {
        if self.socket.is_gone {
            return;
        }
        self.edges = Readiness {
            readable: self.edges.readable | edges.readable,
            writable: self.edges.writable | edges.writable,
            closed: self.edges.closed | edges.closed,
            failed: self.edges.failed | edges.failed,
            urgent: self.edges.urgent | edges.urgent,
        };
        self.is_queued = true;
    }

    pub(super) fn act(&mut self, act: Act) {
        let socket = &mut self.socket;
        match act {
            Act::Send(n) => {
                socket.received.extend((0..n).map(|_| Item::Byte));
                self.tell(Readiness { readable: true, ..Readiness::default() });
            }
            Act::Mark => {
                socket.received.push_back(Item::Mark);
                let urgent = self.family == Family::Tcp;
                self.tell(Readiness { readable: true, urgent, ..Readiness::default() });
            }
            Act::End => {
                socket.received.push_back(Item::End);
                self.tell(Readiness { readable: true, closed: true, ..Readiness::default() });
            }
            Act::Reset => {
                socket.received.push_back(Item::Reset);
                (socket.is_reset, socket.sent) = (true, 0);
                self.tell(Readiness {
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
                    self.tell(Readiness { writable: true, ..Readiness::default() });
                }
            }
            Act::Wait => self.second += 1,
        }
    }

    pub(super) fn read(&mut self) {
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

    pub(super) fn write(&mut self) {
        if self.socket.is_reset {
            (self.log.was_useful, self.log.has_written_in_vain) = (true, true);
            return self.state.fail(Why::Io);
        }
        let (before, now) = (self.output, self.now());
        // One byte at a time. Bytes are left over because of the budget, or because the socket is
        // full.
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
        let waited = self.state.outgoing().and_then(|to_peer| to_peer.waits_since());
        self.state.flushed(before as u64, self.output as u64, &flushed, now);
        if self.wrong == Wrong::ProgressIsForgotten
            && let (Some(since), Some(to_peer)) = (waited, self.state.outgoing())
            && let ToPeer::Waits(new) | ToPeer::Full(new) = to_peer
        {
            *new = since;
        }
    }

    pub(super) fn shut(&mut self) {
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
}
