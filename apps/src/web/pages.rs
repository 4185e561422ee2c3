//! Where the page of a path comes from: out of the cache, or read; and in which coding.

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

/// What is served.
#[derive(Debug)]
pub(super) enum Content {
    Folder(Arc<Root>),
    /// Everybody is sent to the same place over TLS, at this port.
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

    /// Says whether a path is one of those that are served, whatever is there.
    pub(super) fn serves(&self, path: &[u8]) -> bool {
        match self {
            Content::Folder(root) => root.serves(path),
            Content::Demo(_) => true,
            Content::Elsewhere(_) => false,
        }
    }

    /// What is served of a folder.
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

/// What may be waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Nothing; and a file that was looked at for a request of this batch is good for all of them.
    AtOnce(Batch),
    /// A disk: this runs on the blocking pool.
    Blocking,
}

impl How {
    /// How to look for a page in an event of a connection.
    pub(super) fn at_once(cx: &Cx) -> How {
        How::AtOnce(Batch::of(cx))
    }
}

/// What is asked for has to be waited for.
#[derive(Debug)]
pub(super) enum Waits {
    /// For a disk: to be answered with [`How::Blocking`].
    Disk,
    /// For a file to be compressed: the answer is made of what comes out.
    Compression(Box<Job>),
}

/// What the command line says of pages.
#[derive(Debug, Default)]
pub(super) struct PageOptions {
    /// Bytes of memory for what is kept.
    pub(super) cache_bytes: u64,
    /// For so long what is kept is good without a look at the file.
    pub(super) cache_valid: Duration,
    /// Text is compressed for those who take it so.
    pub(super) compresses: bool,
    pub(super) policy: Policy,
}

/// Content and cache.
pub(super) struct Pages {
    pub(super) site: Content,
    pub(super) options: PageOptions,
    cache: Arc<Cache<Page>>,
    pub(super) compressor: Arc<Compressor>,
    start: Instant,
}

impl Pages {
    /// `only`: a color on which all is done.
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

    /// The file of a path; `None`: it is a folder.
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

    /// As [`find`](Self::find). `WouldBlock`: a disk would have to be read for
    /// it, and that is not to be waited for.
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

    /// Puts a page into the cache, if it may be kept.
    fn keep(&self, key: &[u8], page: Page) -> FilePage {
        let may_be_kept = page.may_be_kept;
        let entry = Arc::new(Cached::new(page));
        if may_be_kept {
            self.cache.insert(key, Arc::clone(&entry));
        }
        entry
    }

    /// For which requests a look at a file is good.
    fn batch(&self, how: How) -> Batch {
        match (how, Batch::of_stretch(self.start, self.options.cache_valid)) {
            (_, Some(stretch)) => stretch,
            (How::AtOnce(batch), None) => batch,
            (How::Blocking, None) => Batch::Single,
        }
    }

    /// The best one of a file and what is the same in other codings, as the client takes them.
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
        // What comes out is to be kept, or each request would have it made anew.
        let most = compress::MOST.min(self.options.cache_bytes / 4);
        let may_be = (compress::LEAST..=most).contains(&entry.len) && entry.may_be_kept;
        let is_wanted = |coding: &Coding| accepted.has(*coding) && !entry.is_in_vain(*coding);
        let coding = [Coding::Brotli, Coding::Gzip].into_iter().find(is_wanted);
        let Some(coding) = coding.filter(|_| may_be && self.options.compresses) else {
            return Ok(entry);
        };
        let key = key_of(path, "made ", coding);
        // It was made of this version, which is known to be the present one.
        if let Some(made) = self.cache.get(&key, Batch::Single, |_| Ok(entry.version)) {
            return Ok(made);
        }
        Err(Waits::Compression(Box::new(Job { key, original: entry, coding })))
    }

    /// In which codings there are files beside one, not older than it. It is looked up once in a
    /// while.
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

    /// The file beside one that is the same in a coding; `None`: it is no longer there.
    fn find_sibling(
        &self,
        root: &Root,
        path: &[u8],
        original: &Page,
        coding: Coding,
        how: How,
    ) -> Result<Option<FilePage>, Waits> {
        // Its fields are those of this version of the original.
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

/// For so long it is good what is known of which encoded files are there.
const SIBLINGS_VALID: Duration = Duration::from_secs(1);

/// Under what the same in a coding is kept. No file has such a path.
fn key_of(path: &[u8], how: &str, coding: Coding) -> Vec<u8> {
    [path, b"\0", how.as_bytes(), coding.name().as_bytes()].concat()
}

fn find_in(root: &Root, path: &[u8], how: How) -> io::Result<Found> {
    match how {
        How::AtOnce(_) => root.find_cached(path),
        How::Blocking => waited_for(how, root.find(path)),
    }
}

/// Somebody has a lease on a file, or renames all the time: to wait again would not help.
fn waited_for<T>(how: How, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| match (how, error.kind()) {
        (How::Blocking, io::ErrorKind::WouldBlock) => io::ErrorKind::ResourceBusy.into(),
        _ => error,
    })
}

/// How much of a file is read, and from where.
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
