//! The reasons why a request is refused, and the responses that state them.

use std::io;

use http::{Response, StatusCode};

use super::xml::{self, BadXml};
use crate::common::https::body::Body;
use crate::common::https::request_body::ReadError;
use crate::files::meta::Gone;
use crate::files::meta::locks::LockError;
use crate::files::meta::store::StoreError;
use crate::files::path::DavPath;
use crate::files::share;

/// A reason why a request is refused.
#[derive(Debug)]
pub(in crate::files) enum Problem {
    Status(StatusCode),
    /// A folder or a file exists already, for which the method is not allowed.
    Exists {
        is_folder: bool,
    },
    /// The precondition (RFC 4918, section 16) of this name does not hold.
    Condition(StatusCode, &'static str),
    /// A reason with a sentence for people.
    Told(StatusCode, &'static str),
    /// The path has a lock whose token was not submitted.
    Locked(DavPath),
    /// The path has a lock that conflicts with the new one.
    ConflictingLock(DavPath),
    Failed(io::Error),
}

pub(in crate::files) type Outcome = Result<Response<Body>, Problem>;

impl From<StatusCode> for Problem {
    fn from(status: StatusCode) -> Self {
        Problem::Status(status)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Failed(error)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge => Problem::Status(StatusCode::PAYLOAD_TOO_LARGE),
            ReadError::Io(error) => Problem::Failed(error),
        }
    }
}

impl From<BadXml> for Problem {
    fn from(BadXml(why): BadXml) -> Self {
        Problem::Told(StatusCode::BAD_REQUEST, why)
    }
}

impl From<Gone> for Problem {
    fn from(_: Gone) -> Self {
        Problem::Status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<dapple::JoinError> for Problem {
    fn from(error: dapple::JoinError) -> Self {
        Problem::Failed(io::Error::other(error))
    }
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Locked(path) => Problem::Locked(path),
            LockError::TooMany => Problem::Status(StatusCode::INSUFFICIENT_STORAGE),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full | StoreError::Broken => {
                Problem::Status(StatusCode::INSUFFICIENT_STORAGE)
            }
            error => Problem::Failed(io::Error::other(error.to_string())),
        }
    }
}

/// Returns the status that an error of the system has for a client.
pub(in crate::files) fn status_of(error: &io::Error) -> StatusCode {
    use io::ErrorKind::*;
    use rustix::io::Errno;
    match error.kind() {
        NotFound | NotADirectory => StatusCode::NOT_FOUND,
        PermissionDenied | ReadOnlyFilesystem | ResourceBusy => StatusCode::FORBIDDEN,
        InvalidFilename => StatusCode::URI_TOO_LONG,
        AlreadyExists => StatusCode::CONFLICT,
        TimedOut => StatusCode::REQUEST_TIMEOUT,
        // The client went away in the middle of a body, so nothing failed on the server.
        UnexpectedEof => StatusCode::BAD_REQUEST,
        _ if share::is_full(error) => StatusCode::INSUFFICIENT_STORAGE,
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => StatusCode::SERVICE_UNAVAILABLE,
            // The file is a socket or a device.
            Some(Errno::NXIO | Errno::NODEV) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

impl Problem {
    pub(in crate::files) fn status(&self) -> StatusCode {
        match self {
            Problem::Status(status) | Problem::Condition(status, _) | Problem::Told(status, _) => {
                *status
            }
            Problem::Exists { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Locked(_) | Problem::ConflictingLock(_) => StatusCode::LOCKED,
            Problem::Failed(error) => status_of(error),
        }
    }

    pub(in crate::files) fn into_response(self) -> Response<Body> {
        let status = self.status();
        if let Problem::Failed(error) = &self
            && status.is_server_error()
            && status != StatusCode::INSUFFICIENT_STORAGE
        {
            tracing::error!(%error, "a request failed");
        }
        let condition = match &self {
            Problem::Condition(_, name) => Some(format!("<D:{name}/>")),
            Problem::Locked(path) => Some(with_href("lock-token-submitted", path)),
            Problem::ConflictingLock(path) => Some(with_href("no-conflicting-lock", path)),
            _ => None,
        };
        let (kind, text) = match (condition, &self) {
            (Some(condition), _) => {
                (XML_TYPE, format!("{XML_HEAD}<D:error xmlns:D=\"DAV:\">{condition}</D:error>\n"))
            }
            (None, Problem::Told(_, why)) => (TEXT_TYPE, format!("{why}\n")),
            (None, _) => {
                (TEXT_TYPE, format!("{}\n", status.canonical_reason().unwrap_or("failed")))
            }
        };
        let mut response = Response::new(Body::text(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        if let Problem::Exists { is_folder } = self {
            let methods = if is_folder { ALLOWED_ON_FOLDER } else { ALLOWED_ON_FILE };
            headers.insert(http::header::ALLOW, http::HeaderValue::from_static(methods));
        }
        response
    }
}

const ALLOWED_ON_FOLDER: &str =
    "OPTIONS, GET, HEAD, DELETE, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";
const ALLOWED_ON_FILE: &str =
    "OPTIONS, GET, HEAD, PUT, DELETE, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

pub(super) const XML_TYPE: &str = "application/xml; charset=utf-8";

const TEXT_TYPE: &str = "text/plain; charset=utf-8";

pub(super) const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

fn with_href(name: &str, path: &DavPath) -> String {
    let mut out = format!("<D:{name}><D:href>");
    xml::write_text(&mut out, &path.href(false));
    out.push_str(&format!("</D:href></D:{name}>"));
    out
}
