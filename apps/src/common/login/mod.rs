//! Who asks: Basic authentication (RFC 7617); for `dapple files` over TLS always.
//!
//! * [`users`]: the file of users.
//! * [`throttle`]: failed logins are slowed down.
//! * [`visitor`]: who asks on one connection.
//!
//! A password takes some tens of milliseconds to check, on purpose. So one that was right is
//! remembered, as a keyed hash of what the client has sent, until the file of users changes.
//! Hashing runs in uncolored events; how many at once is limited, so that guessing does not take
//! the machine from those who have logged in.

#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod throttle;
mod users;
mod visitor;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dapple::Handle;
use dapple::clock;
use futures_channel::oneshot;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use self::throttle::{Throttle, Turn};
use self::users::StoredUser;
pub(crate) use self::users::{User, UserFile};
pub(crate) use self::visitor::Visitor;
use super::gate::Gate;
use crate::common::version::Version;

/// Logins that are remembered, at most.
const MOST_REMEMBERED: usize = 1024;

/// How often the file of users is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// When all places for hashing are taken: seconds after which one may come again.
const BUSY: u64 = 5;

/// Logins that wait for the hashing of others, at most.
const MOST_WAITING: usize = 64;

/// Bytes of the field, at most.
const MOST_BYTES: usize = 1024;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No such user, another password, or nothing at all was said.
    Unknown,
    /// There were too many failures from there; after so many seconds.
    Later(u64),
}

/// See the module.
pub(crate) struct Login {
    handle: Handle,
    file: UserFile,
    known: Mutex<Known>,
    /// How often the users have changed.
    edition: AtomicU64,
    throttle: Throttle,
    /// For those whose passwords are hashed.
    hashing: Gate,
    /// Of this process only: what is remembered means nothing to anybody else.
    secret: [u8; 32],
}

struct Known {
    entries: Arc<[StoredUser]>,
    /// Against which a password is checked for a user that there is not, so that it takes as long.
    nobody: Arc<StoredUser>,
    /// Used while there is no user in the file.
    one_time: Option<StoredUser>,
    version: Option<Version>,
    looked_at: Instant,
    remembered: HashMap<[u8; 32], Arc<User>>,
}

