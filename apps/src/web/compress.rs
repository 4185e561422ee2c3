//! Compresses files for which the site has no compressed version. It does so piece by piece on
//! colors of the low class, so that it delays no other responses.
//!
//! A file that several clients want is compressed once. The result is kept in the cache, under the
//! version of the file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dapple::{Color, Colored, Cx, Handle, Priority};
use flate2::write::GzEncoder;
use rustix::fs::fstat;

use super::http::coding::Coding;
use super::page::{Body, FilePage, Page};
use crate::common::cache::{Cache, Cached};
use crate::common::version::Version;

/// The minimum size of a file that is compressed, in bytes: a smaller file fits into a packet as it
/// is.
pub(super) const LEAST: u64 = 1_024;

/// The maximum size of a file that is compressed, in bytes. Larger files are sent as they are,
/// unless the site has compressed versions.
pub(super) const MOST: u64 = 4 * 1024 * 1024;

/// The most files that are compressed or wait for it; further files are sent as they are.
const MOST_JOBS: usize = 64;

/// The bytes that one event compresses.
const PIECE: usize = 16 * 1024;

/// The brotli quality, at which compression is about as fast as a fast network.
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 20;
const GZIP_LEVEL: u32 = 6;

/// A file to compress.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The cache key of the result.
    pub(super) key: Vec<u8>,
    pub(super) original: FilePage,
    pub(super) coding: Coding,
}

/// A callback of a waiting connection, which gets the page to serve.
pub(super) type Waiter = Box<dyn FnOnce(FilePage) + Send>;

/// The compressor of a server; see the module.
pub(super) struct Compressor {
    handle: Handle,
    cache: Arc<Cache<Page>>,
    /// The color of all events, or `None` if each file gets a color of its own.
    color: Option<Color>,
    most_running: usize,
    waiters: Colored<Waiters>,
}

/// The connections that wait for compressed files.
#[derive(Default)]
struct Waiters {
    /// The waiters, by path and version of the file.
    all: HashMap<Vec<u8>, Vec<Waiter>>,
    /// The number of files that are being compressed, each of which takes some megabytes of memory.
    running: usize,
    /// The files to compress next, which take little memory.
    next: VecDeque<Task>,
}

impl Compressor {
    /// Creates a compressor; `only` is a color for all events, if they must be serial.
    pub(super) fn new(
        handle: &Handle,
        cache: &Arc<Cache<Page>>,
        only: Option<&Color>,
    ) -> Arc<Compressor> {
        let own = || handle.color_builder().label("compressor").build();
        let color = only.cloned().unwrap_or_else(own);
        Arc::new(Compressor {
            color: only.cloned(),
            most_running: 2 * handle.workers(),
            handle: handle.clone(),
            cache: Arc::clone(cache),
            waiters: Colored::new(&color, Waiters::default()),
        })
    }

    /// Compresses a file, and passes the result to `waiter`; passes the original if compression is
    /// of no use.
    pub(super) fn compress(self: &Arc<Self>, job: Job, waiter: Waiter) {
        let this = Arc::clone(self);
        self.waiters.post(move |waiters, _| {
            let version = job.original.version.tag();
            let key = [&job.key[..], b"\0", version.as_bytes()].concat();
            if let Some(others) = waiters.all.get_mut(&key) {
                return others.push(waiter);
            }
            if waiters.all.len() >= MOST_JOBS {
                return waiter(job.original);
            }
            waiters.all.insert(key.clone(), vec![waiter]);
            let task = Task { job, key, compressor: Arc::clone(&this) };
            match waiters.running < this.most_running {
                true => this.begin(waiters, task),
                false => waiters.next.push_back(task),
            }
        });
    }

    /// Reads the file, if it is not in memory, and starts to compress it.
    fn begin(&self, waiters: &mut Waiters, task: Task) {
        waiters.running += 1;
        let own = || self.handle.color_builder().label("compress").priority(Priority::Low).build();
        let color = self.color.clone().unwrap_or_else(own);
        let original = &task.job.original;
        match &original.body {
            Body::Memory(bytes) => {
                let bytes = Arc::clone(bytes);
                self.handle.post(&color, move |cx| Work::new(bytes, task).go_on(cx));
            }
            Body::File(file) => {
                let (file, version) = (Arc::clone(file), original.version);
                let of = color.clone();
                self.handle.offload_then(
                    &color,
                    move || read(&file, version),
                    move |read, cx| {
                        if let Ok(Ok(bytes)) = read {
                            cx.post(&of, move |cx| Work::new(bytes.into(), task).go_on(cx));
                        }
                    },
                );
            }
        }
    }
}

/// A compression that connections wait for. If it fails, they get the original file.
struct Task {
    job: Job,
    key: Vec<u8>,
    compressor: Arc<Compressor>,
}

impl Task {
    /// Ends the task with its result; the drop then calls the waiters.
    fn finish(self, page: FilePage) {
        let mut this = self;
        this.job.original = page;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let (key, page) = (std::mem::take(&mut self.key), Arc::clone(&self.job.original));
        let this = Arc::clone(&self.compressor);
        self.compressor.waiters.post(move |waiters, cx| {
            waiters.running -= 1;
            if let Some(task) = waiters.next.pop_front() {
                this.begin(waiters, task);
            }
            let told = waiters.all.remove(&key).unwrap_or_default();
            // The waiters run in an uncolored event, because their work does not need the
            // compressor's color.
            cx.post_uncolored(move |_| told.into_iter().for_each(|tell| tell(Arc::clone(&page))));
        });
    }
}

/// Reads all of a file. It blocks.
fn read(file: &File, version: Version) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(version.size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    // If the file changed meanwhile, these bytes belong to neither version.
    match Version::of(&fstat(file)?) == version {
        true => Ok(bytes),
        false => Err(io::ErrorKind::Other.into()),
    }
}

/// A file that is being compressed.
struct Work {
    bytes: Arc<[u8]>,
    at: usize,
    encoder: Encoder,
    task: Task,
}

enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Encoder {
    fn new(coding: Coding) -> Encoder {
        match coding {
            Coding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                PIECE,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            _ => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), level)))
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Brotli(encoder) => encoder.write_all(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl Work {
    fn new(bytes: Arc<[u8]>, task: Task) -> Work {
        Work { bytes, at: 0, encoder: Encoder::new(task.job.coding), task }
    }

    /// Compresses a piece, and posts itself for the next one.
    fn go_on(mut self, cx: &mut Cx) {
        let piece = &self.bytes[self.at..];
        let piece = &piece[..piece.len().min(PIECE)];
        self.at += piece.len();
        // The output is in memory, so this does not fail.
        let is_added = self.encoder.add(piece).is_ok();
        if is_added && self.at < self.bytes.len() {
            return cx.post_here(move |cx| self.go_on(cx));
        }
        let Work { encoder, task, .. } = self;
        let Job { key, original, coding } = &task.job;
        match encoder.finish() {
            Ok(bytes) if is_added && (bytes.len() as u64) < original.len => {
                // The tag has the release, because another release may compress the file to other
                // bytes.
                let tag = concat!("-made-", env!("CARGO_PKG_VERSION"));
                let tag = format!("{}{tag}", original.version.tag());
                let (len, body) = (bytes.len() as u64, Body::Memory(bytes.into()));
                let page = Page::encoded(original, *coding, original.version, &tag, len, body);
                let page = Arc::new(Cached::new(page));
                task.compressor.cache.insert(key, Arc::clone(&page));
                task.finish(page);
            }
            _ => original.note_incompressible(*coding),
        }
    }
}
