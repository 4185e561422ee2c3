//! A turn of a color. Events that are in no color's queue are run by `uncolored`.
//!
//! A panic ends only its event (C11). One `catch_unwind` spans a turn, not an event: the turn keeps
//! its progress outside the `catch_unwind`, and after a panic goes on with what follows the event
//! that panicked.

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

/// The maximum number of posts to other colors that count per event. An event that posts thousands
/// usually posts to new colors.
const MOST_OUT: u32 = 1_000;

/// The progress of a turn.
struct Progress {
    /// The color, or `None` after it was released, when the turn is over.
    held: Option<Held>,
    /// The color's event that runs, or is next.
    front: Front,
    turn: Turn,
    /// The time at which the time budget began to count, or 0 if it does not count yet.
    begin: u64,
    /// The start of the measurement from which the color's cost is learned, or 0 if the turn is not
    /// timed. `from` is the number of events that had ended by then, and `posts_from` the posts
    /// that had been made.
    since: u64,
    from: u32,
    posts_from: InAndOut,
    /// The number of links that count for the turn but are not events of it: the runtime's own, and
    /// readers and requests that were let go.
    uncounted: u32,
    posts_before: u32,
    /// Set for a color that needs more checks than most.
    special: Option<Special>,
    /// Whether the event at the front has run, or panicked.
    ended: bool,
    /// Whether the color runs here only because its home is stuck.
    is_guest: bool,
}

/// The properties of a color that some checks before and after each event need.
#[derive(Clone, Copy, Default)]
struct Special {
    /// Whether the color may have readers. If this is `false`, all earlier readers have left.
    has_readers: bool,
    is_bounded: bool,
    /// Whether the color is bound to the user's thread; see `apart`.
    is_here: bool,
    /// Whether the current event counts against the bound.
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
    /// Takes the event that has ended off the bound, if it counts against it.
    fn leave_bound(&mut self) {
        if let Some(special) = &mut self.special
            && std::mem::take(&mut special.counts)
        {
            self.held().leave_bound();
        }
    }

    /// Returns the color. It must not have been [taken](Self::take).
    #[inline]
    fn held(&self) -> &Held {
        self.held.as_ref().expect("the turn holds the color until it ends")
    }

    /// In debug builds, checks that no other thread holds the color, and notes that this worker
    /// does. If the check panics, the turn is over.
    #[inline]
    fn debug_hold(&mut self, _worker: usize) {
        #[cfg(debug_assertions)]
        {
            let held = self.take();
            held.debug_hold(_worker);
            self.held = Some(held);
        }
    }

    /// In debug builds, notes that another thread may hold the color.
    #[inline]
    fn debug_let_go(&self) {
        #[cfg(debug_assertions)]
        self.held().debug_let_go();
    }

    /// Takes the color out. Unless it is put back, the turn is over.
    #[inline]
    fn take(&mut self) -> Held {
        self.held.take().expect("the turn holds the color until it ends")
    }
}

/// The reason why a worker has a color.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// The worker is the color's home, or has stolen the color and becomes its home.
    Home,
    /// The worker runs the color only because its home is stuck. The color keeps its home.
    Guest,
}

