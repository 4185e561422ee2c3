//! Checks that XML demands and the reader does not make.

use quick_xml::events::BytesDecl;

use super::BadXml;

/// The white space of XML.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Checks the XML declaration (XML 1.0, productions 23 to 32 and 80 to 81).
pub(super) fn check_declaration(
    declaration: &BytesDecl<'_>,
    bytes: &[u8],
    text: &str,
) -> Result<(), BadXml> {
    let bad = || BadXml("the document's declaration is not well-formed");
    let said: &str = declaration;
    let rest = said.strip_prefix("xml").ok_or_else(bad)?;
    let (name, version, mut rest) = pseudo_attribute(rest).ok_or_else(bad)?;
    if name != "version" {
        return Err(bad());
    }
    if !version.strip_prefix("1.").is_some_and(is_digits) {
        return Err(BadXml("the document's version of XML is not supported"));
    }
    let mut names = ["encoding", "standalone"].into_iter();
    while !rest.trim_matches(SPACE).is_empty() {
        let (name, value, behind) = pseudo_attribute(rest).ok_or_else(bad)?;
        // The pseudo-attributes must have this order.
        if !names.any(|known| known == name) {
            return Err(bad());
        }
        match name {
            "encoding" if !is_encoding(value) => return Err(bad()),
            "encoding" => check_encoding(value, bytes, text)?,
            _ if !matches!(value, "yes" | "no") => return Err(bad()),
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

/// Checks the declared encoding, as far as it makes a difference.
fn check_encoding(name: &str, bytes: &[u8], text: &str) -> Result<(), BadXml> {
    let name = name.to_ascii_lowercase();
    let is_so = match name.as_str() {
        "utf-8" | "utf8" => wide(bytes).is_none(),
        "utf-16" | "utf-16le" | "utf-16be" => wide(bytes).is_some(),
        // ASCII text is the same in all of these encodings.
        name => wide(bytes).is_none() && text.is_ascii() && has_ascii(name),
    };
    match is_so {
        true => Ok(()),
        false => Err(BadXml("the document has an encoding that is not UTF-8 or UTF-16")),
    }
}

fn has_ascii(encoding: &str) -> bool {
    const FAMILIES: [&str; 7] =
        ["ascii", "iso-8859-", "windows-125", "koi8-", "gb", "euc-", "big5"];
    encoding == "us-ascii" || FAMILIES.iter().any(|family| encoding.starts_with(family))
}

/// Checks the target of a processing instruction (XML 1.0, production 17; no colon, by Namespaces
/// in XML).
pub(super) fn check_instruction(target: &str) -> Result<(), BadXml> {
    match is_name(target) && !target.eq_ignore_ascii_case("xml") {
        true => Ok(()),
        false => Err(BadXml("the document has a processing instruction with an invalid target")),
    }
}

/// Splits off a pseudo-attribute: its name, its value without the quotes, and the rest.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let trimmed = text.trim_start_matches(SPACE);
    let (name, rest) = trimmed.split_once('=').filter(|_| trimmed.len() < text.len())?;
    let rest = rest.trim_start_matches(SPACE);
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, behind) = rest[1..].split_once(quote)?;
    Some((name.trim_end_matches(SPACE), value, behind))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_encoding(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(is_part)
}

/// A function that makes a unit of UTF-16 from two bytes.
pub(super) type Unit = fn([u8; 2]) -> u16;

/// Returns how to read a document in UTF-16, and its bytes after the byte order mark. Returns
/// `None` if it has no such mark.
pub(super) fn wide(bytes: &[u8]) -> Option<(Unit, &[u8])> {
    match bytes {
        [0xfe, 0xff, wide @ ..] => Some((u16::from_be_bytes, wide)),
        [0xff, 0xfe, wide @ ..] => Some((u16::from_le_bytes, wide)),
        _ => None,
    }
}

/// Returns `true` if the attributes have white space between them (XML 1.0, production 40).
pub(super) fn are_apart(mut raw: &str) -> bool {
    while let Some((_, quoted)) = raw.split_once(['"', '\'']) {
        let quote = raw.as_bytes()[raw.len() - quoted.len() - 1];
        let Some((_, behind)) = quoted.split_once(char::from(quote)) else { return false };
        if !behind.is_empty() && !behind.starts_with(SPACE) {
            return false;
        }
        raw = behind;
    }
    true
}

pub(super) fn bad_name() -> BadXml {
    BadXml("the document has a name that XML does not allow")
}

/// Returns `true` if the text is a name without a colon (Namespaces in XML 1.0, NCName).
pub(super) fn is_name(text: &str) -> bool {
    let is_start = |c: char| {
        matches!(
            c,
            '_' | 'A'..='Z'
                | 'a'..='z'
                | '\u{c0}'..='\u{d6}'
                | '\u{d8}'..='\u{f6}'
                | '\u{f8}'..='\u{2ff}'
                | '\u{370}'..='\u{37d}'
                | '\u{37f}'..='\u{1fff}'
                | '\u{200c}'..='\u{200d}'
                | '\u{2070}'..='\u{218f}'
                | '\u{2c00}'..='\u{2fef}'
                | '\u{3001}'..='\u{d7ff}'
                | '\u{f900}'..='\u{fdcf}'
                | '\u{fdf0}'..='\u{fffd}'
                | '\u{10000}'..='\u{effff}'
        )
    };
    let is_rest = |c: char| {
        is_start(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}')
            || matches!(c, '\u{203f}'..='\u{2040}')
    };
    let mut characters = text.chars();
    characters.next().is_some_and(is_start) && characters.all(is_rest)
}
