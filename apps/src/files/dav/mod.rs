//! WebDAV (RFC 4918), classes 1, 2 and 3: from a request to its response.
//!
//! * [`call`]: the head of a request, and its conditions.
//! * [`if_header`]: the If field.
//! * [`get`], [`put`]: contents.
//! * [`kept`]: the cache of small files.
//! * [`page`]: a folder in a browser.
//! * [`tree`]: MKCOL, DELETE, COPY, MOVE.
//! * [`reaper`]: the removal of deleted data.
//! * [`propfind`], [`proppatch`]: properties.
//! * [`live`]: the properties that have an effect.
//! * [`xml`]: documents of requests and responses.
//! * [`lock`]: LOCK, UNLOCK.
//! * [`problem`](self::problem): refusals.
//!
//! A change first claims its paths in the domain of the metadata. Then it looks up, checks and
//! changes the files. It releases the claim when its outcome is in the domain. A client that goes
//! away while it waits for the claim has changed nothing. Once the claim is there, the change is
//! made even if the client goes away, because a change that has to wait continues in a task of its
//! own. The blocking parts of a change run on the blocking pool. A small change runs on the worker
//! if the file system answers at once (see [`pace`](super::pace)).
//! [`pace`](super::pace)).

pub(super) mod call;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod get;
mod if_header;
mod kept;
mod live;
mod lock;
mod page;
pub(super) mod problem;
mod propfind;
mod proppatch;
mod put;
mod reaper;
mod tree;
pub(super) mod xml;

use std::any::Any;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Handle, JoinHandle};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;

use self::call::Call;
use self::kept::SmallFiles;
use self::problem::{Outcome, Problem};
use self::reaper::Reaper;
use super::meta::Meta;
use super::meta::claims::Area;
use super::meta::locks::Locks;
use super::pace::{MadeOn, Pace};
use super::path::DavPath;
use super::share::Share;
use super::share::remove::Trash;
use crate::common::gate::{Gate, Gates};
use crate::common::https::body::{Body, Buffers};
use crate::common::https::request_body::RequestBody;
use crate::common::login::User;

/// The maximum number of bytes that are read of an unwanted body.
const MOST_LEFT: u64 = 256 * 1024 * 1024;

/// The minimum time between two attempts to reopen the store after a disk error.
const HEALED_EVERY: Duration = Duration::from_millis(500);

const ALLOW: &str =
    "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

/// A handle to a folder that is served.
#[derive(Clone)]
pub(super) struct Dav(Arc<Served>);

/// The state of a folder that is served.
pub(super) struct Served {
    share: Arc<Share>,
    meta: Arc<Meta>,
    handle: Handle,
    buffers: Buffers,
    small_files: SmallFiles,
    gates: Limits,
    pace: Arc<Pace>,
    reaper: Reaper,
    /// The names of the server.
    names: Arc<[String]>,
    /// The time of the last attempt to reopen the store.
    healed: Mutex<Option<Instant>>,
}

impl Deref for Dav {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

/// The time that the blocking part of a change may take.
#[derive(Clone, Debug)]
enum Effort {
    /// A few system calls on the small file at this path.
    Small(DavPath),
    /// Any time.
    Any,
    /// Any time, but only as many changes at once as this gate lets through.
    Through(Gate),
}

/// The limits on concurrent requests.
struct Limits {
    /// The changes of any kind, for each user.
    changes: Gates,
    /// The bodies that are being received, for each user.
    uploads: Gates,
    /// The copies and the checks of contents, for all users together.
    trees: Gate,
    /// The pages and zips of folders that are being sent, for each user.
    pages: Gates,
}

impl Dav {
    pub(super) fn new(
        share: Arc<Share>,
        meta: Arc<Meta>,
        names: &[String],
        handle: &Handle,
    ) -> Dav {
        // Half of the threads that the blocking pool has by default, so the other half stays free
        // for other work.
        let trees = (2 * handle.workers()).max(4);
        let gates = Limits {
            changes: Gates::new(64, 1024),
            uploads: Gates::new(64, 1024),
            trees: Gate::new(trees, usize::MAX),
            pages: Gates::new(16, 1024),
        };
        let in_memory = share.is_all_in_memory();
        Dav(Arc::new(Served {
            share,
            meta,
            handle: handle.clone(),
            buffers: Buffers::default(),
            small_files: SmallFiles::new(handle),
            gates,
            pace: Pace::new(in_memory, handle.workers()),
            reaper: Reaper::default(),
            names: names.into(),
            healed: Mutex::default(),
        }))
    }

