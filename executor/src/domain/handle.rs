//! The handle of a domain: its events are posted here.

use std::fmt;

use dapple_colors::{Context, Mode};

use super::builder::DomainBuilder;
use super::contexts::{
    AnonCx, GlobalCx, InAnon, InGlobal, InNone, MayAnon, MayGlobal, NoneCx, NoneOnly,
};
use super::done::Done;
use super::dynamic::DynCx;
use super::inner::DomainPtr;
use super::part::{AnonStep, DynStep, GlobalStep, NoneStep, WholeAnon, WholeGlobal, WholeNone};
use super::post::{Needs, Room};
use crate::error::TryPostError;
use crate::event::large::is_large;
use crate::site::Site;
use crate::{Color, Cx, Handle};

/// A state, and events that read and write it in parallel with the results of running them one by
/// one.
///
/// Every event gets a *ticket* when it is posted. What an event may do with the state depends on
/// its context: in *global* it reads and writes, alone; in *anon* it reads, beside others; in
/// *none* neither, beside everything. An event may downgrade from global to anon, and so let the
/// next one in while it goes on. Effects are *deferred*: they run when the event commits, and
/// events commit in the order of their tickets. So whatever ran in parallel, state, reads and
/// effects are those of the events run one after the other by ticket, as long as events are
/// deterministic, defer their effects, and post by deferred actions (I13).
///
/// Clone it and send it anywhere. When the last handle is gone and every event has committed, the
/// state is dropped.
///
/// # Panics in events
///
/// An event that panics commits in its place, with what it had deferred until it left global;
/// nothing, if it never was there. If it panics *in* global the domain is *poisoned* (unless it is
/// [transactional](DomainBuilder::transactional)): the events behind it are dropped and counted, up
/// to the next [`clear_poison`](Self::clear_poison). What they have done in none by then cannot be
/// told from nothing: their effects are dropped, too. A token that is dropped without a commit
/// counts as a panic.
///
/// # Waiting
///
/// An event that waits for its turn is a closure in a queue, not a thread. Every wait is for an
/// event with a smaller ticket, so there is no deadlock; but an event must not wait for something
/// outside while it holds its ticket: everything behind it would wait, too. What has to wait for a
/// socket or a timer does so before it posts, or in a deferred action.
///
/// # Examples
///
/// ```
/// use dapple::{Domain, Runtime};
/// let rt = Runtime::new()?;
/// let d = Domain::snapshot(&rt.handle(), 0u64);
/// for _ in 0..100 {
///     d.event(|n| n.upgrade_global_then(|mut g| {
///         *g.state_mut() += 1;                                   // alone
///         g.downgrade_then(|mut a| {
///             let n = *a.state(); // beside the next one's global part
///             a.defer(move |_| println!("{n}"));                 // in order: 1, 2, 3, ...
///             a.commit()
///         })
///     }));
/// }
/// d.anon(|a| assert_eq!(*a.state(), 100));
/// rt.wait_idle();
/// # assert_eq!(rt.metrics().panics(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "service")]
#[doc(alias = "rwlock")]
pub struct Domain<S: Send + Sync + 'static>(pub(super) DomainPtr<S>);

impl Domain<()> {
    /// Configures a domain, of whatever state.
    pub fn builder() -> DomainBuilder {
        DomainBuilder::new()
    }
}

