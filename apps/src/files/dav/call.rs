//! What a request says beside its body, and whether what it says of the state of things is true.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::if_header::{IfHeader, State};
use super::problem::Problem;
use crate::common::conditions::{self, Conditions, Validators, Verdict};
use crate::common::target::{self, BadPath};
use crate::files::meta::locks::{Change, Client, Locks};
use crate::files::path::DavPath;
use crate::files::share::{Found, Share};

/// A request without its body.
#[derive(Clone, Debug)]
pub(in crate::files) struct Call {
    pub(super) method: Method,
    pub(super) path: DavPath,
    /// Did its URL end with a slash?
    pub(super) is_folder: bool,
    pub(super) headers: HeaderMap,
    /// Host and port that it was sent to.
    authority: Option<String>,
    if_header: Option<Arc<IfHeader>>,
    pub(super) client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DepthField {
    Zero,
    One,
    Infinity,
}

impl Call {
    pub(in crate::files) fn new(
        head: &http::request::Parts,
        user: Arc<str>,
    ) -> Result<Call, Problem> {
        let authority = match head.uri.authority() {
            Some(authority) => Some(authority.as_str().to_owned()),
            None => text(&head.headers, header::HOST)?.map(str::to_owned),
        };
        // As WebDAV has it for the whole server.
        let path = if head.uri.path() == "*" { "/" } else { head.uri.path() };
        let (path, is_folder) = decode(path)?;
        let if_header = match text(&head.headers, header::HeaderName::from_static("if"))? {
            Some(field) => {
                let parsed = IfHeader::parse(field).ok_or(Problem::Told(
                    StatusCode::BAD_REQUEST,
                    "the If field is not well-formed",
                ))?;
                Some(Arc::new(parsed))
            }
            None => None,
        };
        let tokens = if_header.iter().flat_map(|field| field.tokens()).map(Arc::from).collect();
        Ok(Call {
            method: head.method.clone(),
            path,
            is_folder,
            headers: head.headers.clone(),
            authority,
            client: Client { user, tokens },
            if_header,
        })
    }

    pub(super) fn field(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        text(&self.headers, header::HeaderName::from_static(name))
    }

    pub(super) fn depth(&self) -> Result<Option<DepthField>, Problem> {
        match self.field("depth")? {
            None => Ok(None),
            Some("0") => Ok(Some(DepthField::Zero)),
            Some("1") => Ok(Some(DepthField::One)),
            Some(other) if other.eq_ignore_ascii_case("infinity") => Ok(Some(DepthField::Infinity)),
            Some(_) => Err(Problem::Told(StatusCode::BAD_REQUEST, "Depth is 0, 1 or infinity")),
        }
    }

    /// May what is at the destination be replaced?
    pub(super) fn overwrites(&self) -> Result<bool, Problem> {
        match self.field("overwrite")? {
            None | Some("T" | "t") => Ok(true),
            Some("F" | "f") => Ok(false),
            Some(_) => Err(Problem::Told(StatusCode::BAD_REQUEST, "Overwrite is T or F")),
        }
    }

    /// Where a copy or a move leads.
    pub(super) fn destination(&self) -> Result<DavPath, Problem> {
        let field = self.field("destination")?;
        let field =
            field.ok_or(Problem::Told(StatusCode::BAD_REQUEST, "there is no Destination"))?;
        match self.own_path(field)? {
            Some(path) => Ok(path),
            None => {
                Err(Problem::Told(StatusCode::BAD_GATEWAY, "the destination is on another server"))
            }
        }
    }

    /// The path of a URL; `None`: it is another server's.
    fn own_path(&self, url: &str) -> Result<Option<DavPath>, Problem> {
        if let Some((_, rest)) = url.split_once("://") {
            let uri: Uri = url.parse().map_err(|_| bad_path(BadPath::Malformed))?;
            let authority = uri.authority().map_or(rest, |authority| authority.as_str());
            let host = authority.rsplit('@').next().unwrap_or_default();
            if self.authority.as_deref().is_some_and(|own| !is_same_host(own, host)) {
                return Ok(None);
            }
        }
        Ok(Some(decode(url)?.0))
    }

    /// For how long a lock is wanted.
    pub(super) fn timeout(&self) -> Result<Duration, Problem> {
        let field = self.field("timeout")?.unwrap_or_default();
        let wanted = field.split(',').map(str::trim).find_map(|choice| {
            let seconds = choice.get(..7).filter(|s| s.eq_ignore_ascii_case("second-"));
            match seconds {
                Some(_) => Some(choice[7..].parse().map_or(LONGEST_LOCK, Duration::from_secs)),
                None if choice.eq_ignore_ascii_case("infinite") => Some(LONGEST_LOCK),
                None => None,
            }
        });
        Ok(wanted.unwrap_or(USUAL_LOCK).clamp(SHORTEST_LOCK, LONGEST_LOCK))
    }

