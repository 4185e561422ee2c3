//! LOCK and UNLOCK.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};

use super::call::{Call, DepthField};
use super::problem::{Outcome, Problem, XML_HEAD};
use super::xml;
use super::{Dav, empty, value, xml_response};
use crate::common::https::body::Body;
use crate::common::https::request_body::RequestBody;
use crate::common::time::later;
use crate::files::meta::State;
use crate::files::meta::claims::Area;
use crate::files::meta::locks::{Change, Lock, LockError, Locks};
use crate::files::share::{Found, Kind};
use dapple::clock;

/// The maximum size of a lock's owner, as the client describes it, in bytes.
const MOST_OWNER: usize = 4096;

/// A lock that a client requests.
struct Wanted {
    exclusive: bool,
    owner: String,
    deep: bool,
    timeout: Duration,
}

impl Dav {
    pub(super) async fn lock(&self, call: Call, body: &mut RequestBody) -> Outcome {
        let body = body.read(xml::MOST_ASKED).await?;
        if body.is_empty() {
            return self.refresh(call).await;
        }
        let wanted = wanted(&call, &xml::parse(&body)?)?;
        let user = Arc::clone(&call.client.user);
        let area = if wanted.deep { Area::all(&call.path) } else { Area::one(&call.path) };
        let prepare = move |dav: &Dav, locks: &Arc<_>| {
            let found = dav.share.look_for(&call.path)?;
            call.check_kind(found.as_ref())?;
            if found.is_none() && call.is_folder {
                let why = "there is no folder at this URL, and LOCK does not create one";
                return Err(Problem::Told(StatusCode::CONFLICT, why));
            }
            let mut forgotten = false;
            let changes = match found {
                Some(found) if found.kind == Kind::Hidden => {
                    return Err(StatusCode::FORBIDDEN.into());
                }
                Some(_) => vec![],
                None => vec![Change::Existence(call.path.clone())],
            };
            call.check(&dav.share, locks, found.as_ref(), &changes)?;
            check_free(locks, &call, &wanted)?;
            if found.is_none() {
                super::tree::check_parent(&dav.share, &call.path)?;
                // LOCK creates an empty file if there is none, so that a locked resource exists.
                forgotten = dav.meta.store().forget(&call.path);
                let at = dav.share.locate(&call.path)?;
                let upload = dav.share.begin_upload(&at)?;
                dav.share.finish_upload(upload, &at, None)?;
            }
            Ok((new_lock(&call, wanted, found.as_ref())?, found.is_none(), forgotten))
        };
        self.change(&user, vec![area], prepare, |dav, (lock, created, forgotten)| async move {
            if forgotten {
                dav.meta.changed().await?;
            }
            let inserted = lock.clone();
            let insert = move |state: &mut State| state.locks_mut().insert(inserted, clock::now());
            dav.meta.change(insert).await??;
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = locked(status, &lock);
            let token = value(&format!("<{}>", lock.token));
            response.headers_mut().insert("lock-token", token);
            Ok(response)
        })
        .await
    }

    async fn refresh(&self, call: Call) -> Outcome {
        let timeout = call.timeout()?;
        if !call.has_if() {
            let why = "to refresh a lock, send its token in the If field";
            return Err(Problem::Told(StatusCode::BAD_REQUEST, why));
        }
        let (path, client) = (call.path.clone(), call.client.clone());
        let refresh = move |state: &mut State| {
            state.locks_mut().refresh(&path, &client, timeout, clock::now())
        };
        match self.meta.change(refresh).await? {
            Some(lock) => Ok(locked(StatusCode::OK, &lock)),
            None => Err(Problem::Condition(
                StatusCode::PRECONDITION_FAILED,
                "lock-token-matches-request-uri",
            )),
        }
    }

    pub(super) async fn unlock(&self, call: Call) -> Outcome {
        let field = call.field("lock-token")?;
        let why = "the Lock-Token field is missing";
        let token = field.ok_or(Problem::Told(StatusCode::BAD_REQUEST, why))?;
        // Some clients leave out the brackets.
        let bare = token.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(token);
        let token: Arc<str> = bare.into();
        let (path, user) = (call.path.clone(), Arc::clone(&call.client.user));
        let names_folder = call.is_folder;
        let unlock = move |state: &mut State| {
            let now = clock::now();
            let lock = state.locks.find(&token, now);
            if names_folder && lock.is_some_and(|lock| lock.path == path && !lock.is_folder) {
                return (false, false);
            }
            // Whether the lock is another user's, which has a status of its own.
            let is_anothers = state.locks.find(&token, now).is_some_and(|lock| lock.user != user);
            (state.locks_mut().unlock(&path, &user, &token, now), is_anothers)
        };
        match self.meta.change(unlock).await? {
            (true, _) => Ok(empty(StatusCode::NO_CONTENT)),
            (false, true) => Err(StatusCode::FORBIDDEN.into()),
            (false, false) => {
                Err(Problem::Condition(StatusCode::CONFLICT, "lock-token-matches-request-uri"))
            }
        }
    }
}

