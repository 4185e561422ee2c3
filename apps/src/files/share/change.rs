//! Making, moving, copying and deleting. Whoever calls has claimed the paths, so nobody else changes them through the server.
//!
//! What other people see changes with one system call: a copy grows in the corner and is renamed; a tree that is deleted or replaced is
//! renamed into the corner first, and taken apart there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::upload::{keep_modified, rename_to_nothing};
use super::{FOLDER, Found, Kind, Share, fresh_name, look_at};
use crate::files::path::DavPath;

/// Folders within folders that are copied, at most.
const MOST_DEPTH: usize = 200;

/// Something that has lost its place and is still to be taken apart.
#[derive(Debug)]
#[must_use = "it takes room until it is removed"]
pub(in crate::files) struct Trash(Option<(Arc<OwnedFd>, OsString)>);

impl Trash {
    /// Takes it apart, which may take long.
    pub(in crate::files) fn remove(self) -> io::Result<()> {
        match self.0 {
            Some((folder, name)) => remove(&folder, &name),
            None => Ok(()),
        }
    }
}

/// A copy that has not got its place yet. Dropped, it is taken apart.
#[derive(Debug)]
pub(in crate::files) struct Copied {
    folder: Arc<OwnedFd>,
    name: OsString,
    found: Found,
    placed: bool,
}

impl Copied {
    pub(in crate::files) fn inode(&self) -> u64 {
        self.found.inode
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = remove(&self.folder, &self.name)
        {
            tracing::warn!(%error, "a copy that was not finished stays behind until the next start");
        }
    }
}

