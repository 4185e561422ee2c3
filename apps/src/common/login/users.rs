//! The file of users. Each line has a name, the user's rights, and the argon2id hash of the
//! password.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::common::https::identity::write_whole;

/// The maximum size of a name, and of a password, in bytes.
const MOST_BYTES: usize = 255;

/// The maximum cost of a hash: memory in KiB, passes over it, and lanes.
const MOST_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 100;
const MOST_LANES: u32 = 64;

/// A user of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: Arc<str>,
    pub(crate) read_only: bool,
}

/// A user with the hash of the password.
#[derive(Clone, Debug)]
pub(super) struct StoredUser {
    pub(super) user: Arc<User>,
    hash: String,
}

impl StoredUser {
    pub(super) fn new(name: &str, password: &str, read_only: bool) -> Result<StoredUser, String> {
        check_name(name)?;
        if password.is_empty() || password.len() > MOST_BYTES || password.contains(['\r', '\n']) {
            return Err(format!("a password is one line of 1 to {MOST_BYTES} bytes"));
        }
        let hash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|e| format!("cannot hash the password: {e}"))?
            .to_string();
        Ok(StoredUser { user: Arc::new(User { name: name.into(), read_only }), hash })
    }

    /// Returns `true` if this is the password. The check takes some tens of milliseconds and 19
    /// MiB, on purpose.
    pub(super) fn is(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, self.hash.as_str()).is_ok()
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_good = |c: char| !c.is_control() && c != ':';
    if name.is_empty() || name.len() > MOST_BYTES || !name.chars().all(is_good) {
        return Err(format!("a user's name has 1 to {MOST_BYTES} bytes and no colon"));
    }
    Ok(())
}

/// The path of a file of users. See the module.
#[derive(Clone, Debug)]
pub(crate) struct UserFile(PathBuf);

impl UserFile {
    /// Returns the file at this path.
    pub(crate) fn at(path: &Path) -> UserFile {
        UserFile(path.to_owned())
    }

    /// Returns the file `users` in this folder.
    pub(crate) fn in_folder(state: &Path) -> UserFile {
        UserFile(state.join("users"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads all users. A missing file has none.
    pub(super) fn read(&self) -> Result<Vec<StoredUser>, String> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(format!("{}: {e}", self.0.display())),
        };
        parse(&text).map_err(|BadLine { number, why }| {
            format!("{}, line {number}: {why}", self.0.display())
        })
    }

    fn write(&self, entries: &[StoredUser]) -> Result<(), String> {
        write_whole(&self.0, written(entries).as_bytes(), 0o600)
            .map_err(|e| format!("cannot write {}: {e}", self.0.display()))
    }

    /// Adds a user, or replaces the password and the rights of an existing one. Returns `true` if
    /// the user existed.
    pub(crate) fn add(&self, name: &str, password: &str, read_only: bool) -> Result<bool, String> {
        let new = StoredUser::new(name, password, read_only)?;
        let mut entries = self.read()?;
        let before = entries.len();
        entries.retain(|entry| *entry.user.name != *name);
        let replaced = entries.len() < before;
        entries.push(new);
        self.write(&entries)?;
        Ok(replaced)
    }

    /// Removes a user. Returns `false` if there is none of this name.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, String> {
        let mut entries = self.read()?;
        let before = entries.len();
        entries.retain(|entry| *entry.user.name != *name);
        if entries.len() == before {
            return Ok(false);
        }
        self.write(&entries)?;
        Ok(true)
    }

    pub(crate) fn users(&self) -> Result<Vec<Arc<User>>, String> {
        Ok(self.read()?.into_iter().map(|entry| entry.user).collect())
    }
}

/// The first invalid line of a file, and the reason.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) number: usize,
    pub(super) why: &'static str,
}

/// Parses the text of a file.
///
/// # Errors
///
/// Returns the first invalid line.
pub(super) fn parse(text: &str) -> Result<Vec<StoredUser>, BadLine> {
    let lines = (1..).zip(text.lines());
    let is_user = |line: &str| !line.trim_ascii().is_empty() && !line.starts_with('#');
    let lines = lines.filter(|(_, line)| is_user(line));
    lines.map(|(number, line)| parse_line(line).map_err(|why| BadLine { number, why })).collect()
}

/// Formats users as the text of a file.
pub(super) fn written(entries: &[StoredUser]) -> String {
    let line = |StoredUser { user, hash }: &StoredUser| {
        let rights = if user.read_only { "ro" } else { "rw" };
        format!("{}:{rights}:{hash}\n", user.name)
    };
    entries.iter().map(line).collect()
}

