//! The contexts that are passed to the closures of a domain's events.
//!
//! The closure of a whole event gets its context by `&mut`, and the event ends with the closure. An
//! event of several steps owns a token, which each step consumes. A step that the type of the token
//! does not offer is illegal (I2). The two have distinct types, so that a token cannot be swapped
//! for the context of a whole event (I16).

use std::marker::PhantomData;

use dapple_colors::{Context, Ticket};

use super::Domain;
use super::done::Done;
use super::part::{AnonStep, GlobalStep, NoneStep};
use super::token::{StepEnd, Token};
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::site::Site;

/// The rights of an event to enter contexts: [`MayGlobal`], [`MayAnon`] or [`NoneOnly`].
///
/// # Examples
///
/// ```
/// use dapple::{Domain, Done, NoneCx, Rights};
/// fn greet<R: Rights>(mut n: NoneCx<u64, R>, name: &'static str) -> Done {
///     n.defer(move |_| println!("hello, {name}"));
///     n.commit()
/// }
/// let rt = dapple::Runtime::new()?;
/// let d = Domain::snapshot(&rt.handle(), 0);
/// d.event(|n| greet(n, "ada"));           // `R` is `MayGlobal`
/// d.event_none(|n| greet(n, "bob"));      // `R` is `NoneOnly`
/// rt.wait_idle();
/// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Rights: sealed::Sealed + Send + 'static {
    /// The highest context that the event may enter.
    const HIGHEST: Context;
}

/// The rights of an event that may enter anon and global.
#[derive(Debug)]
pub enum MayGlobal {}
/// The rights of an event that may enter anon.
#[derive(Debug)]
pub enum MayAnon {}
/// The rights of an event that stays in none.
#[derive(Debug)]
pub enum NoneOnly {}

/// The rights that include anon: [`MayGlobal`] and [`MayAnon`].
///
/// See [`Rights`] for an example of a function for tokens with different rights.
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

/// Defines a context or a token, with the methods that all of them have.
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

            /// Returns the ticket of this event: its place in the order of its domain.
            pub fn ticket(&self) -> Ticket {
                self.token.ticket
            }

            /// Returns a handle of the domain.
            ///
            /// A post from within a step takes its ticket at once, at a moment that depends on
            /// timing. To post at a certain place in the order, post in a deferred action.
            pub fn domain(&self) -> Domain<S> {
                Domain::of(self.token.domain)
            }

            /// Defers `action` until the event commits, after all events with smaller tickets.
            ///
            /// The actions of an event run in the order in which they were deferred, outside the
            /// state. They may post, also to the same domain. [`Domain`] tells which actions of an
            /// event that panics still run.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::sync::mpsc;
            /// let rt = dapple::Runtime::new()?;
            /// let d = dapple::Domain::snapshot(&rt.handle(), 0);
            /// let (tx, rx) = mpsc::channel();
            /// let also_tx = tx.clone();
            /// d.global(move |g| {
            ///     *g.state_mut() += 1;
            ///     g.defer(move |_| also_tx.send("first").unwrap());
            /// });
            /// d.none(move |n| n.defer(move |_| tx.send("second").unwrap()));
            /// rt.wait_idle();
            /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["first", "second"]);
            /// # Ok::<(), std::io::Error>(())
            /// ```
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

