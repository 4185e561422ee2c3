//! The table of locks (RFC 4918, sections 6 and 7), as plain values without a clock and without
//! I/O.
//!
//! A lock covers a path, and everything below the path if the lock is deep. An expired lock counts
//! as gone, and is removed when the table changes. Locks end with the server: they are agreements
//! between people who work at the same time, and their clients refresh them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::time::later;
use crate::files::path::DavPath;

/// The maximum number of locks.
const MOST_LOCKS: usize = 10_000;

/// The maximum number of locks of one user.
const MOST_OF_USER: usize = 1_000;

/// The maximum number of locks on one path, which are shared ones.
const MOST_ON_PLACE: usize = 16;

/// A lock.
#[derive(Clone, Debug)]
pub(in crate::files) struct Lock {
    /// The lock token, a URI.
    pub(in crate::files) token: Arc<str>,
    pub(in crate::files) path: DavPath,
    /// Whether the path is a folder, as far as is known.
    pub(in crate::files) is_folder: bool,
    /// Whether the lock covers everything below the path, too.
    pub(in crate::files) deep: bool,
    pub(in crate::files) exclusive: bool,
    /// The client's description of the owner: XML that is valid anywhere in a document of this
    /// server.
    pub(in crate::files) owner: Arc<str>,
    /// The user who has the lock. No other user can use it.
    pub(in crate::files) user: Arc<str>,
    /// The time for which the lock was requested.
    pub(in crate::files) timeout: Duration,
    /// The time at which the lock expires.
    pub(in crate::files) until: Instant,
}

impl Lock {
    fn covers(&self, path: &DavPath) -> bool {
        self.path == *path || (self.deep && path.is_within(&self.path))
    }
}

/// The user who makes a request, and the lock tokens that the request names.
#[derive(Clone, Debug)]
pub(in crate::files) struct Client {
    pub(in crate::files) user: Arc<str>,
    pub(in crate::files) tokens: Vec<Arc<str>>,
}

impl Client {
    fn may_use(&self, lock: &Lock) -> bool {
        lock.user == self.user && self.tokens.contains(&lock.token)
    }
}

/// A change that a request is about to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Change {
    /// A change of the contents or properties of an existing resource.
    Contents(DavPath),
    /// The creation or removal of a resource with everything below it, which changes its folder,
    /// too.
    Existence(DavPath),
}

/// The reason why a lock cannot be taken or used.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) enum LockError {
    /// A lock on this path is in the way.
    Locked(DavPath),
    /// There are too many locks.
    TooMany,
}

/// The table of locks.
#[derive(Clone, Debug, Default)]
pub(in crate::files) struct Locks {
    by_path: BTreeMap<DavPath, Vec<Lock>>,
    count: usize,
}

impl Locks {
    pub(in crate::files) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the locks that cover a path: its own, and the deep ones of the folders above it.
    pub(in crate::files) fn covering(&self, path: &DavPath, now: Instant) -> Vec<&Lock> {
        if self.count == 0 {
            return Vec::new();
        }
        let on = path.upwards().filter_map(|place| self.by_path.get(&place)).flatten();
        on.filter(|lock| lock.until > now && lock.covers(path)).collect()
    }

    /// Returns the locks on a path and below it.
    fn within(&self, path: &DavPath, now: Instant) -> impl Iterator<Item = &Lock> {
        self.entries_within(path).flat_map(|(_, locks)| locks).filter(move |lock| lock.until > now)
    }

    fn entries_within(&self, path: &DavPath) -> impl Iterator<Item = (&DavPath, &Vec<Lock>)> {
        // The paths below a folder begin with its path and a slash, and are contiguous. Between the
        // folder itself and them, other paths may come.
        let own = self.by_path.get_key_value(path);
        let first = match path.is_root() {
            true => DavPath::root(),
            false => path.join(b""),
        };
        let (path, other) = (path.clone(), path.clone());
        let below = self.by_path.range(first..).take_while(move |(p, _)| p.is_within(&path));
        own.into_iter().chain(below.filter(move |(p, _)| **p != other))
    }

    /// Returns the lock with this token.
    pub(in crate::files) fn find(&self, token: &str, now: Instant) -> Option<&Lock> {
        let mut all = self.by_path.values().flatten();
        all.find(|lock| *lock.token == *token && lock.until > now)
    }

    /// Checks that the client may make the change. The error names the path of a lock that the
    /// client does not have.
    pub(in crate::files) fn check(
        &self,
        change: &Change,
        client: &Client,
        now: Instant,
    ) -> Result<(), LockError> {
        if self.count == 0 {
            return Ok(());
        }
        let path = match change {
            Change::Contents(path) | Change::Existence(path) => path,
        };
        has_one_of_each(self.covering(path, now).into_iter(), client)?;
        if let Change::Existence(path) = change {
            has_one_of_each(self.within(path, now), client)?;
            if let Some(folder) = path.parent() {
                // A lock on a folder protects the list of its members, even if the lock is not
                // deep.
                has_one_of_each(self.covering(&folder, now).into_iter(), client)?;
            }
        }
        Ok(())
    }

