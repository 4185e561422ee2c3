//! Heads of requests, as hyper parses them.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};

use crate::common::conditions::Conditions;
use crate::common::host;

/// Returns the fields that make a request conditional, or that ask for a part.
pub(crate) fn conditions(fields: &HeaderMap) -> Conditions<'_> {
    let field = |name: HeaderName| fields.get(name).map(|value| value.as_bytes());
    Conditions {
        range: field(header::RANGE),
        if_range: field(header::IF_RANGE),
        if_match: field(header::IF_MATCH),
        if_unmodified_since: field(header::IF_UNMODIFIED_SINCE),
        if_none_match: field(header::IF_NONE_MATCH),
        if_modified_since: field(header::IF_MODIFIED_SINCE),
    }
}

/// Checks what hyper leaves to the application (RFC 9110, 7.2 and 10.1.1; RFC 9112, 3.2 and 6.1;
/// RFC 9113, 8.3.1).
///
/// # Errors
///
/// Returns the status with which the request is refused.
pub(crate) fn check(head: &Parts) -> Result<(), StatusCode> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut fields = head.headers.get_all(header::HOST).iter().map(|value| value.as_bytes());
    let (field, further) = (fields.next(), fields.next());
    let is_one = match head.version {
        Version::HTTP_11 => field.is_some(),
        Version::HTTP_2 => match (authority, field) {
            (Some(authority), Some(field)) => authority.eq_ignore_ascii_case(field),
            (authority, field) => authority.is_some() || field.is_some(),
        },
        _ => true,
    };
    if !is_one || further.is_some() || ![authority, field].into_iter().flatten().all(host::is_valid)
    {
        return Err(StatusCode::BAD_REQUEST);
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // hyper ignores a Content-Length beside this field, and ends the connection afterwards, as
        // RFC 9112 permits.
        if head.version != Version::HTTP_11 || codings.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
    }
    if head.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    match head.headers.get(header::EXPECT) {
        Some(what) if !what.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue") => {
            Err(StatusCode::EXPECTATION_FAILED)
        }
        _ => Ok(()),
    }
}
