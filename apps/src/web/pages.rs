//! Finds the page of a path, in the cache or in the folder, and chooses its coding.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Color, Cx, Handle};
use rustix::io::Errno;

use super::compress::{self, Compressor, Job};
use super::demo::Demo;
use super::http::coding::{Accepted, Coding};
use super::http::head::Status;
use super::load::{ReadStart, load, load_encoded, read_cached, read_cold};
use super::page::{FilePage, Page};
use super::policy::Policy;
use super::root::{Found, Reach, Root};
use crate::common::cache::{Batch, Cache, Cached};

/// The source of what is served.
#[derive(Debug)]
pub(super) enum Content {
    Folder(Arc<Root>),
    /// A redirect to the same path over TLS, at this port.
    Elsewhere(u16),
    Demo(Demo),
}

impl Content {
    pub(super) fn open(served: Option<&Path>, reach: Reach) -> Result<Content, String> {
        match served {
            None => Ok(Content::Demo(Demo::new())),
            Some(served) => Root::open(served, reach)
                .map(|root| Content::Folder(Arc::new(root)))
                .map_err(|e| format!("cannot serve {}: {e}", served.display())),
        }
    }

    /// Returns `true` if a path may be served, whether or not it exists.
    pub(super) fn serves(&self, path: &[u8]) -> bool {
        match self {
            Content::Folder(root) => root.serves(path),
            Content::Demo(_) => true,
            Content::Elsewhere(_) => false,
        }
    }

    /// Returns the name of the file that is served for a folder.
    pub(super) fn index(&self) -> &[u8] {
        match self {
            Content::Folder(root) => root.index(),
            Content::Demo(_) | Content::Elsewhere(_) => b"index.html",
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Folder(root) => root.fmt(f),
            Content::Demo(_) => f.write_str("a demonstration site"),
            Content::Elsewhere(port) => write!(f, "a redirect to port {port} over TLS"),
        }
    }
}

/// What an answer may wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Nothing. A check of a file is valid for all requests of this batch.
    AtOnce(Batch),
    /// A disk, because the answer is made on the blocking pool.
    Blocking,
}

impl How {
    /// Returns how to look for a page in an event of a connection.
    pub(super) fn at_once(cx: &Cx) -> How {
        How::AtOnce(Batch::of(cx))
    }
}

/// What an answer has to wait for.
#[derive(Debug)]
pub(super) enum Waits {
    /// A disk: the request must be answered with [`How::Blocking`].
    Disk,
    /// The compression of a file: the answer is made from its result.
    Compression(Box<Job>),
}

/// The options of pages on the command line.
#[derive(Debug, Default)]
pub(super) struct PageOptions {
    /// The size of the cache in bytes.
    pub(super) cache_bytes: u64,
    /// The time for which a cached file is valid without a check.
    pub(super) cache_valid: Duration,
    /// Whether text is compressed for clients that accept it.
    pub(super) compresses: bool,
    pub(super) policy: Policy,
}

/// The content, and the cache of its pages.
pub(super) struct Pages {
    pub(super) site: Content,
    pub(super) options: PageOptions,
    cache: Arc<Cache<Page>>,
    pub(super) compressor: Arc<Compressor>,
    start: Instant,
}

impl Pages {
    /// Creates the pages of a site; `only` is a color for all events, if they must be serial.
    pub(super) fn new(
        site: Content,
        handle: &Handle,
        only: Option<&Color>,
        options: PageOptions,
    ) -> Self {
        let own = || handle.color_builder().label("cache").build();
        let color = only.cloned().unwrap_or_else(own);
        let cache = Arc::new(Cache::new(&color, options.cache_bytes));
        Pages {
            site,
            compressor: Compressor::new(handle, &cache, only),
            cache,
            options,
            start: clock::now(),
        }
    }

