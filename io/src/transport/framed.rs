//! What talks over a transport's connection: takes messages off its input, and delivers them; puts
//! what was sent into its out-buffer; goes on, or ends, as messages end.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use dapple::Cx;
use dapple::clock;
use dapple::sync::{Arc, MutexGuard, Ordering, Weak};

use super::deliver::Deliver;
use super::{Message, Stage, State, Transport};
use crate::codec::Decoded;
use crate::stream::{CloseReason, Conn, Protocol};

/// Bytes of room for what is sent that are kept.
const KEPT: usize = 16 * 1024;

/// Messages that one event delivers before others have their turn.
const BATCH: usize = 64;

/// How long what was sent waits for more of it, about.
const GATHERS: Duration = Duration::from_micros(50);

/// Looks without more, one after the other, that end the wait: an event of a domain, and its
/// commit, may each stand behind one.
const IN_VAIN: u8 = 4;

/// Bytes that do not wait for more.
const ENOUGH: usize = 16 * 1024;

/// What talks over the connection.
pub(super) struct Framed {
    transport: Transport,
    deliver: Box<dyn Deliver>,
    /// Bytes of the input that were there when it was last incomplete.
    seen: usize,
    /// Messages that were delivered.
    delivered: u64,
    pause: Pause,
    life: Life,
    /// What [`wait_for`](super::in_flight::InFlight::wait_for) was told last.
    awaited: Option<u64>,
    /// How many messages had ended when something was written last.
    ended: u64,
    gathers: Option<Gathers>,
}

/// What a connection waits for before it delivers more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    Nothing,
    /// As many messages are in flight as may be.
    InFlight,
    /// The domain is full.
    Room,
}

/// How far the connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    /// The peer has closed its side.
    Ends,
    /// The program ends: what is in flight is finished, and no more is delivered.
    Drains,
}

/// What was sent waits for more.
struct Gathers {
    since: Instant,
    /// How many bytes there were at the last look.
    bytes: usize,
    /// Looks, one after the other, that found no more.
    in_vain: u8,
}

impl Framed {
    pub(super) fn new(transport: Transport, deliver: Box<dyn Deliver>) -> Self {
        Framed {
            transport,
            deliver,
            seen: 0,
            delivered: 0,
            pause: Pause::Nothing,
            life: Life::Runs,
            awaited: None,
            ended: 0,
            gathers: None,
        }
    }

    fn in_flight(&self) -> u64 {
        self.delivered - self.transport.0.in_flight.ended()
    }

    /// Somebody has changed the state.
    pub(super) fn look(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let shared = Arc::clone(&self.transport.0);
        let state = shared.lock();
        if self.gathers(&state)
            && let Some(connection) = state.connection.as_ref().and_then(Weak::upgrade)
        {
            drop(state);
            return shared.post_look_later(connection, cx);
        }
        self.gathers = None;
        self.take_in(conn, state);
        self.review(conn);
    }

    /// Says whether what was sent is to wait for more: some is on its way, and has been coming.
    fn gathers(&mut self, state: &State) -> bool {
        let bytes = state.out.len();
        let may_wait = (1..ENOUGH).contains(&bytes) && state.stage == Stage::Open;
        let resumes = state.has_room || self.is_enough_over();
        if !may_wait || resumes || self.life != Life::Runs {
            return false;
        }
        // What has nothing to do with a message goes at once.
        let ended = self.transport.0.in_flight.ended();
        if self.delivered == ended || self.ended == ended {
            return false;
        }
        let now = clock::now();
        let gathers = self.gathers.get_or_insert(Gathers { since: now, bytes: 0, in_vain: 0 });
        gathers.in_vain = if gathers.bytes < bytes { 0 } else { gathers.in_vain + 1 };
        gathers.bytes = bytes;
        gathers.in_vain < IN_VAIN && now - gathers.since < GATHERS
    }

    /// Does what the state says.
    fn take_in(&mut self, conn: &mut Conn, mut state: MutexGuard<'_, State>) {
        // What comes from now on looks again.
        state.is_queued = false;
        self.write_out(&mut state, conn);
        let has_room = std::mem::take(&mut state.has_room);
        let is_closing = state.stage == Stage::Closing;
        drop(state);
        if is_closing {
            conn.close();
        }
        if has_room && self.pause == Pause::Room {
            self.resume(conn);
        }
    }

    fn resume(&mut self, conn: &mut Conn) {
        self.pause = Pause::Nothing;
        if self.life != Life::Drains {
            conn.resume();
        }
    }

    /// Messages in flight at which it goes on, after there were too many.
    fn low_water(&self) -> u64 {
        self.transport.0.max_in_flight as u64 / 2
    }

    /// Says whether it waits for messages to end, and enough have.
    fn is_enough_over(&self) -> bool {
        self.pause == Pause::InFlight && self.in_flight() <= self.low_water()
    }

