//! Dead properties on disk, and the changes of the folder that concern them.
//!
//! The store is redb: a copy-on-write B-tree in one file, with one writer and with readers that
//! each see one version. It is written in Rust and needs nothing else on the system. A commit is on
//! the disk when it returns, and a process that is killed leaves the last commit.
//!
//! A property belongs to a path. The folder and the store are two places, and no change spans both
//! atomically. So a change that moves, copies or deletes a resource with properties first records
//! an [`Intent`]: what it is about to do, and the inode by which one can tell afterwards whether it
//! was done. After a server was killed, the next start finishes or forgets these changes. So a file
//! and its properties are both old or both new.
//!
//! * [`intent`]: the recorded changes.
//! * [`view`]: reading from the store.
//! * [`tables`]: the transactions.

mod intent;
mod tables;
mod view;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use redb::{Database, ReadableDatabase, ReadableTable};

use self::tables::{INTENTS, PROPERTIES};
pub(in crate::files) use self::{
    intent::{Intent, Leftover},
    view::View,
};

use crate::files::dav::xml::Name;
use crate::files::path::DavPath;

/// The size of redb's page cache, in bytes.
const CACHE: usize = 16 * 1024 * 1024;

/// The reason why the store could not be used.
#[derive(Debug)]
pub(in crate::files) enum StoreError {
    /// Another server uses the store.
    InUse,
    /// The disk is full, or the properties of the resource are too large.
    Full,
    /// A disk error has made the store unusable; see [`Store::reopen`].
    Broken,
    Failed(redb::Error),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::InUse => f.write_str("another server already serves this folder"),
            StoreError::Full => f.write_str("there is no space left"),
            StoreError::Broken => f.write_str("the property store cannot be used at the moment"),
            StoreError::Failed(error) => write!(f, "the property store: {error}"),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
            redb::Error::PreviousIo => StoreError::Broken,
            redb::Error::Io(error) if crate::files::share::is_full(&error) => StoreError::Full,
            error => StoreError::Failed(error),
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// The store of dead properties. See the module.
///
/// After a disk error redb refuses all calls. Then the store is [broken](Self::is_broken), and has
/// to be reopened.
#[derive(Debug)]
pub(in crate::files) struct Store {
    /// The file, or `None` if the store is in memory because nothing can be written.
    file: Option<PathBuf>,
    db: RwLock<Option<Database>>,
    /// Whether the store is broken. Each opening has a flag of its own, because an error of an
    /// older view says nothing about the store as it is now.
    broken: ArcSwap<AtomicBool>,
    /// The records that could not be written, in their order.
    unsettled: Mutex<Vec<Unsettled>>,
    /// Whether the store is known to have no properties: it had none when it was opened, and none
    /// has been set since.
    is_unused: AtomicBool,
}

/// A record that has to be written when the store has been reopened.
#[derive(Debug, PartialEq, Eq)]
enum Unsettled {
    /// The outcome of a change of the folder.
    Outcome(u64, Intent, bool),
    /// The resource at this path is gone, or is another one.
    Gone(DavPath),
    /// The change was not begun, because the intent could not be written. The failed commit may
    /// have written it nevertheless.
    Never(Intent),
}

/// A property: its name, and its element as text.
pub(in crate::files) type Property = (Name, String);

impl Store {
    pub(in crate::files) fn open(file: &Path) -> Result<Store> {
        let db = RwLock::new(Some(open(file)?));
        let store = Store::new(Some(file.to_owned()), db);
        store.is_unused.store(!store.view()?.has_some()?, Ordering::Relaxed);
        Ok(store)
    }

    /// Creates an empty store in memory, for a folder that cannot be changed.
    pub(in crate::files) fn in_memory() -> Result<Store> {
        let db = RwLock::new(Some(in_memory()?));
        Ok(Store::new(None, db))
    }

    fn new(file: Option<PathBuf>, db: RwLock<Option<Database>>) -> Store {
        let (broken, unsettled) = (ArcSwap::default(), Mutex::default());
        Store { file, db, broken, unsettled, is_unused: AtomicBool::new(false) }
    }

    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let outcome = match &*self.db.read().unwrap_or_else(PoisonError::into_inner) {
            Some(db) => f(db),
            None => Err(StoreError::Broken),
        };
        let is_of_the_disk = |error: &StoreError| match error {
            StoreError::Broken => true,
            StoreError::Failed(redb::Error::Io(_)) => true,
            // Either the disk is full, or the properties of one resource are too large. After a
            // disk error redb fails at the next call.
            StoreError::Full => self.with_is_broken(),
            _ => false,
        };
        if outcome.as_ref().err().is_some_and(is_of_the_disk) {
            self.mark_broken();
        }
        outcome
    }

