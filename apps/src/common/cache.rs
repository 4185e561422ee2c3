//! A cache of requested files: small files in memory, large files open.
//!
//! Hits read a snapshot, without a lock and on any color. Changes run one after the other on the
//! cache's color, which makes a new snapshot of the shard that changes (N8). An entry is compared
//! with the file system before it is used. A caller that knows its worker's current batch of
//! readiness has the entry compared once per batch: a check that was made after the connections of
//! this batch had become readable is fresh for all of them. So the next batch notices a file that
//! was replaced, within microseconds under load, even if the new file has the same size and was
//! written in the same second. A user who accepts older files has entries compared once per
//! interval.
//!
//! An entry that waits to be added keeps its contents in memory. When the waiting entries exceed
//! `MOST_WAITING` bytes, further ones are not added.
//!
//! When the memory is used up, the cache evicts the entry that has not been used since the clock
//! hand last passed it (the clock, or second-chance, algorithm).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dapple::{Color, Colored, Cx, Handle, clock};

use super::version::Version;

const SHARDS: usize = 256;

/// The size in bytes up to which contents are kept in memory. Larger files are kept open, or not at
/// all.
pub(crate) const MOST_IN_MEMORY: u64 = 16 * 1024;

/// The maximum total cost, in bytes, of the entries that wait to be added.
const MOST_WAITING: u64 = 4 * 1024 * 1024;

/// The maximum number of files that are kept open.
const MOST_OPEN: usize = 1_000;

/// A value that the cache keeps for a file.
pub(crate) trait Kept: Send + Sync + 'static {
    /// Returns the version of the file from which the value was made.
    fn version(&self) -> Version;

    /// Returns the approximate memory use of the value, in bytes.
    fn bytes(&self) -> usize;

    /// Returns `true` if the value keeps a file open.
    fn is_open_file(&self) -> bool;
}

/// A kept value, with the cache's notes about it.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    kept: T,
    /// The batch in which the entry was last compared with the file system, or 0.
    checked: AtomicU64,
    /// Whether the entry was used since the clock hand last passed it.
    used: AtomicBool,
}

impl<T: Kept> Cached<T> {
    pub(crate) fn new(kept: T) -> Self {
        // An entry starts as unused: only a second request protects it from eviction.
        Cached { kept, checked: AtomicU64::new(0), used: AtomicBool::new(false) }
    }

    /// Returns the approximate memory use of the entry, in bytes.
    fn cost(&self, path: &[u8]) -> u64 {
        (self.kept.bytes() + 2 * path.len() + 256) as u64
    }
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.kept
    }
}

/// The set of requests for which one comparison with the file system is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// The request itself only.
    Single,
    /// All requests of the batch with this number, which is not 0.
    Of(u64),
}

impl Batch {
    /// Returns the batch of all requests in the current interval of this length, or `None` if the
    /// length is zero.
    pub(crate) fn of_stretch(start: Instant, length: Duration) -> Option<Batch> {
        if length.is_zero() {
            return None;
        }
        let elapsed = clock::now().saturating_duration_since(start);
        let number = elapsed.as_nanos() / length.as_nanos();
        Some(Batch::Of(u64::try_from(number).unwrap_or(u64::MAX - 1) + 1))
    }

    /// Returns the batch of readiness to which the running event belongs.
    pub(crate) fn of(cx: &Cx) -> Batch {
        Batch::numbered(cx.poll_count(), cx.worker())
    }

    /// Returns the batch of the running task, or `Single` on a thread that is not a worker.
    pub(crate) fn here(handle: &Handle) -> Batch {
        match handle.current_poll_count().zip(handle.current_worker()) {
            Some((count, worker)) => Batch::numbered(count, worker),
            None => Batch::Single,
        }
    }

    fn numbered(count: u64, worker: usize) -> Batch {
        Batch::Of((count << 10 | worker as u64 & 1023) + 1)
    }
}

type Map<T> = HashMap<Arc<[u8]>, Arc<Cached<T>>>;
type Hand<T> = VecDeque<(Arc<[u8]>, Arc<Cached<T>>)>;

/// A cache of files by path. See the module.
pub(crate) struct Cache<T: Kept> {
    shards: Arc<Shards<T>>,
    keeper: Colored<Keeper<T>>,
    /// The total cost, in bytes, of the entries that wait to be added.
    waiting: Arc<AtomicU64>,
    is_on: bool,
}

