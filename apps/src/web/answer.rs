//! Which response a request gets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use dapple::clock;
use dapple::{Color, Cx};
use dapple_io::tcp::Conn;
use rustix::io::Errno;

use super::demo::Demo;
use super::http::head::{self, KeepAlive, Status};
use super::http::request::{Method, Request};
use super::page::{Body, Page};
use super::root::{Found, Root};
use crate::common::cache::{Batch, Cache, Entry, MOST_IN_MEMORY};
use crate::common::cached;
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::common::target::{self, BadPath};

/// Bodies of up to this many bytes are copied behind their head; larger ones are written from where
/// they are.
const MOST_COPIED: usize = 8 * 1024;

/// What is served.
#[derive(Debug)]
pub(super) enum Site {
    Folder(Root),
    Demo(Demo),
}

impl Site {
    pub(super) fn open(folder: Option<&Path>) -> Result<Site, String> {
        match folder {
            None => Ok(Site::Demo(Demo::new())),
            Some(folder) => Root::open(folder)
                .map(Site::Folder)
                .map_err(|e| format!("cannot serve {}: {e}", folder.display())),
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Site::Folder(root) => root.fmt(f),
            Site::Demo(_) => f.write_str("a demonstration site"),
        }
    }
}

/// The file of this path has to be read from a disk first, by [`Answers::fetch`].
pub(super) struct Cold(pub(super) Vec<u8>);

/// A file that was read beside the workers.
pub(super) struct Fetched {
    pub(super) path: Vec<u8>,
    pub(super) found: io::Result<Option<Loaded>>,
}

/// What is served of a file.
pub(super) struct Loaded {
    page: Page,
    /// All of it was read, and it cannot have changed meanwhile without having another version now.
    may_be_kept: bool,
}

/// Site and cache.
pub(super) struct Answers {
    pub(super) site: Site,
    cache: Cache<Page>,
}

/// Where a response goes, and what it needs from its request.
pub(super) struct Reply<'a> {
    pub(super) conn: &'a mut Conn,
    /// See [`write_now`](super::http::date::write_now).
    pub(super) stamp: u64,
    pub(super) keep_alive: KeepAlive,
    pub(super) head_only: bool,
}

impl Answers {
    pub(super) fn new(site: Site, color: &Color, cache_bytes: u64) -> Self {
        Answers { site, cache: Cache::new(color, cache_bytes) }
    }

    /// Answers a request for a file, and says with which status; nothing is answered if the file
    /// has to be fetched first.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        reply: Reply<'_>,
        fetched: Option<Fetched>,
        cx: &Cx,
    ) -> Result<Status, Cold> {
        match request.method {
            Method::Get | Method::Head => {}
            Method::Other => return Ok(reply.error(Status::MethodNotAllowed)),
            Method::Unknown => return Ok(reply.error(Status::NotImplemented)),
        }
        let Some((raw, query)) = target::split(request.target) else {
            return Ok(reply.error(Status::BadRequest));
        };
        let asked = match target::decode(raw) {
            Ok(asked) => asked,
            Err(BadPath::Malformed) => return Ok(reply.error(Status::BadRequest)),
            Err(BadPath::Outside) => return Ok(reply.error(Status::NotFound)),
        };
        let mut file = asked.relative;
        if asked.is_folder {
            if !file.is_empty() {
                file.push(b'/');
            }
            file.extend_from_slice(b"index.html");
        }
        Ok(match self.find(&file, fetched, cx) {
            Ok(Some(entry)) => reply.page(request, &entry),
            Ok(None) if asked.is_folder => reply.error(Status::NotFound),
            Ok(None) => reply.redirect(&target::folder_location(&file, query)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Cold(file)),
            Err(error) => reply.error(status_of(&error)),
        })
    }

    /// The file of a path; `None`: it is a folder. `WouldBlock`: a disk would have to be read for
    /// it.
    fn find(
        &self,
        path: &[u8],
        fetched: Option<Fetched>,
        cx: &Cx,
    ) -> io::Result<Option<Arc<Entry<Page>>>> {
        let root = match &self.site {
            Site::Demo(demo) => return demo.find(path),
            Site::Folder(root) => root,
        };
        if let Some(entry) = self.cache.get(path, Batch::of(cx), |_| root.version(path)) {
            return Ok(Some(entry));
        }
        let loaded = match fetched.filter(|fetched| fetched.path == path) {
            Some(fetched) => fetched.found?,
            None => {
                let asked_at = clock::wall();
                load(path, root.find_cached(path)?, asked_at, read_cached)?
            }
        };
        let Some(Loaded { page, may_be_kept }) = loaded else { return Ok(None) };
        let entry = Arc::new(Entry::new(page));
        if may_be_kept {
            self.cache.insert(path, Arc::clone(&entry));
        }
        Ok(Some(entry))
    }

    /// Reads what is cold: what [`answer`](Self::answer) has asked for. It blocks, so it is
    /// offloaded (E9).
    pub(super) fn fetch(&self, path: Vec<u8>) -> Fetched {
        let asked_at = clock::wall();
        let found = match &self.site {
            Site::Demo(_) => Err(io::ErrorKind::NotFound.into()),
            Site::Folder(root) => {
                root.find(&path).and_then(|found| load(&path, found, asked_at, read_cold))
            }
        };
        // Somebody has a lease on it, or renames all the time: to wait again would not help.
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::ResourceBusy.into(),
            _ => error,
        });
        Fetched { path, found }
    }
}