    pub(super) fn conditions(&self) -> Conditions<'_> {
        let field = |name: header::HeaderName| self.headers.get(name).map(|value| value.as_bytes());
        Conditions {
            range: field(header::RANGE),
            if_range: field(header::IF_RANGE),
            if_match: field(header::IF_MATCH),
            if_unmodified_since: field(header::IF_UNMODIFIED_SINCE),
            if_none_match: field(header::IF_NONE_MATCH),
            if_modified_since: field(header::IF_MODIFIED_SINCE),
        }
    }

    pub(super) fn has_if(&self) -> bool {
        self.if_header.is_some()
    }

    /// Is what the request says of the state true, and does it know the locks that its changes need? `found` is what is at its
    /// path. It looks at files, so it blocks.
    pub(super) fn check(
        &self,
        share: &Share,
        locks: &Locks,
        found: Option<&Found>,
        changes: &[Change],
    ) -> Result<(), Problem> {
        self.check_versions(found)?;
        let now = Instant::now();
        self.check_if(share, locks, now)?;
        for change in changes {
            locks.check(change, &self.client, now)?;
        }
        Ok(())
    }

    /// If-Match and its like, for a request that changes something.
    fn check_versions(&self, found: Option<&Found>) -> Result<(), Problem> {
        let conditions = self.conditions();
        let holds = match found {
            Some(found) => {
                let etag = found.etag();
                let modified = found.version.modified_time();
                let own = Validators { etag: etag.as_bytes(), modified };
                // The dates of the other two are for reading.
                let conditions = Conditions { if_modified_since: None, ..conditions };
                conditions::verdict(&conditions, &own) == Verdict::Go
            }
            None => conditions.if_match.is_none(),
        };
        if holds { Ok(()) } else { Err(StatusCode::PRECONDITION_FAILED.into()) }
    }

    pub(super) fn check_if(
        &self,
        share: &Share,
        locks: &Locks,
        now: Instant,
    ) -> Result<(), Problem> {
        let Some(field) = &self.if_header else { return Ok(()) };
        let is = |resource: Option<&str>, state: &State| {
            let path = match resource {
                None => self.path.clone(),
                Some(url) => match self.own_path(url) {
                    Ok(Some(path)) => path,
                    _ => return false,
                },
            };
            match state {
                State::Token(token) => {
                    locks.covering(&path, now).iter().any(|lock| *lock.token == **token)
                }
                State::Etag(etag) => share.look(&path).is_ok_and(|found| found.etag() == *etag),
            }
        };
        if field.holds(is) { Ok(()) } else { Err(StatusCode::PRECONDITION_FAILED.into()) }
    }
}

/// Bytes of a name, and of a path, at most, as the system has it.
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 4095;

/// Locks are held for so long if nothing else is said,
const USUAL_LOCK: Duration = Duration::from_secs(600);
/// at least,
const SHORTEST_LOCK: Duration = Duration::from_secs(1);
/// and at most. Clients renew what they still need.
const LONGEST_LOCK: Duration = Duration::from_secs(3600);

fn text(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::Told(StatusCode::BAD_REQUEST, "a field is not UTF-8"))?;
    Ok(Some(text.trim()))
}

fn decode(url: &str) -> Result<(DavPath, bool), Problem> {
    let (path, _) = target::split(url).ok_or(bad_path(BadPath::Malformed))?;
    let (path, is_folder) = DavPath::decode(path).map_err(bad_path)?;
    let is_long = path.as_bytes().split(|b| *b == b'/').any(|name| name.len() > MOST_NAME);
    if is_long || path.as_bytes().len() > MOST_PATH {
        return Err(Problem::Told(StatusCode::URI_TOO_LONG, "no file can have so long a name"));
    }
    Ok((path, is_folder))
}

fn bad_path(bad: BadPath) -> Problem {
    match bad {
        BadPath::Malformed => Problem::Told(StatusCode::BAD_REQUEST, "the path is malformed"),
        BadPath::Outside => Problem::Status(StatusCode::NOT_FOUND),
    }
}

/// Ports may be left out.
fn is_same_host(one: &str, other: &str) -> bool {
    let name = |authority: &str| match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_ascii_lowercase(),
        _ => authority.to_ascii_lowercase(),
    };
    let port = |authority: &str| match authority.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok(),
        None => None,
    };
    name(one) == name(other) && port(one).unwrap_or(443) == port(other).unwrap_or(443)
}
