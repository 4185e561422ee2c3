//! What is served of a file: the fields of its response, and its contents.

use std::fs::File;
use std::sync::Arc;

use dapple::clock;

use super::policy::{FileFields, Policy};
use crate::common::cache::Kept;
use crate::common::version::Version;
use crate::common::{date, media_type};

/// A file that can be served.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) version: Version,
    /// The media type.
    pub(super) kind: Box<str>,
    /// The fields of a 200 that depend on the file and its path only.
    pub(super) fields: Box<[u8]>,
    /// Those of a 304.
    pub(super) unchanged_fields: Box<[u8]>,
    pub(super) etag: Box<[u8]>,
    /// When it was modified, in seconds, if that may be later than the date of a response.
    pub(super) may_be_ahead: Option<i64>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Memory(Arc<[u8]>),
    File(Arc<File>),
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
        let etag = format!("\"{}\"", version.tag());
        let shown = date::format(version.modified_time());
        let fields = format!(
            "Content-Type: {kind}\r\nContent-Length: {}\r\nLast-Modified: {shown}\r\n\
             ETag: {etag}\r\nAccept-Ranges: bytes\r\n{lines}",
            version.size
        );
        let unchanged_fields = format!("ETag: {etag}\r\n{lines}");
        let modified = date::seconds(version.modified_time());
        Page {
            version,
            kind: kind.into(),
            fields: fields.into_bytes().into(),
            unchanged_fields: unchanged_fields.into_bytes().into(),
            etag: etag.into_bytes().into(),
            may_be_ahead: (modified >= date::seconds(clock::wall()) - 2).then_some(modified),
            body,
        }
    }
}

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