    fn with_is_broken(&self) -> bool {
        match &*self.db.read().unwrap_or_else(PoisonError::into_inner) {
            Some(db) => db.begin_write().is_err(),
            None => true,
        }
    }

    pub(in crate::files) fn is_broken(&self) -> bool {
        self.broken.load().load(Ordering::Relaxed)
    }

    fn mark_broken(&self) {
        self.broken.load().store(true, Ordering::Relaxed);
    }

    /// Queues a record that is written when the store has been reopened.
    fn put_off(&self, what: Unsettled) {
        let mut unsettled = self.unsettled();
        if !unsettled.contains(&what) {
            unsettled.push(what);
        }
        drop(unsettled);
        self.mark_broken();
    }

    /// Reopens the store if it is broken. Views that were taken before are useless afterwards.
    pub(in crate::files) fn reopen(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_broken() {
            return Ok(());
        }
        *db = None;
        let opened = match &self.file {
            Some(file) => open(file)?,
            None => in_memory()?,
        };
        // The queued records are written before anybody uses the store.
        let mut unsettled = self.unsettled();
        tables::catch_up(&opened, &unsettled)?;
        unsettled.clear();
        *db = Some(opened);
        self.broken.store(Arc::default());
        Ok(())
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<Unsettled>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a view of the current properties.
    pub(in crate::files) fn view(&self) -> Result<View> {
        self.with(|db| Ok(View { txn: Some(db.begin_read()?), broken: self.broken.load_full() }))
    }

    /// Returns `true` if the resource, or anything below it, has a property.
    pub(in crate::files) fn has_within(&self, path: &DavPath) -> Result<bool> {
        // Every change that sets a property of this path, or moves one to it, has had a claim on
        // the path before.
        if self.is_unused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.view()?.has_within(path)
    }

    /// Sets the properties of a resource that have an element, and removes those without one.
    pub(in crate::files) fn patch(
        &self,
        path: &DavPath,
        changes: &[(Name, Option<String>)],
    ) -> Result<()> {
        self.is_unused.store(false, Ordering::Relaxed);
        self.with(|db| tables::patch(db, path, changes))
    }

    /// Records a change that is about to be made. Returns the number of the record.
    pub(in crate::files) fn intend(&self, intent: &Intent) -> Result<u64> {
        let number = self.with(|db| tables::intend(db, intent));
        if number.is_err() {
            self.put_off(Unsettled::Never(intent.clone()));
        }
        number
    }

    /// Records that a change was made or not. If it was made, the properties follow. If this cannot
    /// be written now, it is written when the store has been reopened.
    pub(in crate::files) fn settle(&self, number: u64, intent: &Intent, done: bool) -> Result<()> {
        let settled = self.with(|db| tables::settle(db, number, intent, done));
        if settled.is_err() {
            self.put_off(Unsettled::Outcome(number, intent.clone(), done));
        }
        settled
    }

    /// Forgets the properties of a path whose resource is gone or is another one. If that cannot be
    /// written now, it is written when the store has been reopened. Returns `true` if there were
    /// properties, or may have been.
    pub(in crate::files) fn forget(&self, path: &DavPath) -> bool {
        let forgotten = self.has_within(path).and_then(|has_some| {
            if has_some {
                self.with(|db| tables::forget(db, path))?;
            }
            Ok(has_some)
        });
        forgotten.unwrap_or_else(|error| {
            tracing::error!("{error}");
            self.put_off(Unsettled::Gone(path.clone()));
            true
        })
    }

    /// Returns the recorded changes whose outcome is not known, because the server was killed.
    pub(in crate::files) fn intents(&self) -> Result<Vec<(u64, Intent)>> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(INTENTS)?;
            let mut all = Vec::new();
            for entry in table.iter()? {
                let (number, record) = entry?;
                all.push((number.value(), tables::intent(record.value())));
            }
            Ok(all)
        })
    }
}

fn open(file: &Path) -> Result<Database> {
    // If the server was killed while it made the file, the magic number is missing: redb writes
    // these 9 bytes last.
    let has_begun = std::fs::File::open(file).and_then(|mut file| {
        let mut magic = [0; 9];
        file.read_exact(&mut magic).map(|()| magic != [0; 9])
    });
    match has_begun {
        Ok(false) => std::fs::remove_file(file)?,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            std::fs::remove_file(file)?
        }
        // The file is valid, or it does not exist, or redb reports what is wrong with it.
        _ => {}
    }
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    with_tables(builder.create(file)?)
}

fn in_memory() -> Result<Database> {
    with_tables(Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())?)
}

fn with_tables(db: Database) -> Result<Database> {
    let txn = db.begin_write()?;
    txn.open_table(PROPERTIES)?;
    txn.open_table(INTENTS)?;
    txn.commit()?;
    Ok(db)
}

#[cfg(test)]
mod tests;
