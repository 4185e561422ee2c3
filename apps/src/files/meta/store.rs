//! Dead properties on disk, and what is about to become of them.
//!
//! The store is redb: a B-tree in one file, copy on write, with one writer and readers that see a version each. It is in Rust throughout and
//! needs nothing of the system; a commit is on the disk when it returns, and a process that is killed leaves the last commit.
//!
//! A property belongs to a path. The folder and the store are two places, and no change spans both at once. So whoever moves, copies or
//! deletes what has properties writes down first what it is about to do, an [`Intent`], and by which inode one can tell
//! afterwards whether it was done. What a killed server has left is finished, or forgotten, at the next start: files and their
//! properties are both the old or both the new ones.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use crate::files::dav::xml::Name;
use crate::files::path::DavPath;
use crate::files::share::Found;

/// Path, namespace, name: the element.
const PROPERTIES: TableDefinition<'_, Key<'static>, &str> = TableDefinition::new("properties");

/// Number: what is about to be done.
const INTENTS: TableDefinition<'_, u64, Record<'static>> = TableDefinition::new("intents");

/// Kind, from, to, the inode that tells whether it was done; of what was replaced the inode and the time of its modification.
type Record<'a> = (u8, &'a [u8], &'a [u8], u64, u64, u64);

/// Bytes of the properties of one resource, at most.
const MOST_BYTES: usize = 256 * 1024;

/// Memory for pages, in bytes.
const CACHE: usize = 16 * 1024 * 1024;

/// What is about to happen to a resource and all below it. Done is it when ...
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Intent {
    /// ... `path` is not `inode` any more.
    Delete { path: DavPath, inode: u64 },
    /// ... `to` is `inode`. Without `deep`, what is below is not copied.
    Copy { from: DavPath, to: DavPath, inode: u64, deep: bool },
    /// ... `to` is `inode`; then `left`, if there is one, may still be at `from`, and has to go.
    Move { from: DavPath, to: DavPath, inode: u64, left: Option<Left> },
}

/// What a move may leave at its source: it is deleted only if it is exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::files) struct Left {
    inode: u64,
    modified: u64,
}

impl Left {
    pub(in crate::files) fn of(found: &Found) -> Left {
        Left { inode: found.inode, modified: found.version.modified as u64 }
    }
}

/// Why the store could not be used.
#[derive(Debug)]
pub(in crate::files) enum StoreError {
    /// Another server has it.
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
            StoreError::InUse => f.write_str("another server serves this folder already"),
            StoreError::Full => f.write_str("there is no room"),
            StoreError::Broken => f.write_str("the store of properties cannot be used for now"),
            StoreError::Failed(error) => write!(f, "the store of properties: {error}"),
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
/// After an error of the disk redb does nothing any more. Then the store is [broken](Self::is_broken), and has to be reopened.
#[derive(Debug)]
pub(in crate::files) struct Store {
    file: PathBuf,
    db: RwLock<Option<Database>>,
    broken: Arc<AtomicBool>,
    /// What could not be written down, in its order.
    unsettled: Mutex<Vec<Unsettled>>,
}

#[derive(Debug)]
enum Unsettled {
    /// The outcome of a change of the folder.
    Outcome(u64, Intent, bool),
    /// There is nothing at this path any more, or something else.
    Gone(DavPath),
}

/// The properties as they were at one time; nothing while the store is broken.
pub(in crate::files) struct View {
    txn: Option<ReadTransaction>,
    broken: Arc<AtomicBool>,
}

/// A property: its name, and the element.
pub(in crate::files) type Property = (Name, String);

impl Store {
    pub(in crate::files) fn open(file: &Path) -> Result<Store> {
        let db = RwLock::new(Some(open(file)?));
        let (broken, unsettled) = (Arc::default(), Mutex::default());
        Ok(Store { file: file.to_owned(), db, broken, unsettled })
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
            self.broken.store(true, Ordering::Relaxed);
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
        self.broken.load(Ordering::Relaxed)
    }