/// Defines the steps of a token.
macro_rules! steps {
    ($name:ident [$($rights:ident)?] $step:expr) => {
        impl<S: Send + Sync + 'static $(, $rights: Rights)?> $name<S $(, $rights)?> {
            /// Ends this step, and goes on with `f` in the same context.
            ///
            /// Between two steps the worker may turn to other work. It does so after 32 steps, or
            /// when the time budget of a turn is spent.
            ///
            /// # Examples
            ///
            /// ```
            /// use dapple::{AnonCx, Domain, Done};
            /// fn add_up(a: AnonCx<Vec<u64>>, part: usize, sum: u64) -> Done {
            ///     let Some(numbers) = a.state().chunks(100).nth(part) else {
            ///         assert_eq!(sum, 499_500);
            ///         return a.commit();
            ///     };
            ///     let sum = sum + numbers.iter().sum::<u64>();
            ///     a.then(move |a| add_up(a, part + 1, sum))   // other work may come first
            /// }
            /// let rt = dapple::Runtime::new()?;
            /// let d = Domain::snapshot(&rt.handle(), (0..1_000).collect());
            /// d.anon_then(|a| add_up(a, 0, 0));
            /// rt.wait_idle();
            /// # assert_eq!(rt.metrics().panics(), 0);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            #[track_caller]
            pub fn then<F>(self, f: F) -> Done
            where
                F: FnOnce(Self) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    return self.then(Box::new(f) as Box<dyn FnOnce(Self) -> Done + Send>);
                }
                self.token.then(StepEnd::Stay, $step(f), Site::caller())
            }

            /// Ends the event, which commits when its turn comes.
            ///
            /// The state is released at once. The deferred actions run when all events with smaller
            /// tickets have committed.
            #[track_caller]
            pub fn commit(self) -> Done {
                self.token.end(Site::caller())
            }

            /// Ends the event, and goes on with a sub-event that may go up to global.
            ///
            /// The sub-event takes its ticket when this event has committed, and begins in none.
            ///
            /// # Examples
            ///
            /// ```
            /// let rt = dapple::Runtime::new()?;
            /// let d = dapple::Domain::snapshot(&rt.handle(), vec![1]);
            /// let also_d = d.clone();
            /// d.global_then(move |mut g| {
            ///     g.defer(move |_| also_d.global(|g| g.state_mut().push(2)));
            ///     // The sub-event has a later ticket than the event that the action posts.
            ///     g.commit_then(|n| n.upgrade_anon_then(|a| {
            ///         assert_eq!(*a.state(), [1, 2]);
            ///         a.commit()
            ///     }))
            /// });
            /// rt.wait_idle();
            /// # assert_eq!(rt.metrics().panics(), 0);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            #[track_caller]
            pub fn commit_then<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, MayGlobal>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, MayGlobal>) -> Done + Send>;
                    return self.commit_then(Box::new(f) as Step<S>);
                }
                let end = StepEnd::Commit(MayGlobal::HIGHEST);
                self.token.then(end, NoneStep::new(f), Site::caller())
            }

            /// Ends the event, and goes on with a sub-event that may go up to anon.
            ///
            /// The sub-event takes its ticket when this event has committed, and begins in none.
            ///
            /// See [`commit_then`](Self::commit_then) for an example.
            #[track_caller]
            pub fn commit_then_anon<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, MayAnon>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, MayAnon>) -> Done + Send>;
                    return self.commit_then_anon(Box::new(f) as Step<S>);
                }
                let end = StepEnd::Commit(MayAnon::HIGHEST);
                self.token.then(end, NoneStep::new(f), Site::caller())
            }

            /// Ends the event, and goes on with a sub-event that stays in none.
            ///
            /// The sub-event takes its ticket when this event has committed.
            ///
            /// See [`commit_then`](Self::commit_then) for an example.
            #[track_caller]
            pub fn commit_then_none<F>(self, f: F) -> Done
            where
                F: FnOnce(NoneCx<S, NoneOnly>) -> Done + Send + 'static,
            {
                if is_large::<F>() {
                    type Step<S> = Box<dyn FnOnce(NoneCx<S, NoneOnly>) -> Done + Send>;
                    return self.commit_then_none(Box::new(f) as Step<S>);
                }
                let end = StepEnd::Commit(NoneOnly::HIGHEST);
                self.token.then(end, NoneStep::new(f), Site::caller())
            }
        }
    };
}

/// Defines read access to the state.
macro_rules! reads {
    ($name:ident) => {
        impl<S: Send + Sync + 'static> $name<S> {
            /// Returns the state.
            #[inline]
            pub fn state(&self) -> &S {
                // SAFETY: a value of this type is made only for an event in anon or global, and the
                // step that leaves the context consumes it.
                unsafe { self.token.state() }
            }
        }
    };
}

/// Defines write access to the state.
macro_rules! writes {
    ($name:ident) => {
        impl<S: Send + Sync + 'static> $name<S> {
            /// Returns the state, to change it.
            ///
            /// In snapshot mode the state is copied first if an earlier event still reads it. In a
            /// transactional domain it is always copied first.
            #[inline]
            pub fn state_mut(&mut self) -> &mut S {
                // SAFETY: a value of this type is made only for an event in global, and the step
                // that leaves global consumes it.
                unsafe { self.token.state_mut() }
            }
        }
    };
}