    /// Returns the page at a path, or `None` if it is a folder.
    pub(super) fn find(
        &self,
        path: &[u8],
        how: How,
    ) -> Result<Result<Option<FilePage>, Status>, Waits> {
        if !self.site.serves(path) {
            return Ok(Err(Status::NotFound));
        }
        match self.find_served(path, how) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Waits::Disk),
            found => Ok(found.map_err(|error| status_of(&error))),
        }
    }

    /// Finds a page that may be served. Returns `WouldBlock` if the disk has to be read, and `how`
    /// does not allow that.
    fn find_served(&self, path: &[u8], how: How) -> io::Result<Option<FilePage>> {
        let root = match &self.site {
            Content::Demo(demo) => return demo.find(path),
            Content::Elsewhere(_) => return Err(io::ErrorKind::NotFound.into()),
            Content::Folder(root) => root,
        };
        if let Some(entry) = self.cache.get(path, self.batch(how), |_| root.version(path)) {
            return Ok(Some(entry));
        }
        let (asked_at, policy) = (clock::wall(), &self.options.policy);
        let found = find_in(root, path, how);
        let loaded = found.and_then(|found| load(path, found, asked_at, read_of(how), policy));
        let loaded = waited_for(how, loaded)?;
        Ok(loaded.map(|page| self.keep(path, page)))
    }

    /// Makes an entry of a page, and puts it into the cache if it may be cached.
    fn keep(&self, key: &[u8], page: Page) -> FilePage {
        let may_be_kept = page.may_be_kept;
        let entry = Arc::new(Cached::new(page));
        if may_be_kept {
            self.cache.insert(key, Arc::clone(&entry));
        }
        entry
    }

    /// Returns the batch of requests for which a check of a file is valid.
    fn batch(&self, how: How) -> Batch {
        match (how, Batch::of_stretch(self.start, self.options.cache_valid)) {
            (_, Some(stretch)) => stretch,
            (How::AtOnce(batch), None) => batch,
            (How::Blocking, None) => Batch::Single,
        }
    }

    /// Chooses the best page for a client among a file and its encoded versions.
    pub(super) fn choose(
        &self,
        accepted: Accepted,
        path: &[u8],
        entry: FilePage,
        how: How,
    ) -> Result<FilePage, Waits> {
        let Content::Folder(root) = &self.site else { return Ok(entry) };
        if accepted.is_empty() || !entry.has_variants() {
            return Ok(entry);
        }
        let siblings = self.siblings(root, path, &entry, how)?;
        for coding in Coding::ALL {
            if accepted.has(coding)
                && siblings & coding.bit() != 0
                && let Some(encoded) = self.find_sibling(root, path, &entry, coding, how)?
            {
                return Ok(encoded);
            }
        }
        // The result must fit into the cache, or each request would compress the file again.
        let most = compress::MOST.min(self.options.cache_bytes / 4);
        let may_be = (compress::LEAST..=most).contains(&entry.len) && entry.may_be_kept;
        let is_wanted =
            |coding: &Coding| accepted.has(*coding) && !entry.is_incompressible(*coding);
        let coding = [Coding::Brotli, Coding::Gzip].into_iter().find(is_wanted);
        let Some(coding) = coding.filter(|_| may_be && self.options.compresses) else {
            return Ok(entry);
        };
        let key = key_of(path, "made ", coding);
        // The key's page was made from this version, which is known to be the current one.
        if let Some(made) = self.cache.get(&key, Batch::Single, |_| Ok(entry.version)) {
            return Ok(made);
        }
        Err(Waits::Compression(Box::new(Job { key, original: entry, coding })))
    }

    /// Returns the codings of files beside `entry` that are not older than it. They are looked up
    /// once per [`SIBLINGS_VALID`].
    fn siblings(&self, root: &Root, path: &[u8], entry: &Page, how: How) -> Result<u8, Waits> {
        let elapsed = clock::now().saturating_duration_since(self.start);
        let stretch = elapsed.as_secs() / SIBLINGS_VALID.as_secs() + 1;
        if let Some(known) = entry.siblings(stretch) {
            return Ok(known);
        }
        let mut found = 0;
        for coding in Coding::ALL {
            let sibling = [path, coding.ending().as_bytes()].concat();
            if !root.serves(&sibling) {
                continue;
            }
            match find_in(root, &sibling, how) {
                Ok(Found::File(_, version)) if version.modified >= entry.version.modified => {
                    found |= coding.bit();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Waits::Disk),
                _ => {}
            }
        }
        entry.note_siblings(stretch, found);
        Ok(found)
    }

    /// Returns the file beside the original that has its contents in a coding, or `None` if it is
    /// gone.
    fn find_sibling(
        &self,
        root: &Root,
        path: &[u8],
        original: &Page,
        coding: Coding,
        how: How,
    ) -> Result<Option<FilePage>, Waits> {
        // The key has the original's version, because the page has fields of it.
        let key = key_of(path, &format!("of {} ", original.version.tag()), coding);
        let path = [path, coding.ending().as_bytes()].concat();
        if let Some(kept) = self.cache.get(&key, self.batch(how), |_| root.version(&path)) {
            return Ok(Some(kept));
        }
        let asked_at = clock::wall();
        let loaded = find_in(root, &path, how)
            .and_then(|found| load_encoded(original, coding, found, asked_at, read_of(how)));
        match loaded {
            Ok(Some(page)) => Ok(Some(self.keep(&key, page))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Waits::Disk),
            _ => Ok(None),
        }
    }
}

/// The time for which the list of encoded files beside a file is valid.
const SIBLINGS_VALID: Duration = Duration::from_secs(1);

/// Returns the cache key of an encoded page. It contains a zero byte, so no file has such a path.
fn key_of(path: &[u8], how: &str, coding: Coding) -> Vec<u8> {
    [path, b"\0", how.as_bytes(), coding.name().as_bytes()].concat()
}

fn find_in(root: &Root, path: &[u8], how: How) -> io::Result<Found> {
    match how {
        How::AtOnce(_) => root.find_cached(path),
        How::Blocking => waited_for(how, root.find(path)),
    }
}

/// Turns `WouldBlock` into `ResourceBusy` on the blocking pool. It means that another process has a
/// lease on the file, or keeps renaming files, so another attempt would not help.
fn waited_for<T>(how: How, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| match (how, error.kind()) {
        (How::Blocking, io::ErrorKind::WouldBlock) => io::ErrorKind::ResourceBusy.into(),
        _ => error,
    })
}

/// Returns the function that reads the start of a file.
fn read_of(how: How) -> ReadStart {
    match how {
        How::AtOnce(_) => read_cached,
        How::Blocking => read_cold,
    }
}

pub(super) fn status_of(error: &io::Error) -> Status {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound | NotADirectory | InvalidFilename => Status::NotFound,
        PermissionDenied => Status::Forbidden,
        ResourceBusy => Status::Unavailable,
        _ => match error.raw_os_error() {
            // The process is out of descriptors or memory, which may pass.
            Some(code) if is_shortage(code) => Status::Unavailable,
            // No file can have this path, or it has a link where none is allowed.
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
