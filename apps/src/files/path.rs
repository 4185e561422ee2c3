//! Paths of resources below the folder that is served, as bytes, without slashes at their ends.

use std::sync::{Arc, OnceLock};

use crate::common::target::{self, BadPath};

/// The start of the names that the server uses itself. They are neither shown nor accepted.
pub(super) const PRIVATE: &[u8] = b".dapple";

/// The prefix of every path in a URL, which a proxy uses for this server. It is set at most once,
/// at the start.
static PREFIX: OnceLock<String> = OnceLock::new();

/// Sets the prefix of all URLs, which begins with a slash and does not end with one.
pub(super) fn set_prefix(prefix: &str) {
    // Only the first call in a process has an effect.
    let _ = PREFIX.set(prefix.to_owned());
}

fn prefix() -> &'static str {
    PREFIX.get().map_or("", String::as_str)
}

/// Returns the path of a URL without the prefix, or `None` if the path is outside of it. The result
/// is empty if the path is the prefix without a slash.
pub(super) fn without_prefix(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(prefix())?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A path below the folder. The empty path is the folder itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DavPath(Arc<[u8]>);

impl DavPath {
    pub(super) fn root() -> DavPath {
        DavPath(Arc::from(&b""[..]))
    }

    /// Creates a path from the bytes of one that was decoded and checked before.
    pub(super) fn from_bytes(bytes: &[u8]) -> DavPath {
        DavPath(Arc::from(bytes))
    }

    /// Decodes the path of a request target. Returns also whether it ended with a slash.
    pub(super) fn decode(path: &str) -> Result<(DavPath, bool), BadPath> {
        let decoded = target::decode(path)?;
        Ok((DavPath(decoded.relative.into()), decoded.is_folder))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if any component is a name that the server uses itself.
    pub(super) fn is_private(&self) -> bool {
        self.0.split(|b| *b == b'/').any(is_private_name)
    }

    /// Returns the parent folder, or `None` for the root.
    pub(super) fn parent(&self) -> Option<DavPath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(DavPath(Arc::from(&self.0[..end])))
    }

    /// Returns the last component, which is empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        &self.0[start..]
    }

    pub(super) fn join(&self, name: &[u8]) -> DavPath {
        if self.is_root() {
            return DavPath(Arc::from(name));
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        DavPath(bytes.into())
    }

    /// Returns `true` if this is `folder`, or lies below it.
    pub(super) fn is_within(&self, folder: &DavPath) -> bool {
        folder.is_root()
            || self
                .0
                .strip_prefix(folder.as_bytes())
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }

    /// Returns the path that has the same place below `to` as this path has below `from`.
    pub(super) fn moved(&self, from: &DavPath, to: &DavPath) -> DavPath {
        debug_assert!(self.is_within(from));
        let rest = &self.0[from.0.len()..];
        match rest.strip_prefix(b"/").unwrap_or(rest) {
            [] => to.clone(),
            rest => to.join(rest),
        }
    }

    /// Returns this path and all folders above it, up to the root.
    pub(super) fn upwards(&self) -> impl Iterator<Item = DavPath> {
        std::iter::successors(Some(self.clone()), DavPath::parent)
    }

    /// Returns the path as it is written in a URL. That of a folder ends with a slash.
    pub(super) fn href(&self, is_folder: bool) -> String {
        let prefix = prefix();
        if self.is_root() {
            return format!("{prefix}/");
        }
        let path = target::encode(&self.0);
        if is_folder { format!("{prefix}/{path}/") } else { format!("{prefix}/{path}") }
    }
}

/// Returns `true` if the server uses this name itself. Case, and dots and spaces at the end, make
/// no difference, because some file systems ignore them.
pub(super) fn is_private_name(name: &[u8]) -> bool {
    name.split_at_checked(PRIVATE.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(PRIVATE) && matches!(rest, [] | [b'-' | b'.' | b' ', ..])
    })
}

impl std::fmt::Debug for DavPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DavPath {
        DavPath::from_bytes(text.as_bytes())
    }

    #[test]
    fn relations() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&DavPath::root()));
        assert!(!path("ab").is_within(&path("a")));
        assert!(!path("a").is_within(&path("a/b")));
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(DavPath::root()));
        assert_eq!(DavPath::root().parent(), None);
        assert_eq!(path("a/b/c").moved(&path("a/b"), &path("x")), path("x/c"));
        assert_eq!(path("a").moved(&path("a"), &path("x/y")), path("x/y"));
        assert_eq!(path("a/b").name(), b"b");
        assert_eq!(path("a/b").upwards().collect::<Vec<_>>(), [path("a/b"), path("a"), path("")]);
    }

    #[test]
    fn urls_carry_any_name() {
        for name in [
            &b"plain"[..],
            b"with space",
            b"\xff\xfe",
            b"100%",
            b"a?b#c",
            b"\n\r\t",
            "ü".as_bytes(),
        ] {
            let path = DavPath::root().join(b"folder").join(name);
            for is_folder in [false, true] {
                let decoded = DavPath::decode(&path.href(is_folder));
                assert_eq!(decoded, Ok((path.clone(), is_folder)), "{}", name.escape_ascii());
            }
        }
    }

    #[test]
    fn the_servers_own_names() {
        for own in [".dapple", ".dapple/x", "a/.dapple-upload-1", ".dapple-", ".Dapple", ".dapple."]
        {
            assert!(path(own).is_private(), "{own}");
        }
        for other in ["dapple", ".dapples", "a/x.dapple", ""] {
            assert!(!path(other).is_private(), "{other}");
        }
    }
}
