//! A cache of small files: the header fields of their responses, and their contents.
//!
//! A file is kept when it is requested for the second time. So a client that reads a whole tree
//! once, as clients that synchronize do, pays nothing for the cache, and does not drive out the
//! files that others use.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use dapple::{Handle, clock};
use http::HeaderValue;

use super::value;
use crate::common::cache::{Batch, Cache, Cached, Kept, MOST_IN_MEMORY};
use crate::common::version::Version;
use crate::common::{cached, date};
use crate::files::path::DavPath;
use crate::files::share::{Found, Share};

/// The maximum memory use of the cache, in bytes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The facts about a file from which the header fields of a response are made.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) etag: HeaderValue,
    pub(super) modified: SystemTime,
    /// The Last-Modified date, which is not later than the response itself (RFC 9110, section
    /// 8.8.2.1).
    pub(super) last_modified: HeaderValue,
    pub(super) kind: HeaderValue,
}

impl Facts {
    pub(super) fn of(found: &Found, kind: &str) -> Facts {
        let modified = found.version.modified_time();
        Facts {
            size: found.version.size,
            etag: value(&found.etag()),
            modified,
            last_modified: value(&date::format(modified.min(clock::wall()))),
            kind: value(kind),
        }
    }
}

/// A small file in memory.
#[derive(Debug)]
pub(super) struct SmallFile {
    version: Version,
    pub(super) facts: Facts,
    pub(super) contents: Bytes,
}

impl Kept for SmallFile {
    fn version(&self) -> Version {
        self.version
    }

    fn bytes(&self) -> usize {
        self.contents.len() + size_of::<SmallFile>() + 128
    }

    fn is_open_file(&self) -> bool {
        false
    }
}

/// The maximum number of remembered paths.
const ASKED_FOR: usize = 65_536;

/// The paths that were requested recently, as hashes. Sometimes a path replaces another one, or two
/// paths have the same hash. That costs one cache miss or one needless insertion.
struct AskedFor {
    marks: Box<[AtomicU32]>,
    hasher: RandomState,
}

impl AskedFor {
    fn new() -> AskedFor {
        let marks = (0..ASKED_FOR).map(|_| AtomicU32::new(0)).collect();
        AskedFor { marks, hasher: RandomState::new() }
    }

    /// Notes a path. Returns `true` if it was noted before.
    fn again(&self, path: &DavPath) -> bool {
        let hash = self.hasher.hash_one(path);
        let (at, mark) = (hash as usize % ASKED_FOR, (hash >> 32) as u32);
        self.marks[at].swap(mark, Ordering::Relaxed) == mark
    }
}

/// The cache of small files. See the module.
pub(super) struct SmallFiles {
    cache: Cache<SmallFile>,
    asked_for: AskedFor,
}

impl SmallFiles {
    pub(super) fn new(handle: &Handle) -> SmallFiles {
        let cache = Cache::new(&handle.new_color(), MOST_BYTES);
        SmallFiles { cache, asked_for: AskedFor::new() }
    }

    /// Notes a request for the contents of a file that is not kept. Returns `true` if the file is
    /// to be kept now.
    pub(super) fn note(&self, path: &DavPath, size: u64) -> bool {
        size <= MOST_IN_MEMORY && self.asked_for.again(path)
    }

    /// Returns the file at a path, if it is kept and has not changed.
    pub(super) fn get(&self, share: &Share, path: &DavPath) -> Option<Arc<Cached<SmallFile>>> {
        self.cache.get(path.as_bytes(), Batch::Single, |was| share.version(path, was))
    }

    /// Keeps a file with all its contents, unless it may have changed while they were read.
    /// `asked_at` is a time before the file was looked up.
    pub(super) fn keep(
        &self,
        path: &DavPath,
        found: &Found,
        facts: &Facts,
        contents: &Bytes,
        asked_at: SystemTime,
    ) {
        let version = found.version;
        if version.is_settled(asked_at) {
            let small = SmallFile { version, facts: facts.clone(), contents: contents.clone() };
            self.cache.insert(path.as_bytes(), Arc::new(Cached::new(small)));
        }
    }
}

/// Reads the first `len` bytes of a file, on the worker if they are in memory, and on the blocking
/// pool otherwise.
pub(super) async fn read_start(
    file: &Arc<File>,
    len: u64,
    in_memory: bool,
    handle: &Handle,
) -> io::Result<Bytes> {
    let mut bytes = vec![0; len as usize];
    let read = match in_memory {
        true => cached::read_blocking(file, &mut bytes, 0),
        false => cached::read(file, &mut bytes, 0),
    };
    let read = match read {
        _ if len == 0 => 0,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let file = Arc::clone(file);
            let read = move || cached::read_blocking(&file, &mut bytes, 0).map(|n| (bytes, n));
            let (back, n) = handle.offload(read).await.map_err(io::Error::other)??;
            bytes = back;
            n
        }
        read => read?,
    };
    bytes.truncate(read);
    Ok(bytes.into())
}