/// Bytes of a large file that are read before it is served.
const MOST_AHEAD: u64 = 256 * 1024;

/// Makes a page of what was found; `None`: a folder. `read` reads the beginning of the file, so
/// much of it that it can be served at once. `asked_at` is a time before the file was found.
fn load(
    path: &[u8],
    found: Found,
    asked_at: SystemTime,
    read: fn(&File, u64) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Loaded>> {
    let (file, version) = match found {
        Found::File(file, version) => (file, version),
        Found::Folder => return Ok(None),
        Found::Other => return Err(io::ErrorKind::NotFound.into()),
    };
    let is_settled = version.is_settled(asked_at);
    let start = read(&file, version.size)?;
    if version.size > MOST_IN_MEMORY {
        let page = Page::new(path, version, &start, Body::File(Arc::new(file)));
        return Ok(Some(Loaded { page, may_be_kept: is_settled }));
    }
    let start: Arc<[u8]> = start.into();
    // If it has changed meanwhile, what was read is served once, under its own size.
    let is_whole = start.len() as u64 == version.size;
    let version = version.with_size(start.len() as u64);
    let page = Page::new(path, version, &start, Body::Memory(Arc::clone(&start)));
    Ok(Some(Loaded { page, may_be_kept: is_settled && is_whole }))
}

/// The contents of a small file, from memory; of a large one its begin. `WouldBlock`: a disk would
/// have to be read.
fn read_cached(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let wanted = size.min(MOST_IN_MEMORY) as usize;
    let mut bytes = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match cached::read(file, &mut bytes[filled..], filled as u64)? {
            // It has become shorter, and is on a file system that cannot tell what is in memory.
            0 => return Err(io::ErrorKind::WouldBlock.into()),
            n => filled += n,
        }
    }
    Ok(bytes)
}

/// Reads the start of a file, from memory or from the disk; of a large file more, which is in
/// memory then.
fn read_cold(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let most = if size > MOST_IN_MEMORY { MOST_AHEAD.min(size) } else { MOST_IN_MEMORY };
    let mut bytes = Vec::with_capacity(most.min(size) as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn status_of(error: &io::Error) -> Status {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound | NotADirectory | InvalidFilename => Status::NotFound,
        PermissionDenied => Status::Forbidden,
        ResourceBusy => Status::Unavailable,
        _ => match error.raw_os_error() {
            // Out of descriptors or memory: later perhaps.
            Some(code) if is_shortage(code) => Status::Unavailable,
            // A path that no file can have, or a link where none is allowed.
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => Status::NotFound,
            Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => Status::NotFound,
            _ => {
                tracing::warn!(%error, "cannot read a file");
                Status::InternalError
            }
        },
    }
}

fn is_shortage(code: i32) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|e| e.raw_os_error() == code)
}

const CONTENT_LENGTH: &str = "Content-Length:";

/// The fields of a page, but for one. A file that was modified in the future was so when the
/// response was made (RFC 9110, section 8.8.2.1).
fn write_fields(out: &mut Vec<u8>, page: &Page, stamp: u64, without: &str) {
    let is_ahead =
        page.may_be_ahead.is_some_and(|second| super::http::date::is_ahead(second, stamp));
    if !is_ahead && without.is_empty() {
        return out.extend_from_slice(&page.fields);
    }
    let fields = String::from_utf8_lossy(&page.fields);
    for field in fields.split_inclusive("\r\n") {
        if is_ahead && field.starts_with("Last-Modified:") {
            out.extend_from_slice(b"Last-Modified: ");
            super::http::date::write_now(out, stamp);
            out.extend_from_slice(b"\r\n");
        } else if without.is_empty() || !field.starts_with(without) {
            out.extend_from_slice(field.as_bytes());
        }
    }
}

