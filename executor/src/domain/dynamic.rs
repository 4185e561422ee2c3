//! The dynamic form, for ported code: the context is a value, and an illegal step is an error (I2).

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use dapple_colors::{Context, IllegalStep, Passage, Ticket};

use super::done::Done;
use super::part::DynStep;
use super::token::{StepEnd, Token};
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::site::Site;

/// The token of an event whose context is known only at run time.
///
/// It serves handlers that were written for contexts as annotations. Such a handler calls
/// [`at_least_then`](Self::at_least_then) where its annotation stands, and
/// [`enter_then`](Self::enter_then) where it downgrades.
///
/// # Examples
///
/// ```
/// use dapple::{Context, Domain, Runtime};
/// let rt = Runtime::new()?;
/// let d = Domain::snapshot(&rt.handle(), 1);
/// d.event_dyn(Context::Global, |e| {
///     assert_eq!(e.state().unwrap_err().to_string(), "an event in none cannot read the state");
///     e.enter_then(Context::Global, |mut e| {
///         *e.state_mut().unwrap() += 1;
///         e.enter_then(Context::Anon, |e| {
///             assert_eq!(e.state(), Ok(&2));
///             let refused = e.enter_then(Context::Global, |e| e.commit()).unwrap_err();
///             assert_eq!(refused.to_string(), "an event cannot go from anon to global");
///             refused.into_token().commit()
///         }).unwrap()
///     }).unwrap()
/// });
/// rt.wait_idle();
/// # assert_eq!(rt.metrics().panics(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DynCx<S: Send + Sync + 'static> {
    token: Token<S>,
    context: Context,
    highest: Context,
    /// The site of the event's steps in reports; `None` stands for the caller of each method.
    site: Option<Site>,
    /// Makes the token not `Send`, because the event may be in global.
    _not_send: PhantomData<*mut ()>,
}

