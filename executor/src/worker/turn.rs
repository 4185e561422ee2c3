//! Running: one turn of a color. What stands in no color's queue is run by `free`.
//!
//! A panic ends its event only (C11). One `catch_unwind` spans a turn, not an event: the turn keeps
//! its place outside of it, and after a panic goes on with what follows the event that panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use dapple_colors::{Pace, Turn, TurnStep};

use super::entry::{Entry, Job};
use super::local::Local;
use super::shared::add;
use crate::color::cell::{ColorCell, UNKNOWN};
use crate::color::held::{Ended, Held};
use crate::color::queue::Link;
use crate::cx::Cx;
use crate::event::{Header, Kind, Owned};
use crate::metrics::{Measure, Sample};
use crate::runtime::core::Phase;
use crate::sync::Ordering;

/// Posts to others that count per event, at most: one that posts thousands posts to new colors, as a rule.
const MOST_OUT: u32 = 1_000;

/// Where a turn is.
struct Progress {
    cell: NonNull<ColorCell>,
    link: NonNull<Link>,
    turn: Turn,
    /// When the budget's time began to count; 0: not yet.
    begin: u64,
    /// Since when what is learned counts, and how many events had ended, and what had been posted, by
    /// then; 0: not timed.
    since: u64,
    from: u32,
    posts_from: (u32, u32),
    /// What counts for the turn and is no event of it: the runtime's own, and what was let go.
    uncounted: u32,
    posts_before: u32,
    /// What most colors never are.
    special: Option<Special>,
    /// The event at `link` has run, or panicked.
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
    /// The event that runs counts for the bound.
    counts: bool,
}

impl Special {
    #[inline]
    fn of(color: &ColorCell, is_bounded: bool) -> Option<Special> {
        let has_readers = color.readers.any();
        (has_readers || is_bounded).then_some(Special { has_readers, is_bounded, counts: false })
    }
}

impl Progress {
    /// The event that runs has ended.
    fn leave_bound(&mut self) {
        if let Some(special) = &mut self.special
            && std::mem::take(&mut special.counts)
        {
            self.color().leave_bound();
        }
    }

    /// The color; not after it has been [let go](Self::take).
    fn color(&self) -> &ColorCell {
        // SAFETY: the turn holds the color until it ends.
        unsafe { self.cell.as_ref() }
    }

    /// The right of the holder. If it does not come back, the turn is over.
    #[inline]
    fn take(&mut self) -> Held {
        // SAFETY: the turn began with it, and has it whenever it goes on.
        unsafe { Held::of(self.cell) }
    }
}

impl Local {
    /// Runs what was taken out of a run queue.
    /// True: it took long, or may have.
    pub(super) fn run_entry(&self, entry: Entry, time_it: bool) -> bool {
        match entry.open() {
            Job::Color(held) => self.run_turn(held, time_it, false),
            Job::Guest(held) => self.run_turn(held, time_it, true),
            Job::Event(event) => self.run_free(event),
        }
    }

