//! Taking apart what has lost its place.
//!
//! A tree may be deeper than a stack or a table of descriptors: what is below a folder's folders is moved up into it, until
//! there is nothing below any more. So three descriptors are enough for any tree. What cannot be removed does not keep the rest.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::{FOLDER, hidden_name};

/// Something that has lost its place and is still to be taken apart.
#[derive(Debug)]
#[must_use = "it takes room until it is removed"]
pub(in crate::files) struct Trash(pub(super) Option<(Arc<OwnedFd>, OsString)>);

impl Trash {
    pub(in crate::files) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes it apart, which may take long.
    pub(in crate::files) fn remove(self) -> io::Result<()> {
        match self.0 {
            Some((folder, name)) => remove(&folder, &name),
            None => Ok(()),
        }
    }
}

/// Removes a file, or a folder with all below it; links themselves, and not what they lead to.
pub(super) fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if unlink(folder, name)? {
        return Ok(());
    }
    let members = open(folder, name)?;
    remove_members(&members)?;
    remove_empty(folder, name)
}

/// Removes all that is in a folder. The error is the first one.
pub(super) fn remove_members(folder: &OwnedFd) -> io::Result<()> {
    loop {
        let (mut folders, mut failed) = (0, None);
        for name in names(folder)? {
            match remove_level(folder, &name) {
                Ok(is_folder) => folders += usize::from(is_folder),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => return Err(error),
            None if folders == 0 => return Ok(()),
            None => {}
        }
    }
}

/// Removes a file; or a folder, after its files, and after its folders have been moved up beside it. Was it a folder?
fn remove_level(base: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    if unlink(base, name)? {
        return Ok(false);
    }
    let folder = open(base, name)?;
    for member in names(&folder)? {
        let removed = unlink(&folder, &member);
        let removed =
            removed.or_else(|error| after_chmod(base, name, error, || unlink(&folder, &member)))?;
        if !removed {
            let fresh = hidden_name();
            let up = || rustix::fs::renameat(&folder, &member, base, &fresh);
            // A folder that may not be written cannot be moved either: its `..` changes.
            match up() {
                Err(Errno::ACCESS | Errno::PERM) => {
                    make_ours(base, name)?;
                    make_ours(&folder, &member)?;
                    up()?;
                }
                moved => moved?,
            }
        }
    }
    remove_empty(base, name)?;
    Ok(true)
}

/// True: it was a file, and is gone, or there was nothing. False: it is a folder.
fn unlink(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_empty(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let attempt = || rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    match attempt() {
        Err(Errno::ACCESS) => {
            make_ours(folder, name)?;
            Ok(attempt()?)
        }
        opened => Ok(opened?),
    }
}

/// What is to be deleted may have forbidden that to us; if it is ours we may allow it again.
fn make_ours(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    // Not through a link: there is no such flag for changing a mode, but it is a folder, which was opened as one.
    Ok(rustix::fs::chmodat(folder, name, Mode::RWXU, AtFlags::empty())?)
}

fn after_chmod<T>(
    base: &OwnedFd,
    name: &OsStr,
    error: io::Error,
    again: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error);
    }
    make_ours(base, name)?;
    again()
}

/// The names in a folder.
fn names(folder: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn base() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let fd = OwnedFd::from(fs::File::open(folder.path()).unwrap());
        (folder, fd)
    }

    #[test]
    fn trees_of_any_depth_go() {
        let (folder, fd) = base();
        // Deeper than a path can tell, or a stack or a table of descriptors bears.
        let mut at = fd.try_clone().unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        remove(&fd, OsStr::new("d")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_go_and_what_they_lead_to_stays() {
        let (folder, fd) = base();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        fs::create_dir_all(folder.path().join("d/e")).unwrap();
        symlink(outside.path(), folder.path().join("d/e/link")).unwrap();
        symlink(outside.path().join("kept"), folder.path().join("d/file")).unwrap();
        remove_members(&fd).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn folders_that_forbid_it_are_asked_again() {
        let (folder, fd) = base();
        let closed = folder.path().join("d/closed");
        fs::create_dir_all(closed.join("in")).unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        for folder in [closed.join("in"), closed] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove(&fd, OsStr::new("d")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
