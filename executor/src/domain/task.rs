//! Events of a domain as async tasks.
//!
//! A spawned event takes its ticket at once, like any other event. Its future is made when the
//! event begins, in none, and gets the token. Sections in global are closures, which the domain
//! runs like steps. The future waits for a section by a promise. So a token is in one place at a
//! time: in a step of the domain, or in the future, which may keep it across an `.await` unless it
//! is a token in global.
//!
//! *Cancelling* is dropping the future. A token in the future is released like any token that is
//! dropped without a commit. While the event waits for a section, the token is in the domain, where
//! it stays until its turn. If nobody waits by then, the section does not run, and the event ends
//! as if it had panicked in none. A section that has begun is finished.

use std::future::Future;

use super::contexts::{MayAnon, MayGlobal, NoneCx, NoneOnly, Rights};
use super::event_id::EventId;
use super::fate::{Fate, Fated};
use super::handle::Domain;
use super::held::Holding;
use super::part::Part;
use super::post::Needs;
use super::token::Token;
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::runtime::core::{Core, CoreRef};
use crate::site::Site;
use crate::sync::Arc;
use crate::task::join::JoinHandle;
use crate::task::packet::{Promise, promise};
use crate::task::register::Key;
use crate::task::spawn::spawn_reserved;
use crate::turn::local::Local;

/// An event that makes its future when it begins.
struct Begin<R, F, T> {
    f: F,
    key: Key,
    promise: Promise<T>,
    fate: Arc<Fate>,
    site: Site,
    rights: std::marker::PhantomData<fn(R)>,
}

impl<S, R, F, Fut> Part<S> for Begin<R, F, Fut::Output>
where
    S: Send + Sync + 'static,
    R: Rights,
    F: FnOnce(NoneCx<S, R>) -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        let Begin { f, key, mut promise, fate, site, .. } = self;
        let core = &cx.local().core;
        if !core.tasks.has(key) {
            // The task was aborted before it began.
            return drop(token);
        }
        promise.drop_means_panic();
        let gone = ReservedKey(core, Some(key));
        let event_id = token.event_id();
        let at = CoreRef::of(core);
        let future =
            Holding::make(event_id, || Fated::make(fate, event_id, at, || f(NoneCx::new(token))));
        promise.drop_means_cancel();
        gone.made();
        match is_large::<Fut>() {
            true => spawn_reserved(core, None, key, Box::pin(future), promise, site),
            false => spawn_reserved(core, None, key, future, promise, site),
        }
    }

    fn fate(&self) -> Option<Arc<Fate>> {
        Some(Arc::clone(&self.fate))
    }
}

/// The reserved place of a task, which is given up unless the task is made.
struct ReservedKey<'a>(&'a Core, Option<Key>);

impl ReservedKey<'_> {
    fn made(mut self) {
        self.1 = None;
    }
}

impl Drop for ReservedKey<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.1 {
            self.0.tasks.abort(key);
        }
    }
}

impl<S: Send + Sync + 'static> Domain<S> {
    fn spawn_as<R, F, Fut>(&self, f: F, site: Site) -> JoinHandle<Fut::Output>
    where
        R: Rights,
        F: FnOnce(NoneCx<S, R>) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        if is_large::<F>() {
            let f = Box::new(f) as Box<dyn FnOnce(NoneCx<S, R>) -> Fut + Send>;
            return self.spawn_as(f, site);
        }
        let core = &self.0.core;
        let (promise, packet) = promise();
        let key = core.tasks.reserve(Local::index_on(core));
        let core = CoreRef::of(core);
        let rights = std::marker::PhantomData::<fn(R)>;
        let begin = Begin { f, key, promise, fate: Fate::new(), site, rights };
        let ticket = self.post(Needs::of::<R>(), begin, site);
        let waits_for = ticket.map(|ticket| EventId::new(self.0.address(), ticket));
        if waits_for.is_none() {
            core.tasks.abort(key);
        }
        JoinHandle::of_domain(packet, core, key, waits_for)
    }

    /// Posts an event that is an async task, and returns a handle to its output.
    ///
    /// `f` gets the token when the event begins, in none, and makes the future. The event may go up
    /// to global. While it may still enter global, later events cannot enter global or anon.
    ///
    /// The future has no color, and its polls run in parallel with everything else. It enters
    /// global by [`NoneCx::global`] and anon by [`NoneCx::anon`], and ends its event by awaiting a
    /// `commit`.
    ///
    /// While the future owns its token, it must not wait for anything outside the domain, because
    /// every event behind it would wait, too. (In anon it may wait for a timer that stands for a
    /// computation.) It must not wait for another domain either, or for an event with a later
    /// ticket: debug builds panic at such a wait.
    ///
    /// # Errors
    ///
    /// Awaiting the handle returns an error if the event panicked or was aborted. Poison does not
    /// end the future: the wait for a section or a commit returns the error, and the future may
    /// pass it on. If the future does not await its commit, the handle waits for it, and returns an
    /// error if the event was poisoned so that nothing of what it deferred runs. The handle does
    /// not wait for a token that the future gave away.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![1]);
    /// let task = d.spawn(|n| async move {
    ///     let (len, mut a) = n.global(|g| {
    ///         g.state_mut().push(2);
    ///         g.state().len()
    ///     })
    ///     .await?;
    ///     let sum: i32 = a.state().iter().sum();
    ///     a.defer(move |_| println!("in the order of tickets"));
    ///     a.commit().await?;
    ///     Ok::<_, dapple::JoinError>((len, sum))
    /// });
    /// assert_eq!(rt.block_on(task).unwrap(), Ok((2, 3)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F, Fut>(&self, f: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(NoneCx<S, MayGlobal>) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.spawn_as(f, Site::caller())
    }

    /// Posts an event that is an async task and may go up to anon; see [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![1, 2]);
    /// let task = d.spawn_anon(|n| async move {
    ///     let a = n.anon().await?;
    ///     let sum: i32 = a.state().iter().sum();
    ///     a.commit().await?;
    ///     Ok::<_, dapple::JoinError>(sum)
    /// });
    /// assert_eq!(rt.block_on(task), Ok(Ok(3)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_anon<F, Fut>(&self, f: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(NoneCx<S, MayAnon>) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.spawn_as(f, Site::caller())
    }

    /// Posts an event that is an async task and stays in none; see [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_none<F, Fut>(&self, f: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(NoneCx<S, NoneOnly>) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.spawn_as(f, Site::caller())
    }
}
