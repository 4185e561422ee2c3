//! GET and HEAD: the contents of files, whole or in part.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::call::Call;
use super::kept::{Facts, read_start};
use super::problem::Outcome;
use super::{Dav, empty, is_head, value};
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::common::https::body::{Body, FileBody};
use crate::common::media_type;
use crate::files::path::DavPath;
use crate::files::share::{Found, How, Kind};
use dapple::clock;

impl Dav {
    pub(super) async fn get(&self, call: &Call) -> Outcome {
        // A URL that ends with a slash names a folder.
        if !call.is_folder
            && let Some(small) = self.small_files.get(&self.share, &call.path)
        {
            return Ok(contents(call, &small.facts, part_of(&small.contents)));
        }
        Box::pin(self.get_unknown(call)).await
    }

    /// Answers a request for a file that is not in the cache, or for a folder.
    async fn get_unknown(&self, call: &Call) -> Outcome {
        let asked_at = clock::wall();
        let (file, found) = self.open(&call.path).await?;
        match found.kind {
            Kind::Hidden => Err(StatusCode::NOT_FOUND.into()),
            Kind::Folder => self.page(call).await,
            Kind::File if call.is_folder => Err(StatusCode::NOT_FOUND.into()),
            Kind::File => self.get_file(call, Arc::new(file), &found, asked_at).await,
        }
    }

    /// Opens a file on the worker if that needs no disk access, and on the blocking pool otherwise.
    async fn open(&self, path: &DavPath) -> io::Result<(File, Found)> {
        match self.share.open_file(path, How::Cached) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let (share, path) = (Arc::clone(&self.share), path.clone());
                let open = move || share.open_file(&path, How::Blocking);
                self.handle.offload(open).await.map_err(io::Error::other)?
            }
            opened => opened,
        }
    }

    async fn get_file(
        &self,
        call: &Call,
        file: Arc<File>,
        found: &Found,
        asked_at: SystemTime,
    ) -> Outcome {
        let (name, size) = (call.path.name(), found.version.size);
        let in_memory = self.share.is_in_memory(found);
        let is_wanted = call.wants_contents() && self.small_files.note(&call.path, size);
        let (kind, start) = match media_type::by_name_alone(name) {
            Some(kind) if !is_wanted => (Cow::Borrowed(kind), None),
            _ => {
                let len = if is_wanted { size } else { size.min(media_type::LOOKED_AT as u64) };
                let start = read_start(&file, len, in_memory, &self.handle).await?;
                (media_type::of(name, &start, size).into(), Some(start))
            }
        };
        let facts = Facts::of(found, &kind);
        if let Some(all) = start.filter(|start| start.len() as u64 == size) {
            if is_wanted {
                self.small_files.keep(&call.path, found, &facts, &all, asked_at);
            }
            return Ok(contents(call, &facts, part_of(&all)));
        }
        Ok(contents(call, &facts, |from, len| {
            Body::File(FileBody::new(file, from, len, in_memory, &self.buffers, &self.handle))
        }))
    }
}

/// Returns a function that makes the body of a part of these bytes. The part must lie within them.
fn part_of(bytes: &Bytes) -> impl FnOnce(u64, u64) -> Body {
    |from, len| Body::Bytes(bytes.slice(from as usize..(from + len) as usize))
}

/// Returns the response with a file's contents, or with the requested part of them. `part` makes
/// the body of `len` bytes from `from` on.
fn contents(call: &Call, facts: &Facts, part: impl FnOnce(u64, u64) -> Body) -> Response<Body> {
    let size = facts.size;
    let own =
        Validators { etag: facts.etag.as_bytes(), modified: facts.modified, shares_time: false };
    let asked = call.conditions();
    let wanted = match conditions::verdict(&asked, &own) {
        Verdict::Failed => return empty(StatusCode::PRECONDITION_FAILED),
        Verdict::NotModified => None,
        Verdict::Go if is_head(call) => Some(Part::All),
        Verdict::Go => Some(conditions::part(&asked, &own, size)),
    };
    let mut response = match wanted {
        None => empty(StatusCode::NOT_MODIFIED),
        Some(Part::Unsatisfiable) => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            let range = value(&format!("bytes */{size}"));
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            return response;
        }
        Some(wanted) => {
            let (from, len) = match wanted {
                Part::Range(from, len) => (from, len),
                _ => (0, size),
            };
            let body = if is_head(call) { Body::Empty } else { part(from, len) };
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, len.into());
            headers.insert(header::CONTENT_TYPE, facts.kind.clone());
            if let Part::Range(..) = wanted {
                let range = format!("bytes {from}-{}/{size}", from + len - 1);
                headers.insert(header::CONTENT_RANGE, value(&range));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, facts.etag.clone());
    headers.insert(header::LAST_MODIFIED, facts.last_modified.clone());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    harmless(headers, &facts.kind);
    response
}

/// Keeps a browser from running a stored file with the rights of the user who looks at it.
///
/// The page that lists a folder has another policy: see [`page`](super::page). PDF is exempt,
/// because PDF viewers run it in a sandbox of their own, and do not work in another one.
fn harmless(headers: &mut http::HeaderMap, kind: &HeaderValue) {
    if kind != "application/pdf" {
        let policy = HeaderValue::from_static("sandbox allow-downloads");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