fn parse_line(line: &str) -> Result<StoredUser, &'static str> {
    let bad = "expected name:rw:hash or name:ro:hash";
    let mut parts = line.splitn(3, ':');
    let (Some(name), Some(rights), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad);
    };
    check_name(name).map_err(|_| bad)?;
    let read_only = match rights {
        "ro" => true,
        "rw" => false,
        _ => return Err(bad),
    };
    let hash = hash.trim_ascii_end();
    check_hash(hash)?;
    let user = Arc::new(User { name: name.into(), read_only });
    Ok(StoredUser { user, hash: hash.to_owned() })
}

/// Checks a hash, and limits its cost, because anybody who knows a name can make the server compute
/// it.
fn check_hash(hash: &str) -> Result<(), &'static str> {
    let bad = "the hash is not an argon2 hash in the PHC string format";
    let parsed = PasswordHash::new(hash).map_err(|_| bad)?;
    Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| bad)?;
    let version = parsed.version.map(Version::try_from);
    if version.is_some_and(|version| version.is_err()) {
        return Err(bad);
    }
    // A hash that was cut off would let nobody in.
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(bad);
    }
    let params = Params::try_from(&parsed.params).map_err(|_| bad)?;
    if params.m_cost() > MOST_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err("the hash needs more than 1 GiB, 100 passes or 64 lanes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn users_come_and_go() {
        let state = tempfile::tempdir().unwrap();
        let file = UserFile::in_folder(state.path());
        assert!(file.users().unwrap().is_empty());
        assert_eq!(file.add("ann", "secret", false), Ok(false));
        assert_eq!(file.add("bob", "geheim", true), Ok(false));
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let entries = file.read().unwrap();
        assert!(entries[0].is(b"secret") && !entries[0].is(b"Secret") && !entries[0].is(b""));
        assert!(!entries[0].user.read_only && entries[1].user.read_only);
        assert!(!fs::read_to_string(file.path()).unwrap().contains("secret"));
        assert_eq!(file.add("ann", "other", true), Ok(true));
        let ann = file.read().unwrap().pop().unwrap();
        assert!(ann.is(b"other") && !ann.is(b"secret") && ann.user.read_only);
        assert_eq!(file.remove("ann"), Ok(true));
        assert_eq!(file.remove("ann"), Ok(false));
        assert_eq!(file.users().unwrap().len(), 1);
    }

    #[test]
    fn bad_names_passwords_and_lines() {
        let state = tempfile::tempdir().unwrap();
        let file = UserFile::in_folder(state.path());
        for name in ["", "a:b", "a\nb", &"x".repeat(256)] {
            assert!(file.add(name, "secret", false).is_err(), "{name:?}");
        }
        for password in ["", "two\nlines"] {
            assert!(file.add("ann", password, false).is_err(), "{password:?}");
        }
        let hash = |m: u32, t: u32, p: u32| {
            format!("ann:rw:$argon2id$v=19$m={m},t={t},p={p}$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA")
        };
        let write = |line: &str| fs::write(file.path(), format!("# users\n\n{line}\n")).unwrap();
        for (line, why) in [
            ("ann", "name:rw:hash"),
            ("ann:rw", "name:rw:hash"),
            ("ann:xx:$argon2id$", "name:rw:hash"),
            ("ann:rw:plain", "not an argon2 hash"),
            ("ann:rw:$argon2id", "not an argon2 hash"),
            ("ann:rw:$argon2id$v=19$m=19456,t=2,p=1", "not an argon2 hash"),
            ("ann:rw:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", "not an argon2 hash"),
            (&hash(19456, 2, 1).replace("v=19", "v=18"), "not an argon2 hash"),
            ("ann:rw:$scrypt$ln=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "not an argon2 hash"),
            (&hash(MOST_KIB + 1, 1, 1), "more than 1 GiB"),
            (&hash(19456, MOST_PASSES + 1, 1), "100 passes"),
            (&hash(19456, 1, MOST_LANES + 1), "64 lanes"),
        ] {
            write(line);
            let told = file.users().unwrap_err();
            assert!(told.contains("line 3") && told.contains(why), "{line}: {told}");
        }
        write(&hash(MOST_KIB, MOST_PASSES, MOST_LANES));
        assert_eq!(file.users().unwrap().len(), 1);
        write(&format!("{}\r", hash(19456, 2, 1)));
        assert_eq!(file.users().unwrap().len(), 1);
    }
}
