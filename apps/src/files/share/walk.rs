//! Walks through the members of folders that are shown to clients.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Dir;

use super::{Found, Kind, Share, look_at};
use crate::files::path::{DavPath, is_private_name};

/// The depth of a walk below its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::files) enum Depth {
    Members,
    All,
}

/// A walk through a folder, in no order. Folders that vanish during the walk, or that may not be
/// read, count as empty.
pub(in crate::files) struct Walk {
    depth: Depth,
    current: Option<(DavPath, OwnedFd, Dir)>,
    /// Folders that are still to be read.
    folders: VecDeque<DavPath>,
}

impl Share {
    pub(in crate::files) fn walk(&self, folder: &DavPath, depth: Depth) -> io::Result<Walk> {
        let mut walk = Walk { depth, current: None, folders: VecDeque::new() };
        walk.enter(self, folder.clone())?;
        Ok(walk)
    }
}

impl Walk {
    fn enter(&mut self, share: &Share, path: DavPath) -> io::Result<()> {
        let folder = share.open_folder(&path)?;
        let dir = Dir::read_from(&folder)?;
        self.current = Some((path, folder, dir));
        Ok(())
    }

    /// Returns the next resource. Those that cannot be looked at are left out.
    pub(in crate::files) fn next(&mut self, share: &Share) -> Option<(DavPath, Found)> {
        loop {
            let Some((path, folder, dir)) = &mut self.current else {
                let path = self.folders.pop_front()?;
                if let Err(error) = self.enter(share, path.clone()) {
                    tracing::debug!(?path, %error, "a folder was left out");
                }
                continue;
            };
            let entry = match dir.read() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    tracing::debug!(?path, %error, "the rest of a folder was left out");
                    self.current = None;
                    continue;
                }
                None => {
                    self.current = None;
                    continue;
                }
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || is_private_name(name) {
                continue;
            }
            let Ok(Some(found)) = look_at(folder.as_fd(), OsStr::from_bytes(name)) else {
                continue;
            };
            let path = path.join(name);
            match found.kind {
                Kind::Hidden => continue,
                Kind::Folder if self.depth == Depth::All => self.folders.push_back(path.clone()),
                _ => {}
            }
            return Some((path, found));
        }
    }
}