struct Shards<T> {
    maps: [ArcSwap<Map<T>>; SHARDS],
    hasher: RandomState,
}

impl<T> Shards<T> {
    fn of(&self, path: &[u8]) -> &ArcSwap<Map<T>> {
        &self.maps[self.hasher.hash_one(path) as usize % SHARDS]
    }
}

/// The state of the cache that only events on its color change.
struct Keeper<T> {
    shards: Arc<Shards<T>>,
    /// The entries in the order in which the clock hand visits them.
    hand: Hand<T>,
    bytes: u64,
    open: usize,
    most_bytes: u64,
}

impl<T: Kept> Cache<T> {
    /// Creates a cache of at most `most_bytes` bytes of memory. With 0 the cache is off.
    pub(crate) fn new(color: &Color, most_bytes: u64) -> Self {
        let shards = Arc::new(Shards {
            maps: std::array::from_fn(|_| ArcSwap::default()),
            hasher: RandomState::new(),
        });
        let keeper = Keeper {
            shards: Arc::clone(&shards),
            hand: VecDeque::new(),
            bytes: 0,
            open: 0,
            most_bytes,
        };
        Cache {
            shards,
            keeper: Colored::new(color, keeper),
            waiting: Arc::default(),
            is_on: most_bytes > 0,
        }
    }

    /// Returns the entry of a path, if there is one and the file has not changed.
    ///
    /// `now` looks up the file's current version. It is passed the kept version, and may return
    /// `WouldBlock`.
    pub(crate) fn get(
        &self,
        path: &[u8],
        batch: Batch,
        now: impl FnOnce(&Version) -> io::Result<Version>,
    ) -> Option<Arc<Cached<T>>> {
        let entry = self.shards.of(path).load().get(path).cloned()?;
        if batch != Batch::Of(entry.checked.load(Ordering::Relaxed)) {
            match now(&entry.version()) {
                Ok(version) if version == entry.version() => {}
                // The version cannot be read without blocking, which says nothing about the entry.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                _ => {
                    self.remove(path, entry);
                    return None;
                }
            }
            if let Batch::Of(number) = batch {
                entry.checked.store(number, Ordering::Relaxed);
            }
        }
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Adds an entry, in an event on the cache's color.
    pub(crate) fn insert(&self, path: &[u8], entry: Arc<Cached<T>>) {
        let cost = entry.cost(path);
        if !self.is_on || self.waiting.load(Ordering::Relaxed) + cost > MOST_WAITING {
            return;
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        let (path, waiting) = (Arc::from(path), Arc::clone(&self.waiting));
        self.keeper.post(move |keeper, _| {
            waiting.fetch_sub(cost, Ordering::Relaxed);
            keeper.insert(path, entry);
        });
    }

    fn remove(&self, path: &[u8], entry: Arc<Cached<T>>) {
        let path: Arc<[u8]> = Arc::from(path);
        self.keeper.post(move |keeper, _| keeper.remove(&path, &entry));
    }
}

impl<T: Kept> Keeper<T> {
    fn insert(&mut self, path: Arc<[u8]>, entry: Arc<Cached<T>>) {
        if entry.cost(&path) > self.most_bytes / 4 {
            return;
        }
        if let Some(old) = self.shards.of(&path).load().get(&path).cloned() {
            // Two requests missed the file at the same time, and both add it.
            if old.version() == entry.version() {
                return;
            }
            self.remove(&path, &old);
        }
        self.bytes += entry.cost(&path);
        self.open += usize::from(entry.is_open_file());
        self.change(&path, |map| drop(map.insert(Arc::clone(&path), Arc::clone(&entry))));
        self.hand.push_back((path, entry));
        while self.bytes > self.most_bytes || self.open > MOST_OPEN {
            let Some((path, entry)) = self.hand.pop_front() else {
                return;
            };
            if !self.is_current(&path, &entry) {
                continue;
            }
            if entry.used.swap(false, Ordering::Relaxed) {
                self.hand.push_back((path, entry));
            } else {
                self.remove(&path, &entry);
            }
        }
    }

