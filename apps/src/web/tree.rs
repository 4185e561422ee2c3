//! The members of a folder's zip: everything below the folder that is served. A link to a file is
//! replaced by the file. A link to a folder is left out, because it may lead in a circle.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::fstat;

use super::root::{Found, Root};
use crate::common::date;
use crate::common::gate::Pass;
use crate::common::listing::Member;
use crate::common::zip::{Tree, ZipMember};

/// The most members of one folder; if a folder has more, the download fails.
const MOST_MEMBERS: usize = 100_000;

/// A walk through a folder.
pub(super) struct Walked {
    root: Arc<Root>,
    /// The folder in which the walk began, without slashes at its ends.
    top: Vec<u8>,
    /// The current folder below the top, and its members that come next.
    current: (Vec<u8>, std::vec::IntoIter<Member>),
    /// The folders that are still to be read.
    folders: VecDeque<Vec<u8>>,
    _pass: Pass,
}

impl Walked {
    /// Begins a walk through the folder `top`. It may block.
    pub(super) fn begin(root: Arc<Root>, top: &[u8], pass: Pass) -> io::Result<Walked> {
        let (top, current) = (top.to_vec(), (vec![], Vec::new().into_iter()));
        let mut walked = Walked { root, top, current, folders: VecDeque::new(), _pass: pass };
        walked.enter(vec![])?;
        Ok(walked)
    }

    fn enter(&mut self, folder: Vec<u8>) -> io::Result<()> {
        let members = self.root.members(&join(&self.top, &folder), MOST_MEMBERS)?;
        if members.has_more {
            return Err(io::Error::other("too many files for a zip"));
        }
        self.current = (folder, members.all.into_iter());
        Ok(())
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", path) | (path, b"") => path.to_vec(),
        _ => [folder, name].join(&b"/"[..]),
    }
}

impl Tree for Walked {
    fn next(&mut self) -> io::Result<Option<ZipMember>> {
        loop {
            let Some(member) = self.current.1.next() else {
                let Some(folder) = self.folders.pop_front() else { return Ok(None) };
                match self.enter(folder) {
                    Ok(()) => {}
                    Err(error) if is_left_out(&error) => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            let Member { name, is_folder, is_link, is_executable, size, modified } = member;
            let path = join(&self.current.0, &name);
            match (is_folder, is_link) {
                (true, true) => continue,
                (true, false) => self.folders.push_back(path.clone()),
                (false, _) => {}
            }
            return Ok(Some(ZipMember { path, is_folder, is_executable, size, modified }));
        }
    }

    fn open(&mut self, path: &[u8]) -> io::Result<Option<(File, ZipMember)>> {
        match self.root.find(&join(&self.top, path)) {
            Ok(Found::File(file, version)) => {
                let is_executable = fstat(&file)?.st_mode & 0o111 != 0;
                let (path, size) = (path.to_vec(), version.size);
                let modified = date::seconds(version.modified_time());
                let entry = ZipMember { path, is_folder: false, is_executable, size, modified };
                Ok(Some((file, entry)))
            }
            Ok(Found::Folder | Found::Other) => Ok(None),
            Err(error) if is_left_out(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns `true` if a member is gone, or may not be read.
fn is_left_out(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::root::Reach;
    use super::*;
    use crate::common::gate::Gate;

    #[test]
    fn what_is_served_is_in_it_and_nothing_goes_round_in_a_circle() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join("top").join(path);
        std::fs::create_dir_all(at("sub/deep")).unwrap();
        std::fs::write(at("a"), "1").unwrap();
        std::fs::write(at("sub/b"), "22").unwrap();
        std::fs::write(at("sub/.hidden"), "x").unwrap();
        std::fs::write(at("sub/deep/c"), "333").unwrap();
        symlink("../a", at("sub/link")).unwrap();
        symlink("..", at("sub/circle")).unwrap();
        let root = Arc::new(Root::open(folder.path(), Reach::default()).unwrap());
        let mut walked =
            Walked::begin(Arc::clone(&root), b"top", Gate::new(1, 0).try_enter().unwrap()).unwrap();
        let mut all = Vec::new();
        while let Some(entry) = walked.next().unwrap() {
            if !entry.is_folder {
                let (_, again) = walked.open(&entry.path).unwrap().unwrap();
                assert_eq!((again.path, again.size), (entry.path.clone(), entry.size));
            }
            all.push((String::from_utf8(entry.path).unwrap(), entry.size));
        }
        all.retain(|(path, _)| !["sub", "sub/deep"].contains(&&**path));
        all.sort();
        let expected = [("a", 1), ("sub/b", 2), ("sub/deep/c", 3), ("sub/link", 1)];
        assert_eq!(all, expected.map(|(path, size)| (path.to_owned(), size)));
        assert!(walked.open(b"gone").unwrap().is_none());
        assert!(Walked::begin(root, b"nothing", Gate::new(1, 0).try_enter().unwrap()).is_err());
    }
}
