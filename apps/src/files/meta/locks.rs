//! The table of locks (RFC 4918, sections 6 and 7). Plain values: no clock, no I/O.
//!
//! A lock is on a path, and on all below it if it is deep. A lock that has expired is as good as
//! gone; it is taken out when the table is changed. Locks end with the server: they are promises
//! between people who work at the same time, and their clients renew them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::time::later;
use crate::files::path::DavPath;

/// Locks at once, at most: of all,
const MOST_LOCKS: usize = 10_000;

/// of one user,
const MOST_OF_USER: usize = 1_000;

/// and on one place: these are shared ones.
const MOST_ON_PLACE: usize = 16;

#[derive(Clone, Debug)]
pub(in crate::files) struct Lock {
    /// A URI.
    pub(in crate::files) token: Arc<str>,
    pub(in crate::files) path: DavPath,
    /// Whether it is a folder, as far as is known.
    pub(in crate::files) is_folder: bool,
    /// Whether the lock is on all below the path, too.
    pub(in crate::files) deep: bool,
    pub(in crate::files) exclusive: bool,
    /// What the client says of its owner: XML that can stand anywhere.
    pub(in crate::files) owner: Arc<str>,
    /// The user who has the lock: nobody else can use it.
    pub(in crate::files) user: Arc<str>,
    pub(in crate::files) timeout: Duration,
    pub(in crate::files) until: Instant,
}

impl Lock {
    fn covers(&self, path: &DavPath) -> bool {
        self.path == *path || (self.deep && path.is_within(&self.path))
    }
}

/// Who wants to change something, and the locks that it knows of.
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

/// What a request is about to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Change {
    /// The contents or properties of what is there.
    Contents(DavPath),
    /// What is there comes or goes, which changes its folder, too; and with it all below.
    Existence(DavPath),
}

/// Why a lock cannot be had or used.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) enum LockError {
    /// There is a lock already, on this path.
    Locked(DavPath),
    /// There are too many locks.
    TooMany,
}

#[derive(Clone, Debug, Default)]
pub(in crate::files) struct Locks {
    by_path: BTreeMap<DavPath, Vec<Lock>>,
    count: usize,
}

impl Locks {
    pub(in crate::files) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The locks that hold for a path: its own, and the deep ones of the folders above.
    pub(in crate::files) fn covering(&self, path: &DavPath, now: Instant) -> Vec<&Lock> {
        if self.count == 0 {
            return Vec::new();
        }
        let on = path.upwards().filter_map(|place| self.by_path.get(&place)).flatten();
        on.filter(|lock| lock.until > now && lock.covers(path)).collect()
    }

    /// The locks on a path and below it.
    fn within(&self, path: &DavPath, now: Instant) -> impl Iterator<Item = &Lock> {
        self.entries_within(path).flat_map(|(_, locks)| locks).filter(move |lock| lock.until > now)
    }

    fn entries_within(&self, path: &DavPath) -> impl Iterator<Item = (&DavPath, &Vec<Lock>)> {
        // What is below a path begins with it and a slash, and is contiguous; the path itself may
        // stand before others.
        let own = self.by_path.get_key_value(path);
        let first = match path.is_root() {
            true => DavPath::root(),
            false => path.join(b""),
        };
        let (path, other) = (path.clone(), path.clone());
        let below = self.by_path.range(first..).take_while(move |(p, _)| p.is_within(&path));
        own.into_iter().chain(below.filter(move |(p, _)| **p != other))
    }

    /// The lock of this token.
    pub(in crate::files) fn find(&self, token: &str, now: Instant) -> Option<&Lock> {
        let mut all = self.by_path.values().flatten();
        all.find(|lock| *lock.token == *token && lock.until > now)
    }

    /// Says whether this client may make the change; if not, where the lock is that it does not
    /// have.
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
                // A lock on a folder protects the list of its members, also if it is not deep.
                has_one_of_each(self.covering(&folder, now).into_iter(), client)?;
            }
        }
        Ok(())
    }

    /// Says whether the lock is compatible with all others.
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

    /// Adds a lock, which has been checked.
    pub(in crate::files) fn insert(&mut self, lock: Lock, now: Instant) -> Result<(), LockError> {
        self.remove_expired(now);
        self.check_room(&lock.path, &lock.user, now)?;
        self.count += 1;
        self.by_path.entry(lock.path.clone()).or_default().push(lock);
        Ok(())
    }

    /// Says whether there is room for one more. Those that have expired take none.
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

    /// Prolongs a lock; `None`: there is none that this client may use on the path.
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

    /// Ends a lock that covers the path; false: there is none that this user has.
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

    /// What was at the path is gone: its locks are, too.
    pub(in crate::files) fn remove_within(&mut self, path: &DavPath) {
        if self.count > 0 {
            self.retain(|lock| !lock.path.is_within(path));
        }
    }

    /// What was below the path is gone.
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

/// Of each place that has locks, the client has to have one: several on one place are shared, and
/// one of them suffices.
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
