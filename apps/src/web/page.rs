//! The response for a file: its fields and its contents.

use std::fs::File;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use dapple::clock;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::http::coding::Coding;
use super::policy::{FileFields, Policy};
use crate::common::cache::{Cached, Kept};
use crate::common::version::Version;
use crate::common::{date, media_type};

/// A page that can be served, and may be cached.
pub(super) type FilePage = Arc<Cached<Page>>;

/// The fields and the contents of a file that is served.
#[derive(Debug)]
pub(super) struct Page {
    /// The version of the file that the page was made from.
    pub(super) version: Version,
    /// The media type.
    pub(super) kind: Box<str>,
    /// The fields of a 200 that depend on nothing but the file and its path.
    pub(super) fields: Box<[u8]>,
    /// The fields of a 304.
    pub(super) unchanged_fields: Box<[u8]>,
    pub(super) etag: Box<[u8]>,
    pub(super) modified: SystemTime,
    /// Whether the contents are served in several codings.
    pub(super) has_variants_in_codings: bool,
    /// The modification time in seconds, if it may be later than the date of a response.
    pub(super) may_be_ahead: Option<i64>,
    /// The length of the body in bytes.
    pub(super) len: u64,
    pub(super) body: Body,
    /// The fields of a 200 and of a 304 as maps, made when HTTP/2 needs them.
    headers: OnceLock<[HeaderMap; 2]>,
    /// Whether the page may be cached: all of it was read, and any later change gives another
    /// version.
    pub(super) may_be_kept: bool,
    variants: Variants,
}

#[derive(Debug)]
pub(super) enum Body {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

/// The known facts about the same contents in other codings, as sets of [`Coding::bit`].
#[derive(Debug, Default)]
struct Variants {
    /// Whether there are no other codings, because the page is encoded itself, or its type does not
    /// shrink.
    none: bool,
    /// The codings of files beside this one, as they were found in the interval `looked_up`.
    siblings: AtomicU8,
    looked_up: AtomicU64,
    /// The codings that do not make the file shorter.
    in_vain: AtomicU8,
}

/// The parts of a response from which a page's field lines are made.
struct Parts<'a> {
    kind: &'a str,
    coding: Option<Coding>,
    tag: &'a str,
    modified: SystemTime,
    len: u64,
    /// The field lines that follow from the path.
    lines: &'a str,
}

impl Page {
    /// Makes the page of a file; `start` is the start of its contents, which may tell the media
    /// type.
    pub(super) fn new(
        path: &[u8],
        version: Version,
        start: &[u8],
        body: Body,
        policy: &Policy,
    ) -> Page {
        let FileFields { kind, lines } = policy.of_file(path);
        let kind = kind.unwrap_or_else(|| media_type::of(path, start, version.size));
        let parts = Parts {
            kind: &kind,
            coding: None,
            tag: &version.tag(),
            modified: version.modified_time(),
            len: version.size,
            lines: &lines,
        };
        Page::of(&parts, version, body)
    }

    /// Makes the page of a file's contents in a coding. `version` is that of the file that the page
    /// was made from, and `tag` is a text that no other version of it has.
    pub(super) fn encoded(
        original: &Page,
        coding: Coding,
        version: Version,
        tag: &str,
        len: u64,
        body: Body,
    ) -> Page {
        let lines = String::from_utf8_lossy(&original.unchanged_fields);
        let lines = lines.split_once("\r\n").map_or("", |(_etag, lines)| lines);
        let lines = lines.strip_prefix(VARY).unwrap_or(lines);
        let parts = Parts {
            kind: &original.kind,
            coding: Some(coding),
            tag: &format!("{tag}-{}", coding.name()),
            modified: original.modified,
            len,
            lines,
        };
        Page::of(&parts, version, body)
    }

    fn of(parts: &Parts<'_>, version: Version, body: Body) -> Page {
        let Parts { kind, coding, tag, modified, len, lines } = parts;
        let etag = format!("\"{tag}\"");
        let shown = date::format(*modified);
        let has_variants = media_type::is_compressible(kind);
        let vary = if has_variants { VARY } else { "" };
        let encoding = coding.map(|coding| format!("Content-Encoding: {}\r\n", coding.name()));
        let encoding = encoding.unwrap_or_default();
        let fields = format!(
            "Content-Type: {kind}\r\nContent-Length: {len}\r\nLast-Modified: {shown}\r\n\
             ETag: {etag}\r\nAccept-Ranges: bytes\r\n{encoding}{vary}{lines}",
        );
        let unchanged_fields = format!("ETag: {etag}\r\n{vary}{lines}");
        let seconds = date::seconds(*modified);
        Page {
            version,
            kind: (*kind).into(),
            fields: fields.into_bytes().into(),
            unchanged_fields: unchanged_fields.into_bytes().into(),
            etag: etag.into_bytes().into(),
            modified: *modified,
            has_variants_in_codings: has_variants,
            may_be_ahead: (seconds >= date::seconds(clock::wall()) - 2).then_some(seconds),
            len: *len,
            body,
            headers: OnceLock::new(),
            may_be_kept: false,
            variants: Variants { none: !has_variants || coding.is_some(), ..Variants::default() },
        }
    }

    /// Returns the fields of a 200, and those of a 304.
    pub(super) fn headers(&self) -> &[HeaderMap; 2] {
        self.headers.get_or_init(|| [&self.fields, &self.unchanged_fields].map(|f| headers_of(f)))
    }

    /// Returns the page with a note on whether it may be cached.
    pub(super) fn keep_if(self, may_be_kept: bool) -> Page {
        Page { may_be_kept, ..self }
    }

    /// Returns `true` if the page may be sent in a coding.
    pub(super) fn has_variants(&self) -> bool {
        !self.variants.none
    }

    /// Returns the codings of files beside this one, or `None` if they have not been looked up in
    /// this interval.
    pub(super) fn siblings(&self, stretch: u64) -> Option<u8> {
        let is_known = self.variants.looked_up.load(Ordering::Acquire) == stretch;
        is_known.then(|| self.variants.siblings.load(Ordering::Relaxed))
    }

    pub(super) fn note_siblings(&self, stretch: u64, codings: u8) {
        self.variants.siblings.store(codings, Ordering::Relaxed);
        // Pairs with the acquire load in `siblings`.
        self.variants.looked_up.store(stretch, Ordering::Release);
    }

    /// Notes that the file does not become shorter in this coding.
    pub(super) fn note_incompressible(&self, coding: Coding) {
        self.variants.in_vain.fetch_or(coding.bit(), Ordering::Relaxed);
    }

    pub(super) fn is_incompressible(&self, coding: Coding) -> bool {
        self.variants.in_vain.load(Ordering::Relaxed) & coding.bit() != 0
    }
}

/// Converts field lines that the server has made into a map.
pub(super) fn headers_of(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// The field that tells caches that a response depends on the client's codings.
const VARY: &str = "Vary: Accept-Encoding\r\n";

impl Kept for Page {
    fn version(&self) -> Version {
        self.version
    }

    fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Memory(bytes) => bytes.len(),
            Body::File(_) => 0,
        };
        body + self.fields.len() + self.unchanged_fields.len() + self.etag.len()
    }

    fn is_open_file(&self) -> bool {
        matches!(self.body, Body::File(_))
    }
}
