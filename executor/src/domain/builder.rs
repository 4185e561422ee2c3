//! How a domain is opened.

use std::marker::PhantomData;
use std::ptr::NonNull;

use dapple_colors::Mode;

use super::handle::Domain;
use super::inner::{DomainPtr, Inner};
use super::store::{Handles, Store, Version};
use crate::Handle;
use crate::lock::Lock;
use crate::runtime::core::CoreRef;
use crate::sync::{Arc, AtomicUsize, DomainStep, Ordering, domain_decides};

/// Marks a [`DomainBuilder`] whose domain keeps what an event wrote in global before it panicked.
///
/// The domain is then poisoned.
#[derive(Debug)]
pub enum Plain {}

/// Marks a [`DomainBuilder`] whose domain drops what an event wrote in global before it panicked.
#[derive(Debug)]
pub enum Transactional {}

/// A builder of a [`Domain`], for settings other than the defaults.
///
/// # Examples
///
/// ```
/// use dapple::{Domain, Runtime};
/// let rt = Runtime::new()?;
/// let d = Domain::builder()
///     .label("index")
///     .max_uncommitted(10_000)
///     .transactional()
///     .snapshot(&rt.handle(), vec![1, 2, 3]);
/// d.global(|g| {
///     g.state_mut().clear();
///     panic!("in the middle");
/// });
/// d.anon(|a| assert_eq!(a.state(), &[1, 2, 3]));
/// rt.wait_idle();
/// # assert_eq!(rt.metrics().panics(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a domain is opened only by `snapshot` or `read_write`"]
pub struct DomainBuilder<T = Plain> {
    label: Option<Arc<str>>,
    limit: usize,
    _kind: PhantomData<fn(T)>,
}

impl DomainBuilder {
    pub(super) fn new() -> Self {
        DomainBuilder { label: None, limit: usize::MAX, _kind: PhantomData }
    }

    /// Makes the domain transactional: an event in global works on a copy of the state.
    ///
    /// A panic in global leaves the state as it was before the event, and does not poison the
    /// domain, unless the event has already run alone (see
    /// [`GlobalCx::exclusive_then`](super::GlobalCx::exclusive_then)).
    ///
    /// See [`DomainBuilder`] for an example.
    pub fn transactional(self) -> DomainBuilder<Transactional> {
        DomainBuilder { label: self.label, limit: self.limit, _kind: PhantomData }
    }

    /// Opens the domain in read_write mode; see [`Domain::read_write`].
    pub fn read_write<S: Send + Sync + 'static>(self, handle: &Handle, state: S) -> Domain<S> {
        self.open(handle, Mode::ReadWrite, None, false, Version::new(state))
    }

    /// Opens the domain in snapshot mode; see [`Domain::snapshot`].
    pub fn snapshot<S>(self, handle: &Handle, state: S) -> Domain<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.open(handle, Mode::Snapshot, Some(S::clone), false, Version::new(state))
    }
}

impl DomainBuilder<Transactional> {
    /// Opens the domain in read_write mode; see [`Domain::read_write`].
    pub fn read_write<S>(self, handle: &Handle, state: S) -> Domain<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.open(handle, Mode::ReadWrite, Some(S::clone), true, Version::new(state))
    }

    /// Opens the domain in snapshot mode; see [`Domain::snapshot`].
    pub fn snapshot<S>(self, handle: &Handle, state: S) -> Domain<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.open(handle, Mode::Snapshot, Some(S::clone), true, Version::new(state))
    }
}

impl<T> DomainBuilder<T> {
    /// Names the domain in figures and reports.
    ///
    /// The steps of its events have their figures under this label, as the events of a color have
    /// under the color's; see [`ColorBuilder::label`](crate::ColorBuilder::label). The polls of its
    /// async tasks have none.
    ///
    /// See [`DomainBuilder`] for an example.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the number of uncommitted events at which the domain is full; by default it never is.
    ///
    /// While the domain is full, the `try_` forms return [`Full`](crate::TryPostError::Full), and
    /// transports stop reading. Plain posts and sub-events are accepted all the same, and those
    /// beyond the limit are counted. A limit of 0 is taken as 1.
    ///
    /// See [`Domain::try_global`] for an example.
    pub fn max_uncommitted(mut self, events: usize) -> Self {
        self.limit = events.max(1);
        self
    }

    fn open<S: Send + Sync + 'static>(
        self,
        handle: &Handle,
        mode: Mode,
        copy: Option<fn(&S) -> S>,
        transactional: bool,
        state: Box<Version<S>>,
    ) -> Domain<S> {
        let number = |label: &Arc<str>| handle.core().labels.intern(label);
        let label_number = self.label.as_ref().map_or(0, number);
        let inner = Box::new(Inner {
            core: CoreRef::of(handle.core()),
            handles: Handles::new(),
            mode,
            copy,
            transactional,
            label: self.label,
            label_number,
            key: AtomicUsize::new(0),
            store: Lock::new(Store::new(mode, self.limit, state)),
        });
        let inner = NonNull::from(Box::leak(inner));
        let domain = DomainPtr(inner);
        let key = handle.core().domains.enter(Box::new(domain), domain.label.clone());
        // Relaxed: no other thread knows the domain yet except by the register, whose readers do
        // not look at the key.
        domain.key.store(key, Ordering::Relaxed);
        domain_decides(domain.address(), 0, || DomainStep::Made(mode));
        Domain::first(domain)
    }
}
