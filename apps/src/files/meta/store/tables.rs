//! The tables, and the changes of them, each of which is one transaction.

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::intent::{Intent, Leftover};
use super::{Property, Result, StoreError, Unsettled};
use crate::files::dav::xml::Name;
use crate::files::path::DavPath;

/// The properties: from path, namespace and name to the element.
pub(super) const PROPERTIES: TableDefinition<'_, Key<'static>, &str> =
    TableDefinition::new("properties");

/// The recorded changes, by number.
pub(super) const INTENTS: TableDefinition<'_, u64, Record<'static>> =
    TableDefinition::new("intents");

/// A recorded change: its kind, its two paths, the inode that tells whether it was made, and the
/// inode and the modification time of what it may have left.
pub(super) type Record<'a> = (u8, &'a [u8], &'a [u8], u64, u64, u64);

/// The maximum total size of the properties of one resource, in bytes.
pub(super) const MOST_BYTES: usize = 256 * 1024;

pub(super) type Key<'a> = (&'a [u8], &'a str, &'a str);

/// Returns a key that follows all keys of a path, because no path has a zero byte.
pub(super) fn after(path: &DavPath) -> Vec<u8> {
    [path.as_bytes(), b"\0"].concat()
}

/// Returns the range of the keys of one path.
pub(super) fn keys<'a>(path: &'a DavPath, after: &'a [u8]) -> std::ops::Range<Key<'a>> {
    (path.as_bytes(), "", "")..(after, "", "")
}

type Entries = Vec<(DavPath, Property)>;

/// Returns the properties of a resource and of everything below it, and removes them if `remove` is
/// set.
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

/// Inserts properties that were found at `from` at the same places below `to`.
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

/// A number that no inode has.
const NONE: u64 = 0;

pub(super) fn record(intent: &Intent) -> Record<'_> {
    match intent {
        Intent::Delete { path, inode } => (0, path.as_bytes(), b"", *inode, NONE, 0),
        Intent::Copy { from, to, inode, deep } => {
            (if *deep { 1 } else { 3 }, from.as_bytes(), to.as_bytes(), *inode, NONE, 0)
        }
        Intent::Move { from, to, inode, left } => {
            let Leftover { inode: left, modified } =
                left.unwrap_or(Leftover { inode: NONE, modified: 0 });
            (2, from.as_bytes(), to.as_bytes(), *inode, left, modified)
        }
    }
}

pub(super) fn intent((kind, from, to, inode, left, modified): Record<'_>) -> Intent {
    let (from, to) = (DavPath::from_bytes(from), DavPath::from_bytes(to));
    match kind {
        0 => Intent::Delete { path: from, inode },
        1 | 3 => Intent::Copy { from, to, inode, deep: kind == 1 },
        _ => {
            let left = (left != NONE).then_some(Leftover { inode: left, modified });
            Intent::Move { from, to, inode, left }
        }
    }
}

pub(super) fn patch(
    db: &Database,
    path: &DavPath,
    changes: &[(Name, Option<String>)],
) -> Result<()> {
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

pub(super) fn intend(db: &Database, intent: &Intent) -> Result<u64> {
    let txn = db.begin_write()?;
    let number = {
        let mut table = txn.open_table(INTENTS)?;
        let number = table.last()?.map_or(0, |(number, _)| number.value() + 1);
        table.insert(number, record(intent))?;
        number
    };
    txn.commit()?;
    Ok(number)
}

/// Writes the queued records in their order, in one transaction.
pub(super) fn catch_up(db: &Database, all: &[Unsettled]) -> Result<()> {
    let txn = db.begin_write()?;
    for one in all {
        match one {
            Unsettled::Outcome(number, intent, done) => settle_in(&txn, *number, intent, *done)?,
            Unsettled::Gone(path) => {
                drop(take_within(&mut txn.open_table(PROPERTIES)?, path, true)?)
            }
            Unsettled::Never(intent) => {
                txn.open_table(INTENTS)?.retain(|_, known| known != record(intent))?;
            }
        }
    }
    txn.commit()?;
    Ok(())
}

pub(super) fn settle(db: &Database, number: u64, intent: &Intent, done: bool) -> Result<()> {
    let txn = db.begin_write()?;
    settle_in(&txn, number, intent, done)?;
    txn.commit()?;
    Ok(())
}

fn settle_in(txn: &WriteTransaction, number: u64, intent: &Intent, done: bool) -> Result<()> {
    let mut intents = txn.open_table(INTENTS)?;
    // A commit may have succeeded although it was reported as failed.
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
    Ok(())
}

pub(super) fn forget(db: &Database, path: &DavPath) -> Result<()> {
    let txn = db.begin_write()?;
    take_within(&mut txn.open_table(PROPERTIES)?, path, true)?;
    txn.commit()?;
    Ok(())
}
