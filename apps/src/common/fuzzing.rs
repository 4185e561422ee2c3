//! Fuzz targets for header fields, request targets and file names.

use std::time::{Duration, UNIX_EPOCH};

use super::conditions::{self, Conditions, MOST_RANGES, Part, Validators, Verdict};
use super::{date as dates, media_type as media_types, target};

/// Checks conditions and ranges.
///
/// The lines of the input are a length, Range, If-Range, If-Match, If-Unmodified-Since,
/// If-None-Match and If-Modified-Since. An empty line stands for a missing field.
///
/// # Panics
///
/// Panics if the part or the verdict breaks a rule of RFC 9110.
pub fn conditions(input: &[u8]) {
    let mut lines = input.split(|b| *b == b'\n');
    let len = lines.next().map_or("", |line| std::str::from_utf8(line).unwrap_or_default());
    let len = len.parse().unwrap_or(10);
    let mut field = || lines.next().filter(|line| !line.is_empty());
    let conditions = Conditions {
        range: field(),
        if_range: field(),
        if_match: field(),
        if_unmodified_since: field(),
        if_none_match: field(),
        if_modified_since: field(),
    };
    let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let own = Validators { etag: b"\"v1\"", modified, shares_time: false };
    let part = conditions::part(&conditions, &own, len);
    // A part is sent only if the If-Range condition holds.
    let is_same = conditions.if_range.is_none_or(|condition| {
        let condition = condition.trim_ascii();
        condition == own.etag || (is_date(condition) && dates::parse(condition) == Some(modified))
    });
    let expected = if is_same { part_by_the_text(conditions.range, len) } else { Part::All };
    assert_eq!(part, expected);
    let ranges = match &part {
        Part::Range(from, bytes) => vec![(*from, *bytes)],
        Part::Ranges(ranges) => ranges.to_vec(),
        Part::All | Part::Unsatisfiable => vec![],
    };
    for (from, bytes) in &ranges {
        assert!(*bytes > 0 && *from < len && *bytes <= len - from, "{from}, {bytes} of {len}");
    }
    assert!(ranges.iter().map(|(_, bytes)| bytes).sum::<u64>() <= len, "{ranges:?} of {len}");
    let verdict = conditions::verdict(&conditions, &own);
    let date = |field: Option<&[u8]>| field.and_then(dates::parse);
    let is_star = |field: &[u8]| field.trim_ascii() == b"*";
    let names_own = |field: &[u8]| field.windows(4).any(|tag| tag == own.etag);
    match verdict {
        Verdict::Failed => match conditions.if_match {
            Some(list) => assert!(!is_star(list)),
            None => assert!(date(conditions.if_unmodified_since).is_some_and(|d| d < modified)),
        },
        Verdict::NotModified => match conditions.if_none_match {
            Some(list) => assert!(is_star(list) || names_own(list)),
            None => assert!(date(conditions.if_modified_since).is_some_and(|d| d >= modified)),
        },
        Verdict::Go => {
            assert!(conditions.if_match.is_none_or(|list| is_star(list) || names_own(list)));
            let is_own = |list: &[u8]| is_star(list) || list == own.etag;
            assert!(conditions.if_none_match.is_none_or(|list| !is_own(list)));
            if conditions.if_match.is_none() {
                let since = date(conditions.if_unmodified_since);
                assert!(since.is_none_or(|date| date >= modified));
            }
            if conditions.if_none_match.is_none() {
                // A date in the future says nothing.
                let long_ago = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
                let since = date(conditions.if_modified_since);
                assert!(since.is_none_or(|date| date < modified || date > long_ago));
            }
        }
    }
}

/// Returns `true` unless the condition is an entity tag, which begins with a quote.
fn is_date(condition: &[u8]) -> bool {
    !condition.starts_with(b"\"")
}

/// Returns the part by RFC 9110, section 14.1.2, with numbers of any size.
fn part_by_the_text(range: Option<&[u8]>, len: u64) -> Part {
    let text = range.map_or("".into(), |range| String::from_utf8_lossy(range.trim_ascii()));
    let Some((unit, set)) = text.split_once('=') else { return Part::All };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Part::All;
    }
    let each: Vec<_> = set.split(',').map(|one| range_by_the_text(one, len)).collect();
    if each.len() > MOST_RANGES || each.contains(&None) {
        return Part::All;
    }
    let there: Vec<(u64, u64)> = each.into_iter().flatten().flatten().collect();
    let in_two = |byte: u64| {
        let has = |(from, bytes): &&(u64, u64)| byte >= *from && byte - from < *bytes;
        there.iter().filter(has).count() > 1
    };
    match there[..] {
        [] => Part::Unsatisfiable,
        _ if len == 0 => Part::All,
        [(from, bytes)] => Part::Range(from, bytes),
        // If two ranges overlap, the start of one of them lies in the other.
        _ if there.iter().any(|(from, _)| in_two(*from)) => Part::All,
        _ => Part::Ranges(there.into()),
    }
}