    /// Checks that a new lock would be compatible with all existing ones.
    pub(in crate::files) fn check_new(
        &self,
        path: &DavPath,
        deep: bool,
        exclusive: bool,
        now: Instant,
    ) -> Result<(), LockError> {
        let below = self.within(path, now).filter(|_| deep);
        let mut in_the_way = self.covering(path, now).into_iter().chain(below);
        match in_the_way.find(|lock| exclusive || lock.exclusive) {
            Some(lock) => Err(LockError::Locked(lock.path.clone())),
            None => Ok(()),
        }
    }

    /// Adds a lock that has been checked.
    ///
    /// # Errors
    ///
    /// Returns `TooMany` if there is no room for it.
    pub(in crate::files) fn insert(&mut self, lock: Lock, now: Instant) -> Result<(), LockError> {
        self.remove_expired(now);
        self.check_room(&lock.path, &lock.user, now)?;
        self.count += 1;
        self.by_path.entry(lock.path.clone()).or_default().push(lock);
        Ok(())
    }

    /// Checks that there is room for one more lock. Expired locks do not count.
    pub(in crate::files) fn check_room(
        &self,
        path: &DavPath,
        user: &str,
        now: Instant,
    ) -> Result<(), LockError> {
        let (mut all, mut of_user, mut on_place) = (0, 0, 0);
        for lock in self.by_path.values().flatten().filter(|lock| lock.until > now) {
            all += 1;
            of_user += usize::from(*lock.user == *user);
            on_place += usize::from(lock.path == *path);
        }
        if all >= MOST_LOCKS || of_user >= MOST_OF_USER || on_place >= MOST_ON_PLACE {
            return Err(LockError::TooMany);
        }
        Ok(())
    }

    /// Prolongs a lock. Returns `None` if the client has no lock that covers the path.
    pub(in crate::files) fn refresh(
        &mut self,
        path: &DavPath,
        client: &Client,
        timeout: Duration,
        now: Instant,
    ) -> Option<Lock> {
        let lock = self.covering(path, now).into_iter().find(|lock| client.may_use(lock))?;
        let (place, token) = (lock.path.clone(), Arc::clone(&lock.token));
        let lock = self.by_path.get_mut(&place)?.iter_mut().find(|lock| lock.token == token)?;
        (lock.timeout, lock.until) = (timeout, later(now, timeout));
        Some(lock.clone())
    }

    /// Ends a lock that covers the path. Returns `false` if the user has no such lock.
    pub(in crate::files) fn unlock(
        &mut self,
        path: &DavPath,
        user: &str,
        token: &str,
        now: Instant,
    ) -> bool {
        let mut covering = self.covering(path, now).into_iter();
        let Some(lock) = covering.find(|lock| *lock.token == *token && *lock.user == *user) else {
            return false;
        };
        let place = lock.path.clone();
        self.retain(|lock| lock.path != place || *lock.token != *token);
        true
    }

    /// Removes the locks on the path and below it, after the resource is gone.
    pub(in crate::files) fn remove_within(&mut self, path: &DavPath) {
        if self.count > 0 {
            self.retain(|lock| !lock.path.is_within(path));
        }
    }

    /// Removes the locks below the path, after the resources there are gone.
    pub(in crate::files) fn remove_below(&mut self, path: &DavPath) {
        if self.count > 0 {
            self.retain(|lock| lock.path == *path || !lock.path.is_within(path));
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        self.retain(|lock| lock.until > now);
    }

    fn retain(&mut self, keep: impl Fn(&Lock) -> bool) {
        self.by_path.retain(|_, locks| {
            locks.retain(&keep);
            !locks.is_empty()
        });
        self.count = self.by_path.values().map(Vec::len).sum();
    }
}

/// Checks that the client has a lock of each path that has locks. Several locks on one path are
/// shared ones, so one of them suffices.
fn has_one_of_each<'a>(
    locks: impl Iterator<Item = &'a Lock>,
    client: &Client,
) -> Result<(), LockError> {
    let mut places: BTreeMap<&DavPath, bool> = BTreeMap::new();
    for lock in locks {
        *places.entry(&lock.path).or_default() |= client.may_use(lock);
    }
    match places.into_iter().find(|(_, has_one)| !has_one) {
        Some((place, _)) => Err(LockError::Locked(place.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "locks_tests.rs"]
mod tests;