impl Share {
    /// Makes a folder.
    pub(in crate::files) fn make_folder(&self, path: &DavPath) -> io::Result<()> {
        let (parent, name) = self.open_parent(path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777))?;
        self.sync(&parent)
    }

    /// Takes a file or a whole folder away.
    pub(in crate::files) fn delete(&self, path: &DavPath, found: &Found) -> io::Result<Trash> {
        let (parent, name) = self.open_parent(path)?;
        let trash = self.throw_away(&parent, name, found)?;
        self.sync(&parent)?;
        Ok(trash)
    }

    fn throw_away(&self, parent: &OwnedFd, name: &OsStr, found: &Found) -> io::Result<Trash> {
        if found.kind != Kind::Folder {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            return Ok(Trash(None));
        }
        // An empty one goes at once.
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(Trash(None)),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let trash = Arc::clone(&self.trash);
        let fresh = OsString::from(fresh_name());
        match rustix::fs::renameat(parent, name, &trash, &fresh) {
            Ok(()) => Ok(Trash(Some((trash, fresh)))),
            // Of another file system, or there is no room for a name: where it is.
            Err(Errno::XDEV | Errno::NOSPC | Errno::DQUOT) => {
                remove(parent, name)?;
                Ok(Trash(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves within one file system; otherwise the error is `CrossesDevices`. What is at `to` is replaced. If that is a folder, or a folder
    /// replaces it, the two change places first.
    pub(in crate::files) fn rename(
        &self,
        from: &DavPath,
        to: &DavPath,
        replaced: Option<&Found>,
        moved: &Found,
    ) -> io::Result<Trash> {
        let (old_parent, old) = self.open_parent(from)?;
        let (new_parent, new) = self.open_parent(to)?;
        let trash = match replaced {
            None => {
                rename_to_nothing(&old_parent, old, &new_parent, new)?;
                Trash(None)
            }
            Some(replaced) if replaced.kind == Kind::File && moved.kind == Kind::File => {
                rustix::fs::renameat(&old_parent, old, &new_parent, new)?;
                Trash(None)
            }
            Some(replaced) => {
                let exchange = RenameFlags::EXCHANGE;
                match rustix::fs::renameat_with(&old_parent, old, &new_parent, new, exchange) {
                    Ok(()) => self.throw_away(&old_parent, old, replaced)?,
                    // A file system that cannot.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        let trash = self.throw_away(&new_parent, new, replaced)?;
                        rustix::fs::renameat(&old_parent, old, &new_parent, new)?;
                        trash
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.sync(&new_parent)?;
        self.sync(&old_parent)?;
        Ok(trash)
    }

    /// Copies a file, or a folder with all below it, or without that, to where nobody sees it. What is not shown is not copied.
    pub(in crate::files) fn copy(
        &self,
        from: &DavPath,
        to: &DavPath,
        with_members: bool,
    ) -> io::Result<Copied> {
        let (source, found) = self.open_file(from, super::How::Blocking)?;
        let (parent, _) = self.open_parent(to)?;
        let (folder, name) = self.hidden_place(parent)?;
        // From now on there may be something to take apart.
        let mut copied = Copied { folder, name, found, placed: false };
        self.copy_one(source, &found, &copied.folder, &copied.name, with_members, 0)?;
        let made = look_at(copied.folder.as_fd(), &copied.name)?;
        copied.found = made.ok_or(io::ErrorKind::NotFound)?;
        Ok(copied)
    }

    fn copy_one(
        &self,
        source: File,
        found: &Found,
        folder: &OwnedFd,
        name: &OsStr,
        with_members: bool,
        depth: usize,
    ) -> io::Result<()> {
        let mode = Mode::from_raw_mode(found.mode & 0o777);
        match found.kind {
            Kind::Hidden => return Err(io::ErrorKind::NotFound.into()),
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut target = File::from(rustix::fs::openat(folder, name, flags, mode)?);
                io::copy(&mut &source, &mut target)?;
                keep_modified(&target, found)?;
                return self.sync(&target);
            }
            Kind::Folder if depth == MOST_DEPTH => return Err(io::Error::from(Errno::NAMETOOLONG)),
            Kind::Folder => rustix::fs::mkdirat(folder, name, mode | Mode::RWXU)?,
        }
        let target = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
        if with_members {
            let source = OwnedFd::from(source);
            for entry in Dir::read_from(&source)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") || crate::files::path::is_private_name(name) {
                    continue;
                }
                let name = OsStr::from_bytes(name);
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let member = match rustix::fs::openat(&source, name, flags, Mode::empty()) {
                    Ok(member) => File::from(member),
                    // Links; sockets; what has vanished.
                    Err(Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                };
                let found = Found::of(&rustix::fs::fstat(&member)?);
                if found.kind != Kind::Hidden {
                    self.copy_one(member, &found, &target, name, true, depth + 1)?;
                }
            }
        }
        keep_modified(&target, found)?;
        self.sync(&target)
    }

    /// Gives a copy its place, instead of what is there.
    pub(in crate::files) fn place_copy(
        &self,
        mut copied: Copied,
        to: &DavPath,
        replaced: Option<&Found>,
    ) -> io::Result<Trash> {
        let (parent, name) = self.open_parent(to)?;
        let trash = match replaced {
            None => {
                rename_to_nothing(&copied.folder, &copied.name, &parent, name)?;
                Trash(None)
            }
            Some(replaced) if replaced.kind == Kind::File && copied.found.kind == Kind::File => {
                rustix::fs::renameat(&copied.folder, &copied.name, &parent, name)?;
                Trash(None)
            }
            Some(replaced) => {
                let exchange = RenameFlags::EXCHANGE;
                match rustix::fs::renameat_with(
                    &copied.folder,
                    &copied.name,
                    &parent,
                    name,
                    exchange,
                ) {
                    // What was there is where the copy was, which is as good as the trash.
                    Ok(()) => Trash(Some((Arc::clone(&copied.folder), copied.name.clone()))),
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        let trash = self.throw_away(&parent, name, replaced)?;
                        rustix::fs::renameat(&copied.folder, &copied.name, &parent, name)?;
                        trash
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        copied.placed = true;
        self.sync(&parent)?;
        Ok(trash)
    }
}

/// Removes a file, or a folder with all below it, links themselves and not what they lead to.
fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Depth first, with one descriptor per level of the tree.
    let members = rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    remove_members(&members)?;
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn remove_members(folder: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        if entry.file_type() == FileType::Directory || entry.file_type() == FileType::Unknown {
            remove(folder, name)?;
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
