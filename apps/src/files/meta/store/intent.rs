//! Changes of the folder that are about to be made, as the store records them first.

use crate::files::path::DavPath;
use crate::files::share::Found;

/// A change that is about to be made to a resource and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Intent {
    /// A deletion. It was made if `path` is no longer `inode`.
    Delete { path: DavPath, inode: u64 },
    /// A copy. It was made if `to` is `inode`. Without `deep`, the members of a folder are not
    /// copied.
    Copy { from: DavPath, to: DavPath, inode: u64, deep: bool },
    /// A move. It was made if `to` is `inode`. Then `left`, if there is one, may still be at
    /// `from`, and has to be deleted.
    Move { from: DavPath, to: DavPath, inode: u64, left: Option<Leftover> },
}

/// The resource that a move may leave at its source. It is deleted only if inode and modification
/// time match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::files) struct Leftover {
    pub(super) inode: u64,
    pub(super) modified: u64,
}

impl Leftover {
    pub(in crate::files) fn of(found: &Found) -> Leftover {
        Leftover { inode: found.inode, modified: found.version.modified as u64 }
    }
}
