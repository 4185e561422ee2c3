//! Running: one turn of a color. What stands in no color's queue is run by `uncolored`.
//!
//! A panic ends its event only (C11). One `catch_unwind` spans a turn, not an event: the turn keeps
//! its place outside of it, and after a panic goes on with what follows the event that panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dapple_colors::{Finished, Pace, Turn, TurnStep};

use super::entry::Entry;
use super::local::Local;
use super::traffic::InAndOut;
use crate::color::cell::ColorCell;
use crate::color::held::{Ended, Front, Held};
use crate::cx::Cx;
use crate::event::Kind;
use crate::metrics::{Measure, Sample};
use crate::runtime::core::Phase;
use crate::sync::{Mutant, Reached, mutant, reached, yield_now};
use crate::worker::counters::add;
use crate::worker::work::Work;

/// Posts to others that count per event, at most: one that posts thousands posts to new colors, as
/// a rule.
const MOST_OUT: u32 = 1_000;

/// Where a turn is.
struct Progress {
    /// The color; `None`: it was let go, and the turn is over.
    held: Option<Held>,
    /// What is next to run of it, or runs.
    front: Front,
    turn: Turn,
    /// When the budget's time began to count; 0: not yet.
    begin: u64,
    /// Since when what is learned counts, and how many events had ended, and what had been posted,
    /// by then; 0: not timed.
    since: u64,
    from: u32,
    posts_from: InAndOut,
    /// What counts for the turn and is no event of it: the runtime's own, and what was let go.
    uncounted: u32,
    posts_before: u32,
    /// What most colors never are.
    special: Option<Special>,
    /// The event at the front has run, or panicked.
    ended: bool,
    /// The color runs here only because its home is stuck.
    is_guest: bool,
}

/// What has to be looked at before and after each event of some colors.
#[derive(Clone, Copy, Default)]
struct Special {
    /// The color has readers, or had some; others have left before the turn began.
    has_readers: bool,
    is_bounded: bool,
    /// The color is bound to a thread of the user's; see `apart`.
    is_here: bool,
    /// The event that runs counts for the bound.
    counts: bool,
}

impl Special {
    #[inline]
    fn of(color: &ColorCell) -> Option<Special> {
        let has_readers = color.readers.any();
        (has_readers || color.is_special()).then(|| Special {
            has_readers,
            is_bounded: color.is_bounded(),
            is_here: color.is_here(),
            counts: false,
        })
    }
}

impl Progress {
    /// The event that runs has ended.
    fn leave_bound(&mut self) {
        if let Some(special) = &mut self.special
            && std::mem::take(&mut special.counts)
        {
            self.held().leave_bound();
        }
    }

    /// The color; not after it has been [let go](Self::take).
    #[inline]
    fn held(&self) -> &Held {
        self.held.as_ref().expect("the turn holds the color until it ends")
    }

    /// Debug builds: the turn holds the color on, or is over if somebody else does.
    #[inline]
    fn debug_hold(&mut self, _worker: usize) {
        #[cfg(debug_assertions)]
        {
            let held = self.take();
            held.debug_hold(_worker);
            self.held = Some(held);
        }
    }

    /// Debug builds: another may hold the color.
    #[inline]
    fn debug_let_go(&self) {
        #[cfg(debug_assertions)]
        self.held().debug_let_go();
    }

    /// The right of the holder. If it does not come back, the turn is over.
    #[inline]
    fn take(&mut self) -> Held {
        self.held.take().expect("the turn holds the color until it ends")
    }
}

impl Local {
    /// Runs a color for a turn. `is_guest`: only because its home is stuck. True: it took long, or
    /// may have.
    pub(super) fn run_turn(&self, held: Held, time_it: bool, is_guest: bool) -> bool {
        let color = &*held;
        color.debug_hold(self.index());
        if !is_guest && !self.scheduler.fleet.rules.is_pinned() {
            color.set_home(self.index());
        }
        let pace = Pace::of(color.event_nanos());
        let begin = if time_it || pace == Pace::Long { self.scheduler.now() } else { 0 };
        let (front, special, label) = (held.front(), Special::of(color), color.label());
        let is_bounded = special.is_some_and(|special| special.is_bounded);
        let mut progress = Progress {
            held: Some(held),
            front,
            turn: Turn::new(self.core.settings.turn_budget, pace),
            begin,
            since: begin,
            from: 0,
            posts_from: self.traffic.in_and_out(),
            uncounted: 0,
            posts_before: self.traffic.all(),
            special,
            ended: false,
            is_guest,
        };
        self.enter_color(progress.held(), is_bounded);
        self.seat.event.set_label(label);
        loop {
            let turn = || Cx::with(self, |cx| self.turn_loop(&mut progress, cx));
            match catch_unwind(AssertUnwindSafe(turn)) {
                Ok(()) => break,
                // An event of it panicked, or an assertion failed: the turn has the color, or is
                // over.
                Err(payload) => {
                    let site = progress.held.as_ref().and_then(|held| held.site(progress.front));
                    self.event_panicked(payload, site, label);
                    if progress.held.is_none() {
                        break;
                    }
                    progress.leave_bound();
                }
            }
        }
        self.current.leave();
        let counters = &self.scheduler.shared().counters;
        add(&counters.turns, 1);
        add(&counters.events, u64::from(progress.turn.events() - progress.uncounted));
        progress.turn.is_long()
    }

