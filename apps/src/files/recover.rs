//! The recovery after the server was killed: changes whose outcome is not known are finished or
//! forgotten.
//!
//! Each change was recorded with an inode that tells whether it was made: see [`Intent`].

use std::io;

use super::meta::store::{Intent, Leftover, Store, StoreError};
use super::path::DavPath;
use super::share::remove::Trash;
use super::share::{Found, Share};

/// Finishes or forgets each recorded change. Returns `false` if some could not be examined. Then
/// the data that was put aside for them has to stay.
pub(super) fn recover(share: &Share, store: &Store) -> Result<bool, StoreError> {
    let mut is_all = true;
    for (number, intent) in store.intents()? {
        let done = was_done(share, &intent);
        match done {
            Ok(done) => store.settle(number, &intent, done)?,
            // The next start tries again.
            Err(error) => {
                tracing::error!(%error, ?intent, "cannot read an unfinished change");
                is_all = false;
            }
        }
    }
    Ok(is_all)
}

fn was_done(share: &Share, intent: &Intent) -> io::Result<bool> {
    match intent {
        Intent::Delete { path, inode } => Ok(inode_of(share, path)? != Some(*inode)),
        Intent::Copy { to, inode, .. } => Ok(inode_of(share, to)? == Some(*inode)),
        Intent::Move { from, to, inode, left } => {
            let now = inode_of(share, to)?;
            if now != Some(*inode) {
                let is_it = |found: &Found| Some(Leftover::of(found)) == *left;
                if now.is_none() && left.is_some() && !share.put_back(is_it, to)? {
                    tracing::warn!(?to, "the previous content is lost");
                }
                return Ok(false);
            }
            // The last step of the move may be missing.
            if let Some(found) = share.look_for(from)?
                && Some(Leftover::of(&found)) == *left
                && let Err(error) = share.delete(from, &found).and_then(Trash::remove)
            {
                let why = "cannot remove what a finished move has left at its source";
                tracing::warn!(%error, ?from, "{why}");
            }
            Ok(true)
        }
    }
}

fn inode_of(share: &Share, path: &DavPath) -> io::Result<Option<u64>> {
    Ok(share.look_for(path)?.map(|found| found.inode))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::dav::xml::Name;

    struct World {
        folder: tempfile::TempDir,
        share: Share,
        store: Store,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().unwrap();
            let share = Share::open(folder.path(), false).unwrap();
            let store = Store::open(&share.corner().join("properties")).unwrap();
            World { folder, share, store }
        }

        fn file(&self, name: &str) -> u64 {
            fs::write(self.folder.path().join(name), name).unwrap();
            let property = (Name::new("", "p"), Some(format!("<p>{name}</p>")));
            self.store.patch(&path(name), &[property]).unwrap();
            self.share.look(&path(name)).unwrap().inode
        }

        fn dir(&self, name: &str) -> u64 {
            fs::create_dir(self.folder.path().join(name)).unwrap();
            self.file(&format!("{name}/in"));
            self.share.look(&path(name)).unwrap().inode
        }

        fn property(&self, name: &str) -> Option<String> {
            self.store.view().unwrap().of(&path(name)).unwrap().pop().map(|(_, value)| value)
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.folder.path().join(from), self.folder.path().join(to)).unwrap();
        }

        fn recover(&self, intent: &Intent) {
            self.store.intend(intent).unwrap();
            recover(&self.share, &self.store).unwrap();
            assert!(self.store.intents().unwrap().is_empty());
        }
    }

    fn path(name: &str) -> DavPath {
        DavPath::from_bytes(name.as_bytes())
    }

    #[test]
    fn a_move_is_finished_or_forgotten() {
        let world = World::new();
        let inode = world.file("a");
        let intent = Intent::Move { from: path("a"), to: path("b"), inode, left: None };
        world.recover(&intent);
        assert_eq!(world.property("a").as_deref(), Some("<p>a</p>"));
        world.rename("a", "b");
        world.recover(&intent);
        assert_eq!((world.property("a"), world.property("b").as_deref()), (None, Some("<p>a</p>")));
    }

    #[test]
    fn what_has_changed_places_is_not_left_there() {
        let world = World::new();
        let inode = world.dir("new");
        world.dir("old");
        let old = world.share.look(&path("old")).unwrap();
        let left = Some(Leftover::of(&old));
        let intent = Intent::Move { from: path("new"), to: path("old"), inode, left };
        world.recover(&intent);
        assert!(
            world.folder.path().join("new/in").exists()
                && world.folder.path().join("old/in").exists()
        );
        // These are the server's steps, up to the point where it was killed.
        world.rename("old", "third");
        world.rename("new", "old");
        world.rename("third", "new");
        world.recover(&intent);
        assert!(!world.folder.path().join("new").exists());
        assert_eq!(fs::read_to_string(world.folder.path().join("old/in")).unwrap(), "new/in");
        assert_eq!(world.property("old/in").as_deref(), Some("<p>new/in</p>"));
        assert_eq!(world.property("new/in"), None);
    }

    #[test]
    fn what_was_put_aside_gets_its_place_back() {
        let world = World::new();
        let inode = world.dir("new");
        world.dir("old");
        let left = Some(Leftover::of(&world.share.look(&path("old")).unwrap()));
        let intent = Intent::Move { from: path("new"), to: path("old"), inode, left };
        // These are the server's steps on a file system that cannot exchange folders, up to the
        // point where it was killed.
        world.rename("old", ".dapple/trash/x");
        world.recover(&intent);
        assert_eq!(fs::read_to_string(world.folder.path().join("old/in")).unwrap(), "old/in");
        assert!(world.folder.path().join("new/in").exists());
        assert_eq!(world.property("old/in").as_deref(), Some("<p>old/in</p>"));
    }

    #[test]
    fn a_copy_and_a_deletion_are_told_by_the_inode() {
        let world = World::new();
        world.file("a");
        let old = world.file("b");
        let intent = |inode| Intent::Copy { from: path("a"), to: path("b"), inode, deep: true };
        world.recover(&intent(old + 1000));
        assert_eq!(world.property("b").as_deref(), Some("<p>b</p>"));
        world.recover(&intent(old));
        assert_eq!(world.property("b").as_deref(), Some("<p>a</p>"));
        let gone = Intent::Delete { path: path("b"), inode: old };
        world.recover(&gone);
        assert!(world.property("b").is_some());
        fs::remove_file(world.folder.path().join("b")).unwrap();
        world.recover(&gone);
        assert_eq!(world.property("b"), None);
    }
}
