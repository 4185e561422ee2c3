//! What the closures of a domain's events get.
//!
//! A whole event gets its context by `&mut`: it ends with the closure. An event of several steps
//! has a token in its hand, which each step consumes; what the type does not offer is not legal
//! (I2). The two have distinct types, so that nobody can swap a token for the context of a whole
//! event (I16).

use std::marker::PhantomData;

use dapple_colors::{Context, Ticket};

use super::Domain;
use super::done::Done;
use super::part::{AnonStep, GlobalStep, NoneStep};
use super::token::{Token, What};
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::site::Site;

/// How high an event may go: [`MayGlobal`], [`MayAnon`] or [`NoneOnly`].
pub trait Rights: sealed::Sealed + Send + 'static {
    /// The highest context.
    const HIGHEST: Context;
}

/// An event that may enter anon, or global.
#[derive(Debug)]
pub enum MayGlobal {}
/// An event that may enter anon.
#[derive(Debug)]
pub enum MayAnon {}
/// An event that stays in none.
#[derive(Debug)]
pub enum NoneOnly {}

/// Rights that include anon: [`MayGlobal`] and [`MayAnon`].
pub trait ReachesAnon: Rights {}
impl ReachesAnon for MayGlobal {}
impl ReachesAnon for MayAnon {}

impl Rights for MayGlobal {
    const HIGHEST: Context = Context::Global;
}
impl Rights for MayAnon {
    const HIGHEST: Context = Context::Anon;
}
impl Rights for NoneOnly {
    const HIGHEST: Context = Context::None;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::MayGlobal {}
    impl Sealed for super::MayAnon {}
    impl Sealed for super::NoneOnly {}
}

/// What all of them can do.
macro_rules! context {
    (
        $(#[$doc:meta])*
        $name:ident [$($rights:ident: $bound:ident = $default:ident)?] $marker:ty
    ) => {
        $(#[$doc])*
        pub struct $name<S: Send + Sync + 'static $(, $rights: $bound = $default)?> {
            pub(super) token: Token<S>,
            _marker: PhantomData<$marker>,
        }

        impl<S: Send + Sync + 'static $(, $rights: $bound)?> $name<S $(, $rights)?> {
            #[inline]
            pub(super) fn new(token: Token<S>) -> Self {
                $name { token, _marker: PhantomData }
            }

            /// The place of this event in the order of its domain.
            pub fn ticket(&self) -> Ticket {
                self.token.ticket
            }

            /// A handle of the domain. An event that posts to it takes part in the order only if it
            /// does so in a deferred action: a post from within a step gets its ticket at once,
            /// whenever that is.
            pub fn domain(&self) -> Domain<S> {
                Domain::of(self.token.domain)
            }

            /// Holds `action` back until the event commits: when all events with smaller tickets
            /// have committed. The actions of an event run in the order in which they were
            /// deferred, outside of the state; they may post, also to the domain. If the event
            /// panics, see [`Domain`].
            #[track_caller]
            #[inline]
            pub fn defer<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, action: F) {
                if is_large::<F>() {
                    return self.defer(Box::new(action) as Box<dyn FnOnce(&mut Cx) + Send>);
                }
                self.token.defer(action, Site::caller());
            }
        }

        impl<S: Send + Sync + 'static $(, $rights: $bound)?> std::fmt::Debug
            for $name<S $(, $rights)?>
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("ticket", &self.ticket())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// A token's steps.
macro_rules! steps {
    ($name:ident [$($rights:ident)?] $step:expr) => {
        impl<S: Send + Sync + 'static $(, $rights: Rights)?> $name<S $(, $rights)?> {
            /// Ends this step, and goes on in the same context with the next one. Between two steps
            /// other work may have the worker: after 32 of them, or after a turn's time.
            #[track_caller]
            pub fn then<F>(self, f: F) -> Done
            where
                F: FnOnce(Self) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    return self.then(Box::new(f) as Box<dyn FnOnce(Self) -> Done + Send>);
                }
                self.token.then(What::Stay, $step(f), Site::caller())
            }

            /// Ends the event: the state is released, and what was deferred runs when all events
            /// with smaller tickets have committed.
            #[track_caller]
            pub fn commit(self) -> Done {
                self.token.end(Site::caller())
            }

            /// Ends the event, and goes on with a sub-event, which may go up to global. It takes
            /// its ticket when this one has committed, and begins in none.
            #[track_caller]
            pub fn commit_then<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, MayGlobal>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, MayGlobal>) -> Done + Send>;
                    return self.commit_then(Box::new(f) as Step<S>);
                }
                self.token.then(What::Commit(MayGlobal::HIGHEST), NoneStep::new(f), Site::caller())
            }

            /// Ends the event, and goes on with a sub-event, which may go up to anon. See
            /// [`commit_then`](Self::commit_then).
            #[track_caller]
            pub fn commit_then_anon<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, MayAnon>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, MayAnon>) -> Done + Send>;
                    return self.commit_then_anon(Box::new(f) as Step<S>);
                }
                self.token.then(What::Commit(MayAnon::HIGHEST), NoneStep::new(f), Site::caller())
            }

            /// Ends the event, and goes on with a sub-event, which stays in none. See
            /// [`commit_then`](Self::commit_then).
            #[track_caller]
            pub fn commit_then_none<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, NoneOnly>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, NoneOnly>) -> Done + Send>;
                    return self.commit_then_none(Box::new(f) as Step<S>);
                }
                self.token.then(What::Commit(NoneOnly::HIGHEST), NoneStep::new(f), Site::caller())
            }
        }
    };
}

