//! How the token of an async event gets to another context and back: sections in global, anon,
//! sub-events, and the commit.
//!
//! The token leaves the future in a step of the domain, and a promise returns it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use dapple_colors::Context;

use super::contexts::{AnonCx, InGlobal, MayGlobal, NoneCx, ReachesAnon, Rights};
use super::done::Done;
use super::event_id::EventId;
use super::held;
use super::part::Part;
use super::token::{StepEnd, Token};
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::site::Site;
use crate::sync::Arc;
use crate::task::error::JoinError;
use crate::task::packet::{Packet, Promise, promise};

/// A section in global, and the promise of its result.
struct Section<F, T> {
    f: F,
    promise: Promise<T>,
    site: Site,
}

impl<S, F, T> Part<S> for Section<F, (T, AnonCx<S>)>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    F: FnOnce(&mut InGlobal<S>) -> T + Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        let Section { f, mut promise, site } = self;
        if !promise.is_awaited() {
            return token.cancel();
        }
        promise.drop_means_panic();
        let mut g = InGlobal::new(token);
        let value = f(&mut g);
        promise.drop_means_cancel();
        let part = HandOver { promise, value };
        g.token.then(StepEnd::Downgrade, part, site).carry_out(cx);
    }

    fn note_covered(&mut self) {
        self.promise.drop_means_poison();
    }
}

/// The first half of a section in global, before the event is alone (I9).
struct Before<F, G, T> {
    f: F,
    alone: G,
    promise: Promise<T>,
    site: Site,
}

impl<S, F, G, B, T> Part<S> for Before<F, G, (T, AnonCx<S>)>
where
    S: Send + Sync + 'static,
    B: Send + 'static,
    T: Send + 'static,
    F: FnOnce(&mut InGlobal<S>) -> B + Send + 'static,
    G: FnOnce(&mut InGlobal<S>, B) -> T + Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        let Before { f, alone, mut promise, site } = self;
        if !promise.is_awaited() {
            return token.cancel();
        }
        promise.drop_means_panic();
        let mut g = InGlobal::new(token);
        let before = f(&mut g);
        promise.drop_means_cancel();
        let part = Alone { alone, before, promise, site };
        g.token.then(StepEnd::Alone, part, site).carry_out(cx);
    }

    fn note_covered(&mut self) {
        self.promise.drop_means_poison();
    }
}

/// The second half of a section in global, while the event is alone (I9).
struct Alone<G, B, T> {
    alone: G,
    before: B,
    promise: Promise<T>,
    site: Site,
}

impl<S, G, B, T> Part<S> for Alone<G, B, (T, AnonCx<S>)>
where
    S: Send + Sync + 'static,
    B: Send + 'static,
    T: Send + 'static,
    G: FnOnce(&mut InGlobal<S>, B) -> T + Send + 'static,
{
    fn run(self, token: Token<S>, cx: &mut Cx) {
        let Alone { alone, before, mut promise, site } = self;
        promise.drop_means_panic();
        let mut g = InGlobal::new(token);
        let value = alone(&mut g, before);
        promise.drop_means_cancel();
        let part = HandOver { promise, value };
        g.token.then(StepEnd::Downgrade, part, site).carry_out(cx);
    }

    fn note_covered(&mut self) {
        self.promise.drop_means_poison();
    }
}

/// Returns the token of an event in anon to its future, with the value of a section.
struct HandOver<V, T> {
    promise: Promise<T>,
    value: V,
}

impl<S, V> Part<S> for HandOver<V, (V, AnonCx<S>)>
where
    S: Send + Sync + 'static,
    V: Send + 'static,
{
    fn run(self, token: Token<S>, _: &mut Cx) {
        self.promise.keep(Ok((self.value, AnonCx::new(token))));
    }
}

/// Returns the token of an event in anon to its future, without a value.
struct HandAnon<T>(Promise<T>);

impl<S: Send + Sync + 'static> Part<S> for HandAnon<AnonCx<S>> {
    fn run(self, token: Token<S>, _: &mut Cx) {
        self.0.keep(Ok(AnonCx::new(token)));
    }

    fn note_covered(&mut self) {
        self.0.drop_means_poison();
    }
}

/// Returns the token of a sub-event, which has begun in none, to the future.
struct HandNone<T>(Promise<T>);

