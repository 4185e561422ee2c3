//! Fuzz targets for the login: the Authorization field and the file of users.

use super::users;

/// Checks the parsed name and password of a Basic authentication field.
///
/// # Panics
///
/// Panics if they break a rule.
pub fn authorization(input: &[u8]) {
    let Some((name, password)) = super::parse(input) else { return };
    assert!(!name.contains(':'), "{name:?}");
    assert!(name.len() + password.len() < input.len());
}

/// Checks that a parsed file of users is written and parsed again to the same users.
///
/// # Panics
///
/// Panics if the users differ.
pub fn users_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match users::parse(text) {
        Ok(entries) => {
            let written = users::written(&entries);
            let again = users::parse(&written).expect("what is written can be read");
            assert_eq!(users::written(&again), written);
            let named = |entries: &[users::StoredUser]| -> Vec<_> {
                entries.iter().map(|entry| entry.user.clone()).collect()
            };
            assert_eq!(named(&entries), named(&again));
        }
        Err(bad) => assert!((1..=text.lines().count()).contains(&bad.number), "{bad:?}"),
    }
}