impl Login {
    /// With the users of a file. If there are none, a password for this time is made, and returned.
    pub(crate) fn new(handle: &Handle, file: UserFile) -> Result<(Login, Option<String>), String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        let version = version_of(&file);
        let entries: Arc<[StoredUser]> = file.read()?.into();
        let nobody = Arc::new(StoredUser::new("nobody", &random_password()?, true)?);
        let (one_time, password) = match entries.is_empty() {
            true => {
                let password = random_password()?;
                (Some(StoredUser::new(ONE_TIME_USER, &password, false)?), Some(password))
            }
            false => (None, None),
        };
        let known = Known {
            entries,
            nobody,
            one_time,
            version,
            looked_at: clock::now(),
            remembered: HashMap::new(),
        };
        // One worker at least is for those who have logged in.
        let hashing = Gate::new(handle.workers().saturating_sub(1).max(1), MOST_WAITING);
        let (known, throttle) = (Mutex::new(known), Throttle::default());
        let (handle, edition) = (handle.clone(), AtomicU64::new(0));
        Ok((Login { handle, file, known, edition, throttle, hashing, secret }, password))
    }

    /// A number that is another one when the users have changed.
    fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who it is, by the users that are known; see [`look_again`](Self::look_again).
    async fn check(
        self: &Arc<Self>,
        field: &HeaderValue,
        peer: IpAddr,
    ) -> Result<Arc<User>, Refused> {
        let field = field.as_bytes();
        if field.len() > MOST_BYTES {
            return Err(Refused::Unknown);
        }
        let mut keyed = Sha256::new();
        keyed.update(self.secret);
        keyed.update(field);
        let key: [u8; 32] = keyed.finalize().into();
        if let Some(user) = self.remembered(&key) {
            return Ok(user);
        }
        let (name, password) = parse(field).ok_or(Refused::Unknown)?;
        // A client who goes away meanwhile has failed all the same, if it has.
        let this = Arc::clone(self);
        let attempt = async move { this.attempt(key, name, password, peer).await };
        let task = self.handle.spawn(&self.handle.new_color(), attempt);
        task.await.unwrap_or(Err(Refused::Unknown))
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Arc<User>> {
        self.known().remembered.get(key).cloned()
    }

    /// Checks a password that is not remembered, when it is its turn.
    async fn attempt(
        &self,
        key: [u8; 32],
        name: String,
        password: Vec<u8>,
        peer: IpAddr,
    ) -> Result<Arc<User>, Refused> {
        if let Turn::NotBefore(seconds) = self.throttle.wait(peer, &self.handle).await {
            return Err(Refused::Later(seconds));
        }
        let Some(_pass) = self.hashing.enter().await else { return Err(Refused::Later(BUSY)) };
        // A client that opens several connections at once is let in on all of them by the first
        // one.
        if let Some(user) = self.remembered(&key) {
            return Ok(user);
        }
        let (entry, is_known) = match self.entry(&name) {
            Some(entry) => (entry, true),
            None => ((*self.known().nobody).clone(), false),
        };
        let check = move || (entry.is(&password) && is_known).then_some(entry.user);
        match uncolored(&self.handle, check).await.flatten() {
            Some(user) => {
                self.throttle.succeeded(peer, &name);
                self.remember(key, &user);
                Ok(user)
            }
            None => {
                let failures = self.throttle.failed(peer, &name);
                tracing::warn!(user = ?name, %peer, failures, "a login failed");
                Err(Refused::Unknown)
            }
        }
    }

    fn entry(&self, name: &str) -> Option<StoredUser> {
        let known = self.known();
        let one_time = known.one_time.iter().filter(|_| known.entries.is_empty());
        known.entries.iter().chain(one_time).find(|entry| *entry.user.name == *name).cloned()
    }

    fn remember(&self, key: [u8; 32], user: &Arc<User>) {
        let mut known = self.known();
        // Unless the file has changed meanwhile.
        let one_time = known.one_time.iter().filter(|_| known.entries.is_empty());
        if !known.entries.iter().chain(one_time).any(|entry| Arc::ptr_eq(&entry.user, user)) {
            return;
        }
        if known.remembered.len() >= MOST_REMEMBERED {
            known.remembered.clear();
        }
        known.remembered.insert(key, Arc::clone(user));
    }

    /// Says whether the file need not be looked at now.
    fn looked_lately(&self) -> bool {
        clock::now() - self.known().looked_at < LOOKED_AT_EVERY
    }

    /// Reads the file again, if it has changed, from time to time.
    async fn look_again(self: &Arc<Self>) {
        {
            let mut known = self.known();
            if clock::now() - known.looked_at < LOOKED_AT_EVERY {
                return;
            }
            // Others go on with what is known.
            known.looked_at = clock::now();
        }
        let this = Arc::clone(self);
        let _ = self.handle.offload(move || this.read_again()).await;
    }

    fn read_again(&self) {
        let version = version_of(&self.file);
        if version == self.known().version {
            return;
        }
        match self.file.read() {
            Ok(entries) => {
                let mut known = self.known();
                if !entries.is_empty() {
                    // It was for the time without users.
                    known.one_time = None;
                }
                known.entries = entries.into();
                known.version = version;
                known.remembered.clear();
                self.edition.fetch_add(1, Ordering::Release);
            }
            // The users that there were stay.
            Err(error) => tracing::error!("{error}"),
        }
    }
}

/// The user while the file has none.
pub(crate) const ONE_TIME_USER: &str = "dapple";

fn version_of(file: &UserFile) -> Option<Version> {
    rustix::fs::stat(file.path()).ok().map(|stat| Version::of(&stat))
}

/// Name and password of a field.
fn parse(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, coded) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let plain = STANDARD.decode(coded.trim_ascii()).ok()?;
    let colon = plain.iter().position(|b| *b == b':')?;
    let name = String::from_utf8(plain[..colon].to_vec()).ok()?;
    Some((name, plain[colon + 1..].to_vec()))
}

/// 100 bits, in letters that nobody mistakes for others.
fn random_password() -> Result<String, String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    let letters: Vec<char> =
        bytes.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect();
    Ok(letters.chunks(5).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

/// Runs `f` in an uncolored event.
async fn uncolored<R: Send + 'static>(
    handle: &Handle,
    f: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (tell, told) = oneshot::channel();
    handle.post_uncolored(move |_| drop(tell.send(f())));
    told.await.ok()
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