    /// Runs events until the turn ends. On return the color is let go.
    fn turn_loop(&self, p: &mut Progress, cx: &mut Cx) {
        loop {
            let Some(held) = &p.held else { return };
            if !p.ended {
                // SAFETY: it is the front of this color, which has not left the queue.
                let kind = unsafe { held.kind(p.front) };
                if kind == Kind::Closure && p.special.is_none() {
                    // Said first: if it panics, it has ended all the same.
                    p.ended = true;
                    // SAFETY: it is the front of this color, an event, and taken here only.
                    let mut event = unsafe { held.event(p.front) };
                    self.run_event(&mut event, held.label(), cx);
                } else {
                    match self.begin_other(p, cx, kind) {
                        Begun::Ended => {}
                        Begun::Passed(finished) => match self.follow(p, finished) {
                            true => continue,
                            false => return,
                        },
                        Begun::LetGo(finished) => match self.go_on_behind(p, finished) {
                            true => continue,
                            false => return,
                        },
                        Begun::Gone => return,
                    }
                }
            }
            let step = self.after_event(p);
            p.ended = false;
            let Some(held) = &p.held else { return };
            if let Some(next) = self.pass_kept(held, p.front) {
                p.front = next;
                if step == TurnStep::End {
                    reached(Reached::OwnListCut);
                    return self.end_turn(p);
                }
                continue;
            }
            let head = held.head();
            // What a timed turn tells must be learned before the color is let go, which it is if it
            // ends here, or has no further event.
            if p.since != 0 && (step == TurnStep::End || held.is_head_last()) {
                self.time_turn(p);
            }
            p.debug_let_go();
            // If an assertion about the queue fails, this is still there, spent.
            p.front = head;
            // SAFETY: it is the head of this color, spent, and nothing was kept.
            match unsafe { self.finish_in(&mut p.held, head) } {
                Finished::Next(next) => p.front = next,
                Finished::Idle => return,
                Finished::Gap => {
                    let held = p.take();
                    return self.wait_for_poster(p, held);
                }
            }
            if step == TurnStep::End {
                let held = p.take();
                return self.requeue(p, held);
            }
            p.debug_hold(self.index());
        }
    }

    /// Says whether the turn goes on after one more event.
    #[inline(always)]
    fn after_event(&self, p: &mut Progress) -> TurnStep {
        match p.turn.after_event(self.traffic.all().wrapping_sub(p.posts_before)) {
            _ if self.core.phase() >= Phase::Stopping => TurnStep::End,
            TurnStep::ReadClock => self.look_at_clock(p),
            step => step,
        }
    }

    /// Goes to what is behind something that was let go. False: the color is let go, too.
    #[inline(never)]
    fn go_on_behind(&self, p: &mut Progress, ended: Ended) -> bool {
        p.special.get_or_insert_default().has_readers = true;
        p.uncounted += 1;
        let step = self.after_event(p);
        match ended {
            Ended::Next(held, _) if step == TurnStep::End => {
                self.requeue(p, held);
                false
            }
            Ended::Next(held, next) => {
                self.enter_color(&held, held.is_bounded());
                self.follow(p, Ended::Next(held, next))
            }
            ended => self.follow(p, ended),
        }
    }

    /// The turn ends before the own list does.
    fn end_turn(&self, p: &mut Progress) {
        if p.since != 0 {
            self.time_turn(p);
        }
        p.held().debug_let_go();
        let held = p.take();
        self.requeue(p, held);
    }

    /// The turn is over, the color is not: a guest goes home, unless its home is still stuck.
    #[inline]
    fn requeue(&self, p: &Progress, held: Held) {
        self.requeue_as(p, held, Entry::color);
    }

    #[inline]
    fn requeue_as(&self, p: &Progress, held: Held, entry: impl FnOnce(Held) -> Entry) {
        // From here on it may be run elsewhere; and what is woken may be user code (a hook, a
        // drop).
        self.current.leave();
        // Read before the color is queued, and may be gone.
        let (worth, home) = (held.worth(), held.home());
        let entry = entry(held);
        if !p.is_guest {
            return self.scheduler.queue(entry, worth);
        }
        match self.core.fleet.is_still_stuck(home) {
            true => self.scheduler.queue_here(entry.into_guest()),
            false => {
                reached(Reached::GuestSentHome);
                self.send_home(home, entry);
            }
        }
    }

    /// Goes to what is behind a link. False: the color is let go.
    #[inline]
    fn follow(&self, p: &mut Progress, ended: Ended) -> bool {
        match ended {
            Ended::Next(held, next) => {
                held.debug_hold(self.index());
                (p.front, p.held) = (next, Some(held));
                true
            }
            Ended::Idle => false,
            Ended::Gap(held) => {
                self.wait_for_poster(p, held);
                false
            }
        }
    }