    /// Removes what a server that was killed has left behind.
    pub(super) fn clear_up(&self, leftovers: Vec<Trash>) {
        leftovers.into_iter().for_each(|trash| self.reaper.take(trash, &self.handle));
    }

    /// Answers a request of a user.
    pub(super) async fn answer(
        &self,
        head: Arc<Parts>,
        body: Incoming,
        user: &User,
    ) -> Response<Body> {
        let mut body = RequestBody::new(body, &head.headers, &self.handle);
        let read_only = user.read_only || self.share.is_read_only();
        let user = &User { name: Arc::clone(&user.name), read_only };
        let outcome = match Call::new(head, user, &self.names) {
            Ok(call) => self.dispatch(call, &mut body, user).await,
            Err(problem) => Err(problem),
        };
        body.discard(MOST_LEFT);
        if self.meta.store().is_broken() {
            self.heal();
        }
        outcome.unwrap_or_else(Problem::into_response)
    }

    async fn dispatch(&self, call: Call, body: &mut RequestBody, user: &User) -> Outcome {
        let changes = match call.method().as_str() {
            "OPTIONS" => return Ok(options(user)),
            "GET" | "HEAD" | "PROPFIND" => false,
            "PUT" | "DELETE" | "MKCOL" | "COPY" | "MOVE" | "PROPPATCH" | "LOCK" | "UNLOCK" => true,
            "POST" | "PATCH" => return Ok(not_allowed(user)),
            _ => return Err(StatusCode::NOT_IMPLEMENTED.into()),
        };
        if changes && user.read_only {
            return Err(Problem::Told(StatusCode::FORBIDDEN, "this user may only read"));
        }
        if call.path.is_private() {
            let status = if changes { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
            return Err(status.into());
        }
        if !changes && call.has_if() {
            let (share, call) = (Arc::clone(&self.share), call.clone());
            let locks = self.meta.read(|state| Arc::clone(&state.locks)).await?;
            let check = move || call.check_if(&share, &locks, clock::now());
            self.handle.offload(check).await??;
        }
        match call.method().as_str() {
            "GET" | "HEAD" => self.get(&call).await,
            _ => Box::pin(self.dispatch_further(call, body)).await,
        }
    }

    /// Answers every request except GET and HEAD. It is a boxed future of its own, because it is
    /// much larger than that of GET, and hyper moves a request's future several times.
    async fn dispatch_further(&self, call: Call, body: &mut RequestBody) -> Outcome {
        match call.method().as_str() {
            "PUT" => self.put(call, body).await,
            "DELETE" => self.delete(call).await,
            "MKCOL" => self.mkcol(call, body).await,
            "COPY" | "MOVE" => self.transfer(call).await,
            "PROPFIND" => self.propfind(call, body).await,
            "PROPPATCH" => self.proppatch(call, body).await,
            "LOCK" => self.lock(call, body).await,
            _ => self.unlock(call).await,
        }
    }

    /// Runs a change under a claim of its areas, to its end.
    ///
    /// `blocking` runs on the blocking pool, and is passed the current locks. `then` is passed what
    /// `blocking` returned. The claim is released when `then` has finished.
    async fn change<T, F, G, Fut>(
        &self,
        user: &Arc<str>,
        areas: Vec<Area>,
        blocking: F,
        then: G,
    ) -> Outcome
    where
        T: Send + 'static,
        F: FnOnce(&Dav, &Arc<Locks>) -> Result<T, Problem> + Send + 'static,
        G: FnOnce(Dav, T) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send,
    {
        self.change_with(Effort::Any, user, areas, blocking, then).await
    }

    /// Returns the effort of a change of a whole tree, of which only a limited number runs at once.
    fn large_effort(&self) -> Effort {
        Effort::Through(self.gates.trees.clone())
    }

    /// Runs a change of this effort. See [`change`](Self::change).
    async fn change_with<T, F, G, Fut>(
        &self,
        effort: Effort,
        user: &Arc<str>,
        areas: Vec<Area>,
        blocking: F,
        then: G,
    ) -> Outcome
    where
        T: Send + 'static,
        F: FnOnce(&Dav, &Arc<Locks>) -> Result<T, Problem> + Send + 'static,
        G: FnOnce(Dav, T) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send,
    {
        let pass = self.gates.changes.enter(user).await;
        let pass = pass.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let (claim, locks) = self.meta.claim(areas).await?;
        let this = self.clone();
        let change = async move {
            let _pass = pass;
            let _pass = match &effort {
                Effort::Through(gate) => gate.enter().await,
                Effort::Small(_) | Effort::Any => None,
            };
            let outcome = this.run(effort, move |dav| blocking(dav, &locks)).await;
            if outcome.is_err() {
                // The change may have altered the store before it failed, and readers have to see
                // that.
                this.meta.changed().await?;
            }
            let response = then(this, outcome?).await;
            drop(claim);
            response
        };
        self.run_to_its_end(change).await
    }

    /// Runs a change that has its claim, even if the client goes away. If the change has to wait,
    /// it continues in a task of its own.
    async fn run_to_its_end(
        &self,
        change: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let mut change = Box::pin(change);
        let first = poll_fn(|cx| Poll::Ready(caught(|| change.as_mut().poll(cx)))).await;
        match self.told(first).await? {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => self.handle.spawn(&self.handle.new_color(), change).await?,
        }
    }

    /// Runs the blocking part of a change: on the blocking pool, unless the effort is small and the
    /// file system answers at once.
    async fn run<T, F>(&self, effort: Effort, blocking: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Dav) -> Result<T, Problem> + Send + 'static,
    {
        let dav = self.clone();
        let Effort::Small(path) = effort else {
            return self.handle.offload(move || blocking(&dav)).await?;
        };
        let mut change = self.pace.next(self.share.is_all_in_memory());
        change.begin();
        // If the path has properties, forgetting them needs a commit of the store.
        let store = self.meta.store();
        let may_wait = || store.is_broken() || !matches!(store.has_within(&path), Ok(false));
        if change.place == MadeOn::Worker && !may_wait() {
            let outcome = caught(|| blocking(&dav));
            change.end(matches!(outcome, Ok(Ok(_))));
            return self.told(outcome).await?;
        }
        change.leave_the_worker();
        let timed = move || {
            change.begin();
            let outcome = blocking(&dav);
            change.end(outcome.is_ok());
            outcome
        };
        self.handle.offload(timed).await?
    }

    /// Returns a result, or reports a panic as a task does: it panics again in a task, so that the
    /// runtime counts the panic.
    async fn told<T>(&self, caught: Caught<T>) -> Result<T, Problem> {
        let panic = match caught {
            Ok(returned) => return Ok(returned),
            Err(panic) => panic,
        };
        let panics = async move { resume_unwind(panic) };
        let task: JoinHandle<()> = self.handle.spawn(&self.handle.new_color(), panics);
        task.await?;
        Err(StatusCode::INTERNAL_SERVER_ERROR.into())
    }

    /// Reopens the store after a disk error, at most once per [`HEALED_EVERY`].
    fn heal(&self) {
        {
            let mut healed = self.healed.lock().unwrap_or_else(PoisonError::into_inner);
            if healed.is_some_and(|at| clock::now() - at < HEALED_EVERY) {
                return;
            }
            *healed = Some(clock::now());
        }
        let this = self.clone();
        let heal = async move { drop(this.meta.heal().await) };
        self.handle.spawn(&self.handle.new_color(), heal).detach();
    }
}

/// A returned value, or the payload of a panic.
type Caught<T> = Result<T, Box<dyn Any + Send>>;

fn caught<T>(f: impl FnOnce() -> T) -> Caught<T> {
    catch_unwind(AssertUnwindSafe(f))
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn options(user: &User) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("allow", HeaderValue::from_static(allowed(user)));
    // Class 2 is for locks, which a read-only user cannot have.
    let classes = if user.read_only { "1, 3" } else { "1, 2, 3" };
    headers.insert("dav", HeaderValue::from_static(classes));
    // Without this field, some clients do not recognize a WebDAV server.
    headers.insert("ms-author-via", HeaderValue::from_static("DAV"));
    response
}

fn not_allowed(user: &User) -> Response<Body> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert("allow", HeaderValue::from_static(allowed(user)));
    response
}

/// Returns the methods that a user may use.
fn allowed(user: &User) -> &'static str {
    if user.read_only { "OPTIONS, GET, HEAD, PROPFIND" } else { ALLOW }
}

fn xml_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(problem::XML_TYPE);
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Returns a header value of a text that the server made, and which is therefore valid.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_head(call: &Call) -> bool {
    call.method() == Method::HEAD
}