    fn run_turn(&self, held: Held, time_it: bool, is_guest: bool) -> bool {
        let color = &*held;
        color.debug_hold(self.index);
        if !is_guest && !self.core.settings.rules.is_pinned() {
            color.set_home(self.index);
        }
        let (pace, is_bounded) = (Pace::of(color.event_nanos()), color.is_bounded());
        let begin = if time_it || pace == Pace::Long { self.now() } else { 0 };
        let mut progress = Progress {
            cell: held.cell(),
            link: color.queue.own().unwrap_or_else(|| color.queue.head()),
            turn: Turn::new(self.core.settings.turn_budget, pace),
            begin,
            since: begin,
            from: 0,
            posts_from: self.posts_in_and_out(),
            uncounted: 0,
            posts_before: self.posts.get(),
            special: Special::of(color, is_bounded),
            ended: false,
            is_guest,
        };
        self.current.enter_known(color, is_bounded);
        self.shared().published.label.store(color.label(), Ordering::Relaxed);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn_loop(&mut progress))) {
                Ok(()) => break,
                // An event of it panicked: we still hold the color.
                Err(payload) => {
                    // SAFETY: what stands at the head of a color that we hold is ours.
                    let site = unsafe { Header::site_of(progress.link) };
                    self.event_panicked(payload, site, progress.color().label());
                    progress.leave_bound();
                }
            }
        }
        self.current.leave();
        let counters = &self.shared().counters;
        add(&counters.turns, 1);
        add(&counters.events, u64::from(progress.turn.events() - progress.uncounted));
        progress.turn.is_long()
    }

    /// Runs events until the turn ends. On return the color is let go.
    fn turn_loop(&self, p: &mut Progress) {
        let mut cx = Cx::new(self);
        loop {
            if !p.ended {
                match self.begin_link(p, &mut cx) {
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
            let step = self.after_event(p);
            p.ended = false;
            if let Some(next) = self.pass_own(&p.take(), p.link) {
                if step == TurnStep::End {
                    return self.end_turn(p);
                }
                p.link = next;
                continue;
            }
            let held = p.take();
            let front = held.head();
            // What a timed turn tells must be learned before the color is let go, which it is if it ends
            // here, or has no further event.
            if p.since != 0 && (step == TurnStep::End || held.is_last(front)) {
                self.time_turn(p);
            }
            held.debug_let_go();
            match (self.finish_at(held, front), step) {
                (Ended::Next(held, _), TurnStep::End) => return self.requeue(p, held),
                (ended, _) => {
                    if !self.follow(p, ended) {
                        return;
                    }
                }
            }
        }
    }

    /// Does the turn go on after one more event?
    #[inline]
    fn after_event(&self, p: &mut Progress) -> TurnStep {
        match p.turn.after_event(self.posts.get().wrapping_sub(p.posts_before)) {
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
                self.current.enter(&held);
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
        p.color().debug_let_go();
        let held = p.take();
        self.requeue(p, held);
    }

    /// The turn is over, the color is not: a guest goes home, unless its home is still stuck.
    #[inline]
    fn requeue(&self, p: &Progress, held: Held) {
        // From here on it may be run elsewhere; and whoever is woken may be user code (a hook, a drop).
        self.current.leave();
        // Read before the color is queued, and may be gone.
        let (entry, worth, home) = (held.entry(), held.worth(), held.home());
        if !p.is_guest {
            return self.queue(entry, worth);
        }
        match self.is_still_stuck(home) {
            true => self.lane(entry.class()).push(entry.into_guest()),
            false => self.core.inject(home, entry, UNKNOWN),
        }
    }

    /// Goes to what is behind a link. False: the color is let go.
    #[inline]
    fn follow(&self, p: &mut Progress, ended: Ended) -> bool {
        match ended {
            Ended::Next(held, next) => {
                held.debug_hold(self.index);
                p.link = next;
                true
            }
            Ended::Idle => false,
            Ended::Gap(held) => {
                self.wait_for_poster(p, held);
                false
            }
        }
    }

    /// A poster is about to link its event. If it was preempted, it gets the core.
    #[cold]
    #[inline(never)]
    fn wait_for_poster(&self, p: &Progress, held: Held) {
        std::thread::yield_now();
        self.time_passes();
        self.requeue(p, held);
    }

    /// Runs the event at the head, or deals with what stands there instead.
    fn begin_link(&self, p: &mut Progress, cx: &mut Cx) -> Begun {
        let header = Header::of(p.link);
        // SAFETY: the head of a held color is in the queue.
        let kind = unsafe { header.as_ref() }.kind();
        if kind == Kind::Closure && p.special.is_none() {
            self.run_link(p, cx);
            return Begun::Ended;
        }
        self.begin_other(p, cx, kind)
    }

    /// The same, of what is rarer.
    #[inline(never)]
    fn begin_other(&self, p: &mut Progress, cx: &mut Cx, kind: Kind) -> Begun {
        if kind.is_exclusive() && !self.is_alone(p, kind) {
            return Begun::Gone;
        }
        match kind {
            Kind::Closure | Kind::Housekeeping => {
                p.uncounted += u32::from(kind == Kind::Housekeeping);
                self.run_link(p, cx);
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
            Kind::Spent => {
                p.color().debug_let_go();
                Begun::Passed(self.finish(p.take()))
            }
            Kind::Grave => {
                p.color().debug_let_go();
                self.visit_grave(p.take()).map_or(Begun::Gone, Begun::Passed)
            }
        }
    }

    /// Runs the event at the link.
    #[inline]
    fn run_link(&self, p: &mut Progress, cx: &mut Cx) {
        // Said first: if it panics, it has ended all the same.
        p.ended = true;
        // SAFETY: the event is next, of the color that we hold.
        let mut event = unsafe { Owned::of_link(p.link) };
        self.run_event(&mut event, p.color().label(), cx);
    }

    /// May an exclusive event begin? If not, the color waits for its readers, and is let go.
    fn is_alone(&self, p: &mut Progress, kind: Kind) -> bool {
        let Some(mut special) = p.special else { return true };
        special.counts = special.is_bounded && kind == Kind::Closure;
        if special.has_readers {
            if p.since != 0 {
                self.time_turn(p);
            }
            p.color().debug_let_go();
            let Some(held) = self.exclude_readers(p.take()) else { return false };
            held.debug_hold(self.index);
            special.has_readers = false;
        }
        p.special = special.is_bounded.then_some(special);
        true
    }

    fn look_at_clock(&self, p: &mut Progress) -> TurnStep {
        let now = self.now();
        if p.begin == 0 {
            // Not timed so far: from now on it is.
            (p.begin, p.since, p.from) = (now, now, p.turn.events());
            p.posts_from = self.posts_in_and_out();
            return p.turn.start_timing();
        }
        p.turn.at(now.saturating_sub(p.begin))
    }

    fn time_turn(&self, p: &mut Progress) {
        let events = p.turn.events() - p.from;
        if events == 0 {
            return;
        }
        let now = self.now();
        let took = now.saturating_sub(p.since);
        let posts = self.posts_in_and_out();
        let own = posts.0.wrapping_sub(p.posts_from.0);
        let out = posts.1.wrapping_sub(p.posts_from.1);
        (p.since, p.from, p.posts_from) = (now, p.turn.events(), posts);
        let color = p.color();
        // As many events as it posted to itself will come from itself; the others come from elsewhere.
        let traffic = events.saturating_sub(own) + out.min(events.saturating_mul(MOST_OUT));
        color.learn(took, events, traffic);
        self.sample(Sample::new(Measure::TurnLength, color.label(), took));
    }
}

/// What [`Local::begin_link`] did.
enum Begun {
    /// An event ran.
    Ended,
    /// What stood there is out of the queue, or the queue has a gap.
    Passed(Ended),
    /// The same; and it goes on by itself.
    LetGo(Ended),
    /// The color does not exist any more, or somebody else has it: a set, or its readers.
    Gone,
}
