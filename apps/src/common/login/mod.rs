//! Basic authentication (RFC 7617). `dapple files` uses it over TLS only.
//!
//! * [`users`]: the file of users.
//! * [`throttle`]: delays after failed logins.
//! * [`visitor`]: the login state of one connection.
//!
//! A password takes some tens of milliseconds to check, on purpose. So the login remembers a
//! correct password, as a keyed hash of the field that the client sent, until the file of users
//! changes. Hashing runs in uncolored events. Their number at one time is limited, so that clients
//! that guess passwords do not take the cores from users who have logged in.

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

use self::throttle::{Admission, Throttle};
use self::users::StoredUser;
pub(crate) use self::users::{User, UserFile};
pub(crate) use self::visitor::Visitor;
use super::gate::Gate;
use crate::common::version::Version;

/// The maximum number of remembered logins.
const MOST_REMEMBERED: usize = 1024;

/// The interval at which the file of users is checked for changes.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// The delay, in seconds, that a client is told when too many logins wait for hashing.
const BUSY: u64 = 5;

/// The maximum number of logins that wait for hashing.
const MOST_WAITING: usize = 64;

/// The maximum size of the Authorization field, in bytes.
const MOST_BYTES: usize = 1024;

/// The reason why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The user is unknown, the password is wrong, or the client sent no field.
    Unknown,
    /// There were too many failures from the address, or too many logins wait. The client may try
    /// again after this number of seconds.
    Later(u64),
}

/// The users, and the logins that are remembered. See the module.
pub(crate) struct Login {
    handle: Handle,
    file: UserFile,
    known: Mutex<Known>,
    /// The number of changes of the users.
    edition: AtomicU64,
    throttle: Throttle,
    /// The gate that limits how many passwords are hashed at once.
    hashing: Gate,
    /// The key of the hashes in `remembered`. It is random, so the hashes mean nothing outside of
    /// this process.
    secret: [u8; 32],
}

struct Known {
    entries: Arc<[StoredUser]>,
    /// A stand-in against which the password of an unknown user is checked, so that the check takes
    /// as long.
    nobody: Arc<StoredUser>,
    /// The user that is valid while the file has no users.
    one_time: Option<StoredUser>,
    /// The version of the file that was read last.
    version: Option<Version>,
    /// The time at which the file was last checked.
    looked_at: Instant,
    /// The users that were let in, by the keyed hash of the field.
    remembered: HashMap<[u8; 32], Arc<User>>,
}

impl Login {
    /// Reads the users of a file. If there are none, makes a one-time password and returns it.
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
        // One worker at least remains for users who have logged in.
        let hashing = Gate::new(handle.workers().saturating_sub(1).max(1), MOST_WAITING);
        let (known, throttle) = (Mutex::new(known), Throttle::default());
        let (handle, edition) = (handle.clone(), AtomicU64::new(0));
        Ok((Login { handle, file, known, edition, throttle, hashing, secret }, password))
    }

    /// Returns a number that changes when the users change.
    fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the user that a field names, by the users that are known. See
    /// [`look_again`](Self::look_again).
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
        // The attempt is a task of its own, so a failure counts even if the client goes away in the
        // meantime.
        let this = Arc::clone(self);
        let attempt = async move { this.attempt(key, name, password, peer).await };
        let task = self.handle.spawn(&self.handle.new_color(), attempt);
        task.await.unwrap_or(Err(Refused::Unknown))
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Arc<User>> {
        self.known().remembered.get(key).cloned()
    }

    /// Checks a password that is not remembered, after the throttle's delay.
    async fn attempt(
        &self,
        key: [u8; 32],
        name: String,
        password: Vec<u8>,
        peer: IpAddr,
    ) -> Result<Arc<User>, Refused> {
        if let Admission::NotBefore(seconds) = self.throttle.wait(peer, &self.handle).await {
            return Err(Refused::Later(seconds));
        }
        let Some(_pass) = self.hashing.enter().await else { return Err(Refused::Later(BUSY)) };
        // If a client opens several connections at once, the first one's success lets in the
        // others.
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
        // The file may have changed in the meantime, and the user may be gone.
        let one_time = known.one_time.iter().filter(|_| known.entries.is_empty());
        if !known.entries.iter().chain(one_time).any(|entry| Arc::ptr_eq(&entry.user, user)) {
            return;
        }
        if known.remembered.len() >= MOST_REMEMBERED {
            known.remembered.clear();
        }
        known.remembered.insert(key, Arc::clone(user));
    }

    /// Returns `true` if the file was checked within the last [`LOOKED_AT_EVERY`].
    fn looked_lately(&self) -> bool {
        clock::now() - self.known().looked_at < LOOKED_AT_EVERY
    }

    /// Reads the file again if it has changed, at most once per [`LOOKED_AT_EVERY`].
    async fn look_again(self: &Arc<Self>) {
        {
            let mut known = self.known();
            if clock::now() - known.looked_at < LOOKED_AT_EVERY {
                return;
            }
            // Other callers go on with the known users in the meantime.
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
                    // The one-time password is valid only until the file has users.
                    known.one_time = None;
                }
                known.entries = entries.into();
                known.version = version;
                known.remembered.clear();
                self.edition.fetch_add(1, Ordering::Release);
            }
            // The users that are known stay valid.
            Err(error) => tracing::error!("{error}"),
        }
    }
}

/// The name of the user that is valid while the file has no users.
pub(crate) const ONE_TIME_USER: &str = "dapple";

fn version_of(file: &UserFile) -> Option<Version> {
    rustix::fs::stat(file.path()).ok().map(|stat| Version::of(&stat))
}

/// Parses a field into name and password.
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

/// Returns a random password of 100 bits, in letters and digits that are not mistaken for each
/// other.
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