impl<S: Send + Sync + 'static> Part<S> for HandNone<NoneCx<S, MayGlobal>> {
    fn run(self, token: Token<S>, _: &mut Cx) {
        self.0.keep(Ok(NoneCx::new(token)));
    }

    fn note_covered(&mut self) {
        self.0.drop_means_poison();
    }
}

/// A future that returns the token of an async event when the event is in the context it asked for.
///
/// Dropping the future cancels the event. A section that has begun is finished.
///
/// See [`Domain::spawn`](crate::Domain::spawn) for an example.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Reaching<T> {
    packet: Arc<Packet<T>>,
    /// The event that waits, until its token has come back.
    event_id: Option<EventId>,
}

impl<T: held::ReturnsToken> Future for Reaching<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(event_id) = this.event_id {
            event_id.check();
        }
        let outcome = this.packet.poll(cx);
        if let Poll::Ready(outcome) = &outcome {
            if let Some(event_id) = this.event_id.take() {
                event_id.ends();
                match outcome {
                    Ok(token) => event_id.comes_back(token.event_id()),
                    Err(_) => event_id.note_told(),
                }
            }
            if let Ok(token) = outcome {
                token.event_id().begins();
            }
        }
        outcome
    }
}

impl<T> Drop for Reaching<T> {
    fn drop(&mut self) {
        self.event_id.take().inspect(EventId::ends);
    }
}

impl<T> std::fmt::Debug for Reaching<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reaching").finish_non_exhaustive()
    }
}

/// Hands the token to the domain for `what`, and returns the future to which `part` returns it.
fn reach<S, T, K>(
    token: Token<S>,
    what: StepEnd,
    part: impl FnOnce(Promise<T>) -> K,
    site: Site,
) -> Reaching<T>
where
    S: Send + Sync + 'static,
    K: Part<S>,
{
    let event_id = token.event_id();
    let (promise, packet) = promise();
    // The drop queues it.
    drop(token.then(what, part(promise), site));
    // The task still holds the ticket while it waits.
    event_id.begins();
    Reaching { packet, event_id: Some(event_id) }
}

impl<S: Send + Sync + 'static> NoneCx<S, MayGlobal> {
    /// Enters global, runs `f` there, and goes on in anon (for async events).
    ///
    /// `f` runs when no earlier event is in global, or may still enter global or anon. In
    /// read_write mode it also waits until all earlier events have left anon. The future returns
    /// the value of `f`, and the token of the event in anon.
    ///
    /// See [`Domain::spawn`](crate::Domain::spawn) for an example.
    ///
    /// # Errors
    ///
    /// The future returns an error if `f` panicked, if an earlier event has poisoned the domain, or
    /// if the runtime stops.
    #[track_caller]
    pub fn global<T, F>(self, f: F) -> Reaching<(T, AnonCx<S>)>
    where
        T: Send + 'static,
        F: FnOnce(&mut InGlobal<S>) -> T + Send + 'static,
    {
        if is_large::<F>() {
            return self.global(Box::new(f) as Box<dyn FnOnce(&mut InGlobal<S>) -> T + Send>);
        }
        let site = Site::caller();
        let part = |promise| Section { f, promise, site };
        reach(self.token, StepEnd::Upgrade(Context::Global), part, site)
    }

    /// Enters global for `before`, and has the domain to itself for `alone` (for async events).
    ///
    /// After `before`, all earlier events commit, and the actions that this event has deferred run.
    /// Then `alone` runs with the value of `before`, and may do what cannot be deferred (I9). The
    /// future returns the value of `alone`, and the token of the event in anon.
    ///
    /// # Errors
    ///
    /// The future returns an error if `before` or `alone` panicked, if an earlier event has
    /// poisoned the domain, or if the runtime stops.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let d = dapple::Domain::snapshot(&rt.handle(), vec![]);
    /// let task = d.spawn(|n| async move {
    ///     let (id, a) = n.global_exclusive(|g| g.state().len(), |g, id| {
    ///         println!("made entry {id}");        // cannot be undone, and is not deferred
    ///         g.state_mut().push(id);
    ///         id
    ///     })
    ///     .await?;
    ///     a.commit().await?;
    ///     Ok::<_, dapple::JoinError>(id)
    /// });
    /// assert_eq!(rt.block_on(task), Ok(Ok(0)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn global_exclusive<B, T, F, G>(self, before: F, alone: G) -> Reaching<(T, AnonCx<S>)>
    where
        B: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut InGlobal<S>) -> B + Send + 'static,
        G: FnOnce(&mut InGlobal<S>, B) -> T + Send + 'static,
    {
        if is_large::<F>() || is_large::<G>() {
            let before = Box::new(before) as Box<dyn FnOnce(&mut InGlobal<S>) -> B + Send>;
            let alone = Box::new(alone) as Box<dyn FnOnce(&mut InGlobal<S>, B) -> T + Send>;
            return self.global_exclusive(before, alone);
        }
        let site = Site::caller();
        let part = |promise| Before { f: before, alone, promise, site };
        reach(self.token, StepEnd::Upgrade(Context::Global), part, site)
    }
}