impl<S: Send + Sync + 'static> DynCx<S> {
    pub(super) fn new(
        token: Token<S>,
        context: Context,
        highest: Context,
        site: Option<Site>,
    ) -> Self {
        DynCx { token, context, highest, site, _not_send: PhantomData }
    }

    #[track_caller]
    fn site(&self) -> Site {
        self.site.unwrap_or_else(|| Site::caller())
    }

    /// Sets the site that reports name for what the event does from now on.
    ///
    /// It stands for the steps and the deferred actions of this event and of its sub-events. By
    /// default, reports name the caller of each method.
    pub fn set_site(&mut self, site: Site) {
        self.site = Some(site);
    }

    /// Checks whether the event may enter a context, as [`enter_then`](Self::enter_then) would.
    ///
    /// # Errors
    ///
    /// Returns an error if the step is illegal, or goes higher than the event declared.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Context, Domain};
    /// let rt = dapple::Runtime::new()?;
    /// let d = Domain::snapshot(&rt.handle(), 0);
    /// d.event_dyn(Context::Anon, |e| {
    ///     assert!(e.may_enter(Context::Anon).is_ok());
    ///     // Global is higher than what the post declared.
    ///     assert!(e.may_enter(Context::Global).unwrap_err().is_undeclared());
    ///     e.commit()
    /// });
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn may_enter(&self, context: Context) -> Result<(), ContextError> {
        let passage = self.context.passage(context, self.highest);
        passage.map(|_| ()).map_err(|step| ContextError { kind: Kind::Step(step) })
    }

    /// Returns the context that the event is in.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Returns the ticket of this event: its place in the order of its domain.
    pub fn ticket(&self) -> Ticket {
        self.token.ticket
    }

    /// Returns the state.
    ///
    /// # Errors
    ///
    /// Returns an error if the event is in none.
    pub fn state(&self) -> Result<&S, ContextError> {
        match self.context {
            Context::None => Err(ContextError { kind: Kind::Read }),
            // SAFETY: the event is in `self.context`, which is anon or global.
            Context::Anon | Context::Global => Ok(unsafe { self.token.state() }),
        }
    }

    /// Returns the state, to change it.
    ///
    /// In snapshot mode the state is copied first if an earlier event still reads it. In a
    /// transactional domain it is always copied first.
    ///
    /// # Errors
    ///
    /// Returns an error if the event is in none or anon.
    pub fn state_mut(&mut self) -> Result<&mut S, ContextError> {
        match self.context {
            // SAFETY: the event is in `self.context`, which is global.
            Context::Global => Ok(unsafe { self.token.state_mut() }),
            context => Err(ContextError { kind: Kind::Write(context) }),
        }
    }

    /// Defers `action` until the event commits; see [`GlobalCx::defer`](super::GlobalCx::defer).
    #[track_caller]
    pub fn defer<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, action: F) {
        if is_large::<F>() {
            return self.defer(Box::new(action) as Box<dyn FnOnce(&mut Cx) + Send>);
        }
        let site = self.site();
        self.token.defer(action, site);
    }

    /// Goes on with `f` in a context.
    ///
    /// If the event is in another context, the step is an upgrade or a downgrade.
    ///
    /// See [`DynCx`] for an example.
    ///
    /// # Errors
    ///
    /// Returns an error if the step is illegal, or goes higher than the event declared. The error
    /// contains the token. `f` is dropped.
    #[track_caller]
    pub fn enter_then<F>(self, context: Context, f: F) -> Result<Done, Refused<S>>
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .enter_then(context, Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>);
        }
        let what = match self.context.passage(context, self.highest) {
            Ok(Passage::Stay) => StepEnd::Stay,
            Ok(Passage::Downgrade) => StepEnd::Downgrade,
            Ok(Passage::Upgrade) => StepEnd::Upgrade(context),
            Err(step) => return Err(self.refuse(Kind::Step(step))),
        };
        let site = self.site();
        let part = DynStep { context, highest: self.highest, site: self.site, f };
        Ok(self.token.then(what, part, site))
    }

    /// Goes on with `f` in a context, or in the current one if that is higher.
    ///
    /// This is the step of an annotated handler that other handlers call.
    ///
    /// # Errors
    ///
    /// Returns an error if the step is illegal, or goes higher than the event declared. The error
    /// contains the token. `f` is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Context, Domain, Done, DynCx};
    /// fn show(e: DynCx<u64>) -> Done {
    ///     let shown = e.at_least_then(Context::Anon, |e| {    // stays in global if `e` is there
    ///         println!("{}", e.state().unwrap());
    ///         e.commit()
    ///     });
    ///     shown.unwrap()
    /// }
    /// let rt = dapple::Runtime::new()?;
    /// let d = Domain::snapshot(&rt.handle(), 1);
    /// d.event_dyn(Context::Anon, show);
    /// d.event_dyn(Context::Global, |e| e.enter_then(Context::Global, show).unwrap());
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn at_least_then<F>(self, context: Context, f: F) -> Result<Done, Refused<S>>
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .at_least_then(context, Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>);
        }
        let to = context.max(self.context);
        self.enter_then(to, f)
    }

    /// Waits until the event has the domain to itself, and goes on with `f` in global (I9).
    ///
    /// See [`GlobalCx::exclusive_then`](super::GlobalCx::exclusive_then).
    ///
    /// # Errors
    ///
    /// Returns an error if the event is not in global. The error contains the token. `f` is
    /// dropped.
    #[track_caller]
    pub fn exclusive_then<F>(self, f: F) -> Result<Done, Refused<S>>
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.exclusive_then(Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>);
        }
        if self.context != Context::Global {
            let kind = Kind::Exclusive(self.context);
            return Err(self.refuse(kind));
        }
        let site = self.site();
        let part = DynStep { context: self.context, highest: self.highest, site: self.site, f };
        Ok(self.token.then(StepEnd::Alone, part, site))
    }

    /// Gives up the right to enter a context higher than `highest`.
    ///
    /// In anon and global this has no effect.
    pub fn renounce(&mut self, highest: Context) {
        if self.context == Context::None && highest < self.highest {
            self.token.renounce(highest);
            self.highest = highest;
        }
    }

    /// Ends the event, which commits when its turn comes.
    #[track_caller]
    pub fn commit(self) -> Done {
        let site = self.site();
        self.token.end(site)
    }

    /// Ends the event, and goes on with a sub-event that may go up to `highest`.
    ///
    /// The sub-event takes its ticket when this event has committed, and begins in none.
    #[track_caller]
    pub fn commit_then<F>(self, highest: Context, f: F) -> Done
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .commit_then(highest, Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>);
        }
        let site = self.site();
        let part = DynStep { context: Context::None, highest, site: self.site, f };
        self.token.then(StepEnd::Commit(highest), part, site)
    }

    fn refuse(self, kind: Kind) -> Refused<S> {
        Refused { token: self, error: ContextError { kind } }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write(Context),
    Exclusive(Context),
    Step(IllegalStep),
}

/// The error of an event that asks for something that its context does not allow.
///
/// See [`DynCx`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextError {
    kind: Kind,
}

impl ContextError {
    /// Returns `true` if the step would be legal had the event declared a higher context.
    pub fn is_undeclared(&self) -> bool {
        matches!(self.kind, Kind::Step(step) if step.is_undeclared())
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Read => f.write_str("an event in none cannot read the state"),
            Kind::Write(from) => write!(f, "an event in {from} cannot write the state"),
            Kind::Exclusive(from) => {
                write!(f, "an event in {from} cannot run alone: only an event in global can")
            }
            Kind::Step(step) => step.fmt(f),
        }
    }
}

impl Error for ContextError {}

/// The error of a refused step, which contains the token of the event.
///
/// See [`DynCx`] for an example.
pub struct Refused<S: Send + Sync + 'static> {
    token: DynCx<S>,
    error: ContextError,
}

impl<S: Send + Sync + 'static> Refused<S> {
    /// Returns the token. The event is in the context in which it asked for the step.
    pub fn into_token(self) -> DynCx<S> {
        self.token
    }

    /// Returns the reason why the step was refused.
    pub fn error(&self) -> ContextError {
        self.error
    }
}

impl<S: Send + Sync + 'static> fmt::Display for Refused<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S: Send + Sync + 'static> Error for Refused<S> {}

impl<S: Send + Sync + 'static> fmt::Debug for DynCx<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynCx")
            .field("ticket", &self.ticket())
            .field("context", &self.context)
            .field("highest", &self.highest)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> fmt::Debug for Refused<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}
