//! Writes an [`Answer`] to a connection, in HTTP/1.1.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use dapple_io::tcp::Conn;

use super::answer::{Answer, Made, Text};
use super::http::date;
use super::http::head::{self, KeepAlive, Status};
use super::page::{Body, Page};
use crate::common::conditions::Part;

/// The most bytes of a body that are copied behind its head; a larger body is written from where it
/// is.
const MOST_COPIED: usize = 8 * 1024;

/// The facts about a request that the head of its response depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    /// The field lines of every response that is not a file.
    pub(super) common: &'a str,
    /// The stamp for the date; see [`date::write_now`].
    pub(super) stamp: u64,
    pub(super) keep_alive: KeepAlive,
    pub(super) head_only: bool,
    pub(super) takes_chunks: bool,
}

impl Reply<'_> {
    /// Writes a response, and returns its status. Of a response that is made while it is sent, it
    /// writes only the head.
    pub(super) fn write(self, conn: &mut Conn, answer: &Answer) -> Status {
        match answer {
            Answer::File(page, Part::Range(from, count)) => self.range(conn, page, *from, *count),
            Answer::File(page, Part::Ranges(ranges)) => self.ranges(conn, page, ranges),
            Answer::File(page, _) => self.whole(conn, page, Status::Ok, &[]),
            Answer::NotModified(page) => self.not_modified(conn, page),
            Answer::NotThere(page) => self.whole(conn, page, Status::NotFound, &OWN_FIELDS),
            Answer::Text(text) => self.text(conn, text),
            Answer::Made(made) => self.head_of_made(conn, made),
        }
    }

    /// Writes all of a page, without the fields whose lines begin with one of `without`.
    fn whole(self, conn: &mut Conn, page: &Page, status: Status, without: &[&str]) -> Status {
        let body = match (&page.body, self.head_only) {
            (Body::Memory(bytes), false) if bytes.len() <= MOST_COPIED => &bytes[..],
            _ => &[],
        };
        conn.write(|out| {
            out.reserve(page.fields.len() + body.len() + 128);
            head::begin(out, status);
            write_fields(out, page, self.stamp, without);
            if status == Status::NotFound {
                out.extend_from_slice(b"Cache-Control: no-cache\r\n");
            }
            head::finish(out, self.keep_alive, self.stamp);
            out.extend_from_slice(body);
        });
        if !self.head_only && body.is_empty() {
            match &page.body {
                Body::Memory(bytes) => conn.send_shared(Arc::clone(bytes)),
                Body::File(file) => conn.send_file(Arc::clone(file), 0, page.len),
            }
        }
        status
    }

    fn range(self, conn: &mut Conn, page: &Page, from: u64, count: u64) -> Status {
        let len = page.len;
        conn.write(|out| {
            head::begin(out, Status::PartialContent);
            write_fields(out, page, self.stamp, &["Content-Length:"]);
            let last = from + count - 1;
            head::text(out, format_args!("Content-Length: {count}\r\n"));
            head::text(out, format_args!("Content-Range: bytes {from}-{last}/{len}\r\n"));
            head::finish(out, self.keep_alive, self.stamp);
        });
        send_part(conn, page, from, count);
        Status::PartialContent
    }

    /// Writes several ranges (RFC 9110, section 14.6), each of which has its own head.
    fn ranges(self, conn: &mut Conn, page: &Page, ranges: &[(u64, u64)]) -> Status {
        let Multipart { kind, heads, end, len } = Multipart::of(page, ranges);
        conn.write(|out| {
            head::begin(out, Status::PartialContent);
            head::text(out, format_args!("Content-Type: {kind}\r\n"));
            write_fields(out, page, self.stamp, &["Content-Length:", "Content-Type:"]);
            head::text(out, format_args!("Content-Length: {len}\r\n"));
            head::finish(out, self.keep_alive, self.stamp);
        });
        for (head, (from, count)) in heads.iter().zip(ranges) {
            conn.send(head.as_bytes());
            send_part(conn, page, *from, *count);
        }
        conn.send(end.as_bytes());
        Status::PartialContent
    }

    fn not_modified(self, conn: &mut Conn, page: &Page) -> Status {
        conn.write(|out| {
            head::begin(out, Status::NotModified);
            out.extend_from_slice(&page.unchanged_fields);
            head::finish(out, self.keep_alive, self.stamp);
        });
        Status::NotModified
    }

    fn text(self, conn: &mut Conn, text: &Text) -> Status {
        let Text { status, fields, kind, body, .. } = text;
        conn.write(|out| {
            head::begin(out, *status);
            let len = body.len();
            out.extend_from_slice(fields.as_bytes());
            if !text.is_own {
                out.extend_from_slice(self.common.as_bytes());
            }
            // A response without contents has neither a type nor a length (RFC 9110, section 8.6).
            if *status != Status::NoContent {
                let kind = format_args!("Content-Type: {kind}\r\nContent-Length: {len}\r\n");
                head::text(out, kind);
            }
            head::finish(out, self.keep_alive, self.stamp);
            if !self.head_only {
                out.extend_from_slice(body.as_bytes());
            }
        });
        *status
    }

    fn head_of_made(self, conn: &mut Conn, made: &Made) -> Status {
        let Made { fields, kind, .. } = made;
        conn.write(|out| {
            head::begin(out, Status::Ok);
            out.extend_from_slice(fields.as_bytes());
            out.extend_from_slice(self.common.as_bytes());
            head::text(out, format_args!("Content-Type: {kind}\r\n"));
            if self.takes_chunks {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            head::finish(out, self.keep_alive, self.stamp);
        });
        Status::Ok
    }
}

