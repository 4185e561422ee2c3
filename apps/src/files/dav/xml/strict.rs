//! What the reader of XML lets pass, and XML does not.

use quick_xml::events::BytesDecl;

use super::BadXml;

/// Checks the declaration (XML 1.0, productions 23 to 32 and 80 to 81).
pub(super) fn check_declaration(
    declaration: &BytesDecl<'_>,
    bytes: &[u8],
    text: &str,
) -> Result<(), BadXml> {
    let bad = || BadXml("its declaration is not well-formed");
    let said: &str = declaration;
    let mut rest = said.strip_prefix("xml").ok_or_else(bad)?;
    let mut encoding = None;
    let mut names = ["version", "encoding", "standalone"].into_iter();
    let mut is_first = true;
    while !rest.trim_ascii().is_empty() {
        let (name, value, behind) = pseudo_attribute(rest).ok_or_else(bad)?;
        // In this order; only the first one has to be there.
        if !names.any(|known| known == name) || is_first != (name == "version") {
            return Err(bad());
        }
        if name == "encoding" && !is_encoding(value) {
            return Err(other_encoding());
        }
        if name == "version" && !value.strip_prefix("1.").is_some_and(is_digits) {
            return Err(BadXml("it is of a version of XML that is not known"));
        }
        let is_good = match name {
            "version" | "encoding" => true,
            _ => matches!(value, "yes" | "no"),
        };
        if !is_good {
            return Err(bad());
        }
        if name == "encoding" {
            encoding = Some(value);
        }
        (rest, is_first) = (behind, false);
    }
    if is_first {
        return Err(bad());
    }
    // What it says of the encoding has to be so, as far as that makes a difference.
    let is_so = match encoding {
        None => true,
        Some(name) if name.eq_ignore_ascii_case("utf-8") => !is_wide(bytes),
        Some(name) if name.eq_ignore_ascii_case("utf-16") => is_wide(bytes),
        Some(name) => !is_wide(bytes) && text.is_ascii() && has_ascii(name),
    };
    if is_so { Ok(()) } else { Err(other_encoding()) }
}

/// Says whether ASCII text is the same in this encoding, as far as we know.
fn has_ascii(encoding: &str) -> bool {
    let encoding = encoding.to_ascii_lowercase();
    matches!(encoding.as_str(), "us-ascii" | "ascii")
        || ["iso-8859-", "windows-125"].iter().any(|family| encoding.starts_with(family))
}

fn other_encoding() -> BadXml {
    BadXml("it has an encoding that is not UTF-8 or UTF-16")
}

/// Checks for whom an instruction is (XML 1.0, production 17; no colon, by Namespaces in XML).
pub(super) fn check_instruction(target: &str) -> Result<(), BadXml> {
    match is_name(target) && !target.eq_ignore_ascii_case("xml") {
        true => Ok(()),
        false => Err(BadXml("it has an instruction for nobody")),
    }
}

/// A name, its value without the quotes, and what is behind it.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let trimmed = text.trim_ascii_start();
    let (name, rest) = trimmed.split_once('=').filter(|_| trimmed.len() < text.len())?;
    let rest = rest.trim_ascii_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, behind) = rest[1..].split_once(quote)?;
    Some((name.trim_ascii_end(), value, behind))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_encoding(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(is_part)
}

/// Says whether the first bytes say that it is UTF-16.
fn is_wide(bytes: &[u8]) -> bool {
    matches!(bytes, [0xfe, 0xff, ..] | [0xff, 0xfe, ..])
}

/// Says whether attributes have white space between them (XML 1.0, production 40).
pub(super) fn are_apart(mut raw: &str) -> bool {
    while let Some((_, quoted)) = raw.split_once(['"', '\'']) {
        let quote = raw.as_bytes()[raw.len() - quoted.len() - 1];
        let Some((_, behind)) = quoted.split_once(char::from(quote)) else { return false };
        if !behind.is_empty() && !behind.starts_with([' ', '\t', '\r', '\n']) {
            return false;
        }
        raw = behind;
    }
    true
}

pub(super) fn bad_name() -> BadXml {
    BadXml("it has a name that XML does not allow")
}

/// Says whether it is a name without a colon (Namespaces in XML 1.0, NCName).
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
