//! The parts of an event: closures that run in one context, and the events in which they wait.

use dapple_colors::Ticket;

use super::contexts::{AnonCx, GlobalCx, InAnon, InGlobal, InNone, NoneCx, Rights};
use super::done::Done;
use super::dynamic::DynCx;
use super::fate::Fate;
use super::inner::{DomainPtr, SKIPPED, Waiting};
use super::token::{Last, Token};
use crate::cx::Cx;
use crate::event::{Kind, Memory, Owned, Step, Word};
use crate::runtime::core::Phase;
use crate::site::Site;
use crate::sync::Arc;
use crate::turn::local::Local;

/// A user's closure that runs in a context.
pub(super) trait Part<S: Send + Sync + 'static>: Send + 'static {
    /// Runs the closure. The event is in the context of the part.
    fn run(self, token: Token<S>, cx: &mut Cx);
    /// Notes that the part is about to be dropped unrun, because poison covers its event.
    fn note_covered(&mut self) {}
    /// Returns the fate that the order decides when the event leaves it, if there is one.
    #[inline]
    fn fate(&self) -> Option<Arc<Fate>> {
        None
    }
}

/// A part that waits in an event: for its context, for its ticket, or for a worker.
pub(super) struct Continue<S: Send + Sync + 'static, K> {
    pub(super) domain: DomainPtr<S>,
    /// The number of the ticket, perhaps with [`LATER`]. It is 0 for a sub-event, which gets the
    /// number as the word of its step.
    pub(super) ticket: u64,
    pub(super) part: K,
}

/// Marks a step that is not the first one of a posted event. No ticket's number is that large.
pub(super) const LATER: u64 = 1 << 63;

impl<S: Send + Sync + 'static, K: Part<S>> Continue<S, K> {
    /// Writes the part into an event. The domain sets the word of the event: a version, or the
    /// number of a ticket.
    #[inline]
    pub(super) fn write(self, memory: Memory, site: Site, posted: u64) -> Waiting {
        // SAFETY: the event is put into no color's queue. Its word is null, or set by
        // `Waiting::set_word` to what `open` expects.
        Waiting(unsafe { Owned::step(memory, self, Kind::Closure, site, posted) })
    }

    /// Writes the part into an event, with memory of this worker.
    pub(super) fn into_event(self, cx: &Cx, site: Site) -> Waiting {
        let local: &Local = cx.local();
        let posted = local.core.stamp(Some(local));
        self.write(local.take_memory(), site, posted)
    }

    /// Returns `true` if the first step of the event has already run.
    fn is_later(&self, word: Word) -> bool {
        match self.ticket {
            // A sub-event counts as an event of its own, unless it ends with the one before.
            0 => word == SKIPPED,
            ticket => ticket & LATER != 0,
        }
    }

    /// Returns the token and the part. A sub-event that never got a ticket has no token.
    #[inline]
    fn open(self, word: Word) -> (Option<Token<S>>, K) {
        let Continue { domain, ticket, part } = self;
        let (number, version) = match ticket & !LATER {
            // The first ticket is never a sub-event's, so a sub-event's number is not `SKIPPED`.
            0 if word == SKIPPED => (0, word),
            0 => (word.number_of() as u64, Word::NONE),
            ticket if word == SKIPPED => (ticket, Word::NONE),
            ticket => (ticket, word),
        };
        let ticket = Ticket::from_number(number);
        ((number != 0).then(|| Token::new(domain, ticket, version)), part)
    }
}

impl<S: Send + Sync + 'static, K: Part<S>> Step for Continue<S, K> {
    fn run(mut self, word: Word, cx: &mut Cx) {
        let is_over = cx.local().core.phase() >= Phase::Stopping;
        if word == SKIPPED {
            // Poison covers the event. Its place in the order is released after the part has been
            // dropped. The event is counted at its commit, or here if the runtime stops and there
            // is no commit.
            self.part.note_covered();
            if is_over {
                cx.local().count_skipped();
            }
            return self.discard(word);
        }
        if is_over {
            // Actions of an earlier event may have been dropped, so this one must not act (E11,
            // I9).
            cx.local().count_skipped();
            return self.discard(word);
        }
        cx.local().traffic.runs_in_a_domain();
        if self.domain.label_number != 0 {
            cx.local().seat.event.set_label(self.domain.label_number);
        }
        let (Some(token), part) = self.open(word) else {
            unreachable!("an event that runs has a ticket")
        };
        part.run(token, cx);
    }

    fn discard(self, word: Word) {
        if self.is_later(word) {
            // The event counts as dropped, so the step of it that was counted as run, its first or
            // this one, ran in vain.
            self.domain.core.count_in_vain(1);
        }
        let (token, part) = self.open(word);
        Last::drop_before(part, token);
    }
}

/// A part that can return its closure.
pub(super) trait IntoClosure {
    type Closure;
    fn into_closure(self) -> Self::Closure;
}

macro_rules! whole {
    ($part:ident, $context:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) struct $part<F>(pub(super) F);

        impl<S, F> Part<S> for $part<F>
        where
            S: Send + Sync + 'static,
            F: FnOnce(&mut $context<S>) + Send + 'static,
        {
            #[inline]
            fn run(self, token: Token<S>, cx: &mut Cx) {
                let mut context = $context::new(token);
                (self.0)(&mut context);
                context.token.commit(None, cx);
            }
        }

        impl<F> IntoClosure for $part<F> {
            type Closure = F;
            fn into_closure(self) -> F {
                self.0
            }
        }
    };
}

whole!(WholeGlobal, InGlobal, "A whole event in global.");
whole!(WholeAnon, InAnon, "A whole event in anon.");
whole!(WholeNone, InNone, "A whole event in none.");

macro_rules! step {
    ($part:ident, $context:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) struct $part<F>(pub(super) F);

        impl<S, F> Part<S> for $part<F>
        where
            S: Send + Sync + 'static,
            F: FnOnce($context<S>) -> Done + Send + 'static,
        {
            fn run(self, token: Token<S>, cx: &mut Cx) {
                (self.0)($context::new(token)).carry_out(cx);
            }
        }
    };
}

step!(GlobalStep, GlobalCx, "A step in global.");
step!(AnonStep, AnonCx, "A step in anon.");

/// A step in none, by an event with the rights `R`.
pub(super) struct NoneStep<R, F>(F, std::marker::PhantomData<R>);

impl<R, F> NoneStep<R, F> {
    pub(super) fn new(f: F) -> Self {
        NoneStep(f, std::marker::PhantomData)
    }
}

impl<S, R, F> Part<S> for NoneStep<R, F>
where
    S: Send + Sync + 'static,
    R: Rights,
    F: FnOnce(NoneCx<S, R>) -> Done + Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        (self.0)(NoneCx::new(token)).carry_out(cx);
    }
}

impl<R, F> IntoClosure for NoneStep<R, F> {
    type Closure = F;
    fn into_closure(self) -> F {
        self.0
    }
}

/// A step of the dynamic form, in any context.
pub(super) struct DynStep<F> {
    pub(super) context: dapple_colors::Context,
    pub(super) highest: dapple_colors::Context,
    pub(super) site: Option<Site>,
    pub(super) f: F,
}

impl<S, F> Part<S> for DynStep<F>
where
    S: Send + Sync + 'static,
    F: FnOnce(DynCx<S>) -> Done + Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        let token = DynCx::new(token, self.context, self.highest, self.site);
        (self.f)(token).carry_out(cx);
    }
}
