//! Dead properties on disk, and what is about to become of them.
//!
//! The store is redb: a B-tree in one file, copy on write, with one writer and readers that see a
//! version each. It is in Rust throughout and needs nothing of the system; a commit is on the disk
//! when it returns, and a process that is killed leaves the last commit.
//!
//! A property belongs to a path. The folder and the store are two places, and no change spans both
//! at once. So a change that moves, copies or deletes what has properties writes down first what it
//! is about to do, an [`Intent`], and by which inode one can tell afterwards whether it was done.
//! What a killed server has left is finished, or forgotten, at the next start: files and their
//! properties are both the old or both the new ones.
//!
//! * [`intent`]: what is about to be done. [`view`]: reading. [`tables`]: what a transaction does.

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
    intent::{Intent, Left},
    view::View,
};

use crate::files::dav::xml::Name;
use crate::files::path::DavPath;

/// Memory for pages, in bytes.
const CACHE: usize = 16 * 1024 * 1024;

/// Why the store could not be used.
#[derive(Debug)]
pub(in crate::files) enum StoreError {
    /// Another server has the store.
    InUse,
    /// There is no room: on the disk, or for so large properties.
    Full,
    /// After an error of the disk; see [`Store::reopen`].
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

/// See the module.
///
/// After an error of the disk redb does nothing any more. Then the store is
/// [broken](Self::is_broken), and has to be reopened.
#[derive(Debug)]
pub(in crate::files) struct Store {
    /// `None`: it is in memory, as nothing can be written.
    file: Option<PathBuf>,
    db: RwLock<Option<Database>>,
    /// One for each time that it was opened: a view of before says nothing of what is now.
    broken: ArcSwap<AtomicBool>,
    /// What could not be written down, in its order.
    unsettled: Mutex<Vec<Unsettled>>,
    /// None has been set here, and what was opened had none, so there is none to look for.
    is_unused: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum Unsettled {
    /// The outcome of a change of the folder.
    Outcome(u64, Intent, bool),
    /// There is nothing at this path any more, or something else.
    Gone(DavPath),
    /// It was not begun, as it could not be written down; but it may have been.
    Never(Intent),
}

/// A property: its name, and the element.
pub(in crate::files) type Property = (Name, String);

impl Store {
    pub(in crate::files) fn open(file: &Path) -> Result<Store> {
        let db = RwLock::new(Some(open(file)?));
        let store = Store::new(Some(file.to_owned()), db);
        store.is_unused.store(!store.view()?.has_some()?, Ordering::Relaxed);
        Ok(store)
    }

    /// One that holds nothing, for a folder that cannot be changed.
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
            // Of the disk, not the limit of one resource: redb says so at the next call.
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

    /// Is done when the store has been reopened.
    fn put_off(&self, what: Unsettled) {
        let mut unsettled = self.unsettled();
        if !unsettled.contains(&what) {
            unsettled.push(what);
        }
        drop(unsettled);
        self.mark_broken();
    }

    /// Tries to make it whole again. Views of before are good for nothing then.
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
        // Nobody uses it before it knows what has happened meanwhile.
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

    /// What there is now.
    pub(in crate::files) fn view(&self) -> Result<View> {
        self.with(|db| Ok(View { txn: Some(db.begin_read()?), broken: self.broken.load_full() }))
    }

    /// Says whether the resource, or anything below it, has a property.
    pub(in crate::files) fn has_within(&self, path: &DavPath) -> Result<bool> {
        // A change that sets one of this path, or moves one to it, has had a claim of it before.
        if self.is_unused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.view()?.has_within(path)
    }

    /// Sets properties of a resource, and removes those without an element.
    pub(in crate::files) fn patch(
        &self,
        path: &DavPath,
        changes: &[(Name, Option<String>)],
    ) -> Result<()> {
        self.is_unused.store(false, Ordering::Relaxed);
        self.with(|db| tables::patch(db, path, changes))
    }

    /// Writes down what is about to be done, and says under which number.
    pub(in crate::files) fn intend(&self, intent: &Intent) -> Result<u64> {
        let number = self.with(|db| tables::intend(db, intent));
        if number.is_err() {
            self.put_off(Unsettled::Never(intent.clone()));
        }
        number
    }

    /// It was done: the properties follow. Or it was not: nothing does. If that cannot be written
    /// down now, it is when the store has been reopened.
    pub(in crate::files) fn settle(&self, number: u64, intent: &Intent, done: bool) -> Result<()> {
        let settled = self.with(|db| tables::settle(db, number, intent, done));
        if settled.is_err() {
            self.put_off(Unsettled::Outcome(number, intent.clone(), done));
        }
        settled
    }

    /// There is nothing at a path any more, or something else: its properties are forgotten, if not
    /// now, then when the store has been reopened. True: there were some, or there may have been.
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

    /// What a server that was killed has left.
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
    // Killed while it was made: redb writes its magic number, nine bytes, last.
    let has_begun = std::fs::File::open(file).and_then(|mut file| {
        let mut magic = [0; 9];
        file.read_exact(&mut magic).map(|()| magic != [0; 9])
    });
    match has_begun {
        Ok(false) => std::fs::remove_file(file)?,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            std::fs::remove_file(file)?
        }
        // It is there, or not; or redb says what is wrong with it.
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
