//! Tests of [`super`].
use super::tables::MOST_BYTES;
use super::*;

fn path(text: &str) -> DavPath {
    DavPath::from_bytes(text.as_bytes())
}

fn name(local: &str) -> Name {
    Name::new("test:", local)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("p")).unwrap();
    (folder, store)
}

fn set(store: &Store, at: &str, value: &str) {
    store.patch(&path(at), &[(name("p"), Some(value.to_owned()))]).unwrap();
}

fn get(store: &Store, at: &str) -> Option<String> {
    store.view().unwrap().of(&path(at)).unwrap().pop().map(|(_, value)| value)
}

#[test]
fn properties_are_kept_per_path() {
    let (_folder, store) = store();
    assert!(!store.view().unwrap().has_some().unwrap());
    let changes = [(name("a"), Some("<a/>".to_owned())), (name("b"), Some("<b/>".to_owned()))];
    store.patch(&path("f"), &changes).unwrap();
    set(&store, "f0", "other");
    set(&store, "", "root");
    let before = store.view().unwrap();
    store.patch(&path("f"), &[(name("a"), None), (name("none"), None)]).unwrap();
    assert_eq!(before.of(&path("f")).unwrap().len(), 2, "a view does not change");
    let own = store.view().unwrap().of(&path("f")).unwrap();
    assert_eq!(own, [(name("b"), "<b/>".to_owned())]);
    assert_eq!(get(&store, "").as_deref(), Some("root"));
}

#[test]
fn too_large_ones_are_refused_and_change_nothing() {
    let (_folder, store) = store();
    set(&store, "f", "small");
    let large = [(name("large"), Some("x".repeat(MOST_BYTES)))];
    assert!(matches!(store.patch(&path("f"), &large), Err(StoreError::Full)));
    assert_eq!(store.view().unwrap().of(&path("f")).unwrap().len(), 1);
}

#[test]
fn properties_follow_what_was_done_and_only_that() {
    let (_folder, store) = store();
    for at in ["a", "a/x", "a/x/y", "ab", "b", "b/old"] {
        set(&store, at, at);
    }
    let view = store.view().unwrap();
    assert!(view.has_within(&path("a/x")).unwrap() && !view.has_within(&path("c")).unwrap());
    assert!(view.has_within(&path("")).unwrap());
    let moved = Intent::Move {
        from: path("a"),
        to: path("b"),
        inode: 7,
        left: Some(Leftover { inode: 9, modified: 10 }),
    };
    let number = store.intend(&moved).unwrap();
    assert_eq!(store.intents().unwrap(), [(number, moved.clone())]);
    store.settle(number, &moved, false).unwrap();
    assert_eq!(get(&store, "a/x").as_deref(), Some("a/x"));
    assert!(store.intents().unwrap().is_empty());
    let number = store.intend(&moved).unwrap();
    store.settle(number, &moved, true).unwrap();
    let now = |at| get(&store, at);
    assert_eq!((now("a"), now("a/x"), now("b/old")), (None, None, None));
    assert_eq!((now("b").as_deref(), now("b/x/y").as_deref()), (Some("a"), Some("a/x/y")));
    assert_eq!(now("ab").as_deref(), Some("ab"));
    let copied = Intent::Copy { from: path("b/x"), to: path("c"), inode: 1, deep: true };
    store.settle(store.intend(&copied).unwrap(), &copied, true).unwrap();
    assert_eq!(
        (get(&store, "c/y").as_deref(), get(&store, "b/x/y").as_deref()),
        (Some("a/x/y"), Some("a/x/y"))
    );
    let deleted = Intent::Delete { path: path("b"), inode: 1 };
    store.settle(store.intend(&deleted).unwrap(), &deleted, true).unwrap();
    assert!(!store.view().unwrap().has_within(&path("b")).unwrap());
    assert!(store.forget(&path("c/y")) && !store.forget(&path("c/y")));
    assert_eq!(get(&store, "c/y"), None);
}

#[test]
fn they_survive_and_the_file_has_one_owner() {
    let (folder, store) = store();
    set(&store, "f", "value");
    let intent = Intent::Delete { path: path("f"), inode: 3 };
    store.intend(&intent).unwrap();
    let file = folder.path().join("p");
    assert!(matches!(Store::open(&file), Err(StoreError::InUse)));
    drop(store);
    let store = Store::open(&file).unwrap();
    assert_eq!(get(&store, "f").as_deref(), Some("value"));
    assert_eq!(store.intents().unwrap(), [(0, intent)]);
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p");
    for contents in [vec![], vec![0; 5], vec![0; 1_000_000]] {
        std::fs::write(&file, contents).unwrap();
        set(&Store::open(&file).unwrap(), "f", "value");
    }
    // The file is complete except for the magic number.
    let mut whole = std::fs::read(&file).unwrap();
    whole[..9].fill(0);
    std::fs::write(&file, whole).unwrap();
    set(&Store::open(&file).unwrap(), "f", "value");
    std::fs::write(&file, "something else altogether").unwrap();
    assert!(Store::open(&file).is_err(), "what is not ours is not removed");
}

#[test]
fn what_could_not_be_settled_is_when_it_is_reopened() {
    let (_folder, store) = store();
    set(&store, "a", "value");
    let intent = Intent::Delete { path: path("a"), inode: 1 };
    let number = store.intend(&intent).unwrap();
    set(&store, "gone", "value");
    *store.db.write().unwrap() = None;
    assert!(matches!(store.settle(number, &intent, true), Err(StoreError::Broken)));
    assert!(store.is_broken() && store.forget(&path("gone")));
    store.reopen().unwrap();
    assert_eq!(get(&store, "gone"), None);
    // A change that was not begun is not finished at the next start.
    let never = Intent::Delete { path: path("never"), inode: 2 };
    store.intend(&never).unwrap();
    store.put_off(Unsettled::Never(never));
    store.reopen().unwrap();
    assert!(store.intents().unwrap().is_empty());
    // A change that was settled already is not settled again.
    set(&store, "a", "another");
    store.settle(number, &intent, true).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("another"));
    store.patch(&path("a"), &[(name("p"), None)]).unwrap();
    assert!(!store.is_broken() && store.intents().unwrap().is_empty());
    assert_eq!(get(&store, "a"), None);
    let before = store.view().unwrap();
    store.mark_broken();
    store.reopen().unwrap();
    let _ = before.of(&path("b"));
    assert!(!store.is_broken(), "a view of before says nothing of what is now");
    // The error of an older view does not affect the reopened store.
    drop(before);
    set(&store, "b", "value");
    assert_eq!(get(&store, "b").as_deref(), Some("value"));
}