    /// Tries to make it whole again. Views of before are good for nothing then.
    pub(in crate::files) fn reopen(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_broken() {
            return Ok(());
        }
        *db = None;
        let opened = open(&self.file)?;
        // Nobody uses it before it knows what has happened meanwhile.
        let mut unsettled = self.unsettled();
        while let Some(first) = unsettled.first() {
            match first {
                Unsettled::Outcome(number, intent, done) => {
                    settle(&opened, *number, intent, *done)?
                }
                Unsettled::Gone(path) => forget(&opened, path)?,
            }
            unsettled.remove(0);
        }
        *db = Some(opened);
        self.broken.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<Unsettled>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now.
    pub(in crate::files) fn view(&self) -> Result<View> {
        self.with(|db| Ok(View { txn: Some(db.begin_read()?), broken: Arc::clone(&self.broken) }))
    }

    /// Has the resource, or anything below it, a property?
    pub(in crate::files) fn has_within(&self, path: &DavPath) -> Result<bool> {
        self.view()?.has_within(path)
    }

    /// Sets properties of a resource, and removes those without an element.
    pub(in crate::files) fn patch(
        &self,
        path: &DavPath,
        changes: &[(Name, Option<String>)],
    ) -> Result<()> {
        self.with(|db| patch(db, path, changes))
    }

    /// Writes down what is about to be done, and says under which number.
    pub(in crate::files) fn intend(&self, intent: &Intent) -> Result<u64> {
        self.with(|db| {
            let txn = db.begin_write()?;
            let number = {
                let mut table = txn.open_table(INTENTS)?;
                let number = table.last()?.map_or(0, |(number, _)| number.value() + 1);
                table.insert(number, record(intent))?;
                number
            };
            txn.commit()?;
            Ok(number)
        })
    }

    /// It was done: the properties follow. Or it was not: nothing does. If that cannot be written down now, it is when the store has been
    /// reopened.
    pub(in crate::files) fn settle(&self, number: u64, intent: &Intent, done: bool) -> Result<()> {
        let settled = self.with(|db| settle(db, number, intent, done));
        if settled.is_err() {
            self.unsettled().push(Unsettled::Outcome(number, intent.clone(), done));
        }
        settled
    }

    /// There is nothing at a path any more, or something else: its properties are forgotten, if not now, then when the store has been
    /// reopened. True: there were some, or there may have been.
    pub(in crate::files) fn forget(&self, path: &DavPath) -> bool {
        let forgotten = self.has_within(path).and_then(|has_some| {
            if has_some {
                self.with(|db| forget(db, path))?;
            }
            Ok(has_some)
        });
        forgotten.unwrap_or_else(|error| {
            tracing::error!("{error}");
            self.unsettled().push(Unsettled::Gone(path.clone()));
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
                all.push((number.value(), intent(record.value())));
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
    let db = builder.create(file)?;
    let txn = db.begin_write()?;
    txn.open_table(PROPERTIES)?;
    txn.open_table(INTENTS)?;
    txn.commit()?;
    Ok(db)
}

fn patch(db: &Database, path: &DavPath, changes: &[(Name, Option<String>)]) -> Result<()> {
    let txn = db.begin_write()?;
    {
        let mut table = txn.open_table(PROPERTIES)?;
        for (name, element) in changes {
            let key = (path.as_bytes(), name.space.as_str(), name.local.as_str());
            match element {
                Some(element) => drop(table.insert(key, element.as_str())?),
                None => drop(table.remove(key)?),
            }
        }
        let mut bytes = 0;
        for entry in table.range(keys(path, &after(path)))? {
            let (_, element) = entry?;
            bytes += element.value().len();
        }
        if bytes > MOST_BYTES {
            return Err(StoreError::Full);
        }
    }
    txn.commit()?;
    Ok(())
}

fn settle(db: &Database, number: u64, intent: &Intent, done: bool) -> Result<()> {
    let txn = db.begin_write()?;
    {
        let mut intents = txn.open_table(INTENTS)?;
        // A commit may have been made though it was reported to have failed.
        if intents.get(number)?.is_none_or(|known| known.value() != record(intent)) {
            return Ok(());
        }
        intents.remove(number)?;
        let mut table = txn.open_table(PROPERTIES)?;
        match intent {
            _ if !done => {}
            Intent::Delete { path, .. } => drop(take_within(&mut table, path, true)?),
            Intent::Copy { from, to, deep, .. } => {
                take_within(&mut table, to, true)?;
                let mut found = take_within(&mut table, from, false)?;
                found.retain(|(at, _)| *deep || at == from);
                put(&mut table, found, from, to)?;
            }
            Intent::Move { from, to, .. } => {
                take_within(&mut table, to, true)?;
                let found = take_within(&mut table, from, true)?;
                put(&mut table, found, from, to)?;
            }
        }
    }
    txn.commit()?;
    Ok(())
}

fn forget(db: &Database, path: &DavPath) -> Result<()> {
    let txn = db.begin_write()?;
    take_within(&mut txn.open_table(PROPERTIES)?, path, true)?;
    txn.commit()?;
    Ok(())
}

impl View {
    /// The same while the store cannot be read: it has nothing.
    pub(in crate::files) fn emptied(&self) -> View {
        View { txn: None, broken: Arc::clone(&self.broken) }
    }

    fn read<T: Default>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        let Some(txn) = &self.txn else { return Ok(T::default()) };
        f(txn).inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    /// Has any resource a property?
    pub(in crate::files) fn has_some(&self) -> Result<bool> {
        use redb::ReadableTableMetadata;
        self.read(|txn| Ok(!txn.open_table(PROPERTIES)?.is_empty()?))
    }

    /// Those of one resource, by name.
    pub(in crate::files) fn of(&self, path: &DavPath) -> Result<Vec<Property>> {
        self.read(|txn| {
            let table = txn.open_table(PROPERTIES)?;
            let mut all = Vec::new();
            for entry in table.range(keys(path, &after(path)))? {
                let (key, element) = entry?;
                let (_, space, local) = key.value();
                all.push((Name::new(space, local), element.value().to_owned()));
            }
            Ok(all)
        })
    }

    fn has_within(&self, path: &DavPath) -> Result<bool> {
        self.read(|txn| {
            let table = txn.open_table(PROPERTIES)?;
            if table.range(keys(path, &after(path)))?.next().is_some() {
                return Ok(true);
            }
            let below = path.join(b"");
            let first = table.range((below.as_bytes(), "", "")..)?.next().transpose()?;
            Ok(first.is_some_and(|(key, _)| DavPath::from_bytes(key.value().0).is_within(path)))
        })
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

type Key<'a> = (&'a [u8], &'a str, &'a str);

/// What comes behind all keys of one path: no path has a zero byte.
fn after(path: &DavPath) -> Vec<u8> {
    [path.as_bytes(), b"\0"].concat()
}

/// The keys of one path.
fn keys<'a>(path: &'a DavPath, after: &'a [u8]) -> std::ops::Range<Key<'a>> {
    (path.as_bytes(), "", "")..(after, "", "")
}

type Entries = Vec<(DavPath, Property)>;

/// The properties of a resource and of all below it; they may be removed.
fn take_within(
    table: &mut redb::Table<'_, Key<'static>, &'static str>,
    path: &DavPath,
    remove: bool,
) -> Result<Entries> {
    let mut found = Vec::new();
    let mut add = |(key, element): Entry<'_>| {
        let (at, space, local) = key.value();
        let at = DavPath::from_bytes(at);
        let is_within = at.is_within(path);
        if is_within {
            found.push((at, (Name::new(space, local), element.value().to_owned())));
        }
        is_within
    };
    for entry in table.range(keys(path, &after(path)))? {
        add(entry?);
    }
    let below = path.join(b"");
    if !path.is_root() {
        for entry in table.range((below.as_bytes(), "", "")..)? {
            if !add(entry?) {
                break;
            }
        }
    }
    if remove {
        for (at, (name, _)) in &found {
            table.remove((at.as_bytes(), name.space.as_str(), name.local.as_str()))?;
        }
    }
    Ok(found)
}

type Entry<'a> = (redb::AccessGuard<'a, Key<'static>>, redb::AccessGuard<'a, &'static str>);

/// What was found at `from` is at `to`.
fn put(
    table: &mut redb::Table<'_, Key<'static>, &'static str>,
    found: Entries,
    from: &DavPath,
    to: &DavPath,
) -> Result<()> {
    for (at, (name, element)) in found {
        let at = at.moved(from, to);
        table
            .insert((at.as_bytes(), name.space.as_str(), name.local.as_str()), element.as_str())?;
    }
    Ok(())
}

/// No inode has this number.
const NONE: u64 = 0;

fn record(intent: &Intent) -> Record<'_> {
    match intent {
        Intent::Delete { path, inode } => (0, path.as_bytes(), b"", *inode, NONE, 0),
        Intent::Copy { from, to, inode, deep } => {
            (if *deep { 1 } else { 3 }, from.as_bytes(), to.as_bytes(), *inode, NONE, 0)
        }
        Intent::Move { from, to, inode, left } => {
            let Left { inode: left, modified } = left.unwrap_or(Left { inode: NONE, modified: 0 });
            (2, from.as_bytes(), to.as_bytes(), *inode, left, modified)
        }
    }
}

fn intent((kind, from, to, inode, left, modified): Record<'_>) -> Intent {
    let (from, to) = (DavPath::from_bytes(from), DavPath::from_bytes(to));
    match kind {
        0 => Intent::Delete { path: from, inode },
        1 | 3 => Intent::Copy { from, to, inode, deep: kind == 1 },
        _ => {
            let left = (left != NONE).then_some(Left { inode: left, modified });
            Intent::Move { from, to, inode, left }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
