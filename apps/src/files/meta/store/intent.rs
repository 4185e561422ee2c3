//! What is about to be done to the folder, as it is written down first.

use crate::files::path::DavPath;
use crate::files::share::Found;

/// What is about to happen to a resource and all below it. Done is it when ...
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Intent {
    /// ... `path` is no longer `inode`.
    Delete { path: DavPath, inode: u64 },
    /// ... `to` is `inode`. Without `deep`, what is below is not copied.
    Copy { from: DavPath, to: DavPath, inode: u64, deep: bool },
    /// ... `to` is `inode`; then `left`, if there is one, may still be at `from`, and has to go.
    Move { from: DavPath, to: DavPath, inode: u64, left: Option<Left> },
}

/// What a move may leave at its source: it is deleted only if it is exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::files) struct Left {
    pub(super) inode: u64,
    pub(super) modified: u64,
}

impl Left {
    pub(in crate::files) fn of(found: &Found) -> Left {
        Left { inode: found.inode, modified: found.version.modified as u64 }
    }
}