    /// Goes on, or ends, as messages have ended; and says how many more it waits for.
    fn review(&mut self, conn: &mut Conn) {
        loop {
            if self.is_enough_over() {
                self.resume(conn);
            }
            self.end_if_over(conn);
            let awaited = match (self.pause, self.life) {
                (Pause::InFlight, _) => Some(self.delivered - self.low_water()),
                (_, Life::Ends | Life::Drains) if !conn.is_closed() => Some(self.delivered),
                _ => None,
            };
            if awaited == self.awaited {
                return;
            }
            self.awaited = awaited;
            if !self.transport.0.in_flight.wait_for(awaited) {
                return;
            }
        }
    }

    /// The peer has closed its side, and nothing is left to be done for it.
    fn end_if_over(&mut self, conn: &mut Conn) {
        if self.life == Life::Runs || self.in_flight() > 0 {
            return;
        }
        let is_written = self.transport.0.lock().out.is_empty();
        let has_message = |decoded| matches!(decoded, Decoded::Message { .. });
        let is_last = self.life == Life::Drains || !has_message(self.front(conn));
        if is_written && is_last {
            conn.peer_has_ended();
        }
    }

    /// What stands at the front of the input.
    fn front(&self, conn: &Conn) -> Decoded {
        let input = conn.input();
        self.transport.0.codec.decode(input, self.seen.min(input.len()))
    }

    /// Takes a message off the input: it is in flight.
    fn dequeue(&mut self, conn: &mut Conn, message: Range<usize>, taken: usize) -> Message {
        let bytes = conn.input()[message].to_vec();
        conn.consume(taken);
        self.delivered += 1;
        self.seen = 0;
        Message::new(bytes, self.transport.clone())
    }

    fn deliver_some(&mut self, conn: &mut Conn, cx: &mut Cx) {
        for _ in 0..BATCH {
            if self.transport.0.stops.load(Ordering::Acquire) {
                // The caller that looks at the state closes it, and ignores what is left.
                return conn.pause();
            }
            if conn.is_congested() || self.life == Life::Drains {
                return;
            }
            let (message, taken) = match self.front(conn) {
                Decoded::Incomplete => {
                    self.seen = conn.input().len();
                    return;
                }
                Decoded::Invalid(why) => {
                    let shared = Arc::clone(&self.transport.0);
                    self.write_out(&mut shared.lock(), conn);
                    return conn.reject(why);
                }
                Decoded::Message { message, taken } => (message, taken),
            };
            if self.in_flight() >= self.transport.0.max_in_flight as u64 {
                self.pause = Pause::InFlight;
                return conn.pause();
            }
            if !self.deliver.has_room(&self.transport) {
                self.pause = Pause::Room;
                return conn.pause();
            }
            let message = self.dequeue(conn, message, taken);
            // The ticket is taken here.
            self.deliver.deliver(message, cx);
        }
        conn.come_back();
    }

    /// Delivers some, and writes what was sent meanwhile without a further event.
    fn deliver_and_write(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let shared = Arc::clone(&self.transport.0);
        let is_ours = !std::mem::replace(&mut shared.lock().is_queued, true);
        self.deliver_some(conn, cx);
        match is_ours {
            true => self.take_in(conn, shared.lock()),
            // The event that is queued looks at the rest.
            false => self.write_out(&mut shared.lock(), conn),
        }
    }

    /// What was sent goes to the out-buffer.
    fn write_out(&mut self, state: &mut State, conn: &mut Conn) {
        self.ended = self.transport.0.in_flight.ended();
        if !state.out.is_empty() {
            conn.send_all(&mut state.out);
            // What was sent at once in a great amount is not kept room for.
            if state.out.capacity() > KEPT {
                state.out = Vec::new();
            }
        }
    }
}

impl Protocol for Framed {
    fn on_open(&mut self, _: &mut Conn, _: &mut Cx) {
        // What was sent meanwhile.
        let state = self.transport.0.lock();
        if !state.out.is_empty() || state.stage == Stage::Closing {
            self.transport.0.look(state);
        }
    }

    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver_and_write(conn, cx)));
        if let Err(payload) = delivered {
            self.is_gone();
            resume_unwind(payload);
        }
        self.review(conn);
    }

    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // What waits for something else goes on when that comes.
        if !conn.is_paused() {
            self.on_data(conn, cx);
        }
    }

    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        if self.life == Life::Runs {
            self.life = Life::Ends;
        }
        self.review(conn);
    }

    fn on_drain(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.life = Life::Drains;
        conn.pause();
        self.review(conn);
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        self.is_gone();
    }
}

/// However the connection has come to its end.
impl Drop for Framed {
    fn drop(&mut self) {
        self.is_gone();
    }
}

impl Framed {
    fn is_gone(&self) {
        let at_end = self.transport.0.lock().ends();
        self.transport.0.tell_end(at_end);
    }
}
