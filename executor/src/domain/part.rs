//! The parts of an event: closures that run in one context, and the events that they wait in.

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

/// A closure of the user's that runs in a context.
pub(super) trait Part<S: Send + Sync + 'static>: Send + 'static {
    /// The event is in the context of the part.
    fn run(self, token: Token<S>, cx: &mut Cx);
    /// It will be dropped unrun, as poison covers the event.
    fn is_covered(&mut self) {}
    /// Who is to be told what becomes of the event.
    #[inline]
    fn fate(&self) -> Option<Arc<Fate>> {
        None
    }
}

/// A part that waits in an event: for its context, for its ticket, or for a worker.
pub(super) struct Continue<S: Send + Sync + 'static, K> {
    pub(super) domain: DomainPtr<S>,
    /// The number of the ticket, perhaps with [`LATER`]. 0: a sub-event, to which it comes as the
    /// word of its step.
    pub(super) ticket: u64,
    pub(super) part: K,
}

/// Not the first step of an event that was posted. No ticket's number is so great.
pub(super) const LATER: u64 = 1 << 63;

impl<S: Send + Sync + 'static, K: Part<S>> Continue<S, K> {
    /// As an event, which gets its word from the domain: a version, or the number of a ticket.
    #[inline]
    pub(super) fn write(self, memory: Memory, site: Site, posted: u64) -> Waiting {
        // SAFETY: it gets no color, and a word by `Waiting::set_word` or none.
        Waiting(unsafe { Owned::step(memory, self, Kind::Closure, site, posted) })
    }

    /// Makes an event of the continuation, on a worker.
    pub(super) fn into_event(self, cx: &Cx, site: Site) -> Waiting {
        let local: &Local = cx.local();
        let posted = local.core.stamp(Some(local));
        self.write(local.take_memory(), site, posted)
    }

    /// Says whether it is a part of an event whose first step has run.
    fn is_later(&self, word: Word) -> bool {
        match self.ticket {
            // A sub-event is one for itself, unless it ends with the one before.
            0 => word == SKIPPED,
            ticket => ticket & LATER != 0,
        }
    }

    /// The token, and the part. `None`: a sub-event that never got a ticket.
    #[inline]
    fn open(self, word: Word) -> (Option<Token<S>>, K) {
        let Continue { domain, ticket, part } = self;
        let (number, version) = match ticket & !LATER {
            // No sub-event has the first ticket, so its number is not `SKIPPED`.
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
            // Poison covers it. Its place goes when what it was has been dropped; it is counted at
            // its commit, unless there is none.
            self.part.is_covered();
            if is_over {
                cx.local().count_skipped();
            }
            return self.discard(word);
        }
        if is_over {
            // An earlier event's actions may have been dropped already, so this one must not act
            // (E11, I9).
            cx.local().count_skipped();
            return self.discard(word);
        }
        cx.local().traffic.runs_in_a_domain();
        if self.domain.label_number != 0 {
            cx.local().seat.event.set_label(self.domain.label_number);
        }
        let (Some(token), part) = self.open(word) else { unreachable!("what runs has a ticket") };
        part.run(token, cx);
    }

    fn discard(self, word: Word) {
        if self.is_later(word) {
            // The event is counted as dropped, so its first step ran in vain; or this one did.
            self.domain.core.count_in_vain(1);
        }
        let (token, part) = self.open(word);
        Last::drop_before(part, token);
    }
}

/// A part that can give its closure back.
pub(super) trait Holds {
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

        impl<F> Holds for $part<F> {
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

/// A step in none, by an event with these rights.
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

impl<R, F> Holds for NoneStep<R, F> {
    type Closure = F;
    fn into_closure(self) -> F {
        self.0
    }
}

/// A step of the dynamic form, in whatever context.
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
