//! The handle of a domain, by which events are posted to it.

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

/// A state, and events that use it in parallel, with the results of a serial order.
///
/// Every event takes a *ticket* when it is posted. The context of the event says what it may do
/// with the state:
///
/// * In *global* it reads and writes the state, and no other event is in global.
/// * In *anon* it reads the state, in parallel with other events.
/// * In *none* it does not use the state, and runs in parallel with all other events.
///
/// An event may downgrade from global to anon, which lets other events in while it goes on. Effects
/// are *deferred*: they run when the event commits, and events commit in the order of their
/// tickets. So the state, the reads and the effects are those of the events run one after the other
/// by ticket, however they ran in parallel. This holds as long as events are deterministic, defer
/// their effects, and post only by deferred actions (I13).
///
/// A `Domain` is a handle, which can be cloned and sent to any thread. When the last handle is gone
/// and every event has committed, the state is dropped.
///
/// # Panics in events
///
/// An event that panics commits in its place. If it had been in global and left it by a downgrade,
/// the actions that it deferred before the downgrade still run. All others are dropped.
///
/// An event that panics *in* global *poisons* the domain, unless the domain is
/// [transactional](DomainBuilder::transactional). The events behind it are dropped and counted, up
/// to the next [`clear_poison`](Self::clear_poison). Some of them may already have run in none. The
/// actions that they deferred there are dropped, too, so that nobody can tell. A token that is
/// dropped without a commit counts as a panic.
///
/// # Waiting
///
/// An event that waits for its turn is a closure in a queue, and blocks no thread. Every wait is
/// for an event with a smaller ticket, so there is no deadlock. An event must not wait for
/// something outside the domain while it owns its ticket, because every event behind it would wait,
/// too. Wait for a socket or a timer before the event is posted, or in a deferred action.
///
/// # Examples
///
/// ```
/// use dapple::{Domain, Runtime};
/// let rt = Runtime::new()?;
/// let d = Domain::snapshot(&rt.handle(), 0u64);
/// for _ in 0..100 {
///     d.event(|n| n.upgrade_global_then(|mut g| {
///         *g.state_mut() += 1;                                   // the only event in global
///         g.downgrade_then(|mut a| {
///             let n = *a.state(); // in parallel with the next event in global
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
    /// Returns a builder of a domain, for a state of any type.
    ///
    /// See [`DomainBuilder`] for an example.
    pub fn builder() -> DomainBuilder {
        DomainBuilder::new()
    }
}

