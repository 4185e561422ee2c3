//! GET and HEAD: contents of files, whole or in part.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Body, FileBody};
use super::call::Call;
use super::problem::Outcome;
use super::{Dav, empty, is_head, value};
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::common::{cached, date, media_type};
use crate::files::path::DavPath;
use crate::files::share::{Found, How, Kind};
use dapple::clock;

impl Dav {
    pub(super) async fn get(&self, call: &Call) -> Outcome {
        let (file, found) = self.open(&call.path).await?;
        match found.kind {
            Kind::Hidden => Err(StatusCode::NOT_FOUND.into()),
            Kind::Folder => Box::pin(self.page(call)).await,
            // What ends with a slash is a folder.
            Kind::File if call.is_folder => Err(StatusCode::NOT_FOUND.into()),
            Kind::File => {
                let file = Arc::new(file);
                let kind = self.media_type(&call.path, &file, found.version.size).await?;
                Ok(self.contents(call, file, &found, &kind))
            }
        }
    }

    /// Opens a file on the worker, if no disk has to be read for it, or else beside the workers.
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

    /// What a file is, for who reads it.
    async fn media_type(
        &self,
        path: &DavPath,
        file: &Arc<File>,
        size: u64,
    ) -> io::Result<Cow<'static, str>> {
        let name = path.name();
        if let Some(kind) = media_type::by_name_alone(name) {
            return Ok(kind.into());
        }
        let len = size.min(media_type::LOOKED_AT as u64) as usize;
        let mut start = vec![0; len];
        let read = match cached::read(file, &mut start, 0) {
            _ if len == 0 => 0,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let file = Arc::clone(file);
                let read = move || {
                    let mut start = vec![0; len];
                    cached::read_blocking(&file, &mut start, 0).map(|n| (start, n))
                };
                let (read, n) = self.handle.offload(read).await.map_err(io::Error::other)??;
                start = read;
                n
            }
            read => read?,
        };
        Ok(media_type::of(name, &start[..read], size).into())
    }

    fn contents(&self, call: &Call, file: Arc<File>, found: &Found, kind: &str) -> Response<Body> {
        let size = found.version.size;
        let (etag, modified) = (found.etag(), found.version.modified_time());
        let own = Validators { etag: etag.as_bytes(), modified };
        let asked = call.conditions();
        let part = match conditions::verdict(&asked, &own) {
            Verdict::Failed => return empty(StatusCode::PRECONDITION_FAILED),
            Verdict::NotModified => None,
            Verdict::Go if is_head(call) => Some(Part::All),
            Verdict::Go => Some(conditions::part(&asked, &own, size)),
        };
        let mut response = match part {
            None => empty(StatusCode::NOT_MODIFIED),
            Some(Part::Unsatisfiable) => {
                let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                let range = value(&format!("bytes */{size}"));
                response.headers_mut().insert(header::CONTENT_RANGE, range);
                return response;
            }
            Some(part) => {
                let (from, len) = match part {
                    Part::Range(from, len) => (from, len),
                    _ => (0, size),
                };
                let body = match is_head(call) {
                    true => Body::Empty,
                    false => Body::File(FileBody::new(
                        file,
                        from,
                        len,
                        self.share.is_in_memory(found),
                        &self.buffers,
                        &self.handle,
                    )),
                };
                let mut response = Response::new(body);
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_LENGTH, len.into());
                headers.insert(header::CONTENT_TYPE, value(kind));
                if let Part::Range(..) = part {
                    let range = format!("bytes {from}-{}/{size}", from + len - 1);
                    headers.insert(header::CONTENT_RANGE, value(&range));
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                }
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, value(&etag));
        // Not after the response itself (RFC 9110, section 8.8.2.1).
        let shown = date::format(modified.min(clock::wall()));
        headers.insert(header::LAST_MODIFIED, value(&shown));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        harmless(headers, kind);
        response
    }
}

/// A browser is not to run what somebody has put here with the rights of who looks at it. (Of the
/// other page, with the members of a folder, see [`page`](super::page).) What shows PDF runs it in
/// a sandbox of its own, and in no other.
fn harmless(headers: &mut http::HeaderMap, kind: &str) {
    if kind != "application/pdf" {
        let policy = HeaderValue::from_static("sandbox allow-downloads");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
