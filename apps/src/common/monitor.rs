//! Where a program that serves HTTP shows itself in a browser.

use super::target;

/// The folder of what it shows; the dashboard is its page.
pub(crate) const PATH: &str = "/_dapple/";

/// What of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below<'a> {
    /// The folder, without the slash at its end.
    Folder,
    /// What has this name in it; none: its page.
    Name(&'a str),
}

/// What of it a request's target is, with its query; `None`: something else.
pub(crate) fn below(target: &str) -> Option<(Below<'_>, Option<&str>)> {
    let (path, query) = target::split(target)?;
    let below = match path.strip_prefix(PATH) {
        Some(name) => Below::Name(name),
        None if path == PATH.trim_end_matches('/') => Below::Folder,
        None => return None,
    };
    Some((below, query))
}