impl<S: Send + Sync + 'static> Domain<S> {
    /// Opens a domain whose readers read a frozen version of the state while the next event in
    /// global writes. The state is copied only if somebody still reads it, so its clones should be
    /// cheap, and independent of each other.
    pub fn snapshot(handle: &Handle, state: S) -> Self
    where
        S: Clone,
    {
        DomainBuilder::new().snapshot(handle, state)
    }

    /// Opens a domain whose events in global wait until all earlier readers are done. The state is
    /// never copied.
    pub fn read_write(handle: &Handle, state: S) -> Self {
        DomainBuilder::new().read_write(handle, state)
    }

    /// The handle that a domain begins with.
    pub(super) fn first(domain: DomainPtr<S>) -> Self {
        Domain(domain)
    }

    /// One more handle. The caller has one, or a ticket.
    pub(super) fn of(domain: DomainPtr<S>) -> Self {
        domain.handles.add(&domain.store);
        Domain(domain)
    }

    /// Posts an event that runs in global: it reads and writes the state, alone.
    #[track_caller]
    #[inline]
    pub fn global<F: FnOnce(&mut InGlobal<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.global(Box::new(f) as Box<dyn FnOnce(&mut InGlobal<S>) + Send>);
        }
        self.post(Needs::GLOBAL, WholeGlobal(f), Site::caller());
    }

    /// Posts an event that runs in anon: it reads the state as the last earlier event in global
    /// left it, beside others.
    #[track_caller]
    #[inline]
    pub fn anon<F: FnOnce(&mut InAnon<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.anon(Box::new(f) as Box<dyn FnOnce(&mut InAnon<S>) + Send>);
        }
        self.post(Needs::ANON, WholeAnon(f), Site::caller());
    }

    /// Posts an event that runs in none: it does not reach the state, and delays nobody. What it
    /// defers has its place in the order.
    #[track_caller]
    #[inline]
    pub fn none<F: FnOnce(&mut InNone<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.none(Box::new(f) as Box<dyn FnOnce(&mut InNone<S>) + Send>);
        }
        self.post(Needs::none(Context::None), WholeNone(f), Site::caller());
    }

    /// Posts an event of several steps. It begins in none, and may go up to global; until it
    /// has been there, or has renounced, later events cannot enter global or anon.
    #[track_caller]
    pub fn event<F>(&self, f: F)
    where
        F: FnOnce(NoneCx<S, MayGlobal>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.event(Box::new(f) as Box<dyn FnOnce(NoneCx<S, MayGlobal>) -> Done + Send>);
        }
        self.post(Needs::of::<MayGlobal>(), NoneStep::<MayGlobal, _>::new(f), Site::caller());
    }

    /// Posts an event of several steps that begins in global.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dapple::{Domain, Runtime};
    /// # let rt = Runtime::new()?;
    /// let d = Domain::snapshot(&rt.handle(), vec![1, 2]);
    /// d.global_then(|mut g| {
    ///     g.state_mut().push(3);
    ///     g.downgrade_then(|a| {
    ///         // The next event may be in global now.
    ///         println!("{}", a.state().iter().sum::<i32>());
    ///         a.commit()
    ///     })
    /// });
    /// # rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn global_then<F>(&self, f: F)
    where
        F: FnOnce(GlobalCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.global_then(Box::new(f) as Box<dyn FnOnce(GlobalCx<S>) -> Done + Send>);
        }
        self.post(Needs::GLOBAL, GlobalStep(f), Site::caller());
    }

    /// Posts an event of several steps that begins in anon.
    #[track_caller]
    pub fn anon_then<F>(&self, f: F)
    where
        F: FnOnce(AnonCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self.anon_then(Box::new(f) as Box<dyn FnOnce(AnonCx<S>) -> Done + Send>);
        }
        self.post(Needs::ANON, AnonStep(f), Site::caller());
    }

    /// Posts an event of several steps that goes up to anon at most. Until it has been there, or
    /// has renounced, later events cannot enter global.
    #[track_caller]
    pub fn event_anon<F>(&self, f: F)
    where
        F: FnOnce(NoneCx<S, MayAnon>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .event_anon(Box::new(f) as Box<dyn FnOnce(NoneCx<S, MayAnon>) -> Done + Send>);
        }
        self.post(Needs::of::<MayAnon>(), NoneStep::<MayAnon, _>::new(f), Site::caller());
    }

    /// Posts an event of several steps that stays in none, and so delays nobody's entry; its
    /// sub-events may go higher.
    #[track_caller]
    pub fn event_none<F>(&self, f: F)
    where
        F: FnOnce(NoneCx<S, NoneOnly>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .event_none(Box::new(f) as Box<dyn FnOnce(NoneCx<S, NoneOnly>) -> Done + Send>);
        }
        self.post(Needs::of::<NoneOnly>(), NoneStep::<NoneOnly, _>::new(f), Site::caller());
    }

    /// Posts an event of several steps whose contexts are known at run time; see [`DynCx`].
    #[track_caller]
    pub fn event_dyn<F>(&self, highest: Context, f: F)
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            return self
                .event_dyn(highest, Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>);
        }
        let part = DynStep { context: Context::None, highest, site: None, f };
        self.post(Needs::none(highest), part, Site::caller());
    }

    /// Posts an event of several steps whose contexts are known at run time, and has reports name
    /// `site` as the place that posted it and asked for each of its steps. See
    /// [`event_dyn`](Self::event_dyn), which names its caller, and [`DynCx::set_site`].
    pub fn event_dyn_from<F>(&self, site: Site, highest: Context, f: F)
    where
        F: FnOnce(DynCx<S>) -> Done + Send + 'static,
    {
        if is_large::<F>() {
            let f = Box::new(f) as Box<dyn FnOnce(DynCx<S>) -> Done + Send>;
            return self.event_dyn_from(site, highest, f);
        }
        let part = DynStep { context: Context::None, highest, site: Some(site), f };
        self.post(Needs::none(highest), part, site);
    }

    /// Posts an event in global that repairs the state: it runs even if the domain is poisoned, and
    /// the events behind it run again, unless it panics itself. If the domain is not poisoned, it
    /// is an event in global like any other.
    #[track_caller]
    pub fn clear_poison<F: FnOnce(&mut InGlobal<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.clear_poison(Box::new(f) as Box<dyn FnOnce(&mut InGlobal<S>) + Send>);
        }
        self.post(Needs::REPAIR, WholeGlobal(f), Site::caller());
    }

    /// Posts an event in global, as [`global`](Self::global), unless too many are uncommitted.
    ///
    /// # Errors
    ///
    /// `Full`: as many events are uncommitted as [`DomainBuilder::max_uncommitted`] allows.
    /// `Closed`: a shutdown has begun, and the calling thread is not a worker. Both hand `f` back.
    #[track_caller]
    pub fn try_global<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InGlobal<S>) + Send + 'static,
    {
        self.try_closure(Needs::GLOBAL, f, WholeGlobal, WholeGlobal, Site::caller())
    }

    /// Posts an event in anon, as [`anon`](Self::anon), unless too many are uncommitted.
    ///
    /// # Errors
    ///
    /// `Full`: as many events are uncommitted as [`DomainBuilder::max_uncommitted`] allows.
    /// `Closed`: a shutdown has begun, and the calling thread is not a worker. Both hand `f` back.
    #[track_caller]
    pub fn try_anon<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InAnon<S>) + Send + 'static,
    {
        self.try_closure(Needs::ANON, f, WholeAnon, WholeAnon, Site::caller())
    }

    /// Posts an event in none, as [`none`](Self::none), unless too many are uncommitted.
    ///
    /// # Errors
    ///
    /// `Full`: as many events are uncommitted as [`DomainBuilder::max_uncommitted`] allows.
    /// `Closed`: a shutdown has begun, and the calling thread is not a worker. Both hand `f` back.
    #[track_caller]
    pub fn try_none<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InNone<S>) + Send + 'static,
    {
        self.try_closure(Needs::none(Context::None), f, WholeNone, WholeNone, Site::caller())
    }

    /// Posts an event of several steps, as [`event`](Self::event), unless too many are uncommitted.
    ///
    /// # Errors
    ///
    /// `Full`: as many events are uncommitted as [`DomainBuilder::max_uncommitted`] allows.
    /// `Closed`: a shutdown has begun, and the calling thread is not a worker. Both hand `f` back.
    #[track_caller]
    pub fn try_event<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(NoneCx<S, MayGlobal>) -> Done + Send + 'static,
    {
        type Step<F> = NoneStep<MayGlobal, F>;
        let entry = Needs::of::<MayGlobal>();
        self.try_closure(entry, f, Step::new, Step::new, Site::caller())
    }

    /// Posts an event of several steps that stays out of global, as
    /// [`event_anon`](Self::event_anon), unless too many are uncommitted.
    ///
    /// # Errors
    ///
    /// `Full`: as many events are uncommitted as [`DomainBuilder::max_uncommitted`] allows.
    /// `Closed`: a shutdown has begun, and the calling thread is not a worker. Both hand `f` back.
    #[track_caller]
    pub fn try_event_anon<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(NoneCx<S, MayAnon>) -> Done + Send + 'static,
    {
        type Step<F> = NoneStep<MayAnon, F>;
        let entry = Needs::of::<MayAnon>();
        self.try_closure(entry, f, Step::new, Step::new, Site::caller())
    }

    /// Posts `f` to a color when less than the [most](DomainBuilder::max_uncommitted) events are
    /// uncommitted, which may be at once. There may be none left when it runs.
    #[track_caller]
    pub fn when_room<F: FnOnce(&mut Cx) + Send + 'static>(&self, color: &Color, f: F) {
        if is_large::<F>() {
            return self.when_room(color, Box::new(f) as Box<dyn FnOnce(&mut Cx) + Send>);
        }
        let (color, site) = (color.clone(), Site::caller());
        // It holds a handle, so that the domain is there while somebody waits.
        let waiter = Room { domain: self.clone(), color, f, site };
        waiter.wait();
    }

    /// How many events have not committed.
    pub fn uncommitted(&self) -> usize {
        self.0.store.with(|store| store.order().uncommitted())
    }

    /// Says whether as many events are uncommitted as there [should
    /// be](DomainBuilder::max_uncommitted) at most.
    pub fn is_full(&self) -> bool {
        self.0.store.with(|store| store.order().is_full())
    }

    /// Says whether the state is poisoned for the event that enters next.
    pub fn is_poisoned(&self) -> bool {
        self.0.store.with(|store| store.order().is_poisoned())
    }

    /// How readers and writers get along.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// A handle of the runtime that the domain belongs to.
    pub fn runtime(&self) -> Handle {
        Handle::new(self.0.core.clone())
    }
}

impl<S: Send + Sync + 'static> Clone for Domain<S> {
    fn clone(&self) -> Self {
        Domain::of(self.0)
    }
}

impl<S: Send + Sync + 'static> Drop for Domain<S> {
    fn drop(&mut self) {
        self.0.drop_handle();
    }
}

impl<S: Send + Sync + 'static> fmt::Debug for Domain<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("label", &self.0.label)
            .field("mode", &self.mode())
            .field("uncommitted", &self.uncommitted())
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
