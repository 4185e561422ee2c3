//! What is served of a file: the fields of its response, and its contents.

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

/// A file that can be served, and may be kept.
pub(super) type FilePage = Arc<Cached<Page>>;

/// What is served of a file.
#[derive(Debug)]
pub(super) struct Page {
    /// The version of the file that this was made of.
    pub(super) version: Version,
    /// The media type.
    pub(super) kind: Box<str>,
    /// The fields of a 200 that depend on the file and its path only.
    pub(super) fields: Box<[u8]>,
    /// The fields of a 304.
    pub(super) unchanged_fields: Box<[u8]>,
    pub(super) etag: Box<[u8]>,
    pub(super) modified: SystemTime,
    /// Its contents are served in several codings.
    pub(super) is_of_several: bool,
    /// When it was modified, in seconds, if that may be later than the date of a response.
    pub(super) may_be_ahead: Option<i64>,
    /// Bytes of the body.
    pub(super) len: u64,
    pub(super) body: Body,
    /// The fields, as HTTP/2 has them; made when they are needed.
    headers: OnceLock<[HeaderMap; 2]>,
    /// All of it was read, and it cannot have changed meanwhile without having another version now.
    pub(super) may_be_kept: bool,
    variants: Variants,
}

#[derive(Debug)]
pub(super) enum Body {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

/// What is known of the same contents in other codings: bits of these.
#[derive(Debug, Default)]
struct Variants {
    /// There are none: it is encoded itself, or of a type that gains nothing.
    none: bool,
    /// Which files are beside this one, as of the stretch of time in which that was looked up.
    siblings: AtomicU8,
    looked_up: AtomicU64,
    /// The codings in which it does not become shorter.
    in_vain: AtomicU8,
}

/// What responses depend on, whose lines are made once.
struct Parts<'a> {
    kind: &'a str,
    coding: Option<Coding>,
    tag: &'a str,
    modified: SystemTime,
    len: u64,
    /// Lines that follow from the path.
    lines: &'a str,
}

impl Page {
    /// `start`: what the file begins with.
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

    /// The contents of a page in a coding. `version`: of the file that it was made of; `tag`: a
    /// text that no other version of it has.
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
            is_of_several: has_variants,
            may_be_ahead: (seconds >= date::seconds(clock::wall()) - 2).then_some(seconds),
            len: *len,
            body,
            headers: OnceLock::new(),
            may_be_kept: false,
            variants: Variants { none: !has_variants || coding.is_some(), ..Variants::default() },
        }
    }

    /// The fields of a 200, and those of a 304.
    pub(super) fn headers(&self) -> &[HeaderMap; 2] {
        self.headers.get_or_init(|| [&self.fields, &self.unchanged_fields].map(|f| headers_of(f)))
    }

    /// What was read may be kept, or not.
    pub(super) fn keep_if(self, may_be_kept: bool) -> Page {
        Page { may_be_kept, ..self }
    }

    /// Says whether it may be sent in a coding.
    pub(super) fn has_variants(&self) -> bool {
        !self.variants.none
    }

    /// In which codings there are files beside this one; `None`: that is to be looked up in this
    /// stretch of time.
    pub(super) fn siblings(&self, stretch: u64) -> Option<u8> {
        let is_known = self.variants.looked_up.load(Ordering::Acquire) == stretch;
        is_known.then(|| self.variants.siblings.load(Ordering::Relaxed))
    }

    pub(super) fn note_siblings(&self, stretch: u64, codings: u8) {
        self.variants.siblings.store(codings, Ordering::Relaxed);
        // Partner: the acquire of `siblings`.
        self.variants.looked_up.store(stretch, Ordering::Release);
    }

    /// Notes that the file does not become shorter in this coding.
    pub(super) fn note_in_vain(&self, coding: Coding) {
        self.variants.in_vain.fetch_or(coding.bit(), Ordering::Relaxed);
    }

    pub(super) fn is_in_vain(&self, coding: Coding) -> bool {
        self.variants.in_vain.load(Ordering::Relaxed) & coding.bit() != 0
    }
}

/// Lines of fields, which we have made, as a map.
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

/// Caches are told that a response depends on the codings that its client takes.
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