impl<S: Send + Sync + 'static> Domain<S> {
    /// Opens a domain in snapshot mode: readers keep a version while the next event writes.
    ///
    /// The state is copied only if an event still reads it when the next one writes. So its clones
    /// should be cheap, and they must be independent of each other.
    ///
    /// See [`Domain`] for an example.
    pub fn snapshot(handle: &Handle, state: S) -> Self
    where
        S: Clone,
    {
        DomainBuilder::new().snapshot(handle, state)
    }

    /// Opens a domain in read_write mode: a writer waits until all earlier readers are done.
    ///
    /// The state is never copied.
    ///
    /// # Examples
    ///
    /// ```
    /// struct Log { lines: Vec<String> }       // need not be `Clone`
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::read_write(&rt.handle(), Log { lines: Vec::new() });
    /// d.global(|g| g.state_mut().lines.push("started".into()));
    /// d.anon(|a| assert_eq!(a.state().lines, ["started"]));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read_write(handle: &Handle, state: S) -> Self {
        DomainBuilder::new().read_write(handle, state)
    }

    /// Creates the first handle of a domain.
    pub(super) fn first(domain: DomainPtr<S>) -> Self {
        Domain(domain)
    }

    /// Creates one more handle. The caller has a handle or a ticket.
    pub(super) fn of(domain: DomainPtr<S>) -> Self {
        domain.handles.add(&domain.store);
        Domain(domain)
    }

    /// Posts an event that runs in global: it reads and writes the state, and is alone in global.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![1, 2]);
    /// d.global(|g| g.state_mut().push(3));                    // alone in global
    /// d.anon(|a| {                                            // in parallel with other readers
    ///     let sum: i32 = a.state().iter().sum();
    ///     a.defer(move |_| assert_eq!(sum, 6));
    /// });
    /// d.none(|n| n.defer(|_| println!("after the sum")));     // does not use the state
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn global<F: FnOnce(&mut InGlobal<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.global(Box::new(f) as Box<dyn FnOnce(&mut InGlobal<S>) + Send>);
        }
        self.post(Needs::GLOBAL, WholeGlobal(f), Site::caller());
    }

    /// Posts an event that runs in anon: it reads the state, in parallel with other readers.
    ///
    /// It reads the state that the last earlier event in global left.
    ///
    /// See [`global`](Self::global) for an example.
    #[track_caller]
    #[inline]
    pub fn anon<F: FnOnce(&mut InAnon<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.anon(Box::new(f) as Box<dyn FnOnce(&mut InAnon<S>) + Send>);
        }
        self.post(Needs::ANON, WholeAnon(f), Site::caller());
    }

    /// Posts an event that runs in none: it does not use the state.
    ///
    /// It does not delay the entry of other events. Its deferred actions have their place in the
    /// order.
    ///
    /// See [`global`](Self::global) for an example.
    #[track_caller]
    #[inline]
    pub fn none<F: FnOnce(&mut InNone<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.none(Box::new(f) as Box<dyn FnOnce(&mut InNone<S>) + Send>);
        }
        self.post(Needs::none(Context::None), WholeNone(f), Site::caller());
    }

    /// Posts an event of several steps, which begins in none and may go up to global.
    ///
    /// While it may still enter global, later events cannot enter global or anon.
    ///
    /// See [`Domain`] for an example.
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
    ///
    /// See [`AnonCx::then`] for an example.
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

    /// Posts an event of several steps, which begins in none and may go up to anon.
    ///
    /// While it may still enter anon, later events cannot enter global.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![4, 9]);
    /// d.event_anon(|n| {
    ///     let limit: i32 = (1..=10).sum();        // does not use the state
    ///     n.upgrade_anon_then(move |a| {
    ///         assert!(a.state().iter().all(|&number| number < limit));
    ///         a.commit()
    ///     })
    /// });
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Posts an event of several steps that stays in none.
    ///
    /// It does not delay the entry of other events. Its sub-events may go higher.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![]);
    /// d.event_none(|n| {
    ///     let sum: i32 = (1..=100).sum();         // a long computation, for which nobody waits
    ///     n.commit_then(move |n| n.upgrade_global_then(move |mut g| {
    ///         g.state_mut().push(sum);
    ///         g.commit()
    ///     }))
    /// });
    /// rt.wait_idle();
    /// d.anon(|a| assert_eq!(*a.state(), [5_050]));
    /// # rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Posts an event of several steps whose contexts are chosen at run time; see [`DynCx`].
    ///
    /// It begins in none, and may go up to `highest`.
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

    /// Posts an event whose contexts are chosen at run time, and names `site` in reports.
    ///
    /// In reports, `site` is the place that posted the event and asked for each of its steps. See
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

    /// Posts an event in global that repairs the state and ends the poison.
    ///
    /// It runs even if the domain is poisoned, and the events behind it run again, unless it panics
    /// itself. If the domain is not poisoned, it is an event in global like any other.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::read_write(&rt.handle(), 1);
    /// d.global(|g| {
    ///     *g.state_mut() = 7;
    ///     panic!("halfway");
    /// });
    /// d.anon(|_| unreachable!("the state is poisoned, so this is dropped unrun"));
    /// d.clear_poison(|g| *g.state_mut() = 0);
    /// d.anon(|a| assert_eq!(*a.state(), 0));
    /// rt.wait_idle();
    /// assert!(!d.is_poisoned());
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (1, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn clear_poison<F: FnOnce(&mut InGlobal<S>) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.clear_poison(Box::new(f) as Box<dyn FnOnce(&mut InGlobal<S>) + Send>);
        }
        self.post(Needs::REPAIR, WholeGlobal(f), Site::caller());
    }

    /// Posts an event in global, as [`global`](Self::global) does, unless the domain is full.
    ///
    /// # Errors
    ///
    /// Returns `Full` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, and `Closed` if a shutdown has begun and the calling thread runs no work of this
    /// runtime. Both errors contain `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::builder().max_uncommitted(10).read_write(&rt.handle(), 0);
    /// let mut refused = 0;
    /// for _ in 0..1_000 {
    ///     if let Err(full) = d.try_global(|g| *g.state_mut() += 1) {
    ///         assert!(full.is_full());
    ///         refused += 1;
    ///     }
    /// }
    /// d.anon(move |a| assert_eq!(*a.state() + refused, 1_000));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn try_global<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InGlobal<S>) + Send + 'static,
    {
        self.try_closure(Needs::GLOBAL, f, WholeGlobal, WholeGlobal, Site::caller())
    }

    /// Posts an event in anon, as [`anon`](Self::anon) does, unless the domain is full.
    ///
    /// See [`try_global`](Self::try_global) for an example.
    ///
    /// # Errors
    ///
    /// Returns `Full` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, and `Closed` if a shutdown has begun and the calling thread runs no work of this
    /// runtime. Both errors contain `f`.
    #[track_caller]
    pub fn try_anon<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InAnon<S>) + Send + 'static,
    {
        self.try_closure(Needs::ANON, f, WholeAnon, WholeAnon, Site::caller())
    }

    /// Posts an event in none, as [`none`](Self::none) does, unless the domain is full.
    ///
    /// See [`try_global`](Self::try_global) for an example.
    ///
    /// # Errors
    ///
    /// Returns `Full` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, and `Closed` if a shutdown has begun and the calling thread runs no work of this
    /// runtime. Both errors contain `f`.
    #[track_caller]
    pub fn try_none<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut InNone<S>) + Send + 'static,
    {
        self.try_closure(Needs::none(Context::None), f, WholeNone, WholeNone, Site::caller())
    }

    /// Posts an event of several steps, as [`event`](Self::event) does, unless the domain is full.
    ///
    /// See [`try_global`](Self::try_global) for an example.
    ///
    /// # Errors
    ///
    /// Returns `Full` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, and `Closed` if a shutdown has begun and the calling thread runs no work of this
    /// runtime. Both errors contain `f`.
    #[track_caller]
    pub fn try_event<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(NoneCx<S, MayGlobal>) -> Done + Send + 'static,
    {
        type Step<F> = NoneStep<MayGlobal, F>;
        let entry = Needs::of::<MayGlobal>();
        self.try_closure(entry, f, Step::new, Step::new, Site::caller())
    }

    /// Posts an event as [`event_anon`](Self::event_anon) does, unless the domain is full.
    ///
    /// See [`try_global`](Self::try_global) for an example.
    ///
    /// # Errors
    ///
    /// Returns `Full` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, and `Closed` if a shutdown has begun and the calling thread runs no work of this
    /// runtime. Both errors contain `f`.
    #[track_caller]
    pub fn try_event_anon<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(NoneCx<S, MayAnon>) -> Done + Send + 'static,
    {
        type Step<F> = NoneStep<MayAnon, F>;
        let entry = Needs::of::<MayAnon>();
        self.try_closure(entry, f, Step::new, Step::new, Site::caller())
    }

    /// Posts `f` to a color when the domain has room for an event, which may be at once.
    ///
    /// There is room when fewer events are uncommitted than [`DomainBuilder::max_uncommitted`]
    /// allows. The room may be gone again when `f` runs. If the runtime stops first, `f` is dropped
    /// unrun.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Color, Domain};
    /// fn deliver(d: &Domain<u32>, color: &Color) {
    ///     if d.try_global(|g| *g.state_mut() += 1).is_err() {
    ///         let (also_d, also_color) = (d.clone(), color.clone());
    ///         d.when_room(color, move |_| deliver(&also_d, &also_color));     // tries again
    ///     }
    /// }
    /// let rt = dapple::Runtime::new()?;
    /// let d = Domain::builder().max_uncommitted(2).read_write(&rt.handle(), 0);
    /// (0..100).for_each(|_| deliver(&d, &rt.handle().default_color()));
    /// rt.wait_idle();
    /// d.anon(|a| assert_eq!(*a.state(), 100));
    /// # rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn when_room<F: FnOnce(&mut Cx) + Send + 'static>(&self, color: &Color, f: F) {
        if is_large::<F>() {
            return self.when_room(color, Box::new(f) as Box<dyn FnOnce(&mut Cx) + Send>);
        }
        let (color, site) = (color.clone(), Site::caller());
        // The waiter owns a handle, which keeps the domain until there is room.
        let waiter = Room { domain: self.clone(), color, f, site };
        waiter.wait();
    }

    /// Returns the number of events that have not committed.
    pub fn uncommitted(&self) -> usize {
        self.0.store.with(|store| store.order().uncommitted())
    }

    /// Returns `true` if as many events are uncommitted as [`DomainBuilder::max_uncommitted`]
    /// allows, or more.
    pub fn is_full(&self) -> bool {
        self.0.store.with(|store| store.order().is_full())
    }

    /// Returns `true` if the state is poisoned for the event that enters next.
    pub fn is_poisoned(&self) -> bool {
        self.0.store.with(|store| store.order().is_poisoned())
    }

    /// Returns the mode of the domain: snapshot or read_write.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Returns a handle of the runtime to which the domain belongs.
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
