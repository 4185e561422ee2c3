//! Which response a request gets, whatever the connection is that it came by.
//!
//! An [`Answer`] is made on the connection's color if nothing has to be waited for, and beside the
//! workers otherwise (see [`How`]). It is written by [`write`](super::write).

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Color, Cx, Handle};
use rustix::io::Errno;

use super::demo::Demo;
use super::http::head::Status;
use super::http::request::{Method, Request};
use super::listing;
use super::load::{Loaded, load, read_cached, read_cold};
use super::page::Page;
use super::policy::Policy;
use super::root::{Reach, Root};
use super::tree::Walked;
use crate::common::cache::{Batch, Cache, Entry};
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::common::pieces::Pieces;
use crate::common::target::{self, BadPath};
use crate::common::zip::{self, Zip};

/// What is served.
#[derive(Debug)]
pub(super) enum Site {
    Folder(Arc<Root>),
    Demo(Demo),
}

impl Site {
    pub(super) fn open(served: Option<&Path>, reach: Reach) -> Result<Site, String> {
        match served {
            None => Ok(Site::Demo(Demo::new())),
            Some(served) => Root::open(served, reach)
                .map(|root| Site::Folder(Arc::new(root)))
                .map_err(|e| format!("cannot serve {}: {e}", served.display())),
        }
    }

    /// Says whether a path is one of those that are served, whatever is there.
    fn serves(&self, path: &[u8]) -> bool {
        match self {
            Site::Folder(root) => root.serves(path),
            Site::Demo(_) => true,
        }
    }

    /// What is served of a folder.
    fn index(&self) -> &[u8] {
        match self {
            Site::Folder(root) => root.index(),
            Site::Demo(_) => b"index.html",
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

/// A file that can be served, and may be kept.
type FilePage = Arc<Entry<Page>>;

/// What a request gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// A file, or the part of it that is asked for.
    File(FilePage, Part),
    /// The client has the file already.
    NotModified(FilePage),
    /// The site's own page for what is not there.
    NotThere(FilePage),
    // In boxes, as most responses are files.
    Text(Box<Text>),
    Made(Box<Made>),
}

/// A response that is made for one request.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) status: Status,
    /// Lines of fields, beside those of every response and those that follow from the rest.
    pub(super) fields: String,
    /// The media type.
    pub(super) kind: &'static str,
    pub(super) body: Cow<'static, str>,
}

/// A response whose body is made while it is sent.
pub(super) struct Made {
    /// Lines of fields, as in a [`Text`].
    pub(super) fields: String,
    /// The media type.
    pub(super) kind: &'static str,
    pub(super) pieces: Box<dyn Pieces>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("kind", &self.kind).finish_non_exhaustive()
    }
}

const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// A response whose body is its status.
    pub(super) fn status(status: Status) -> Answer {
        let fields = match status {
            Status::MethodNotAllowed => ALLOW.to_owned(),
            _ => String::new(),
        };
        Answer::status_with(status, fields)
    }

    fn status_with(status: Status, fields: String) -> Answer {
        let body = format!("{} {}\n", status as u16, status.reason()).into();
        Answer::Text(Box::new(Text { status, fields, kind: PLAIN_TEXT, body }))
    }

    /// What a connection gets that is not served. Without a body: it is not known what will be
    /// asked.
    pub(super) fn unread(status: Status) -> Answer {
        Answer::Text(Box::new(Text {
            status,
            fields: String::new(),
            kind: PLAIN_TEXT,
            body: "".into(),
        }))
    }
}

/// What may be waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Nothing; and a file that was looked at for a request of this batch is good for all of them.
    AtOnce(Batch),
    /// A disk: this runs beside the workers.
    Blocking,
}

impl How {
    /// In an event of a connection.
    pub(super) fn at_once(cx: &Cx) -> How {
        How::AtOnce(Batch::of(cx))
    }
}

/// What is asked for has to be waited for: to be answered with [`How::Blocking`].
#[derive(Debug)]
pub(super) struct Waits;

/// Site and cache.
pub(super) struct Answers {
    pub(super) site: Site,
    handle: Handle,
    options: AnswerOptions,
    cache: Cache<Page>,
    /// Lines of fields of responses that are no file.
    pub(super) common_fields: String,
    start: Instant,
}

