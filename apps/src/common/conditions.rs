//! Conditions and ranges (RFC 9110, sections 13 and 14).

use std::time::{Duration, SystemTime};

use super::date::parse as parse_date;
use dapple::clock;

/// The fields of a request that make it conditional, or that ask for a part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) range: Option<&'a [u8]>,
    pub(crate) if_range: Option<&'a [u8]>,
    pub(crate) if_match: Option<&'a [u8]>,
    pub(crate) if_unmodified_since: Option<&'a [u8]>,
    pub(crate) if_none_match: Option<&'a [u8]>,
    pub(crate) if_modified_since: Option<&'a [u8]>,
}

/// Returns the elements of a comma-separated list.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// The validators of a representation.
#[derive(Debug)]
pub(crate) struct Validators<'a> {
    /// The entity tag, with its quotes.
    pub(crate) etag: &'a [u8],
    /// The time of the last change, in whole seconds.
    pub(crate) modified: SystemTime,
    /// Whether the same file in another content coding has the same time, but other bytes.
    pub(crate) shares_time: bool,
}

/// The part of a representation that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// The first byte, and the number of bytes.
    Range(u64, u64),
    /// At most [`MOST_RANGES`] ranges that do not overlap, each a first byte and a number of bytes.
    Ranges(Box<[(u64, u64)]>),
    /// None of the requested ranges lies within the representation.
    Unsatisfiable,
}

/// The result of a request's conditions (13.2.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    /// The client already has the current version.
    NotModified,
    /// The request requires another version.
    Failed,
}

/// Evaluates the conditions in the order of RFC 9110.
pub(crate) fn verdict(conditions: &Conditions<'_>, own: &Validators<'_>) -> Verdict {
    if let Some(list) = conditions.if_match {
        // The strong comparison.
        if list.trim_ascii() != b"*" && !tokens(list).any(|tag| tag == own.etag) {
            return Verdict::Failed;
        }
    } else if let Some(since) = conditions.if_unmodified_since.and_then(parse_date)
        && own.modified > since
    {
        return Verdict::Failed;
    }
    if let Some(list) = conditions.if_none_match {
        // The weak comparison.
        let is_own = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == own.etag;
        let has_it = list.trim_ascii() == b"*" || tokens(list).any(is_own);
        return if has_it { Verdict::NotModified } else { Verdict::Go };
    }
    match conditions.if_modified_since.and_then(parse_date) {
        // A date in the future comes from another clock, and says nothing.
        Some(since) if own.modified <= since && since <= clock::wall() => Verdict::NotModified,
        _ => Verdict::Go,
    }
}

/// The maximum number of ranges in a request. A client that asks for more gets the whole file.
pub(crate) const MOST_RANGES: usize = 16;

/// Returns the part of `len` bytes that the request asks for. A field that is not a list of byte
/// ranges asks for all, and so do ranges that overlap.
pub(crate) fn part(conditions: &Conditions<'_>, own: &Validators<'_>, len: u64) -> Part {
    let is_bytes =
        |range: &&[u8]| range.get(..6).is_some_and(|u| u.eq_ignore_ascii_case(b"bytes="));
    let Some(range) = conditions.range.map(<[u8]>::trim_ascii).filter(is_bytes) else {
        return Part::All;
    };
    if conditions.if_range.is_some_and(|condition| !is_same(condition.trim_ascii(), own)) {
        return Part::All;
    }
    let Ok(list) = std::str::from_utf8(&range[6..]) else { return Part::All };
    let mut ranges = Vec::new();
    for (at, spec) in list.split(',').enumerate() {
        match one_range(spec.trim_matches([' ', '\t']), len) {
            _ if at >= MOST_RANGES => return Part::All,
            OneRange::Malformed => return Part::All,
            OneRange::Unsatisfiable => {}
            OneRange::Of(from, count) => ranges.push((from, count)),
        }
    }
    match ranges[..] {
        [] => Part::Unsatisfiable,
        // All bytes of an empty file are no bytes, which a response with a range cannot express.
        _ if len == 0 => Part::All,
        [(from, count)] => Part::Range(from, count),
        _ if overlap(&ranges) => Part::All,
        _ => Part::Ranges(ranges.into()),
    }
}

