//! The removal of deleted data.
//!
//! A tree may be too deep for a stack or for the limit on descriptors. So the folders in a folder's
//! subfolders are moved up into the folder, again and again, until nothing is left. Three
//! descriptors are enough for any tree. If something cannot be removed, everything else still is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::{FOLDER, hidden_name};

/// A deleted tree that is still to be removed from the disk.
#[derive(Debug)]
#[must_use = "it takes up space until it is removed"]
pub(in crate::files) struct Trash(pub(super) Option<(Arc<OwnedFd>, OsString)>);

impl Trash {
    pub(in crate::files) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Removes the tree, which may take long.
    pub(in crate::files) fn remove(self) -> io::Result<()> {
        match self.0 {
            Some((folder, name)) => remove(&folder, &name),
            None => Ok(()),
        }
    }
}

/// Removes a file, or a folder with everything below it. Symbolic links are removed, and not
/// followed.
pub(super) fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if unlink(folder, name)? != Unlinked::IsFolder {
        return Ok(());
    }
    remove_members(&open(folder, name)?)?;
    remove_empty(folder, name)
}

/// Removes a visible tree, without moving anything.
pub(super) fn remove_in_place(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    down(folder, name, 0)
}

/// The maximum depth of folders within folders that are removed in place.
const MOST_DEPTH: usize = 100;

fn down(folder: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    if unlink(folder, name)? != Unlinked::IsFolder {
        return Ok(());
    }
    if depth == MOST_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    let members = open(folder, name)?;
    for member in names(&members)? {
        down(&members, &member, depth + 1)?;
    }
    remove_empty(folder, name)
}

/// Removes everything in a folder that can be removed. Returns the first error of the last pass.
fn remove_members(folder: &OwnedFd) -> io::Result<()> {
    loop {
        let (mut is_progress, mut outcome) = (false, Ok(()));
        for name in names(folder)? {
            let (progress, removed) = remove_level(folder, &name);
            is_progress |= progress;
            outcome = outcome.and(removed);
        }
        if !is_progress {
            return outcome;
        }
    }
}

/// Removes a file; or removes the files in a folder, moves its subfolders up beside it, and then
/// removes it. Returns also whether anything was done.
fn remove_level(base: &OwnedFd, name: &OsStr) -> (bool, io::Result<()>) {
    let members = match unlink(base, name) {
        Ok(Unlinked::Gone) => return (true, Ok(())),
        Ok(Unlinked::Nothing) => return (false, Ok(())),
        Ok(Unlinked::IsFolder) => open(base, name).and_then(|folder| Ok((names(&folder)?, folder))),
        Err(error) => Err(error),
    };
    let (members, folder) = match members {
        Ok(members) => members,
        Err(error) => return (false, Err(error)),
    };
    let (mut is_progress, mut outcome) = (false, Ok(()));
    for member in members {
        let removed = remove_member(base, name, &folder, &member);
        is_progress |= matches!(removed, Ok(true));
        outcome = outcome.and(removed.map(drop));
    }
    let outcome = outcome.and_then(|()| remove_empty(base, name));
    (is_progress || outcome.is_ok(), outcome)
}

/// Removes a file in a folder, or moves a subfolder up beside the folder. Returns `false` if there
/// was nothing.
fn remove_member(
    base: &OwnedFd,
    name: &OsStr,
    folder: &OwnedFd,
    member: &OsStr,
) -> io::Result<bool> {
    let attempt = || -> io::Result<bool> {
        let unlinked = unlink(folder, member)?;
        if unlinked == Unlinked::IsFolder {
            rustix::fs::renameat(folder, member, base, hidden_name())?;
        }
        Ok(unlinked != Unlinked::Nothing)
    };
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // A folder without write permission cannot be moved either, because its `..` changes.
            make_ours(base, name)?;
            let _ = make_ours(folder, member);
            attempt()
        }
        // The member is on another file system, or the file system cannot move folders.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            down(folder, member, 0).map(|()| true)
        }
        outcome => outcome,
    }
}

/// The result of removing a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unlinked {
    Gone,
    /// There was nothing, although the list of the folder may have named it.
    Nothing,
    IsFolder,
}

fn unlink(folder: &OwnedFd, name: &OsStr) -> io::Result<Unlinked> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => Ok(Unlinked::Gone),
        Err(Errno::NOENT) => Ok(Unlinked::Nothing),
        Err(Errno::ISDIR) => Ok(Unlinked::IsFolder),
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

/// Gives the owner all rights to a folder that is to be removed. This works if the server's user
/// owns the folder. Links are not followed.
fn make_ours(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let itself = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", itself.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::RWXU)?)
}

/// Returns the names in a folder.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<OsString>> {
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
        // The tree is deeper than a path can express, and than a stack or the limit on descriptors
        // allows.
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
    fn in_place() {
        let (folder, fd) = base();
        fs::create_dir_all(folder.path().join("d/e/f")).unwrap();
        fs::write(folder.path().join("d/e/file"), "x").unwrap();
        remove_in_place(&fd, OsStr::new("d")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
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