context! {
    /// The context of a whole event in global; see [`Domain::global`].
    InGlobal [] *mut ()
}
context! {
    /// The context of a whole event in anon; see [`Domain::anon`].
    InAnon [] ()
}
context! {
    /// The context of a whole event in none; see [`Domain::none`].
    InNone [] ()
}
context! {
    /// The token of an event in global, which reads and writes the state.
    ///
    /// No other event is in global at the same time. The token cannot be sent to another thread.
    ///
    /// See [`Domain::global_then`] for an example.
    GlobalCx [] *mut ()
}
context! {
    /// The token of an event in anon, which reads the state.
    ///
    /// The event reads the state that the last earlier event in global left, or, after a downgrade,
    /// the state that it left itself.
    ///
    /// See [`then`](Self::then) for an example.
    AnonCx [] ()
}
context! {
    /// The token of an event in none, which may go up to `R`.
    ///
    /// See [`Domain`] for an example.
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
    /// Goes to anon, and goes on with `f` there.
    ///
    /// The event keeps reading the state that it wrote, and others may enter.
    ///
    /// See [`Domain::global_then`] for an example.
    #[track_caller]
    pub fn downgrade_then<F>(self, f: F) -> Done
    where
        F: FnOnce(AnonCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.downgrade_then(Box::new(f) as Box<dyn FnOnce(AnonCx<S>) -> Done + Send>);
        }
        self.token.then(StepEnd::Downgrade, AnonStep(f), Site::caller())
    }

    /// Waits until the event has the domain to itself, and goes on with `f` in global (I9).
    ///
    /// This is for an action that cannot be deferred, because the event needs its result. `f` runs
    /// when all earlier events have committed, and the actions that this event has deferred so far
    /// have run. What `f` does cannot be undone: from then on, a panic in global poisons a
    /// transactional domain, too.
    ///
    /// # Examples
    ///
    /// ```
    /// fn print(text: &str) -> usize {
    ///     println!("{text}");     // cannot be undone, and has a result
    ///     text.len()
    /// }
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), 0);
    /// d.none(|n| n.defer(|_| println!("runs before the exclusive action")));
    /// d.global_then(|g| g.exclusive_then(|mut g| {
    ///     *g.state_mut() += print("hello");
    ///     g.commit()
    /// }));
    /// d.anon(|a| assert_eq!(*a.state(), 5));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn exclusive_then<F>(self, f: F) -> Done
    where
        F: FnOnce(GlobalCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.exclusive_then(Box::new(f) as Box<dyn FnOnce(GlobalCx<S>) -> Done + Send>);
        }
        self.token.then(StepEnd::Alone, GlobalStep(f), Site::caller())
    }
}

impl<S: Send + Sync + 'static> NoneCx<S, MayGlobal> {
    /// Enters global, and goes on with `f` there.
    ///
    /// The event enters when no earlier event is in global, or may still enter global or anon. In
    /// read_write mode it also waits until all earlier events have left anon.
    ///
    /// See [`Domain`] for an example.
    #[track_caller]
    pub fn upgrade_global_then<F>(self, f: F) -> Done
    where
        F: FnOnce(GlobalCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .upgrade_global_then(Box::new(f) as Box<dyn FnOnce(GlobalCx<S>) -> Done + Send>);
        }
        self.token.then(StepEnd::Upgrade(Context::Global), GlobalStep(f), Site::caller())
    }

    /// Gives up the right to enter global.
    ///
    /// Later events can then enter anon without waiting for this one.
    ///
    /// See [`renounce`](Self::renounce) for an example.
    pub fn renounce_global(mut self) -> NoneCx<S, MayAnon> {
        self.token.renounce(Context::Anon);
        NoneCx::new(self.token)
    }
}

impl<S: Send + Sync + 'static, R: ReachesAnon> NoneCx<S, R> {
    /// Enters anon, and goes on with `f` there.
    ///
    /// The event enters when no earlier event is in global, or may still enter it.
    ///
    /// See [`Domain::event_anon`] for an example.
    #[track_caller]
    pub fn upgrade_anon_then<F>(self, f: F) -> Done
    where
        F: FnOnce(AnonCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .upgrade_anon_then(Box::new(f) as Box<dyn FnOnce(AnonCx<S>) -> Done + Send>);
        }
        self.token.then(StepEnd::Upgrade(Context::Anon), AnonStep(f), Site::caller())
    }

    /// Gives up the right to enter anon and global.
    ///
    /// The event then no longer delays the entry of later events.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), 0);
    /// d.event(|n| {
    ///     let mut n = n.renounce();               // it turns out not to need the state
    ///     let digits = 7u64.pow(20).to_string().len();
    ///     n.defer(move |_| println!("{digits}"));
    ///     n.commit()
    /// });
    /// d.global(|g| *g.state_mut() += 1);          // need not wait for the computation
    /// d.anon(|a| assert_eq!(*a.state(), 1));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn renounce(mut self) -> NoneCx<S, NoneOnly> {
        self.token.renounce(Context::None);
        NoneCx::new(self.token)
    }
}
