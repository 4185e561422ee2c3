//! The file of users: a line each, with name, rights, and the password as argon2id has hashed it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::files::identity::write_whole;

/// Bytes of a name, and of a password, at most.
const MOST_BYTES: usize = 255;

/// Somebody who may use the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) struct User {
    pub(in crate::files) name: Arc<str>,
    pub(in crate::files) read_only: bool,
}

/// A user with the hash of the password.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) user: Arc<User>,
    hash: String,
}

impl Entry {
    pub(super) fn new(name: &str, password: &str, read_only: bool) -> Result<Entry, String> {
        check_name(name)?;
        if password.is_empty() || password.len() > MOST_BYTES || password.contains(['\r', '\n']) {
            return Err(format!("a password is one line of 1 to {MOST_BYTES} bytes"));
        }
        let hash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|e| format!("cannot hash the password: {e}"))?
            .to_string();
        Ok(Entry { user: Arc::new(User { name: name.into(), read_only }), hash })
    }

    /// Says whether this is the password. It takes some tens of milliseconds and 19 MiB, on
    /// purpose.
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

/// See the module.
#[derive(Clone, Debug)]
pub(in crate::files) struct UserFile(PathBuf);

impl UserFile {
    /// The one in this folder.
    pub(in crate::files) fn in_folder(state: &Path) -> UserFile {
        UserFile(state.join("users"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// All users. There are none if there is no file.
    pub(super) fn read(&self) -> Result<Vec<Entry>, String> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(format!("{}: {e}", self.0.display())),
        };
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        lines
            .map(|(n, line)| {
                parse(line).ok_or_else(|| {
                    format!(
                        "{}, line {}: it is not name:rw:hash or name:ro:hash",
                        self.0.display(),
                        n + 1
                    )
                })
            })
            .collect()
    }

    fn write(&self, entries: &[Entry]) -> Result<(), String> {
        let mut text = String::new();
        for Entry { user, hash } in entries {
            let rights = if user.read_only { "ro" } else { "rw" };
            text.push_str(&format!("{}:{rights}:{hash}\n", user.name));
        }
        write_whole(&self.0, text.as_bytes(), 0o600)
            .map_err(|e| format!("cannot write {}: {e}", self.0.display()))
    }

    /// Adds a user, or gives one another password and rights. True: there was one of this name.
    pub(in crate::files) fn add(
        &self,
        name: &str,
        password: &str,
        read_only: bool,
    ) -> Result<bool, String> {
        let new = Entry::new(name, password, read_only)?;
        let mut entries = self.read()?;
        let before = entries.len();
        entries.retain(|entry| *entry.user.name != *name);
        let replaced = entries.len() < before;
        entries.push(new);
        self.write(&entries)?;
        Ok(replaced)
    }

    /// Removes a user; false: there is none of this name.
    pub(in crate::files) fn remove(&self, name: &str) -> Result<bool, String> {
        let mut entries = self.read()?;
        let before = entries.len();
        entries.retain(|entry| *entry.user.name != *name);
        if entries.len() == before {
            return Ok(false);
        }
        self.write(&entries)?;
        Ok(true)
    }

    pub(in crate::files) fn users(&self) -> Result<Vec<Arc<User>>, String> {
        Ok(self.read()?.into_iter().map(|entry| entry.user).collect())
    }
}

fn parse(line: &str) -> Option<Entry> {
    let mut parts = line.splitn(3, ':');
    let (name, rights, hash) = (parts.next()?, parts.next()?, parts.next()?);
    check_name(name).ok()?;
    let read_only = match rights {
        "ro" => true,
        "rw" => false,
        _ => return None,
    };
    if !hash.starts_with("$argon2") {
        return None;
    }
    let user = Arc::new(User { name: name.into(), read_only });
    Some(Entry { user, hash: hash.to_owned() })
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
        for line in ["ann", "ann:rw", "ann:xx:$argon2id$", "ann:rw:plain"] {
            fs::write(file.path(), format!("# users\n\n{line}\n")).unwrap();
            assert!(file.users().unwrap_err().contains("line 3"), "{line}");
        }
    }
}