    fn remove(&mut self, path: &[u8], entry: &Arc<Cached<T>>) {
        if self.is_current(path, entry) {
            self.change(path, |map| drop(map.remove(path)));
            self.bytes -= entry.cost(path);
            self.open -= usize::from(entry.is_open_file());
        }
        // The hand drops an outdated entry when it reaches it. If more than half of the entries are
        // outdated, all are dropped now.
        if self.hand.len() > 2 * self.len() + 64 {
            let mut hand = std::mem::take(&mut self.hand);
            hand.retain(|(path, entry)| self.is_current(path, entry));
            self.hand = hand;
        }
    }

    fn len(&self) -> usize {
        self.shards.maps.iter().map(|m| m.load().len()).sum()
    }

    fn is_current(&self, path: &[u8], entry: &Arc<Cached<T>>) -> bool {
        self.shards.of(path).load().get(path).is_some_and(|e| Arc::ptr_eq(e, entry))
    }

    fn change(&self, path: &[u8], change: impl FnOnce(&mut Map<T>)) {
        let shard = self.shards.of(path);
        let mut map = Map::<T>::clone(&shard.load());
        change(&mut map);
        shard.store(Arc::new(map));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    struct Content(Version, usize);

    impl Kept for Content {
        fn version(&self) -> Version {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1
        }

        fn is_open_file(&self) -> bool {
            false
        }
    }

    fn version(path: &Path) -> io::Result<Version> {
        Ok(Version::of(&rustix::fs::stat(path)?))
    }

    fn entry(path: &Path, bytes: usize) -> Arc<Cached<Content>> {
        Arc::new(Cached::new(Content(version(path).unwrap(), bytes)))
    }

    #[test]
    fn it_is_bounded_in_bytes_and_keeps_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let rt = dapple::Runtime::builder().workers(1).build().unwrap();
        let cache = Cache::new(&rt.handle().new_color(), 100_000);
        let first = folder.path().join("0");
        for n in 0..100 {
            let path = folder.path().join(n.to_string());
            std::fs::write(&path, "x").unwrap();
            cache.insert(n.to_string().as_bytes(), entry(&path, 5_000));
            rt.wait_idle();
            let found = cache.get(b"0", Batch::Single, |_| version(&first));
            assert!(found.is_some(), "the used one stays, at {n}");
        }
        let (tx, rx) = std::sync::mpsc::channel();
        cache.keeper.post(move |keeper, _| {
            let sum: u64 = keeper
                .shards
                .maps
                .iter()
                .flat_map(|m| m.load().iter().map(|(p, e)| e.cost(p)).collect::<Vec<_>>())
                .sum();
            assert_eq!(keeper.bytes, sum);
            assert!(keeper.bytes <= 100_000 && keeper.hand.len() < 200);
            tx.send(keeper.len()).unwrap();
        });
        let kept = rx.recv().unwrap();
        assert!((10..20).contains(&kept), "{kept}");
        assert_eq!(rt.metrics().panics(), 0);
    }

    #[test]
    fn a_changed_file_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let rt = dapple::Runtime::builder().workers(1).build().unwrap();
        let cache = Cache::new(&rt.handle().new_color(), 100_000);
        let (f, g) = (folder.path().join("f"), folder.path().join("g"));
        std::fs::write(&f, "one").unwrap();
        cache.insert(b"f", entry(&f, 3));
        rt.wait_idle();
        assert!(cache.get(b"f", Batch::Of(1), |_| version(&f)).is_some());
        // A version that cannot be read now says nothing about the entry.
        let unknown = |_: &Version| Err(io::ErrorKind::WouldBlock.into());
        assert!(cache.get(b"f", Batch::Single, unknown).is_none());
        rt.wait_idle();
        assert!(cache.get(b"f", Batch::Single, |_| version(&f)).is_some());
        std::fs::write(&g, "two").unwrap();
        std::fs::rename(g, &f).unwrap();
        let same_batch = cache.get(b"f", Batch::Of(1), |_| panic!("it was compared in this batch"));
        assert!(same_batch.is_some());
        assert!(cache.get(b"f", Batch::Of(2), |_| version(&f)).is_none());
        rt.wait_idle();
        assert!(cache.get(b"f", Batch::Of(1), |_| version(&f)).is_none(), "and it is gone");
        assert_eq!(rt.metrics().panics(), 0);
    }
}