/// Reading.
macro_rules! reads {
    ($name:ident) => {
        impl<S: Send + Sync + 'static> $name<S> {
            /// The state.
            #[inline]
            pub fn state(&self) -> &S {
                // SAFETY: the type is made for events in anon or global only.
                unsafe { self.token.state() }
            }
        }
    };
}

/// Writing.
macro_rules! writes {
    ($name:ident) => {
        impl<S: Send + Sync + 'static> $name<S> {
            /// The state, to change it. In snapshot mode it is copied first if an earlier event
            /// still reads it, and in a transactional domain always.
            #[inline]
            pub fn state_mut(&mut self) -> &mut S {
                // SAFETY: the type is made for events in global only.
                unsafe { self.token.state_mut() }
            }
        }
    };
}

context! {
    /// A whole event in global; see [`Domain::global`].
    InGlobal [] *mut ()
}
context! {
    /// A whole event in anon; see [`Domain::anon`].
    InAnon [] ()
}
context! {
    /// A whole event in none; see [`Domain::none`].
    InNone [] ()
}
context! {
    /// The token of an event in global: it reads and writes the state, and no other event is in
    /// global. It cannot be sent to another thread.
    GlobalCx [] *mut ()
}
context! {
    /// The token of an event in anon: it reads the state as the last earlier event in global left
    /// it.
    AnonCx [] ()
}
context! {
    /// The token of an event in none, with the right to go up to `R`.
    NoneCx [R: Rights = MayGlobal] fn(R)
}

reads!(InGlobal);
reads!(InAnon);
reads!(GlobalCx);
reads!(AnonCx);
writes!(InGlobal);
writes!(GlobalCx);
steps!(GlobalCx [] GlobalStep);
steps!(AnonCx [] AnonStep);
steps!(NoneCx[R] | f | NoneStep::new(f));

impl<S: Send + Sync + 'static> GlobalCx<S> {
    /// Goes to anon: the event keeps reading what it wrote, and others may enter.
    #[track_caller]
    pub fn downgrade_then<F>(self, f: F) -> Done
    where
        F: FnOnce(AnonCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.downgrade_then(Box::new(f) as Box<dyn FnOnce(AnonCx<S>) -> Done + Send>);
        }
        self.token.then(What::Downgrade, AnonStep(f), Site::caller())
    }

    /// For an action that cannot be deferred, because the event needs its result: waits until all
    /// earlier events have committed, and what this one has deferred so far has run; then `f` runs,
    /// with the domain to itself, and goes on in global (I9). What it does cannot be undone: from
    /// then on a panic in global poisons a transactional domain, too.
    #[track_caller]
    pub fn exclusive_then<F>(self, f: F) -> Done
    where
        F: FnOnce(GlobalCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.exclusive_then(Box::new(f) as Box<dyn FnOnce(GlobalCx<S>) -> Done + Send>);
        }
        self.token.then(What::Alone, GlobalStep(f), Site::caller())
    }
}

impl<S: Send + Sync + 'static> NoneCx<S, MayGlobal> {
    /// Enters global, when no earlier event is there, or may still enter global or anon; in
    /// read_write mode, when all earlier ones have left anon, too.
    #[track_caller]
    pub fn upgrade_global_then<F>(self, f: F) -> Done
    where
        F: FnOnce(GlobalCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .upgrade_global_then(Box::new(f) as Box<dyn FnOnce(GlobalCx<S>) -> Done + Send>);
        }
        self.token.then(What::Upgrade(Context::Global), GlobalStep(f), Site::caller())
    }

    /// Gives up the right to enter global, so that later events need not wait for it.
    pub fn renounce_global(mut self) -> NoneCx<S, MayAnon> {
        self.token.renounce(Context::Anon);
        NoneCx::new(self.token)
    }
}

impl<S: Send + Sync + 'static, R: ReachesAnon> NoneCx<S, R> {
    /// Enters anon, when no earlier event is in global, or may still reach it.
    #[track_caller]
    pub fn upgrade_anon_then<F>(self, f: F) -> Done
    where
        F: FnOnce(AnonCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .upgrade_anon_then(Box::new(f) as Box<dyn FnOnce(AnonCx<S>) -> Done + Send>);
        }
        self.token.then(What::Upgrade(Context::Anon), AnonStep(f), Site::caller())
    }

    /// Gives up the right to enter anon: the event delays nobody's entry any more.
    pub fn renounce(mut self) -> NoneCx<S, NoneOnly> {
        self.token.renounce(Context::None);
        NoneCx::new(self.token)
    }
}
