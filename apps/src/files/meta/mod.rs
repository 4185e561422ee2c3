//! The metadata of the folder: locks, dead properties, and the changes that are under way.
//!
//! The metadata is one [`Domain`]. Requests that read it run in parallel in anon. Requests that
//! change it are in global, in the order of their tickets.
//!
//! * [`locks`]: the table of locks.
//! * [`claims`]: changes of the folder that are under way.
//! * [`store`]: dead properties, on disk.
//!
//! File contents never pass through the domain, and nothing in it blocks. A change of the folder or
//! of the store is made outside of the domain, under a claim, and its outcome is a step in global.

pub(super) mod claims;
pub(super) mod locks;
pub(super) mod store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dapple::{Domain, Handle};
use futures_channel::oneshot;

use self::claims::{Area, Claims};
use self::locks::Locks;
use self::store::{Store, StoreError, View};

/// The state of the domain. It is cheap to clone, because its large parts are shared until they
/// change.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) locks: Arc<Locks>,
    /// The properties as of the last change of the store.
    pub(super) properties: Arc<View>,
    /// The number of that view. Views are numbered before they are taken.
    view: u64,
    claims: Claims,
    /// The changes that wait for their claims.
    waiting: Vec<(u64, Arc<Given>)>,
}

impl State {
    pub(super) fn locks_mut(&mut self) -> &mut Locks {
        Arc::make_mut(&mut self.locks)
    }
}

/// The way to notify a change that waits for its claim. It is used once, when the event that grants
/// the claim commits.
#[derive(Debug)]
struct Given(Mutex<Option<oneshot::Sender<Arc<Locks>>>>);

impl Given {
    fn tell(&self, locks: &Arc<Locks>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A change that has given up cannot be notified.
        sender.map(|sender| sender.send(Arc::clone(locks)));
    }
}

/// The error that the domain has ended, or that one of its events panicked.
#[derive(Debug)]
pub(super) struct Gone;

/// A handle to the domain and to the store.
#[derive(Debug)]
pub(super) struct Meta {
    domain: Domain<State>,
    handle: Handle,
    store: Arc<Store>,
    next_claim: AtomicU64,
    next_view: AtomicU64,
}

impl Meta {
    pub(super) fn new(handle: &Handle, store: Store) -> Result<Arc<Meta>, StoreError> {
        let state = State {
            locks: Arc::default(),
            properties: Arc::new(store.view()?),
            view: 0,
            claims: Claims::default(),
            waiting: Vec::new(),
        };
        // If a step panics, its changes of the state are undone.
        let domain = Domain::builder().label("metadata").transactional().snapshot(handle, state);
        let (handle, store, next_claim) = (handle.clone(), Arc::new(store), AtomicU64::new(0));
        let next_view = AtomicU64::new(1);
        Ok(Arc::new(Meta { domain, handle, store, next_claim, next_view }))
    }

    /// Returns the store. Its changes are made under a claim of their paths, and are published by
    /// [`Meta::changed`].
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Reads the state, in anon.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] if the domain has ended or the event panicked.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&State) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (tell, told) = oneshot::channel();
        self.domain.anon(move |a| {
            let found = f(a.state());
            a.defer(move |_| drop(tell.send(found)));
        });
        told.await.map_err(|_| Gone)
    }

    /// Changes the state, in global.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] if the domain has ended or the event panicked.
    pub(super) async fn change<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut State) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (tell, told) = oneshot::channel();
        self.domain.global(move |g| {
            let found = f(g.state_mut());
            g.defer(move |_| drop(tell.send(found)));
        });
        told.await.map_err(|_| Gone)
    }

    /// Waits until no other change has a claim on these areas. Returns the claim and the locks at
    /// that time, which stay the same or expire as long as the claim exists.
    pub(super) async fn claim(
        self: &Arc<Self>,
        areas: Vec<Area>,
    ) -> Result<(Claim, Arc<Locks>), Gone> {
        let id = self.next_claim.fetch_add(1, Ordering::Relaxed);
        let claim = Claim { id, meta: Arc::clone(self) };
        let (tell, told) = oneshot::channel();
        let given = Arc::new(Given(Mutex::new(Some(tell))));
        self.domain.global(move |g| {
            let state = g.state_mut();
            if state.claims.add(id, areas.into()) {
                let locks = Arc::clone(&state.locks);
                g.defer(move |_| given.tell(&locks));
            } else {
                state.waiting.push((id, given));
            }
        });
        let locks = told.await.map_err(|_| Gone)?;
        Ok((claim, locks))
    }

    /// Publishes a change of the store, so that later readers see it.
    pub(super) async fn changed(&self) -> Result<(), Gone> {
        let (store, ticket) =
            (Arc::clone(&self.store), self.next_view.fetch_add(1, Ordering::Relaxed));
        match self.handle.offload(move || store.view()).await {
            // A later view may have been published first.
            Ok(Ok(view)) => {
                self.change(move |state| {
                    if state.view < ticket {
                        (state.view, state.properties) = (ticket, Arc::new(view));
                    }
                })
                .await
            }
            Ok(Err(error)) => {
                tracing::error!("{error}");
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }

    /// Reopens the store after a disk error. If that fails, the caller has to try again later.
    pub(super) async fn heal(&self) -> Result<(), Gone> {
        self.change(|state| state.properties = Arc::new(state.properties.emptied())).await?;
        let store = Arc::clone(&self.store);
        match self.handle.offload(move || store.reopen()).await {
            Ok(Ok(())) => {
                tracing::warn!("the property store works again");
                self.changed().await
            }
            Ok(Err(error)) => {
                tracing::warn!("{error}");
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }
}

/// The right to change what is in some areas, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    id: u64,
    meta: Arc<Meta>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let id = self.id;
        self.meta.domain.global(move |g| {
            let state = g.state_mut();
            state.waiting.retain(|(waiting, _)| *waiting != id);
            let given = state.claims.remove(id);
            let (told, waiting) = std::mem::take(&mut state.waiting)
                .into_iter()
                .partition(|(waiting, _)| given.contains(waiting));
            state.waiting = waiting;
            let locks = Arc::clone(&state.locks);
            let told: Vec<(u64, Arc<Given>)> = told;
            g.defer(move |_| told.iter().for_each(|(_, given)| given.tell(&locks)));
        });
    }
}