/// Parses a range: `None` if it is malformed, `Some(None)` if it lies beyond the end.
fn range_by_the_text(one: &str, len: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = one.trim_matches([' ', '\t']).split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Numbers of any size compare by their digits without leading zeros.
    let key = |text: &str| {
        let digits = text.trim_start_matches('0').to_owned();
        (digits.len(), digits)
    };
    let end = key(&len.to_string());
    let small = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() && is_number(last) {
        return Some(match key(last).0 {
            0 => None,
            _ if key(last) >= end => Some((0, len)),
            _ => Some((len - small(last), small(last))),
        });
    }
    if !is_number(first) || !(last.is_empty() || is_number(last)) {
        return None;
    }
    let is_backwards = !last.is_empty() && key(last) < key(first);
    Some(match (key(first).0, len) {
        // A range that begins at the start of an empty file is all of it.
        (0, 0) => Some((0, 0)),
        _ if is_backwards => return None,
        _ if key(first) >= end => None,
        _ if last.is_empty() || key(last) >= end => Some((small(first), len - small(first))),
        _ => Some((small(first), small(last) - small(first) + 1)),
    })
}

/// Checks that a parsed date is formatted and parsed again to the same time.
///
/// # Panics
///
/// Panics if the times differ.
pub fn date(input: &[u8]) {
    let Some(time) = dates::parse(input) else { return };
    let text = dates::format(time);
    assert_eq!(text.len(), 29, "{text}");
    assert_eq!(dates::parse(text.as_bytes()), Some(time), "{text}");
    assert_eq!(dates::of_seconds(dates::seconds(time)), time, "it has whole seconds");
}

/// Checks the path of a request target.
///
/// # Panics
///
/// Panics if the path leads out of the folder, or if it is written as a location that is parsed
/// differently.
pub fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((path, query)) = target::split(text) else { return };
    assert!(path.starts_with('/') && !path.contains(['?', '#']));
    let Ok(decoded) = target::decode(path) else { return };
    let relative = &decoded.relative;
    assert!(leads_below(relative), "{relative:?} leads elsewhere");
    // The location that the server writes parses to the same path, and names no host.
    let location = target::folder_location(relative, None);
    assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{location}");
    assert!(!location.starts_with("//"), "{location} names a host");
    let again = target::split(&location).map(|(path, _)| target::decode(path));
    assert_eq!(again, Some(Ok(target::WebPath { relative: relative.clone(), is_folder: true })));
    if let Some(query) = query {
        assert!(target::folder_location(relative, Some(query)).ends_with(query));
    }
}

/// Returns `true` if the path is the folder itself or lies below it.
pub(crate) fn leads_below(relative: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    relative.is_empty() || relative.split(|b| *b == b'/').all(is_name)
}

/// Checks the media type of a file. The input is the file's name, a blank line, and the file's
/// first bytes.
///
/// # Panics
///
/// Panics if the type is malformed, or if it claims UTF-8 for bytes that are not UTF-8.
pub fn media_type(input: &[u8]) {
    let at = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (name, start) = (&input[..at], input.get(at + 2..).unwrap_or_default());
    for size in [start.len() as u64, u64::MAX] {
        let kind = media_types::of(name, start, size);
        assert!(kind.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{kind:?}");
        assert!(kind.contains('/'), "{kind:?}");
        let is_called_utf8 = kind.ends_with("charset=utf-8");
        let looked_at = &start[..start.len().min(media_types::LOOKED_AT)];
        if is_called_utf8 {
            // A start that is cut off may end within a character.
            let is_cut = size > looked_at.len() as u64;
            let is_so = match std::str::from_utf8(looked_at) {
                Ok(_) => true,
                Err(error) => is_cut && error.error_len().is_none(),
            };
            assert!(is_so, "{name:?} is not UTF-8");
        }
    }
}
