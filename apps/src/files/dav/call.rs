//! The head of a request: its fields, and the check of its conditions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};

use super::if_header::{IfHeader, State};
use super::problem::Problem;
use crate::common::conditions::{self, Conditions, Validators, Verdict};
use crate::common::host;
use crate::common::https::head;
use crate::common::login::User;
use crate::common::target::{self, BadPath};
use crate::files::meta::locks::{Change, Client, Locks};
use crate::files::path::{self, DavPath};
use crate::files::share::{Found, Share};
use dapple::clock;

/// A request without its body.
#[derive(Clone, Debug)]
pub(in crate::files) struct Call {
    head: Arc<Parts>,
    pub(super) path: DavPath,
    /// Whether the URL ended with a slash.
    pub(super) is_folder: bool,
    /// Whether a folder is requested as a zip.
    pub(super) wants_zip: bool,
    /// The names of this server, which are valid with any port.
    names: Arc<[String]>,
    if_header: Option<Arc<IfHeader>>,
    pub(super) client: Client,
    /// Whether the user may not change anything.
    pub(super) read_only: bool,
}

/// The value of the Depth field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DepthField {
    Zero,
    One,
    Infinity,
}

impl Call {
    /// Reads the head of a request. `names` are names of the server, in addition to those that the
    /// request states.
    pub(in crate::files) fn new(
        head: Arc<Parts>,
        user: &User,
        names: &Arc<[String]>,
    ) -> Result<Call, Problem> {
        // `OPTIONS *` concerns the whole server, which is answered as the root.
        let is_whole = head.uri.path() == "*" && head.method == Method::OPTIONS;
        let (path, is_folder) =
            if is_whole { (DavPath::root(), true) } else { decode(head.uri.path())? };
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
            path,
            is_folder,
            wants_zip: head.uri.query() == Some("zip"),
            names: Arc::clone(names),
            client: Client { user: Arc::clone(&user.name), tokens },
            read_only: user.read_only,
            if_header,
            head,
        })
    }

    pub(super) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(super) fn field(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        text(&self.head.headers, header::HeaderName::from_static(name))
    }

    pub(super) fn depth(&self) -> Result<Option<DepthField>, Problem> {
        match self.field("depth")? {
            None => Ok(None),
            Some("0") => Ok(Some(DepthField::Zero)),
            Some("1") => Ok(Some(DepthField::One)),
            Some(other) if other.eq_ignore_ascii_case("infinity") => Ok(Some(DepthField::Infinity)),
            Some(_) => {
                Err(Problem::Told(StatusCode::BAD_REQUEST, "Depth must be 0, 1 or infinity"))
            }
        }
    }

    /// Returns `true` if the request may replace what exists at the destination.
    pub(super) fn overwrites(&self) -> Result<bool, Problem> {
        match self.field("overwrite")? {
            None | Some("T" | "t") => Ok(true),
            Some("F" | "f") => Ok(false),
            Some(_) => Err(Problem::Told(StatusCode::BAD_REQUEST, "Overwrite must be T or F")),
        }
    }

    /// Returns the destination of a copy or a move, and whether its URL ends with a slash.
    pub(super) fn destination(&self) -> Result<(DavPath, bool), Problem> {
        let field = self.field("destination")?;
        let field = field
            .ok_or(Problem::Told(StatusCode::BAD_REQUEST, "the Destination field is missing"))?;
        match self.own_path(field)? {
            Some(path) => Ok(path),
            None => {
                Err(Problem::Told(StatusCode::BAD_GATEWAY, "the destination is on another server"))
            }
        }
    }

    /// Returns the path of a URL, and whether it ends with a slash. Returns `None` if the URL is
    /// another server's.
    fn own_path(&self, url: &str) -> Result<Option<(DavPath, bool)>, Problem> {
        if let Some(authority) = host::of_target(url) {
            let host = authority.rsplit('@').next().unwrap_or_default();
            let own_hosts = self.hosts();
            let is_own = own_hosts.is_empty()
                || own_hosts.iter().any(|own| is_same_host(own, host))
                || self.names.iter().any(|own| own.eq_ignore_ascii_case(name_of(host)));
            if !is_own {
                return Ok(None);
            }
        }
        Ok(Some(decode(url)?))
    }

    /// Returns the hosts, with their ports, that the request was sent to: those that it states
    /// itself, and those that a proxy in between states.
    ///
    /// The list is empty if the request states none. A client gains nothing by inventing a host,
    /// because the list only decides whether a URL belongs to this server.
    fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = Vec::new();
        hosts.extend(self.head.uri.authority().map(|authority| authority.as_str()));
        for name in [header::HOST, header::HeaderName::from_static("x-forwarded-host")] {
            let values =
                self.head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            hosts.extend(values.flat_map(|value| value.split(',')).map(str::trim_ascii));
        }
        let forwarded = self.head.headers.get_all(header::FORWARDED).iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        for pair in forwarded.flat_map(|value| value.split([',', ';'])) {
            if let Some((key, value)) = pair.split_once('=')
                && key.trim_ascii().eq_ignore_ascii_case("host")
            {
                hosts.push(value.trim_ascii().trim_matches('"'));
            }
        }
        hosts
    }

    /// Checks that a request whose URL ends with a slash did not find a file.
    pub(super) fn check_kind(&self, found: Option<&Found>) -> Result<(), Problem> {
        match found {
            Some(found) if self.is_folder && !found.is_folder() => {
                Err(StatusCode::NOT_FOUND.into())
            }
            _ => Ok(()),
        }
    }

    /// Returns the requested timeout of a lock.
    pub(super) fn timeout(&self) -> Result<Duration, Problem> {
        let field = self.field("timeout")?.unwrap_or_default();
        let wanted = field.split(',').map(str::trim_ascii).find_map(|choice| {
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
        head::conditions(&self.head.headers)
    }

    /// Returns `true` if the request asks for the contents, whatever version the client has.
    pub(super) fn wants_contents(&self) -> bool {
        let asked = self.conditions();
        *self.method() == Method::GET
            && asked.if_none_match.is_none()
            && asked.if_modified_since.is_none()
    }

    pub(super) fn has_if(&self) -> bool {
        self.if_header.is_some()
    }

    /// Checks the conditions of the request, and whether the client submitted the locks that its
    /// changes need.
    ///
    /// `found` is the resource at the request's path. The check looks at files, so it blocks.
    pub(super) fn check(
        &self,
        share: &Share,
        locks: &Locks,
        found: Option<&Found>,
        changes: &[Change],
    ) -> Result<(), Problem> {
        self.check_versions(found)?;
        let now = clock::now();
        self.check_if(share, locks, now)?;
        for change in changes {
            locks.check(change, &self.client, now)?;
        }
        Ok(())
    }

    /// Checks If-Match and the related fields of a request that changes something.
    fn check_versions(&self, found: Option<&Found>) -> Result<(), Problem> {
        let conditions = self.conditions();
        let holds = match found {
            Some(found) => {
                let etag = found.etag();
                let modified = found.version.modified_time();
                let own = Validators { etag: etag.as_bytes(), modified, shares_time: false };
                // If-Modified-Since applies to GET and HEAD only.
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
                    Ok(Some((path, _))) => path,
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

/// The maximum sizes of a name and of a path, in bytes, which are those of Linux.
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 4095;

/// The timeout of a lock if the client states none.
const USUAL_LOCK: Duration = Duration::from_secs(600);
/// The minimum timeout of a lock.
const SHORTEST_LOCK: Duration = Duration::from_secs(1);
/// The maximum timeout of a lock. Clients refresh the locks that they still need.
const LONGEST_LOCK: Duration = Duration::from_secs(3600);

fn text(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::Told(StatusCode::BAD_REQUEST, "a field is not UTF-8"))?;
    Ok(Some(text.trim_ascii()))
}

fn decode(url: &str) -> Result<(DavPath, bool), Problem> {
    let (path, _) = target::split(url).ok_or(bad_path(BadPath::Malformed))?;
    let path = path::without_prefix(path).ok_or(StatusCode::NOT_FOUND)?;
    if path.is_empty() {
        return Ok((DavPath::root(), false));
    }
    let (path, is_folder) = DavPath::decode(path).map_err(bad_path)?;
    let is_long = path.as_bytes().split(|b| *b == b'/').any(|name| name.len() > MOST_NAME);
    if is_long || path.as_bytes().len() > MOST_PATH {
        return Err(Problem::Told(
            StatusCode::URI_TOO_LONG,
            "the path or a name in it is too long",
        ));
    }
    Ok((path, is_folder))
}

fn bad_path(bad: BadPath) -> Problem {
    match bad {
        BadPath::Malformed => Problem::Told(StatusCode::BAD_REQUEST, "the path is malformed"),
        BadPath::Outside => Problem::Status(StatusCode::NOT_FOUND),
    }
}

/// Compares two hosts. A missing port counts as 443.
fn is_same_host(one: &str, other: &str) -> bool {
    let port = |authority: &str| match authority.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok(),
        None => None,
    };
    name_of(one).eq_ignore_ascii_case(name_of(other))
        && port(one).unwrap_or(443) == port(other).unwrap_or(443)
}

/// Returns a host without its port and without the brackets of an IPv6 address.
fn name_of(authority: &str) -> &str {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}
