//! The location of a resource: its folder, open, and its name in it.
//!
//! Code that looks at a resource and then changes it uses one location for both, so the path is
//! resolved once.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::{Found, Kind, Share, look_at};
use crate::files::path::DavPath;

/// An open folder and a name in it. See the module.
#[derive(Debug)]
pub(in crate::files) struct Location<'a> {
    pub(super) folder: OwnedFd,
    pub(super) name: &'a OsStr,
}

impl Share {
    /// Opens the folder of a path. If the folder does not exist, the error is
    /// [missing](super::is_missing).
    pub(in crate::files) fn locate<'a>(&self, path: &'a DavPath) -> io::Result<Location<'a>> {
        let parent = path.parent().ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(Location { folder: self.open_folder(&parent)?, name: OsStr::from_bytes(path.name()) })
    }

    /// Returns the resource at a location. The server's own corner is hidden under any name.
    pub(in crate::files) fn look_in(&self, at: &Location<'_>) -> io::Result<Option<Found>> {
        let found = look_at(at.folder.as_fd(), at.name)?;
        Ok(found.map(|found| match self.is_corner(&found) {
            true => Found { kind: Kind::Hidden, ..found },
            false => found,
        }))
    }
}
