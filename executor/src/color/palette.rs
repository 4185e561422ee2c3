//! A map from keys to colors, whose entries end with their colors (C4).
//!
//! The table maps a key to the cell of a color, and owns no handle of it. A cell asks its palette
//! before it dies (see [`Retire`]). This question and each look-up take the lock of the key's
//! shard. So a look-up either revives the color, or comes after its death and creates a new one.
//!
//! Each entry stores the hash of its key, and a color that dies is found by this hash and its
//! number. So the end of a color runs no code of the key's type under the lock.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::builder::ColorOptions;
use super::cell::{Retire, WeakCell};
use super::handle::Color;
use crate::Handle;
use crate::random::{self, HashKeys};
use crate::sync::{Arc, Mutex, Weak, lock};

const SHARDS: usize = 16;

/// Colors by key: equal keys have the same color, different keys have different colors.
///
/// An entry lives as long as its color, that is, until the color has neither a handle nor an event.
/// A palette through which ten million keys have passed is as small as an empty one.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let users = dapple::Palette::new(&rt.handle());
/// assert_eq!(users.color("ada"), users.color("ada"));
/// assert_ne!(users.color("ada"), users.color("bob"));
/// # let _: &dapple::Palette<String> = &users;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Palette<K> {
    handle: Handle,
    options: ColorOptions,
    table: Arc<Table<K>>,
}

struct Table<K> {
    shards: [Mutex<HashTable<Slot<K>>>; SHARDS],
    hasher: HashKeys,
}

struct Slot<K> {
    hash: u64,
    key: K,
    cell: WeakCell,
}

impl<K: Hash + Eq + Send + 'static> Palette<K> {
    /// Creates an empty palette for the handle's runtime.
    ///
    /// Its colors have no label and the normal class.
    /// [`ColorBuilder::palette`](crate::ColorBuilder::palette) creates palettes with other options.
    ///
    /// See [`Palette`] for an example.
    pub fn new(handle: &Handle) -> Self {
        Self::with_options(handle, ColorOptions::default())
    }

    pub(super) fn with_options(handle: &Handle, options: ColorOptions) -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(HashTable::new()));
        let table = Arc::new(Table { shards, hasher: random::hash_keys() });
        Palette { handle: handle.clone(), options, table }
    }

    /// Returns the color of `key`, and creates it if the key has none.
    ///
    /// The key's `Eq`, `Borrow` and `ToOwned` run under a lock of the palette and must not use the
    /// palette.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let users = dapple::Palette::<String>::new(&rt.handle());
    /// let ada = users.color("ada");           // the key is copied, because it is new
    /// ada.post(|_| println!("first"));
    /// users.color("ada").post(|_| println!("second, on the same color"));
    /// assert_eq!(users.len(), 1);
    /// drop(ada);
    /// rt.wait_idle();
    /// assert!(users.is_empty());              // the color has neither a handle nor an event
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn color<Q>(&self, key: &Q) -> Color
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.table.hasher.hash_one(key);
        let mut shard = lock(self.table.shard(hash));
        match shard.entry(hash, |slot| slot.key.borrow() == key, |slot| slot.hash) {
            // SAFETY: a color leaves the table before it dies, under the shard's lock, which is
            // held here.
            Entry::Occupied(slot) => unsafe { Color::revive(&slot.get().cell) },
            Entry::Vacant(vacant) => {
                let key = key.to_owned();
                let retire = Member { table: Arc::downgrade(&self.table), hash };
                let color = self.options.color(self.handle.core(), Some(Box::new(retire)));
                vacant.insert(Slot { hash, key, cell: color.downgrade() });
                color
            }
        }
    }

    /// Returns the number of keys that have a color.
    pub fn len(&self) -> usize {
        self.table.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns `true` if no key has a color.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Table<K> {
    fn shard(&self, hash: u64) -> &Mutex<HashTable<Slot<K>>> {
        // `HashTable` uses the high and the low bits of the hash, so bits in the middle choose the
        // shard.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

/// The membership of a color in a table, stored in the color.
struct Member<K> {
    table: Weak<Table<K>>,
    hash: u64,
}

impl<K: Send + 'static> Retire for Member<K> {
    fn retire(&self, serial: u64, dead: &dyn Fn() -> bool) -> bool {
        let Some(table) = self.table.upgrade() else {
            // The palette is gone, so there are no look-ups.
            return dead();
        };
        let (is_dead, slot) = table.forget(self.hash, serial, dead);
        // Dropping a key is user code, so it runs outside the lock, and its panic is caught here.
        // This may be the last reference to the table, if the palette was dropped meanwhile: then
        // all its keys are dropped here.
        let dropped =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop((slot, table))));
        if let Err(payload) = dropped {
            crate::panic::bury(payload);
        }
        is_dead
    }
}

impl<K> Table<K> {
    fn forget(&self, hash: u64, serial: u64, dead: &dyn Fn() -> bool) -> (bool, Option<Slot<K>>) {
        let mut shard = lock(self.shard(hash));
        if !dead() {
            return (false, None);
        }
        let found = shard.find_entry(hash, |slot| slot.cell.serial() == serial);
        let slot = found.ok().map(|entry| entry.remove().0);
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
            let to = 2 * shard.len();
            shard.shrink_to(to, |slot| slot.hash);
        }
        (true, slot)
    }
}

impl<K> std::fmt::Debug for Palette<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Palette").finish_non_exhaustive()
    }
}
