//! Checks of the request parser, for arbitrary input.

use super::request::{MOST_HEAD, MOST_LINE, Parsed, parse};
use crate::common::host;

/// Parses a request, or the start of one, and checks the result.
pub fn request(input: &[u8]) {
    match parse(input) {
        Parsed::Request(_, len) => {
            let said = format!("{:?}", parse(input));
            assert!((1..=MOST_HEAD.min(input.len())).contains(&len), "{len} bytes are its head");
            assert_eq!(
                format!("{:?}", parse(&input[..len])),
                said,
                "what follows is not looked at"
            );
            // No start of a valid head is refused.
            let step = (len / 64).max(1);
            for end in (0..len).step_by(step) {
                let piece = parse(&input[..end]);
                assert!(matches!(piece, Parsed::Partial), "{end} bytes of it are {piece:?}");
            }
        }
        // More input does not make a refused request valid.
        Parsed::Bad(_) => {
            for more in [&b"\r\n\r\n"[..], b"x", b"\r\nHost: x\r\n\r\n"] {
                let longer = [input, more].concat();
                let again = parse(&longer);
                assert!(matches!(again, Parsed::Bad(_)), "with {more:?} it is {again:?}");
            }
        }
        // The parser never waits for more than this.
        Parsed::Partial => assert!(input.len() <= MOST_HEAD),
    }
    // A later version than HTTP/1.1 is parsed like HTTP/1.1.
    let as_one_one = later_version(input).map(|at| {
        let mut bytes = input.to_vec();
        bytes[at] = b'1';
        bytes
    });
    if let Some(expected) = opinion(as_one_one.as_deref().unwrap_or(input)) {
        let accepted = matches!(parse(input), Parsed::Request(..));
        assert_eq!(accepted, expected, "the second opinion on {:?}", parse(input));
    }
}

/// Returns the place of the version's last digit, if the first line names HTTP/1.2 to HTTP/1.9.
fn later_version(input: &[u8]) -> Option<usize> {
    let begin = behind_blank_lines(input);
    let line = begin.split(|b| *b == b'\n').next().filter(|line| line.len() < begin.len())?;
    let (digit, rest) = line.strip_suffix(b"\r").unwrap_or(line).split_last()?;
    let is_later = (b'2'..=b'9').contains(digit) && rest.ends_with(b" HTTP/1.");
    is_later.then_some(input.len() - begin.len() + rest.len())
}

/// Returns the input from the first line on, without blank lines before it.
fn behind_blank_lines(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    &input[start.unwrap_or(input.len())..]
}

/// Decides whether a request is valid, from httparse alone and a second reading of RFC 9112.
/// Returns `None` if the request is incomplete, or of another version.
fn opinion(input: &[u8]) -> Option<bool> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut raw = httparse::Request::new(&mut fields);
    match raw.parse(input) {
        Ok(httparse::Status::Complete(len)) if len <= MOST_HEAD => {}
        Ok(httparse::Status::Complete(_)) => return Some(false),
        Ok(httparse::Status::Partial) | Err(httparse::Error::Version) => return None,
        Err(_) => return Some(false),
    }
    let one_one = raw.version == Some(1);
    let values = |name: &str| -> Vec<&[u8]> {
        let named = raw.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let (hosts, lengths, codings) =
        (values("host"), values("content-length"), values("transfer-encoding"));
    let is_host = match hosts[..] {
        [] => !one_one,
        [host] => host::is_valid(host),
        _ => false,
    };
    let is_length = match lengths[..] {
        [] => true,
        [length] => {
            !length.is_empty() && length.len() < 20 && length.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let coding = codings.join(&b","[..]).to_ascii_lowercase();
    let mut parts = coding.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|p| !p.is_empty());
    let is_coding = codings.is_empty()
        || (parts.next() == Some(b"chunked") && parts.next().is_none() && one_one)
            && lengths.is_empty();
    let target = raw.path.unwrap_or_default();
    let authority = match target.starts_with('/') {
        true => None,
        false => host::of_target(target),
    };
    let is_target = authority.is_none_or(|authority| host::is_valid(authority.as_bytes()));
    let is_short = behind_blank_lines(input)
        .iter()
        .position(|b| *b == b'\n')
        .is_some_and(|at| at <= MOST_LINE);
    Some(is_host && is_length && is_coding && is_target && is_short)
}

/// Returns the verdict in a form that can be compared with other parsers: accepted (with its length
/// and target), refused, or incomplete.
#[cfg(dapple_fuzzing)]
pub fn verdict(input: &[u8]) -> String {
    match parse(input) {
        Parsed::Request(request, len) => format!("accepted {len} {}", request.target),
        Parsed::Bad(status) => format!("refused {status:?}"),
        Parsed::Partial => "incomplete".to_owned(),
    }
}
