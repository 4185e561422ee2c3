//! Tests of [`super`].
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn path(text: &str) -> DavPath {
    DavPath::from_bytes(text.as_bytes())
}

fn lock(token: &str, place: &str, deep: bool, exclusive: bool, now: Instant) -> Lock {
    Lock {
        token: token.into(),
        path: path(place),
        is_folder: deep,
        deep,
        exclusive,
        owner: "".into(),
        user: "u".into(),
        timeout: HOUR,
        until: now + HOUR,
    }
}

fn client(tokens: &[&str]) -> Client {
    Client { user: "u".into(), tokens: tokens.iter().map(|t| Arc::from(*t)).collect() }
}

fn table(all: &[Lock], now: Instant) -> Locks {
    let mut locks = Locks::default();
    for lock in all {
        locks.insert(lock.clone(), now).unwrap();
    }
    locks
}

#[test]
fn a_lock_protects_its_resource_from_those_who_do_not_have_it() {
    let now = Instant::now();
    let locks = table(&[lock("t", "a/f", false, true, now)], now);
    let change = Change::Contents(path("a/f"));
    assert_eq!(locks.check(&change, &client(&[]), now), Err(LockError::Locked(path("a/f"))));
    assert_eq!(locks.check(&change, &client(&["t"]), now), Ok(()));
    let stranger = Client { user: "other".into(), ..client(&["t"]) };
    assert!(locks.check(&change, &stranger, now).is_err(), "a token is its owner's only");
    assert_eq!(locks.check(&Change::Contents(path("a/g")), &client(&[]), now), Ok(()));
    assert_eq!(locks.check(&change, &client(&[]), now + HOUR), Ok(()), "expired");
}

#[test]
fn what_comes_or_goes_needs_its_folder_and_all_below() {
    let now = Instant::now();
    let locks = table(
        &[lock("folder", "a", false, true, now), lock("file", "a/b/c", false, true, now)],
        now,
    );
    let gone = |place: &str, tokens: &[&str]| {
        locks.check(&Change::Existence(path(place)), &client(tokens), now)
    };
    assert_eq!(gone("a/b", &["file"]), Err(LockError::Locked(path("a"))));
    assert_eq!(gone("a/b", &["folder"]), Err(LockError::Locked(path("a/b/c"))));
    assert_eq!(gone("a/b", &["folder", "file"]), Ok(()));
    assert_eq!(gone("x", &[]), Ok(()));
    // A lock on a folder that is not deep does not protect the contents of the members.
    assert_eq!(locks.check(&Change::Contents(path("a/x")), &client(&[]), now), Ok(()));
}

#[test]
fn exclusive_and_shared() {
    let now = Instant::now();
    let shared = table(&[lock("s", "a", true, false, now)], now);
    let new = |locks: &Locks, place: &str, deep, exclusive| {
        locks.check_new(&path(place), deep, exclusive, now).is_ok()
    };
    assert!(new(&shared, "a/b", false, false));
    assert!(!new(&shared, "a/b", false, true));
    assert!(!new(&shared, "", true, true), "it would cover a");
    assert!(new(&shared, "", false, true));
    let exclusive = table(&[lock("x", "a/b", false, true, now)], now);
    assert!(!new(&exclusive, "a", true, false));
    assert!(new(&exclusive, "a", false, true));
    assert!(!new(&exclusive, "a/b", false, false));
    // One of several shared locks on a path suffices for a change.
    let two = table(&[lock("s", "f", false, false, now), lock("t", "f", false, false, now)], now);
    assert_eq!(two.check(&Change::Contents(path("f")), &client(&["t"]), now), Ok(()));
}

#[test]
fn refresh_and_unlock() {
    let now = Instant::now();
    let mut locks = table(&[lock("t", "a", true, true, now)], now);
    let later = now + HOUR / 2;
    let refreshed = locks.refresh(&path("a/b"), &client(&["t"]), HOUR, later).unwrap();
    assert_eq!(refreshed.until, later + HOUR);
    assert!(locks.refresh(&path("a"), &client(&["u"]), HOUR, later).is_none());
    assert!(!locks.unlock(&path("x"), "u", "t", later), "it does not cover x");
    assert!(!locks.unlock(&path("a"), "other", "t", later));
    assert!(locks.unlock(&path("a/b"), "u", "t", later));
    assert!(locks.find("t", later).is_none());
}

#[test]
fn there_are_limits_that_expired_locks_do_not_count_for() {
    let now = Instant::now();
    let mut locks = Locks::default();
    for n in 0..MOST_OF_USER {
        locks.insert(lock(&n.to_string(), &n.to_string(), false, true, now), now).unwrap();
    }
    let one_more = lock("more", "more", false, true, now);
    assert_eq!(locks.insert(one_more.clone(), now), Err(LockError::TooMany));
    assert_eq!(
        locks.check_room(&path("more"), "u", now + HOUR),
        Ok(()),
        "all have expired by then"
    );
    locks.insert(Lock { user: "other".into(), ..one_more.clone() }, now).unwrap();
    locks.insert(Lock { until: now + HOUR * 3, ..one_more }, now + HOUR * 2).unwrap();
    assert_eq!(locks.count, 1);
    for n in 0..MOST_ON_PLACE {
        locks.insert(lock(&n.to_string(), "place", false, false, now), now).unwrap();
    }
    let one_more = lock("more", "place", false, false, now);
    assert_eq!(locks.insert(one_more, now), Err(LockError::TooMany));
}

fn some_path() -> impl Strategy<Value = DavPath> {
    proptest::collection::vec(prop_oneof!["a", "b", "a-", "a0"], 0..4)
        .prop_map(|parts| path(&parts.join("/")))
}

proptest! {
    /// The indexed look-ups find the same locks as a search of the whole table.
    #[test]
    fn no_lock_is_overlooked(
        places in proptest::collection::vec((some_path(), any::<bool>()), 0..8),
        at in some_path(),
    ) {
        let now = Instant::now();
        let all: Vec<Lock> = places.iter().enumerate()
            .map(|(n, (place, deep))| Lock { path: place.clone(), ..lock(&n.to_string(), "", *deep, false, now) })
            .collect();
        let locks = table(&all, now);
        let sorted = |mut tokens: Vec<Arc<str>>| { tokens.sort(); tokens };
        let of = |found: Vec<&Lock>| sorted(found.iter().map(|l| Arc::clone(&l.token)).collect());
        let covering = all.iter().filter(|l| l.path == at || (l.deep && at.is_within(&l.path))).collect();
        prop_assert_eq!(of(locks.covering(&at, now)), of(covering));
        let within = all.iter().filter(|l| l.path.is_within(&at)).collect();
        prop_assert_eq!(of(locks.within(&at, now).collect()), of(within));
    }
}
