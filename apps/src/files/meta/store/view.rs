//! Views of the properties at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::ReadTransaction;

use super::tables::{PROPERTIES, after, keys};
use super::{Property, Result};
use crate::files::dav::xml::Name;
use crate::files::path::DavPath;

/// The properties as they were at one time. It is empty while the store is broken.
pub(in crate::files) struct View {
    pub(super) txn: Option<ReadTransaction>,
    pub(super) broken: Arc<AtomicBool>,
}

impl View {
    /// Returns an empty view, for the time in which the store cannot be read.
    pub(in crate::files) fn emptied(&self) -> View {
        View { txn: None, broken: Arc::clone(&self.broken) }
    }

    fn read<T: Default>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        let Some(txn) = &self.txn else { return Ok(T::default()) };
        f(txn).inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    /// Returns `true` if any resource has a property.
    pub(in crate::files) fn has_some(&self) -> Result<bool> {
        use redb::ReadableTableMetadata;
        self.read(|txn| Ok(!txn.open_table(PROPERTIES)?.is_empty()?))
    }

    /// Returns the properties of a resource, by name.
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

    pub(super) fn has_within(&self, path: &DavPath) -> Result<bool> {
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