/// Writes a piece of a body that is made while it is sent.
pub(super) fn piece(conn: &mut Conn, bytes: &[u8], in_chunks: bool) {
    match in_chunks {
        // An empty chunk would be the end.
        true if !bytes.is_empty() => conn.write(|out| {
            head::text(out, format_args!("{:x}\r\n", bytes.len()));
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }),
        _ => conn.send(bytes),
    }
}

/// Writes the end of a body that is made while it is sent. Without chunks, the end of the
/// connection marks it.
pub(super) fn last_piece(conn: &mut Conn, in_chunks: bool) {
    if in_chunks {
        conn.send(b"0\r\n\r\n");
    }
}

/// The fields that describe a version of a file, its ranges and its caching. A page that is served
/// in place of another does not have them.
const OWN_FIELDS: [&str; 4] = ["Last-Modified:", "ETag:", "Accept-Ranges:", "Cache-Control:"];

fn send_part(conn: &mut Conn, page: &Page, from: u64, count: u64) {
    match &page.body {
        Body::Memory(bytes) => conn.send(&bytes[from as usize..][..count as usize]),
        Body::File(file) => conn.send_file(Arc::clone(file), from, count),
    }
}

/// The frame around several parts of a page.
pub(super) struct Multipart {
    /// The media type of the whole body.
    pub(super) kind: String,
    /// The text before each part.
    pub(super) heads: Vec<String>,
    pub(super) end: String,
    /// The length of the whole body in bytes, including the parts.
    pub(super) len: u64,
}

impl Multipart {
    pub(super) fn of(page: &Page, ranges: &[(u64, u64)]) -> Multipart {
        let (boundary, len, kind) = (boundary(), page.len, &page.kind);
        let head_of = |(from, count): &(u64, u64)| {
            let last = from + count - 1;
            format!(
                "\r\n--{boundary}\r\nContent-Type: {kind}\r\n\
                 Content-Range: bytes {from}-{last}/{len}\r\n\r\n"
            )
        };
        let heads: Vec<String> = ranges.iter().map(head_of).collect();
        let end = format!("\r\n--{boundary}--\r\n");
        let parts: u64 = ranges.iter().map(|(_, count)| count).sum();
        let around = heads.iter().map(String::len).sum::<usize>() + end.len();
        let kind = format!("multipart/byteranges; boundary={boundary}");
        Multipart { kind, heads, end, len: parts + around as u64 }
    }
}

/// Returns a boundary that no file contains, as far as its author can foresee.
fn boundary() -> String {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{:016x}", SEED.hash_one((number, 0)), SEED.hash_one((number, 1)))
}

/// Writes the fields of a page, except those whose lines begin with one of `without`. A
/// modification time in the future is replaced by the time of the response (RFC 9110, section
/// 8.8.2.1).
fn write_fields(out: &mut Vec<u8>, page: &Page, stamp: u64, without: &[&str]) {
    let is_ahead = page.may_be_ahead.is_some_and(|second| date::is_ahead(second, stamp));
    if !is_ahead && without.is_empty() {
        return out.extend_from_slice(&page.fields);
    }
    let fields = String::from_utf8_lossy(&page.fields);
    for field in fields.split_inclusive("\r\n") {
        if is_ahead && field.starts_with("Last-Modified:") {
            out.extend_from_slice(b"Last-Modified: ");
            date::write_now(out, stamp);
            out.extend_from_slice(b"\r\n");
        } else if !without.iter().any(|name| field.starts_with(name)) {
            out.extend_from_slice(field.as_bytes());
        }
    }
}
