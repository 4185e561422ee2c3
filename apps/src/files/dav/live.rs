//! Live properties: those that the server computes itself, and the effect of setting one of them.

use std::time::SystemTime;

use http::StatusCode;

use super::xml::{DAV, Element, Name, Node};
use crate::common::date;
use crate::files::share::checksum::Checksum;

/// The namespace of the properties that Windows adds to WebDAV's own.
pub(super) const MICROSOFT: &str = "urn:schemas-microsoft-com:";

/// The namespace of Apache's `mod_dav`. davfs2 sets one of its properties.
pub(super) const APACHE: &str = "http://apache.org/dav/props/";

/// The namespace of ownCloud. rclone sets one of its properties.
pub(super) const OWNCLOUD: &str = "http://owncloud.org/ns";

/// The properties that the server computes itself. The flag says whether `allprop` includes the
/// property.
pub(super) const LIVE: [(&str, &str, bool); 15] = [
    (DAV, "creationdate", true),
    (DAV, "displayname", true),
    (DAV, "getcontentlength", true),
    (DAV, "getcontenttype", true),
    (DAV, "getetag", true),
    (DAV, "getlastmodified", true),
    (DAV, "resourcetype", true),
    (DAV, "lockdiscovery", true),
    (DAV, "supportedlock", true),
    (DAV, "quota-available-bytes", false),
    (DAV, "quota-used-bytes", false),
    (MICROSOFT, "Win32LastModifiedTime", false),
    (MICROSOFT, "Win32LastAccessTime", false),
    (APACHE, "executable", false),
    (OWNCLOUD, "checksums", false),
];

/// A property that has an effect when it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Modified(SystemTime),
    Accessed(SystemTime),
    Executable(bool),
    /// A claim that the contents have this checksum. The server verifies it.
    Checksum(Checksum),
}

/// The treatment of a property that a client wants to set or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// The property is stored, and means nothing to the server.
    Keep,
    Set(Setting),
    Refuse(StatusCode),
}

/// Returns the treatment of a property. `element` is its new value, or `None` if it is to be
/// removed.
pub(super) fn patch(name: &Name, element: Option<&Element>) -> Patch {
    let text = element.map(text_of);
    let set = |made: Option<Setting>| match (made, &text) {
        (Some(setting), _) => Patch::Set(setting),
        // A live property always exists, and cannot be removed.
        (None, None) => Patch::Refuse(StatusCode::FORBIDDEN),
        (None, Some(_)) => Patch::Refuse(StatusCode::CONFLICT),
    };
    let time = || text.as_deref().and_then(time_of);
    match (name.space.as_str(), name.local.as_str()) {
        // A name for people, which does not change the name of the file.
        (DAV, "displayname") => Patch::Keep,
        (DAV, "getlastmodified" | "lastmodified") | (MICROSOFT, "Win32LastModifiedTime") => {
            set(time().map(Setting::Modified))
        }
        (MICROSOFT, "Win32LastAccessTime") => set(time().map(Setting::Accessed)),
        (APACHE, "executable") => set(match text.as_deref() {
            Some("T") => Some(Setting::Executable(true)),
            Some("F") => Some(Setting::Executable(false)),
            _ => None,
        }),
        (OWNCLOUD, "checksums") => {
            let sum = text.as_deref().and_then(|text| Checksum::parse(text).ok().flatten());
            set(sum.map(Setting::Checksum))
        }
        // WebDAV's other properties have effects that this server does not implement.
        (DAV, _) => Patch::Refuse(StatusCode::FORBIDDEN),
        _ => Patch::Keep,
    }
}

/// Parses an HTTP date, or seconds since 1970 as ownCloud's clients send them.
fn time_of(text: &str) -> Option<SystemTime> {
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().map(date::of_seconds).ok().or_else(|| date::parse(text.as_bytes()))
}

/// Returns the text in an element and in the elements within it.
fn text_of(element: &Element) -> String {
    let mut all = String::new();
    let mut rest: Vec<&Node> = element.children.iter().rev().collect();
    while let Some(node) = rest.pop() {
        match node {
            Node::Text(text) => all.push_str(text),
            Node::Element(element) => {
                all.push(' ');
                rest.extend(element.children.iter().rev());
            }
        }
    }
    all.trim_ascii().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::dav::xml;

    fn set(xml: &str) -> Patch {
        let element = xml::parse(xml.as_bytes()).unwrap();
        patch(&element.name.clone(), Some(&element))
    }

    #[test]
    fn what_is_set_is_done_kept_or_refused() {
        let modified = |seconds| Patch::Set(Setting::Modified(date::of_seconds(seconds)));
        let refused = Patch::Refuse(StatusCode::CONFLICT);
        let protected = Patch::Refuse(StatusCode::FORBIDDEN);
        for (xml, expected) in [
            ("<lastmodified xmlns='DAV:'>784111777</lastmodified>", modified(784_111_777)),
            ("<lastmodified xmlns='DAV:'>-5</lastmodified>", modified(-5)),
            (
                "<a:getlastmodified xmlns:a='DAV:'>Sun, 06 Nov 1994 08:49:37 GMT</a:getlastmodified>",
                modified(784_111_777),
            ),
            (
                "<Z:Win32LastModifiedTime xmlns:Z='urn:schemas-microsoft-com:'>Sun, 06 Nov 1994 \
                 08:49:37 GMT</Z:Win32LastModifiedTime>",
                modified(784_111_777),
            ),
            ("<getlastmodified xmlns='DAV:'>yesterday</getlastmodified>", refused.clone()),
            ("<getlastmodified xmlns='DAV:'/>", refused.clone()),
            ("<displayname xmlns='DAV:'>x</displayname>", Patch::Keep),
            ("<getetag xmlns='DAV:'>x</getetag>", protected.clone()),
            ("<getcontentlanguage xmlns='DAV:'>x</getcontentlanguage>", protected.clone()),
            ("<x xmlns='urn:x'>y</x>", Patch::Keep),
            (
                "<executable xmlns='http://apache.org/dav/props/'>T</executable>",
                Patch::Set(Setting::Executable(true)),
            ),
            ("<executable xmlns='http://apache.org/dav/props/'>yes</executable>", refused.clone()),
            ("<c:checksums xmlns:c='http://owncloud.org/ns'>none</c:checksums>", refused),
        ] {
            assert_eq!(set(xml), expected, "{xml}");
        }
        assert_eq!(patch(&Name::new(DAV, "getlastmodified"), None), protected);
        assert_eq!(patch(&Name::new(DAV, "displayname"), None), Patch::Keep);
        let checksum = "<checksums xmlns='http://owncloud.org/ns'><checksum>SHA1:\
                        da39a3ee5e6b4b0d3255bfef95601890afd80709</checksum></checksums>";
        assert!(matches!(set(checksum), Patch::Set(Setting::Checksum(_))));
    }
}