/// What the command line says of answers.
#[derive(Debug)]
pub(super) struct AnswerOptions {
    /// Bytes of memory for what is kept.
    pub(super) cache_bytes: u64,
    /// For so long what is kept is good without a look at the file.
    pub(super) cache_valid: Duration,
    pub(super) policy: Policy,
    /// What the path of every URL begins with: nothing, or a slash and a name.
    pub(super) prefix: String,
    /// What is not there and has no dot in its name is answered with the first page, whose script
    /// finds out.
    pub(super) is_one_page: bool,
    /// The members of a folder without a page of its own are listed.
    pub(super) lists: bool,
}

impl Answers {
    /// `color`: on which the cache is changed.
    pub(super) fn new(site: Site, handle: &Handle, color: &Color, options: AnswerOptions) -> Self {
        Answers {
            site,
            handle: handle.clone(),
            cache: Cache::new(color, options.cache_bytes),
            common_fields: options.policy.of_others(),
            options,
            start: clock::now(),
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, request: &Request<'_>, how: How) -> Result<Answer, Waits> {
        match request.method {
            Method::Get | Method::Head => {}
            Method::Options => return Ok(self.answer_options()),
            Method::Other => return Ok(Answer::status(Status::MethodNotAllowed)),
            Method::Unknown => return Ok(Answer::status(Status::NotImplemented)),
        }
        let Some((raw, query)) = target::split(request.target) else {
            return Ok(Answer::status(Status::BadRequest));
        };
        let prefix = &self.options.prefix;
        let below = raw.strip_prefix(&**prefix);
        let Some(raw) = below.filter(|raw| raw.is_empty() || raw.starts_with('/')) else {
            return self.answer_not_there(request, b"", how);
        };
        if raw.is_empty() {
            return Ok(self.redirect_to_folder(b"", query));
        }
        let asked = match target::decode(raw) {
            Ok(asked) => asked,
            Err(BadPath::Malformed) => return Ok(Answer::status(Status::BadRequest)),
            Err(BadPath::Outside) => return self.answer_not_there(request, b"", how),
        };
        match asked.is_folder {
            true => self.answer_folder(request, asked.relative, query, how),
            false => self.answer_file(request, &asked.relative, query, how),
        }
    }

    fn answer_file(
        &self,
        request: &Request<'_>,
        path: &[u8],
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        match self.find(path, how)? {
            Ok(Some(entry)) => Ok(of_file(request, entry)),
            Ok(None) => Ok(self.redirect_to_folder(path, query)),
            Err(Status::NotFound) => self.answer_not_there(request, path, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    fn answer_folder(
        &self,
        request: &Request<'_>,
        folder: Vec<u8>,
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        let mut index = folder.clone();
        if !index.is_empty() {
            index.push(b'/');
        }
        index.extend_from_slice(self.site.index());
        match self.find(&index, how)? {
            Ok(Some(entry)) => Ok(of_file(request, entry)),
            Ok(None) | Err(Status::NotFound) => self.answer_listing(request, &folder, query, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    fn answer_listing(
        &self,
        request: &Request<'_>,
        folder: &[u8],
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        let root = match &self.site {
            Site::Folder(root) if self.options.lists && root.serves(folder) => root,
            _ => return self.answer_not_there(request, folder, how),
        };
        if matches!(how, How::AtOnce(_)) {
            return Err(Waits);
        }
        let asked = listing::Asked::of(query, request.accept);
        let listed = match asked.as_zip {
            true => self.zip(root, folder),
            false => root.members(folder, listing::MOST_MEMBERS).map(|members| {
                Answer::Text(Box::new(Text {
                    status: Status::Ok,
                    fields: listing::fields(asked),
                    kind: listing::kind(asked),
                    body: listing::write(folder, members, asked).into(),
                }))
            }),
        };
        match listed.map_err(|error| status_of(&error)) {
            Ok(answer) => Ok(answer),
            Err(Status::NotFound) => self.answer_not_there(request, folder, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    fn zip(&self, root: &Arc<Root>, folder: &[u8]) -> io::Result<Answer> {
        let tree = Walked::begin(Arc::clone(root), folder)?;
        let name = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Ok(Answer::Made(Box::new(Made {
            fields: format!(
                "Cache-Control: no-cache\r\nContent-Disposition: {}\r\n",
                zip::disposition(name)
            ),
            kind: "application/zip",
            pieces: Box::new(Zip::new(tree, &self.handle)),
        })))
    }

    /// Answers a request for what is not there, with what the site has for that.
    fn answer_not_there(
        &self,
        request: &Request<'_>,
        path: &[u8],
        how: How,
    ) -> Result<Answer, Waits> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if self.options.is_one_page
            && !name.contains(&b'.')
            && let Ok(Some(entry)) = self.find(b"index.html", how)?
        {
            return Ok(of_file(request, entry));
        }
        Ok(match self.find(b"404.html", how)? {
            Ok(Some(entry)) => Answer::NotThere(entry),
            _ => Answer::status(Status::NotFound),
        })
    }

    fn answer_options(&self) -> Answer {
        let fields = format!("{ALLOW}{}", self.options.policy.of_preflights());
        Answer::Text(Box::new(Text {
            status: Status::NoContent,
            fields,
            kind: "",
            body: "".into(),
        }))
    }

    fn redirect_to_folder(&self, path: &[u8], query: Option<&str>) -> Answer {
        let location = target::folder_location(path, query);
        let location = format!("Location: {}{location}\r\n", self.options.prefix);
        Answer::status_with(Status::MovedPermanently, location)
    }

    /// The file of a path; `None`: it is a folder.
    fn find(&self, path: &[u8], how: How) -> Result<Result<Option<FilePage>, Status>, Waits> {
        if !self.site.serves(path) {
            return Ok(Err(Status::NotFound));
        }
        match self.find_served(path, how) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Waits),
            found => Ok(found.map_err(|error| status_of(&error))),
        }
    }

    /// As [`find`](Self::find). `WouldBlock`: a disk would have to be read for
    /// it, and that is not to be waited for.
    fn find_served(&self, path: &[u8], how: How) -> io::Result<Option<FilePage>> {
        let root = match &self.site {
            Site::Demo(demo) => return demo.find(path),
            Site::Folder(root) => root,
        };
        let batch = match (how, Batch::of_stretch(self.start, self.options.cache_valid)) {
            (_, Some(stretch)) => stretch,
            (How::AtOnce(batch), None) => batch,
            (How::Blocking, None) => Batch::Single,
        };
        if let Some(entry) = self.cache.get(path, batch, |_| root.version(path)) {
            return Ok(Some(entry));
        }
        let (asked_at, policy) = (clock::wall(), &self.options.policy);
        let loaded = match how {
            How::AtOnce(_) => load(path, root.find_cached(path)?, asked_at, read_cached, policy)?,
            How::Blocking => {
                let loaded = root
                    .find(path)
                    .and_then(|found| load(path, found, asked_at, read_cold, policy));
                // Somebody has a lease on it, or renames all the time: to wait again would not
                // help.
                loaded.map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => io::ErrorKind::ResourceBusy.into(),
                    _ => error,
                })?
            }
        };
        let Some(Loaded { page, may_be_kept }) = loaded else { return Ok(None) };
        let entry = Arc::new(Entry::new(page));
        if may_be_kept {
            self.cache.insert(path, Arc::clone(&entry));
        }
        Ok(Some(entry))
    }
}

/// What a request for a file gets that is there.
fn of_file(request: &Request<'_>, entry: FilePage) -> Answer {
    let own = Validators { etag: &entry.etag, modified: entry.version.modified_time() };
    match conditions::verdict(&request.conditions, &own) {
        Verdict::Go => {}
        Verdict::NotModified => return Answer::NotModified(entry),
        Verdict::Failed => return Answer::status(Status::PreconditionFailed),
    }
    let len = entry.version.size;
    let part = match request.method {
        Method::Get => conditions::part(&request.conditions, &own, len),
        // Ranges are defined for GET only.
        _ => Part::All,
    };
    match part {
        Part::Unsatisfiable => {
            let range = format!("Content-Range: bytes */{len}\r\n");
            Answer::status_with(Status::RangeNotSatisfiable, range)
        }
        part => Answer::File(entry, part),
    }
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
            Some(code) if code == Errno::LOOP.raw_os_error() => Status::NotFound,
            Some(code) if code == Errno::NXIO.raw_os_error() => Status::NotFound,
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