fn wanted(call: &Call, document: &xml::Element) -> Result<Wanted, Problem> {
    let bad = |why| Problem::Told(StatusCode::BAD_REQUEST, why);
    if !document.name.is_dav("lockinfo") {
        return Err(bad("the body is not a lockinfo document"));
    }
    if document.child("locktype").and_then(|t| t.child("write")).is_none() {
        return Err(bad("only write locks are supported"));
    }
    let scope = document.child("lockscope").ok_or(bad("the lock has no scope"))?;
    let exclusive = match (scope.child("exclusive"), scope.child("shared")) {
        (Some(_), None) => true,
        (None, Some(_)) => false,
        _ => return Err(bad("a lock must be exclusive or shared")),
    };
    let deep = match call.depth()? {
        None | Some(DepthField::Infinity) => true,
        Some(DepthField::Zero) => false,
        Some(DepthField::One) => return Err(bad("the depth of a lock must be 0 or infinity")),
    };
    Ok(Wanted { exclusive, owner: owner(document)?, deep, timeout: call.timeout()? })
}

/// Returns the client's description of the lock's owner, as every client is shown it.
pub(super) fn owner(document: &xml::Element) -> Result<String, Problem> {
    let mut owner = String::new();
    if let Some(element) = document.child("owner") {
        element.write_children(&mut owner);
    }
    match owner.len() <= MOST_OWNER {
        true => Ok(owner),
        false => Err(StatusCode::PAYLOAD_TOO_LARGE.into()),
    }
}

fn check_free(locks: &Locks, call: &Call, wanted: &Wanted) -> Result<(), Problem> {
    locks.check_room(&call.path, &call.client.user, clock::now())?;
    let free = locks.check_new(&call.path, wanted.deep, wanted.exclusive, clock::now());
    free.map_err(|error| match error {
        LockError::Locked(path) => Problem::ConflictingLock(path),
        other => other.into(),
    })
}

fn new_lock(call: &Call, wanted: Wanted, found: Option<&Found>) -> Result<Lock, Problem> {
    let Wanted { exclusive, owner, deep, timeout } = wanted;
    Ok(Lock {
        token: new_token()?.into(),
        path: call.path.clone(),
        is_folder: found.is_some_and(Found::is_folder),
        deep,
        exclusive,
        owner: owner.into(),
        user: Arc::clone(&call.client.user),
        timeout,
        until: later(clock::now(), timeout),
    })
}

/// Returns a new lock token: a random UUID (RFC 9562, version 4).
fn new_token() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut token = String::from("urn:uuid:");
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            token.push('-');
        }
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}

fn locked(status: StatusCode, lock: &Lock) -> Response<Body> {
    let mut out = format!("{XML_HEAD}<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>");
    write_active(&mut out, lock, clock::now());
    out.push_str("</D:lockdiscovery></D:prop>\n");
    xml_response(status, Body::text(out))
}

/// Writes a lock in the form that `lockdiscovery` has.
pub(super) fn write_active(out: &mut String, lock: &Lock, now: Instant) {
    let scope = if lock.exclusive { "exclusive" } else { "shared" };
    let depth = if lock.deep { "infinity" } else { "0" };
    let left = lock.until.saturating_duration_since(now).as_millis().div_ceil(1000).max(1);
    let _ = write!(
        out,
        "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>\
         <D:depth>{depth}</D:depth>"
    );
    if !lock.owner.is_empty() {
        let _ = write!(out, "<D:owner>{}</D:owner>", lock.owner);
    }
    let _ = write!(
        out,
        "<D:timeout>Second-{left}</D:timeout><D:locktoken><D:href>{}</D:href></D:locktoken>\
         <D:lockroot><D:href>",
        lock.token
    );
    xml::write_text(out, &lock.path.href(lock.is_folder));
    out.push_str("</D:href></D:lockroot></D:activelock>");
}