impl Reply<'_> {
    fn page(self, request: &Request<'_>, page: &Page) -> Status {
        let own = Validators { etag: &page.etag, modified: page.version.modified_time() };
        match conditions::verdict(&request.conditions, &own) {
            Verdict::Go => {}
            Verdict::NotModified => return self.not_modified(&own),
            Verdict::Failed => return self.error(Status::PreconditionFailed),
        }
        let len = page.version.size;
        let part = match request.method {
            Method::Get => conditions::part(&request.conditions, &own, len),
            // Ranges are defined for GET only.
            _ => Part::All,
        };
        match part {
            Part::All => self.all(page),
            Part::Range(from, count) => self.range(page, from, count),
            Part::Unsatisfiable => self.message(
                Status::RangeNotSatisfiable,
                format_args!("Content-Range: bytes */{len}\r\n"),
            ),
        }
    }

    fn all(self, page: &Page) -> Status {
        let Reply { conn, stamp, keep_alive, head_only } = self;
        let body = match (&page.body, head_only) {
            (Body::Memory(bytes), false) if bytes.len() <= MOST_COPIED => &bytes[..],
            _ => &[],
        };
        conn.write(|out| {
            out.reserve(page.fields.len() + body.len() + 128);
            head::begin(out, Status::Ok);
            write_fields(out, page, stamp, "");
            head::finish(out, keep_alive, stamp);
            out.extend_from_slice(body);
        });
        if !head_only && body.is_empty() {
            match &page.body {
                Body::Memory(bytes) => conn.send_shared(Arc::clone(bytes)),
                Body::File(file) => conn.send_file(Arc::clone(file), 0, page.version.size),
            }
        }
        Status::Ok
    }

    fn range(self, page: &Page, from: u64, count: u64) -> Status {
        let Reply { conn, stamp, keep_alive, .. } = self;
        let len = page.version.size;
        conn.write(|out| {
            head::begin(out, Status::PartialContent);
            write_fields(out, page, stamp, CONTENT_LENGTH);
            let last = from + count - 1;
            head::text(out, format_args!("Content-Length: {count}\r\n"));
            head::text(out, format_args!("Content-Range: bytes {from}-{last}/{len}\r\n"));
            head::finish(out, keep_alive, stamp);
            if let Body::Memory(bytes) = &page.body {
                out.extend_from_slice(&bytes[from as usize..][..count as usize]);
            }
        });
        if let Body::File(file) = &page.body {
            conn.send_file(Arc::clone(file), from, count);
        }
        Status::PartialContent
    }

    fn not_modified(self, own: &Validators<'_>) -> Status {
        let Reply { conn, stamp, keep_alive, .. } = self;
        conn.write(|out| {
            head::begin(out, Status::NotModified);
            out.extend_from_slice(b"ETag: ");
            out.extend_from_slice(own.etag);
            out.extend_from_slice(b"\r\n");
            head::finish(out, keep_alive, stamp);
        });
        Status::NotModified
    }

    fn redirect(self, location: &str) -> Status {
        self.message(Status::MovedPermanently, format_args!("Location: {location}\r\n"))
    }

    pub(super) fn error(self, status: Status) -> Status {
        match status {
            Status::MethodNotAllowed => self.message(status, format_args!("Allow: GET, HEAD\r\n")),
            _ => self.message(status, format_args!("")),
        }
    }

    /// A response whose body is its status.
    fn message(self, status: Status, fields: std::fmt::Arguments<'_>) -> Status {
        let body = format!("{} {}\n", status as u16, status.reason());
        self.text(status, fields, "text/plain; charset=utf-8", &body)
    }

    pub(super) fn text(
        self,
        status: Status,
        fields: std::fmt::Arguments<'_>,
        kind: &str,
        body: &str,
    ) -> Status {
        let Reply { conn, stamp, keep_alive, head_only } = self;
        conn.write(|out| {
            head::begin(out, status);
            head::text(out, fields);
            let len = body.len();
            head::text(out, format_args!("Content-Type: {kind}\r\nContent-Length: {len}\r\n"));
            head::finish(out, keep_alive, stamp);
            if !head_only {
                out.extend_from_slice(body.as_bytes());
            }
        });
        status
    }
}

/// What an input that is no request gets. `head_only`: or may be one for the head of a response
/// only.
pub(super) fn refuse(conn: &mut Conn, stamp: u64, status: Status, head_only: bool) -> Status {
    Reply { conn, stamp, keep_alive: KeepAlive::No, head_only }.error(status)
}

/// What a connection gets that is not served. Without a body: it is not known what will be asked.
pub(super) fn refuse_unread(conn: &mut Conn, stamp: u64, status: Status) -> Status {
    let reply = Reply { conn, stamp, keep_alive: KeepAlive::No, head_only: false };
    reply.text(status, format_args!(""), "text/plain; charset=utf-8", "")
}
