//! The head of a response.

use std::io::Write;

use super::date;

/// The statuses that this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(in crate::web) enum Status {
    Ok = 200,
    NoContent = 204,
    PartialContent = 206,
    MovedPermanently = 301,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    PreconditionFailed = 412,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    TooManyRequests = 429,
    FieldsTooLarge = 431,
    InternalError = 500,
    NotImplemented = 501,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    pub(in crate::web) fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::NoContent => "No Content",
            Status::PartialContent => "Partial Content",
            Status::MovedPermanently => "Moved Permanently",
            Status::NotModified => "Not Modified",
            Status::BadRequest => "Bad Request",
            Status::Unauthorized => "Unauthorized",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::PreconditionFailed => "Precondition Failed",
            Status::UriTooLong => "URI Too Long",
            Status::RangeNotSatisfiable => "Range Not Satisfiable",
            Status::ExpectationFailed => "Expectation Failed",
            Status::TooManyRequests => "Too Many Requests",
            Status::FieldsTooLarge => "Request Header Fields Too Large",
            Status::InternalError => "Internal Server Error",
            Status::NotImplemented => "Not Implemented",
            Status::Unavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// Begins a head; the caller adds fields, and then calls [`finish`].
pub(in crate::web) fn begin(out: &mut Vec<u8>, status: Status) {
    match status {
        Status::Ok => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        status => text(out, format_args!("HTTP/1.1 {} {}\r\n", status as u16, status.reason())),
    }
}

/// Appends formatted text to a head or a body.
pub(in crate::web) fn text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

/// What happens to the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum KeepAlive {
    /// The connection stays open, which is the default of HTTP/1.1.
    Yes,
    /// The connection stays open, and a client of HTTP/1.0 has to be told.
    Told,
    No,
}

/// Ends a head; for `stamp`, see [`date::write_now`].
pub(in crate::web) fn finish(out: &mut Vec<u8>, keep_alive: KeepAlive, stamp: u64) {
    out.extend_from_slice(b"Date: ");
    date::write_now(out, stamp);
    out.extend_from_slice(match keep_alive {
        KeepAlive::Yes => b"\r\n\r\n",
        KeepAlive::Told => b"\r\nConnection: keep-alive\r\n\r\n",
        KeepAlive::No => b"\r\nConnection: close\r\n\r\n",
    });
}