impl Local {
    /// Runs a color for a turn. Returns `true` if the events took long, or may have.
    pub(super) fn run_turn(&self, held: Held, time_it: bool, stay: Stay) -> bool {
        let color = &*held;
        color.debug_hold(self.index());
        let is_guest = stay == Stay::Guest;
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
                // An event panicked, or an assertion failed. Either the turn has the color, or it
                // is over.
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

    /// Runs events until the turn ends. On return the color has been released.
    fn turn_loop(&self, p: &mut Progress, cx: &mut Cx) {
        loop {
            let Some(held) = &p.held else { return };
            if !p.ended {
                // SAFETY: `p.front` is the front of this color, and has not left the queue.
                let kind = unsafe { held.kind(p.front) };
                if kind == Kind::Closure && p.special.is_none() {
                    // Set first, because an event that panics has ended, too.
                    p.ended = true;
                    // SAFETY: `p.front` is the front of this color, it is an event, and it is taken
                    // only here.
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
            // What a timed turn measures must be stored before the color is released. It is
            // released if the turn ends here, or if the color has no further event.
            if p.since != 0 && (step == TurnStep::End || held.is_head_last()) {
                self.time_turn(p);
            }
            p.debug_let_go();
            // If an assertion about the queue fails, the spent event is still at the head.
            p.front = head;
            // SAFETY: `head` is the head of this color, spent, and nothing was kept.
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

    /// Counts one more event, and returns whether the turn goes on.
    #[inline(always)]
    fn after_event(&self, p: &mut Progress) -> TurnStep {
        match p.turn.after_event(self.traffic.all().wrapping_sub(p.posts_before)) {
            _ if self.core.phase() >= Phase::Stopping => TurnStep::End,
            TurnStep::ReadClock => self.look_at_clock(p),
            step => step,
        }
    }

    /// Moves to the link behind a reader or request that was let go. Returns `false` if the color
    /// has been released, too.
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

    /// Ends the turn while the own list still has events.
    fn end_turn(&self, p: &mut Progress) {
        if p.since != 0 {
            self.time_turn(p);
        }
        p.held().debug_let_go();
        let held = p.take();
        self.requeue(p, held);
    }

    /// Queues the color at the end of its turn. A guest goes home, unless its home is still stuck.
    #[inline]
    fn requeue(&self, p: &Progress, held: Held) {
        self.requeue_as(p, held, Entry::color);
    }

    #[inline]
    fn requeue_as(&self, p: &Progress, held: Held, entry: impl FnOnce(Held) -> Entry) {
        // From here on the color may run on another worker, and user code may run here (a hook, a
        // drop).
        self.current.leave();
        // Read before the color is queued, after which it may be freed.
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

    /// Moves to the link behind one that has left the queue. Returns `false` if the color has been
    /// released.
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

    /// Ends the turn of a color whose event has left the queue to run apart. The events behind it
    /// wait for another turn.
    fn requeue_ended(&self, p: &Progress, ended: Ended) {
        match ended {
            Ended::Idle => {}
            Ended::Next(held, _) => self.requeue(p, held),
            Ended::Gap(held) => self.wait_for_poster(p, held),
        }
    }

    /// Ends the turn at a gap, where a poster is about to link its event. Yields the core first, in
    /// case the poster was preempted.
    #[cold]
    #[inline(never)]
    fn wait_for_poster(&self, p: &Progress, held: Held) {
        reached(Reached::Gap);
        yield_now();
        self.scheduler.time_passes();
        // The color may keep a set waiting, so it is queued as ready. Other work comes first now.
        self.scheduler.ends_credit();
        self.requeue_as(p, held, Entry::color_with_gap);
    }

    /// Runs or handles the front of a color that is special, or a front that is not a plain event.
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
            // A gap or the own list kept the link here. The event has been counted.
            Kind::Spent | Kind::SpentRequest => {
                p.held().debug_let_go();
                // SAFETY: the link at the head is spent. Nothing was kept, because that would be
                // the front. A request had to stay, because otherwise its set would have the color,
                // not this turn.
                Begun::Passed(unsafe { self.finish(p.take()) })
            }
            Kind::Grave => {
                p.held().debug_let_go();
                self.visit_grave(p.take()).map_or(Begun::Gone, Begun::Passed)
            }
        }
    }

    /// Runs the event at the front of the color.
    #[inline(always)]
    fn run_front(&self, p: &mut Progress, cx: &mut Cx) {
        // Set first, because an event that panics has ended, too.
        p.ended = true;
        let held = p.held();
        // SAFETY: `p.front` is the front of this color, it is an event, and it is taken only here.
        let mut event = unsafe { held.event(p.front) };
        self.run_any(&mut event, held.label(), cx);
    }

    /// Returns `true` if an exclusive event may begin. Otherwise the color waits for its readers,
    /// and has been released.
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
            // The turn was not timed so far. It is from now on.
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
        // The color receives as many events from itself as it posts to itself. The others come from
        // other colors.
        let from_others = 1_000 * u64::from(events.saturating_sub(posted.own));
        let most_out = 1_000 * u64::from(events) * u64::from(MOST_OUT);
        color.learn(took, events, from_others + posted.gone_out().min(most_out));
        self.sample(Sample::new(Measure::TurnLength, color.label(), took));
    }
}

/// The result of [`Local::begin_other`].
enum Begun {
    /// An event ran.
    Ended,
    /// The link has left the queue, or the queue has a gap.
    Passed(Ended),
    /// A reader or a shared request was let go, and goes on by itself. It has left the queue, or
    /// the queue has a gap.
    LetGo(Ended),
    /// The turn no longer has the color: it died, became idle or was queued, or a set or its
    /// readers hold it.
    Gone,
}
