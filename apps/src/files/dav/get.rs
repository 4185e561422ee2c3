//! GET and HEAD: contents of files, whole or in part; a page with the members of a folder.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Body, FileBody, Pieces};
use super::call::Call;
use super::problem::Outcome;
use super::{Dav, empty, is_head, value};
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, How, Kind, Share};

/// Bytes of a page that are made at once.
const PIECE: usize = 32 * 1024;

impl Dav {
    pub(super) async fn get(&self, call: Call) -> Outcome {
        let (file, found) = self.open(&call.path).await?;
        match found.kind {
            Kind::Hidden => Err(StatusCode::NOT_FOUND.into()),
            Kind::Folder => self.page(&call).await,
            // What ends with a slash is a folder.
            Kind::File if call.is_folder => Err(StatusCode::NOT_FOUND.into()),
            Kind::File => Ok(self.contents(&call, file, &found)),
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

    fn contents(&self, call: &Call, file: File, found: &Found) -> Response<Body> {
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
                headers.insert(header::CONTENT_TYPE, value(content_type(&call.path)));
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
        headers.insert(header::LAST_MODIFIED, value(&httpdate::fmt_http_date(modified)));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        harmless(headers);
        response
    }

    /// A page with links to the members of a folder.
    async fn page(&self, call: &Call) -> Outcome {
        if !call.is_folder {
            let mut response = empty(StatusCode::MOVED_PERMANENTLY);
            response.headers_mut().insert(header::LOCATION, value(&call.path.href(true)));
            return Ok(response);
        }
        let (share, path) = (Arc::clone(&self.share), call.path.clone());
        let body = if is_head(call) {
            Body::Empty
        } else {
            let walk = move || share.walk(&path, Depth::Members).map(|walk| (share, walk));
            let (share, walk) = self.handle.offload(walk).await??;
            let page = Page { share, walk: Some(walk), folder: call.path.clone(), begun: false };
            Body::pieces(&self.handle, page)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        harmless(headers);
        Ok(response)
    }
}

/// By the name's end.
pub(super) fn content_type(path: &DavPath) -> &'static str {
    let name = String::from_utf8_lossy(path.name());
    mime_guess::from_path(&*name).first_raw().unwrap_or("application/octet-stream")
}

/// A browser is not to run what somebody has put here with the rights of who looks at it.
fn harmless(headers: &mut http::HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

struct Page {
    share: Arc<Share>,
    /// `None`: all is said.
    walk: Option<Walk>,
    folder: DavPath,
    begun: bool,
}

impl Pieces for Page {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            begin(&mut out, &self.folder);
        }
        while out.len() < PIECE {
            match walk.next(&self.share) {
                Some((path, found)) => line(&mut out, &path, &found),
                None => {
                    out.push_str("</table>\n");
                    self.walk = None;
                    break;
                }
            }
        }
        Ok(Some(out.into()))
    }
}

fn begin(out: &mut String, folder: &DavPath) {
    let name = escaped(&String::from_utf8_lossy(folder.as_bytes()));
    let _ = writeln!(
        out,
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>/{name}</title>\n<style>body {{ font: 16px sans-serif; margin: 2em }} td {{ padding: 0.1em 1em 0.1em 0 }} \
         td + td {{ text-align: right }}</style>\n<h1>/{name}</h1>\n<table>"
    );
    if let Some(parent) = folder.parent() {
        let _ = writeln!(out, "<tr><td><a href=\"{}\">..</a>", escaped(&parent.href(true)));
    }
}

fn line(out: &mut String, path: &DavPath, found: &Found) {
    let is_folder = found.is_folder();
    let mut name = escaped(&String::from_utf8_lossy(path.name()));
    if is_folder {
        name.push('/');
    }
    let href = escaped(&path.href(is_folder));
    let modified = httpdate::fmt_http_date(found.version.modified_time());
    let _ = write!(out, "<tr><td><a href=\"{href}\">{name}</a><td>");
    if !is_folder {
        let _ = write!(out, "{}", found.version.size);
    }
    let _ = writeln!(out, "<td>{modified}");
}

fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}
