//! The protocol of a transport's connection. It takes messages off the input, and delivers them. It
//! puts what was sent into the out-buffer. As messages end, it resumes or ends the connection.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use dapple::Cx;
use dapple::clock;
use dapple::sync::{Arc, MutexGuard, Ordering, Weak};

use super::deliver::Deliver;
use super::{Message, Stage, Transport, TransportState};
use crate::codec::Decoded;
use crate::stream::{CloseReason, Conn, Protocol};

/// The capacity of the buffer of frames that is kept, in bytes.
const KEPT: usize = 16 * 1024;

/// The number of messages that one event delivers before other colors have their turn.
const BATCH: usize = 64;

/// The time after which frames no longer wait for more of them.
const GATHERS: Duration = Duration::from_micros(50);

/// The number of looks in a row without new frames that end the wait. An event of a domain, and its
/// commit, may each stand behind one look.
const IN_VAIN: u8 = 4;

/// The number of bytes at which frames no longer wait for more of them.
const ENOUGH: usize = 16 * 1024;

/// The protocol of a transport's connection.
pub(super) struct Framed {
    transport: Transport,
    deliver: Box<dyn Deliver>,
    /// The length of the input when it was last found incomplete, in bytes.
    seen: usize,
    /// The number of messages that were delivered.
    delivered: u64,
    pause: Pause,
    life: Life,
    /// The last argument of [`wait_for`](super::in_flight::InFlight::wait_for).
    awaited: Option<u64>,
    /// The number of messages that had ended at the last write.
    ended: u64,
    gathers: Option<Gathers>,
}

/// What the connection waits for before it delivers more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    Nothing,
    /// Messages have to end, because the maximum number is in flight.
    InFlight,
    /// The domain is full.
    Room,
}

/// The stage of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    /// The peer has closed its side.
    Ends,
    /// The program ends. Messages in flight are finished, and no more are delivered.
    Drains,
}

/// The wait of frames for more of them.
struct Gathers {
    since: Instant,
    /// The number of bytes at the last look.
    bytes: usize,
    /// The number of looks in a row that found no more.
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

    /// Looks at the state, which something has changed.
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

    /// Returns `true` if the frames are to wait for more, because more are being made.
    fn gathers(&mut self, state: &TransportState) -> bool {
        let bytes = state.out.len();
        let may_wait = (1..ENOUGH).contains(&bytes) && state.stage == Stage::Open;
        let resumes = state.has_room || self.is_enough_over();
        if !may_wait || resumes || self.life != Life::Runs {
            return false;
        }
        // Frames that do not answer a message leave at once.
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

    /// Acts on the state.
    fn take_in(&mut self, conn: &mut Conn, mut state: MutexGuard<'_, TransportState>) {
        // Later changes post another look.
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

    /// Returns the number of messages in flight at which delivery goes on, after there were too
    /// many.
    fn low_water(&self) -> u64 {
        self.transport.0.max_in_flight as u64 / 2
    }

    /// Returns `true` if the connection waits for messages to end, and enough of them have ended.
    fn is_enough_over(&self) -> bool {
        self.pause == Pause::InFlight && self.in_flight() <= self.low_water()
    }

    /// Resumes or ends the connection if enough messages have ended, and records the number of
    /// ended messages that it waits for.
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

    /// Ends the connection if the peer has closed its side or the program ends, and nothing is left
    /// to be done.
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

    /// Decodes the front of the input.
    fn front(&self, conn: &Conn) -> Decoded {
        let input = conn.input();
        self.transport.0.codec.decode(input, self.seen.min(input.len()))
    }

    /// Takes a message off the input. It is in flight from now on.
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
                // The caller acts on the state next. It closes the connection, and ignores the rest
                // of the input.
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

    /// Delivers some messages, and writes what was sent meanwhile, without a further event.
    fn deliver_and_write(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let shared = Arc::clone(&self.transport.0);
        let is_ours = !std::mem::replace(&mut shared.lock().is_queued, true);
        self.deliver_some(conn, cx);
        match is_ours {
            true => self.take_in(conn, shared.lock()),
            // The queued event acts on the rest of the state.
            false => self.write_out(&mut shared.lock(), conn),
        }
    }

    /// Moves the frames into the out-buffer.
    fn write_out(&mut self, state: &mut TransportState, conn: &mut Conn) {
        self.ended = self.transport.0.in_flight.ended();
        if !state.out.is_empty() {
            conn.send_all(&mut state.out);
            // The memory of an unusually large batch is not kept.
            if state.out.capacity() > KEPT {
                state.out = Vec::new();
            }
        }
    }
}

impl Protocol for Framed {
    fn on_open(&mut self, _: &mut Conn, _: &mut Cx) {
        // Something may have been sent or closed before the connection opened.
        let state = self.transport.0.lock();
        if !state.out.is_empty() || state.stage == Stage::Closing {
            self.transport.0.look(state);
        }
    }

    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver_and_write(conn, cx)));
        if let Err(payload) = delivered {
            self.tell_gone();
            resume_unwind(payload);
        }
        self.review(conn);
    }

    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // A paused connection is resumed by what it waits for.
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
        self.tell_gone();
    }
}

/// Ends the transport, for whatever reason the connection has ended.
impl Drop for Framed {
    fn drop(&mut self) {
        self.tell_gone();
    }
}

impl Framed {
    fn tell_gone(&self) {
        let at_end = self.transport.0.lock().ends();
        self.transport.0.tell_end(at_end);
    }
}
