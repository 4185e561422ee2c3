//! Copies. A copy is made in a hidden place, and takes its place with one rename: see
//! [`change`](super::change).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use super::remove::remove;
use super::upload::keep_modified;
use super::{FOLDER, Found, How, Kind, Share, look_at};
use crate::files::path::{DavPath, is_private_name};

/// The maximum depth of folders within folders that are copied.
const MOST_DEPTH: usize = 100;

/// The parts of a resource that are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::files) enum What {
    /// A file, or a folder without its members.
    Itself,
    /// A folder with everything below it that is shown to clients.
    Shown,
    /// Everything, for a move to another file system that then deletes the original. If something
    /// cannot be copied, the error is `PermissionDenied`.
    Everything,
}

/// A copy that has not taken its place yet. If it is dropped, it is removed.
#[derive(Debug)]
pub(in crate::files) struct Copied {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
    pub(super) found: Found,
    pub(super) placed: bool,
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
            tracing::warn!(%error, "an unfinished copy remains until the next start");
        }
    }
}

impl Share {
    /// Copies a resource to a hidden place on the file system of `to`.
    pub(in crate::files) fn copy(
        &self,
        from: &DavPath,
        to: &DavPath,
        what: What,
    ) -> io::Result<Copied> {
        let (source, found) = self.open_file(from, How::Blocking)?;
        let (folder, name) = self.hidden_place(&self.locate(to)?)?;
        // From here on an error may leave a part of the copy, which the drop of `copied` removes.
        let mut copied = Copied { folder, name, found, placed: false };
        self.copy_one(source, &found, &copied.folder, &copied.name, what, 0)?;
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
        what: What,
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
            Kind::Folder if depth == MOST_DEPTH => return Err(Errno::NAMETOOLONG.into()),
            Kind::Folder => rustix::fs::mkdirat(folder, name, mode | Mode::RWXU)?,
        }
        let target = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
        if what != What::Itself {
            let source = OwnedFd::from(source);
            for entry in Dir::read_from(&source)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                let is_left_out = what == What::Shown && is_private_name(name);
                if !matches!(name, b"." | b"..") && !is_left_out {
                    self.copy_member(&source, OsStr::from_bytes(name), &target, what, depth)?;
                }
            }
        }
        keep_modified(&target, found)?;
        self.sync(&target)
    }

    fn copy_member(
        &self,
        source: &OwnedFd,
        name: &OsStr,
        target: &OwnedFd,
        what: What,
        depth: usize,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let member = match rustix::fs::openat(source, name, flags, Mode::empty()) {
            Ok(member) => File::from(member),
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::LOOP) if what == What::Everything => {
                let leads_to = rustix::fs::readlinkat(source, name, Vec::new())?;
                return Ok(rustix::fs::symlinkat(leads_to, target, name)?);
            }
            // Links, sockets and devices are left out.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) if what == What::Shown => return Ok(()),
            Err(Errno::NXIO | Errno::NODEV) => return Err(io::ErrorKind::PermissionDenied.into()),
            Err(error) => return Err(error.into()),
        };
        let found = Found::of(&rustix::fs::fstat(&member)?);
        match found.kind {
            Kind::Hidden if what == What::Everything => Err(io::ErrorKind::PermissionDenied.into()),
            Kind::Hidden => Ok(()),
            _ => self.copy_one(member, &found, target, name, what, depth + 1),
        }
    }
}