    /// The turn is over; what is behind its last event waits for another one.
    fn requeue_ended(&self, p: &Progress, ended: Ended) {
        match ended {
            Ended::Idle => {}
            Ended::Next(held, _) => self.requeue(p, held),
            Ended::Gap(held) => self.wait_for_poster(p, held),
        }
    }

    /// A poster is about to link its event. If it was preempted, it gets the core.
    #[cold]
    #[inline(never)]
    fn wait_for_poster(&self, p: &Progress, held: Held) {
        reached(Reached::Gap);
        yield_now();
        self.scheduler.time_passes();
        // It may keep a set waiting, so it is ready; but something else comes first now.
        self.scheduler.ends_credit();
        self.requeue_as(p, held, Entry::color_with_gap);
    }

    /// Runs what stands at the front, if it is rarer than a plain event, or deals with it.
    #[inline(never)]
    fn begin_other(&self, p: &mut Progress, cx: &mut Cx, kind: Kind) -> Begun {
        if kind.is_exclusive() && !self.is_alone(p, kind) {
            return Begun::Gone;
        }
        match kind {
            Kind::Closure | Kind::Housekeeping if p.special.is_some_and(|s| s.is_here) => {
                let held = p.take();
                self.run_apart(held, kind, |ended| self.requeue_ended(p, ended));
                Begun::Gone
            }
            Kind::Closure | Kind::Housekeeping => {
                p.uncounted += u32::from(kind == Kind::Housekeeping);
                self.run_front(p, cx);
                p.leave_bound();
                Begun::Ended
            }
            Kind::Shared => Begun::LetGo(self.let_reader_go(p.take())),
            Kind::SharedRequest => Begun::LetGo(self.let_request_go(p.take())),
            Kind::Request => {
                if p.since != 0 {
                    self.time_turn(p);
                }
                self.reserve(p.take());
                Begun::Gone
            }
            Kind::Set => unreachable!("a set's event stands in no color's queue"),
            // A gap, or the own list, kept it here; it has been counted.
            Kind::Spent | Kind::SpentRequest => {
                p.held().debug_let_go();
                // SAFETY: what stands at the head is spent, and nothing was kept, which would be
                // next. A request had to stay: otherwise its set had the color, not this turn.
                Begun::Passed(unsafe { self.finish(p.take()) })
            }
            Kind::Grave => {
                p.held().debug_let_go();
                self.visit_grave(p.take()).map_or(Begun::Gone, Begun::Passed)
            }
        }
    }

    /// Runs the event at the front.
    #[inline(always)]
    fn run_front(&self, p: &mut Progress, cx: &mut Cx) {
        // Said first: if it panics, it has ended all the same.
        p.ended = true;
        let held = p.held();
        // SAFETY: it is the front of this color, an event, and taken here only.
        let mut event = unsafe { held.event(p.front) };
        self.run_any(&mut event, held.label(), cx);
    }

    /// Says whether an exclusive event may begin. If not, the color waits for its readers, and is
    /// let go.
    fn is_alone(&self, p: &mut Progress, kind: Kind) -> bool {
        let Some(mut special) = p.special else { return true };
        special.counts = special.is_bounded && kind == Kind::Closure;
        if special.has_readers && !mutant(Mutant::ReaderBesideWriter) {
            if p.since != 0 {
                self.time_turn(p);
            }
            p.held().debug_let_go();
            p.held = self.exclude_readers(p.take());
            let Some(held) = &p.held else { return false };
            held.debug_hold(self.index());
            special.has_readers = false;
        }
        p.special = (special.is_bounded || special.is_here).then_some(special);
        true
    }

    fn look_at_clock(&self, p: &mut Progress) -> TurnStep {
        let now = self.scheduler.now();
        if p.begin == 0 {
            // Not timed so far: from now on it is.
            (p.begin, p.since, p.from) = (now, now, p.turn.events());
            p.posts_from = self.traffic.in_and_out();
            return p.turn.start_timing();
        }
        p.turn.at(now.saturating_sub(p.begin))
    }

    fn time_turn(&self, p: &mut Progress) {
        let events = p.turn.events() - p.from;
        if events == 0 {
            return;
        }
        let now = self.scheduler.now();
        let took = now.saturating_sub(p.since);
        let posts = self.traffic.in_and_out();
        let posted = posts.since(p.posts_from);
        (p.since, p.from, p.posts_from) = (now, p.turn.events(), posts);
        let color = p.held();
        // As many events as it posted to itself will come from itself; the others come from
        // elsewhere.
        let from_others = 1_000 * u64::from(events.saturating_sub(posted.own));
        let most_out = 1_000 * u64::from(events) * u64::from(MOST_OUT);
        color.learn(took, events, from_others + posted.gone_out().min(most_out));
        self.sample(Sample::new(Measure::TurnLength, color.label(), took));
    }
}

/// What [`Local::begin_other`] did.
enum Begun {
    /// An event ran.
    Ended,
    /// What stood there is out of the queue, or the queue has a gap.
    Passed(Ended),
    /// What stood there goes on by itself; the rest as in `Passed`.
    LetGo(Ended),
    /// The color does not exist any more, or somebody else has it: a set, or its readers.
    Gone,
}