impl<S: Send + Sync + 'static, R: ReachesAnon> NoneCx<S, R> {
    /// Enters anon (for async events).
    ///
    /// The event enters when no earlier event is in global, or may still enter it. The future
    /// returns the token of the event in anon.
    ///
    /// See [`Domain::spawn_anon`](crate::Domain::spawn_anon) for an example.
    ///
    /// # Errors
    ///
    /// The future returns an error if an earlier event has poisoned the domain, or if the runtime
    /// stops.
    #[track_caller]
    pub fn anon(self) -> Reaching<AnonCx<S>> {
        let site = Site::caller();
        reach(self.token, StepEnd::Upgrade(Context::Anon), HandAnon, site)
    }
}

macro_rules! commits {
    ($name:ident [$($rights:ident)?]) => {
        impl<S: Send + Sync + 'static $(, $rights: Rights)?> $name<S $(, $rights)?> {
            /// Commits, and goes on as a sub-event (for async events).
            ///
            /// The sub-event takes its ticket when this event has committed, begins in none, and
            /// may go up to global. The future returns the token of the sub-event.
            ///
            /// # Errors
            ///
            /// The future returns an error if an earlier event has poisoned the domain, or if the
            /// runtime stops.
            ///
            /// # Examples
            ///
            /// ```
            /// let rt = dapple::Runtime::new()?;
            /// let d = dapple::Domain::snapshot(&rt.handle(), 0);
            /// let task = d.spawn(|n| async move {
            ///     let ((), a) = n.global(|g| *g.state_mut() += 1).await?;
            ///     let n = a.commit_next().await?;     // other events may come in between
            ///     let (sum, a) = n.global(|g| {
            ///         *g.state_mut() += 1;
            ///         *g.state()
            ///     })
            ///     .await?;
            ///     a.commit().await?;
            ///     Ok::<_, dapple::JoinError>(sum)
            /// });
            /// assert_eq!(rt.block_on(task), Ok(Ok(2)));
            /// # Ok::<(), std::io::Error>(())
            /// ```
            #[track_caller]
            pub fn commit_next(self) -> Reaching<NoneCx<S, MayGlobal>> {
                let what = StepEnd::Commit(MayGlobal::HIGHEST);
                reach(self.token, what, HandNone, Site::caller())
            }
        }
    };
}

commits!(NoneCx[R]);
commits!(AnonCx[]);

/// A future that ends when an async event has committed, and its deferred actions have run.
///
/// See [`Domain::spawn`](crate::Domain::spawn) for an example.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Committing(Option<CommitPacket>);

/// The packet of a commit, and the event that commits.
struct CommitPacket(Arc<Packet<()>>, EventId);

impl std::fmt::Debug for CommitPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CommitPacket")
    }
}

impl IntoFuture for Done {
    type Output = Result<(), JoinError>;
    type IntoFuture = Committing;

    /// Carries out the step, and returns a future of the commit.
    ///
    /// After a `commit` the future ends when the event has committed. It returns an error if poison
    /// covered the event, or if the runtime stops. After any other step it ends at once.
    fn into_future(mut self) -> Committing {
        let (promise, packet) = promise();
        let committing = self.notify(promise).map(|event_id| CommitPacket(packet, event_id));
        drop(self);
        Committing(committing)
    }
}

impl Future for Committing {
    type Output = Result<(), JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &self.0 {
            Some(CommitPacket(packet, event_id)) => {
                let outcome = packet.poll(cx);
                if let Poll::Ready(Err(_)) = outcome {
                    event_id.note_told();
                }
                outcome
            }
            None => Poll::Ready(Ok(())),
        }
    }
}