/// The result of parsing one range.
enum OneRange {
    Of(u64, u64),
    Unsatisfiable,
    Malformed,
}

fn one_range(spec: &str, len: u64) -> OneRange {
    let Some((from, to)) = spec.split_once('-') else { return OneRange::Malformed };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        // A number of 2^64 or more lies beyond any end.
        true if !text.is_empty() => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        _ => None,
    };
    match (from, to, number(from), number(to)) {
        ("", _, _, Some(0)) => OneRange::Unsatisfiable,
        ("", _, _, Some(_)) | (_, _, Some(0), _) if len == 0 => OneRange::Of(0, 0),
        ("", _, _, Some(last)) => OneRange::Of(len - last.min(len), last.min(len)),
        (_, "", Some(from), _) if from < len => OneRange::Of(from, len - from),
        (_, "", Some(_), _) => OneRange::Unsatisfiable,
        (_, _, Some(_), Some(_)) if magnitude(from) > magnitude(to) => OneRange::Malformed,
        (_, _, Some(from), Some(to)) if from < len => {
            OneRange::Of(from, to.min(len - 1) - from + 1)
        }
        (_, _, Some(_), Some(_)) => OneRange::Unsatisfiable,
        _ => OneRange::Malformed,
    }
}

fn overlap(ranges: &[(u64, u64)]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0)
}

