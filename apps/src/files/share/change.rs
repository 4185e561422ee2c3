//! Creating, moving, replacing and deleting.
//!
//! The caller has a claim on the paths, so nothing else changes them through the server.
//!
//! The visible state changes with one system call. A tree that is deleted or replaced is first
//! renamed into the server's corner, and removed there. If one of several steps fails, the steps
//! before it are undone. A change that was made stays made: if the disk does not confirm it, that
//! is logged, and the change is not reported as failed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::copy::Copied;
use super::location::Location;
use super::remove::{Trash, names, remove_in_place};
use super::upload::rename_to_nothing;
use super::{Found, Kind, Share, fresh_name, hidden_name};
use crate::files::path::DavPath;

/// A name in an open folder.
struct Spot<'a>(&'a OwnedFd, &'a OsStr);

impl Spot<'_> {
    fn rename(&self, to: &Spot<'_>) -> rustix::io::Result<()> {
        rustix::fs::renameat(self.0, self.1, to.0, to.1)
    }

    fn exchange(&self, other: &Spot<'_>) -> rustix::io::Result<()> {
        rustix::fs::renameat_with(self.0, self.1, other.0, other.1, RenameFlags::EXCHANGE)
    }
}

impl Share {
    /// Creates a folder.
    pub(in crate::files) fn make_folder(&self, path: &DavPath) -> io::Result<()> {
        let Location { folder: parent, name } = self.locate(path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777))?;
        self.sync_done(&parent);
        Ok(())
    }

    /// Deletes a file or a whole folder. The returned trash is still to be removed.
    pub(in crate::files) fn delete(&self, path: &DavPath, found: &Found) -> io::Result<Trash> {
        let Location { folder: parent, name } = self.locate(path)?;
        let trash = self.delete_at(&parent, name, found)?;
        self.sync_done(&parent);
        Ok(trash)
    }

    fn delete_at(&self, parent: &OwnedFd, name: &OsStr, found: &Found) -> io::Result<Trash> {
        if found.kind != Kind::Folder {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            return Ok(Trash(None));
        }
        // An empty folder is removed at once.
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(Trash(None)),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match self.put_aside(&Spot(parent, name)) {
            // There is no room for a name, or the file system cannot move folders.
            Err(error) if super::is_full(&error) || is_elsewhere(&error) => {
                remove_in_place(parent, name)?;
                Ok(Trash(None))
            }
            outcome => outcome,
        }
    }

    /// Moves a resource to a hidden place, from which it can be put back.
    fn put_aside(&self, spot: &Spot<'_>) -> io::Result<Trash> {
        let fresh = OsString::from(fresh_name());
        match spot.rename(&Spot(&self.trash, &fresh)) {
            Ok(()) => Ok(Trash(Some((Arc::clone(&self.trash), fresh)))),
            // The resource is on another file system, so it is hidden in its own folder.
            Err(Errno::XDEV) => {
                let hidden = hidden_name();
                spot.rename(&Spot(spot.0, &hidden))?;
                Ok(Trash(Some((Arc::new(spot.0.try_clone()?), hidden))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a resource within one file system, and replaces what is at `to`. Returns the error
    /// `CrossesDevices` if the file systems differ.
    pub(in crate::files) fn rename(
        &self,
        from: &DavPath,
        to: &DavPath,
        replaced: Option<&Found>,
        moved: &Found,
    ) -> io::Result<Trash> {
        let Location { folder: old_parent, name: old } = self.locate(from)?;
        let Location { folder: new_parent, name: new } = self.locate(to)?;
        let (source, target) = (Spot(&old_parent, old), Spot(&new_parent, new));
        let trash = match replaced {
            None => {
                rename_to_nothing(&old_parent, old, &new_parent, new)?;
                Trash(None)
            }
            // Both names are links to one file, and a rename would leave both.
            Some(replaced)
                if replaced.is_same_as(moved)
                    && moved.kind == Kind::File
                    && are_two(&source, &target)? =>
            {
                rustix::fs::unlinkat(&old_parent, old, AtFlags::empty())?;
                Trash(None)
            }
            // Both names are spellings of one name, on a file system that does not distinguish
            // them.
            Some(replaced) if replaced.is_same_as(moved) => {
                source.rename(&target)?;
                Trash(None)
            }
            Some(replaced) => {
                self.check_not_in(from, replaced)?;
                self.replace(&source, &target, moved, replaced)?
            }
        };
        self.sync_done(&new_parent);
        self.sync_done(&old_parent);
        Ok(trash)
    }

    /// Checks that the replaced resource is neither the source nor a folder around it. The caller
    /// has compared the names already, but several spellings may stand for one name.
    pub(in crate::files) fn check_not_in(
        &self,
        from: &DavPath,
        replaced: &Found,
    ) -> io::Result<()> {
        if !replaced.is_folder() {
            return Ok(());
        }
        for folder in from.upwards() {
            if self.look(&folder)?.is_same_as(replaced) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        Ok(())
    }

    /// Moves a copy to its place, and replaces what is there.
    pub(in crate::files) fn place_copy(
        &self,
        mut copied: Copied,
        to: &DavPath,
        replaced: Option<&Found>,
    ) -> io::Result<Trash> {
        let Location { folder: parent, name } = self.locate(to)?;
        let (folder, found) = (Arc::clone(&copied.folder), copied.found);
        let trash = match replaced {
            None => {
                rename_to_nothing(&copied.folder, &copied.name, &parent, name)?;
                Trash(None)
            }
            Some(replaced) => {
                let (source, target) = (Spot(&folder, &copied.name), Spot(&parent, name));
                self.replace(&source, &target, &found, replaced)?
            }
        };
        copied.placed = true;
        self.sync_done(&parent);
        Ok(trash)
    }

    /// Moves `source` to `target`, and replaces what is there. A file replaces a file with one
    /// call. If one of them is a folder, they first change places.
    fn replace(
        &self,
        source: &Spot<'_>,
        target: &Spot<'_>,
        moved: &Found,
        replaced: &Found,
    ) -> io::Result<Trash> {
        if moved.kind == Kind::File && replaced.kind == Kind::File {
            source.rename(target)?;
            return Ok(Trash(None));
        }
        let (aside, undo) = match source.exchange(target) {
            Ok(()) => match self.put_aside(source) {
                Ok(trash) => return Ok(trash),
                Err(error) => (Err(error), source.exchange(target)),
            },
            // The file system cannot exchange names.
            Err(Errno::INVAL | Errno::NOSYS) => {
                let trash = self.put_aside(target)?;
                match source.rename(target) {
                    Ok(()) => return Ok(trash),
                    Err(error) => {
                        let back = match &trash.0 {
                            Some((folder, name)) => Spot(folder, name).rename(target),
                            None => Ok(()),
                        };
                        (Err(error.into()), back)
                    }
                }
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = undo {
            tracing::error!(%error, "a change failed halfway and could not be undone");
        }
        aside
    }

    /// Puts back a resource that was put aside when the server was killed, before its replacement
    /// had taken its place. Returns `true` if there was such a resource.
    pub(in crate::files) fn put_back(
        &self,
        is_it: impl Fn(&Found) -> bool,
        to: &DavPath,
    ) -> io::Result<bool> {
        for name in names(&self.trash)? {
            if super::look_at(self.trash.as_fd(), &name)?.is_some_and(|found| is_it(&found)) {
                let Location { folder: parent, name: new } = self.locate(to)?;
                rename_to_nothing(&self.trash, &name, &parent, new)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Flushes a change that was made to the disk. An error is only logged.
    pub(super) fn sync_done(&self, folder: impl AsFd) {
        if let Err(error) = self.sync(folder) {
            tracing::error!(%error, "the disk did not confirm a change");
        }
    }
}

fn is_elsewhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::CrossesDevices
}

/// Returns `true` if these are two names, and not two spellings of one.
fn are_two(one: &Spot<'_>, other: &Spot<'_>) -> io::Result<bool> {
    let folders = (rustix::fs::fstat(one.0)?, rustix::fs::fstat(other.0)?);
    if (folders.0.st_dev, folders.0.st_ino) != (folders.1.st_dev, folders.1.st_ino) {
        // In different folders they are two links, unless they are one name that is seen through
        // two mounts.
        return Ok(folders.0.st_dev == folders.1.st_dev
            && super::look_at(one.0.as_fd(), one.1)?.is_some_and(|f| f.links > 1));
    }
    let all = names(one.0)?;
    Ok(all.iter().any(|name| name == one.1) && all.iter().any(|name| name == other.1))
}
