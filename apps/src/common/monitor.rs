//! The parts of a program's dashboard that its HTTP servers share.

use dapple_io::dashboard::{Dashboard, DashboardBuilder};

use super::target;

/// The folder below which a server shows its own state; its index is the dashboard.
pub(crate) const PATH: &str = "/_dapple/";

/// A path in the server's own folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below<'a> {
    /// The folder without the slash at its end.
    Folder,
    /// A name in the folder; an empty name is its index.
    Name(&'a str),
}

impl Below<'_> {
    /// Returns `true` if the dashboard answers this path; for the folder, with a redirect to
    /// [`PATH`].
    pub(crate) fn is_of_dashboard(self) -> bool {
        match self {
            Below::Folder => true,
            Below::Name(name) => Dashboard::has(name),
        }
    }
}

/// Splits a request's target into its path in the server's own folder and its query. Returns `None`
/// if the path is not in that folder.
pub(crate) fn below(target: &str) -> Option<(Below<'_>, Option<&str>)> {
    let (path, query) = target::split(target)?;
    let below = match path.strip_prefix(PATH) {
        Some(name) => Below::Name(name),
        None if path == PATH.trim_end_matches('/') => Below::Folder,
        None => return None,
    };
    Some((below, query))
}

/// Adds the numbers of responses with each class of status, from 2xx to 5xx. `of_class` returns the
/// function that reads the number of one class.
pub(crate) fn count_responses<F: Fn() -> u64 + Send + Sync + 'static>(
    builder: DashboardBuilder,
    of_class: impl Fn(usize) -> F,
) -> DashboardBuilder {
    (2..=5).fold(builder, |builder, class| {
        builder.counter("Responses", &format!("{class}xx"), of_class(class))
    })
}
