//! Files that were asked for before: small ones in memory, large ones open.
//!
//! Hits read a snapshot, without a lock and on whatever color; changes run one after the other on
//! the cache's color, which makes a new snapshot of the shard that changes (N8). An entry is
//! compared with the file system at least once per batch of readiness of a worker: what was checked
//! after the connections of this batch had become readable is fresh for all of them. So a file that
//! was replaced is noticed by the next batch, within microseconds when there is load, whatever its
//! size and the second.
//!
//! An entry that waits to be added holds its contents; when too many wait, further ones are not
//! added.
//!
//! What is thrown out when the memory is used up: the entry that was not used since the hand last
//! came by (the clock, or second-chance, algorithm).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dapple::clock;
use dapple::{Color, Colored, Cx};

use super::root::Root;
use crate::common::date;
use crate::common::version::Version;

const SHARDS: usize = 256;

/// Contents of up to this many bytes are kept in memory; larger files are kept open.
pub(super) const MOST_IN_MEMORY: u64 = 16 * 1024;

/// Contents that wait to be added, in bytes, at most.
const MOST_WAITING: u64 = 4 * 1024 * 1024;

/// Files kept open, at most.
const MOST_OPEN: usize = 1_000;

/// A file that can be served.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    /// The fields of a 200 that depend on the file only.
    pub(super) fields: Box<[u8]>,
    pub(super) etag: Box<[u8]>,
    /// When it was modified, in seconds, if that may be later than the date of a response.
    pub(super) may_be_ahead: Option<i64>,
    pub(super) body: Body,
    /// The batch in which it was last compared with the file system.
    checked: AtomicU64,
    used: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Body {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

impl Entry {
    pub(super) fn new(version: Version, fields: Vec<u8>, etag: Vec<u8>, body: Body) -> Self {
        let modified = date::seconds(version.modified_time());
        Entry {
            version,
            fields: fields.into(),
            etag: etag.into(),
            may_be_ahead: (modified >= date::seconds(clock::wall()) - 2).then_some(modified),
            body,
            checked: AtomicU64::new(0),
            // It earns its place by being asked for again.
            used: AtomicBool::new(false),
        }
    }

    /// What it costs, in bytes; more or less.
    fn cost(&self, path: &[u8]) -> u64 {
        let body = match &self.body {
            Body::Memory(bytes) => bytes.len(),
            Body::File(_) => 0,
        };
        (body + self.fields.len() + self.etag.len() + 2 * path.len() + 256) as u64
    }

    fn is_open_file(&self) -> bool {
        matches!(self.body, Body::File(_))
    }
}

type Map = HashMap<Arc<[u8]>, Arc<Entry>>;

/// See the module.
pub(super) struct Cache {
    shards: Arc<Shards>,
    keeper: Colored<Keeper>,
    /// Bytes of the entries that wait to be added.
    waiting: Arc<AtomicU64>,
    is_on: bool,
}

struct Shards {
    maps: [ArcSwap<Map>; SHARDS],
    hasher: RandomState,
}

impl Shards {
    fn of(&self, path: &[u8]) -> &ArcSwap<Map> {
        &self.maps[self.hasher.hash_one(path) as usize % SHARDS]
    }
}

/// What changes the cache, on its color.
struct Keeper {
    shards: Arc<Shards>,
    /// In the order of the clock's hand.
    hand: VecDeque<(Arc<[u8]>, Arc<Entry>)>,
    bytes: u64,
    open: usize,
    most_bytes: u64,
}

impl Cache {
    /// At most `most_bytes` of memory; 0: no cache.
    pub(super) fn new(color: &Color, most_bytes: u64) -> Self {
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

    /// The entry of a path, if there is one and the file is still the same.
    pub(super) fn get(&self, root: &Root, path: &[u8], cx: &Cx) -> Option<Arc<Entry>> {
        let entry = self.shards.of(path).load().get(path).cloned()?;
        // A worker's batch; never 0, which no batch is.
        let batch = (cx.poll_count() << 10 | cx.worker() as u64 & 1023) + 1;
        if entry.checked.load(Ordering::Relaxed) != batch {
            if root.version(path).ok() != Some(entry.version) {
                self.remove(path, entry);
                return None;
            }
            entry.checked.store(batch, Ordering::Relaxed);
        }
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Adds an entry, later.
    pub(super) fn insert(&self, path: &[u8], entry: Arc<Entry>) {
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

    fn remove(&self, path: &[u8], entry: Arc<Entry>) {
        let path: Arc<[u8]> = Arc::from(path);
        self.keeper.post(move |keeper, _| keeper.remove(&path, &entry));
    }
}

impl Keeper {
    fn insert(&mut self, path: Arc<[u8]>, entry: Arc<Entry>) {
        if entry.cost(&path) > self.most_bytes / 4 {
            return;
        }
        if let Some(old) = self.shards.of(&path).load().get(&path).cloned() {
            // Two requests missed it at once.
            if old.version == entry.version {
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

    fn remove(&mut self, path: &[u8], entry: &Arc<Entry>) {
        if self.is_current(path, entry) {
            self.change(path, |map| drop(map.remove(path)));
            self.bytes -= entry.cost(path);
            self.open -= usize::from(entry.is_open_file());
        }
        // The hand drops its part when it comes by; if many are out of date, now.
        if self.hand.len() > 2 * self.len() + 64 {
            let mut hand = std::mem::take(&mut self.hand);
            hand.retain(|(path, entry)| self.is_current(path, entry));
            self.hand = hand;
        }
    }

    fn len(&self) -> usize {
        self.shards.maps.iter().map(|m| m.load().len()).sum()
    }

    fn is_current(&self, path: &[u8], entry: &Arc<Entry>) -> bool {
        self.shards.of(path).load().get(path).is_some_and(|e| Arc::ptr_eq(e, entry))
    }

    fn change(&self, path: &[u8], change: impl FnOnce(&mut Map)) {
        let shard = self.shards.of(path);
        let mut map = Map::clone(&shard.load());
        change(&mut map);
        shard.store(Arc::new(map));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(root: &Root, name: &str, body: usize) -> Arc<Entry> {
        let version = root.version(name.as_bytes()).unwrap();
        let bytes = vec![b'x'; body].into();
        Arc::new(Entry::new(version, Vec::new(), Vec::new(), Body::Memory(bytes)))
    }

    #[test]
    fn it_is_bounded_in_bytes_and_keeps_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let rt = dapple::Runtime::builder().workers(1).build().unwrap();
        let root = Arc::new(Root::open(folder.path()).unwrap());
        let cache = Arc::new(Cache::new(&rt.handle().new_color(), 100_000));
        for n in 0..100 {
            std::fs::write(folder.path().join(n.to_string()), "x").unwrap();
            cache.insert(n.to_string().as_bytes(), entry(&root, &n.to_string(), 5_000));
            rt.wait_idle();
            let (cache, root) = (Arc::clone(&cache), Arc::clone(&root));
            rt.handle().post_default(move |cx| {
                assert!(cache.get(&root, b"0", cx).is_some(), "the used one stays, at {n}");
            });
            rt.wait_idle();
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
        let root = Arc::new(Root::open(folder.path()).unwrap());
        let cache = Arc::new(Cache::new(&rt.handle().new_color(), 100_000));
        std::fs::write(folder.path().join("f"), "one").unwrap();
        cache.insert(b"f", entry(&root, "f", 3));
        rt.wait_idle();
        std::fs::write(folder.path().join("g"), "two").unwrap();
        std::fs::rename(folder.path().join("g"), folder.path().join("f")).unwrap();
        rt.handle().post_default(move |cx| assert!(cache.get(&root, b"f", cx).is_none()));
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
    }
}