/// Returns a key by which decimal numbers of any size are compared.
fn magnitude(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// Returns `true` if the part that the client has belongs to the same representation (If-Range).
///
/// The comparison is strong. A date is strong only if the file did not change again in the second
/// of its last change, which is not known. So the date must be equal to that of the file, and at
/// least 2 s old.
fn is_same(condition: &[u8], own: &Validators<'_>) -> bool {
    if condition.starts_with(b"\"") {
        return condition == own.etag;
    }
    let settled = !own.shares_time
        && clock::wall()
            .duration_since(own.modified)
            .is_ok_and(|age| age >= Duration::from_secs(2));
    settled && parse_date(condition) == Some(own.modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Validators<'static> {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        Validators { etag: b"\"v1\"", modified, shares_time: false }
    }

    fn part_of(range: &str, len: u64) -> Part {
        part(&Conditions { range: Some(range.as_bytes()), ..Conditions::default() }, &own(), len)
    }

    #[test]
    fn single_ranges() {
        assert_eq!(part_of("bytes=0-0", 10), Part::Range(0, 1));
        assert_eq!(part_of("Bytes=0-0", 10), Part::Range(0, 1));
        assert_eq!(part_of("bytes=2-5", 10), Part::Range(2, 4));
        assert_eq!(part_of("bytes=5-", 10), Part::Range(5, 5));
        assert_eq!(part_of("bytes=-3", 10), Part::Range(7, 3));
        assert_eq!(part_of("bytes=-30", 10), Part::Range(0, 10));
        assert_eq!(part_of("bytes=5-99999999999999999999999", 10), Part::Range(5, 5));
    }

    #[test]
    fn unsatisfiable_ranges() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(part_of(range, 10), Part::Unsatisfiable, "{range}");
        }
        assert_eq!(part_of("bytes=-0", 0), Part::Unsatisfiable);
        assert_eq!(part_of("bytes=5-", 0), Part::Unsatisfiable);
    }

    #[test]
    fn a_part_of_nothing_is_all_of_it() {
        for range in ["bytes=0-", "bytes=-5", "bytes=0-9"] {
            assert_eq!(part_of(range, 0), Part::All, "{range}");
        }
    }

    #[test]
    fn several_ranges() {
        let ranges = |list: &[(u64, u64)]| Part::Ranges(list.into());
        assert_eq!(part_of("bytes=0-1,3-4", 10), ranges(&[(0, 2), (3, 2)]));
        assert_eq!(part_of("bytes=-1,\t0-0", 10), ranges(&[(9, 1), (0, 1)]));
        assert_eq!(part_of("bytes=0-1,20-", 10), Part::Range(0, 2), "what is there");
        assert_eq!(part_of("bytes=10-,20-", 10), Part::Unsatisfiable);
        assert_eq!(part_of("bytes=0-5,5-9", 10), Part::All, "they overlap");
        assert_eq!(part_of("bytes=0-0,-10", 10), Part::All, "they overlap");
        assert_eq!(part_of("bytes=0-1,3-4", 0), Part::All);
        let many = |n: u64| {
            let all: Vec<String> = (0..n).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect();
            part_of(&format!("bytes={}", all.join(",")), 1_000)
        };
        assert!(matches!(many(16), Part::Ranges(list) if list.len() == 16));
        assert_eq!(many(17), Part::All);
    }

    #[test]
    fn what_is_no_list_of_ranges_asks_for_all() {
        for range in [
            "bytes=0-1,",
            "bytes=0-1;3-4",
            "bytes=",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=99999999999999999999-88888888888888888888",
            "lines=1-2",
            "bytes=--1",
            "bytes=\u{2003}0-1",
            "bytes=+1-2",
            "bytes=-",
        ] {
            assert_eq!(part_of(range, 10), Part::All, "{range}");
        }
    }

    #[test]
    fn if_range() {
        let range = Some(&b"bytes=1-2"[..]);
        let with = |condition: &'static [u8]| {
            part(
                &Conditions { range, if_range: Some(condition), ..Conditions::default() },
                &own(),
                10,
            )
        };
        assert_eq!(with(b"\"v1\""), Part::Range(1, 2));
        assert_eq!(with(b"\"v2\""), Part::All);
        assert_eq!(with(b"W/\"v1\""), Part::All);
        assert_eq!(with(b"Sun, 06 Nov 1994 08:49:37 GMT"), Part::Range(1, 2));
        assert_eq!(with(b"Sun, 06 Nov 1994 08:49:38 GMT"), Part::All);
    }

    #[test]
    fn not_modified() {
        let none_match = |list: &'static str| {
            verdict(
                &Conditions { if_none_match: Some(list.as_bytes()), ..Conditions::default() },
                &own(),
            )
        };
        for list in ["\"v1\"", "*", "\"x\", W/\"v1\""] {
            assert_eq!(none_match(list), Verdict::NotModified, "{list}");
        }
        for list in ["\"v2\"", "v1"] {
            assert_eq!(none_match(list), Verdict::Go, "{list}");
        }
        let since = |date: &'static str| {
            verdict(
                &Conditions { if_modified_since: Some(date.as_bytes()), ..Conditions::default() },
                &own(),
            )
        };
        assert_eq!(since("Sun, 06 Nov 1994 08:49:37 GMT"), Verdict::NotModified);
        assert_eq!(since("Mon, 07 Nov 1994 08:49:37 GMT"), Verdict::NotModified);
        assert_eq!(since("Sun, 06 Nov 1994 08:49:36 GMT"), Verdict::Go);
        assert_eq!(since("yesterday"), Verdict::Go);
        assert_eq!(since("Fri, 31 Dec 9999 23:59:59 GMT"), Verdict::Go);
        // If-None-Match takes precedence.
        let both = Conditions {
            if_none_match: Some(b"\"v2\""),
            if_modified_since: Some(b"Mon, 07 Nov 1994 08:49:37 GMT"),
            ..Conditions::default()
        };
        assert_eq!(verdict(&both, &own()), Verdict::Go);
    }

    #[test]
    fn another_version() {
        let matches = |list: &'static str| {
            verdict(
                &Conditions { if_match: Some(list.as_bytes()), ..Conditions::default() },
                &own(),
            )
        };
        assert_eq!(matches("\"x\", \"v1\""), Verdict::Go);
        assert_eq!(matches("*"), Verdict::Go);
        assert_eq!(matches("\"v2\""), Verdict::Failed);
        assert_eq!(matches("W/\"v1\""), Verdict::Failed);
        let since = |date: &'static str| {
            verdict(
                &Conditions { if_unmodified_since: Some(date.as_bytes()), ..Conditions::default() },
                &own(),
            )
        };
        assert_eq!(since("Sun, 06 Nov 1994 08:49:37 GMT"), Verdict::Go);
        assert_eq!(since("Sun, 06 Nov 1994 08:49:36 GMT"), Verdict::Failed);
    }
}
