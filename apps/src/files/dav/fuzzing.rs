//! Fuzz targets for the fields and documents of WebDAV.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::call::Call;
use super::if_header::{Condition, IfHeader, State};
use super::xml::{self, Element};
use super::{if_header, lock, propfind, proppatch, put};
use crate::common::fuzzing::leads_below;
use crate::common::https::head::check as check_head;
use crate::common::login::User;
use crate::files::path::DavPath;

/// Checks a parsed If field.
///
/// # Panics
///
/// Panics if the field breaks a rule.
pub fn if_field(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(field) = IfHeader::parse(text) else { return };
    assert!(!field.lists.is_empty() && field.lists.iter().all(|list| !list.conditions.is_empty()));
    let conditions: usize = field.lists.iter().map(|list| list.conditions.len()).sum();
    assert!(conditions <= if_header::MOST, "{conditions} of them");
    // Written in the form of RFC 4918, the field parses to the same lists.
    let written = written(&field);
    assert_eq!(IfHeader::parse(&written).as_ref(), Some(&field), "{written}");
    // The field holds if all its conditions do, unless it also has negated conditions.
    let is_plain = field.lists[0].conditions.iter().all(|one| !one.negated);
    assert!(!is_plain || field.holds(|_, _| true));
}

fn written(field: &IfHeader) -> String {
    let mut text = String::new();
    for list in &field.lists {
        if let Some(resource) = &list.resource {
            text.push_str(&format!("<{resource}> "));
        }
        let one = |Condition { negated, state }: &Condition| {
            let not = if *negated { "Not " } else { "" };
            match state {
                State::Token(token) => format!("{not}<{token}>"),
                State::Etag(etag) => format!("{not}[{etag}]"),
            }
        };
        let conditions: Vec<String> = list.conditions.iter().map(one).collect();
        text.push_str(&format!("({}) ", conditions.join(" ")));
    }
    text
}

/// Checks a document against another XML parser.
///
/// # Panics
///
/// Panics if the parsers disagree without a known reason, or if the document is not parsed again to
/// the same tree.
pub fn xml(input: &[u8]) {
    let parsed = xml::parse(input);
    let text = text_of(input);
    match (&parsed, text.as_deref().map(opinion)) {
        (Err(_), None | Some(Err(_))) => {}
        (Ok(element), Some(Ok(other))) => assert_eq!(shown(element), other),
        (Ok(element), None) => panic!("{element} was accepted, and is no text"),
        (Ok(element), Some(Err(error))) => panic!("{element} was accepted: {error}"),
        (Err(xml::BadXml(why)), Some(Ok(_))) => {
            let text = text.as_deref().unwrap_or_default();
            assert!(is_stricter_here(why, text), "{why}: {text:?}");
        }
    }
    let Ok(element) = parsed else { return };
    let whole = format!("<D:whole xmlns:D=\"DAV:\">{element}</D:whole>");
    let again = match xml::parse(whole.as_bytes()) {
        // The additional level may be one too many.
        Err(xml::BadXml(why)) if why.contains("nested") => return,
        again => again.expect("what is written can be read"),
    };
    let [again] = again.elements().collect::<Vec<_>>()[..] else { panic!("{whole}") };
    assert_eq!(*again, element, "{whole}");
    let _ = propfind::want(&element);
    let _ = proppatch::Changes::of(&element);
    if let Ok(owner) = lock::owner(&element) {
        let whole = format!("<D:owner xmlns:D=\"DAV:\">{owner}</D:owner>");
        xml::parse(whole.as_bytes()).expect("what a lock shows of its owner can be read");
    }
}

/// Returns the text of a document in UTF-8 or UTF-16, with line ends normalized as XML demands.
fn text_of(input: &[u8]) -> Option<String> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = input[2..]
            .chunks(2)
            .map(|pair| pair.try_into().map(unit))
            .collect::<Result<_, _>>()
            .ok()?;
        String::from_utf16(&units).ok()
    };
    let text = match input {
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        _ => String::from_utf8(input.to_vec()).ok(),
    };
    Some(text?.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Parses a document with another parser.
fn opinion(text: &str) -> Result<String, roxmltree::Error> {
    let document = roxmltree::Document::parse(text)?;
    Ok(shown_by_another(document.root_element(), None))
}

/// Returns `true` if this parser may refuse a document that the other parser accepts: by a limit of
/// its own, or by a rule of XML that the other parser does not check.
fn is_stricter_here(why: &str, text: &str) -> bool {
    let is_any = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    // The other parser accepts a colon with nothing before it, numbers that are no character, an
    // invalid target of an instruction, any name of an encoding, any prefix before `xmlns`, and
    // prefixes that are bound to an empty namespace.
    let has_bare_colon = ["<:", "</:", " :", "\t:", "\n:"].iter().any(|part| text.contains(part));
    let has_declaration = text.contains("<?xml");
    let gives_up = text.contains("xmlns:") && (text.contains("\"\"") || text.contains("''"));
    is_any(&["nested too deeply", "too many", "too long", "XML itself", "processing instruction"])
        || (has_declaration && is_any(&["version of XML", "encoding", "declaration is not"]))
        || (gives_up && is_any(&["for no namespace", "prefix that is not declared"]))
        || (text.contains(":xmlns") && is_any(&["prefix that is not declared"]))
        || (has_bare_colon && is_any(&["name that XML", "not well-formed"]))
        || (text.contains("&#") && is_any(&["not well-formed", "characters"]))
}

/// Formats a tree: names with their namespaces, attributes sorted by name, and texts.
fn shown(element: &Element) -> String {
    let mut attributes: Vec<String> = element
        .attributes()
        .map(|(name, value)| format!("{{{}}}{}={value:?}", name.space, name.local))
        .collect();
    attributes.sort();
    let mut children = String::new();
    for child in &element.children {
        match child {
            xml::Node::Element(element) => children.push_str(&shown(element)),
            xml::Node::Text(text) => children.push_str(&format!("{text:?}")),
        }
    }
    format!("<{{{}}}{} {attributes:?}>{children}</>", element.name.space, element.name.local)
}

/// Formats another parser's tree as [`shown`] does. Its elements inherit the language of those
/// around them.
fn shown_by_another(node: roxmltree::Node<'_, '_>, language: Option<&str>) -> String {
    const XML: &str = xml::XML;
    let own = node.attribute((XML, "lang"));
    let mut attributes: Vec<String> = node
        .attributes()
        .map(|a| format!("{{{}}}{}={:?}", a.namespace().unwrap_or(""), a.name(), a.value()))
        .chain(own.xor(language).filter(|_| own.is_none()).map(|l| format!("{{{XML}}}lang={l:?}")))
        .collect();
    attributes.sort();
    let (mut children, mut text) = (String::new(), String::new());
    let end_text = |children: &mut String, text: &mut String| {
        if !text.is_empty() {
            children.push_str(&format!("{:?}", std::mem::take(text)));
        }
    };
    for child in node.children() {
        if child.is_element() {
            end_text(&mut children, &mut text);
            children.push_str(&shown_by_another(child, own.or(language)));
        } else if child.is_text() {
            text.push_str(child.text().unwrap_or_default());
        }
    }
    end_text(&mut children, &mut text);
    let name = node.tag_name();
    format!("<{{{}}}{} {attributes:?}>{children}</>", name.namespace().unwrap_or(""), name.name())
}

/// Returns the verdict for a comparison with other parsers: the tree, or the reason for the
/// refusal.
#[cfg(dapple_fuzzing)]
pub fn verdict(input: &[u8]) -> String {
    match xml::parse(input) {
        Ok(element) => format!("accepted {}", shown(&element)),
        Err(xml::BadXml(why)) => format!("refused {why}"),
    }
}

/// Checks the head of a request: a line with method and target, and fields.
///
/// # Panics
///
/// Panics if a path leads out of the folder, or if a field breaks a rule.
pub fn request(input: &[u8]) {
    let Some(head) = head(input) else { return };
    let is_accepted = check_head(&head).is_ok();
    let head = Arc::new(head);
    let user = User { name: "ann".into(), read_only: false };
    let names: Arc<[String]> = Arc::from(["localhost".to_owned()]);
    let Ok(call) = Call::new(Arc::clone(&head), &user, &names) else { return };
    is_below(&call.path);
    if is_accepted && head.version == Version::HTTP_11 {
        assert_eq!(head.headers.get_all("host").iter().count(), 1);
    }
    if let Ok((path, _)) = call.destination() {
        is_below(&path);
    }
    let _ = (call.depth(), call.overwrites(), call.conditions());
    if let Ok(timeout) = call.timeout() {
        let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
        assert!(allowed.contains(&timeout), "{timeout:?}");
    }
    let _ = (put::modified(&call), put::checksum(&call));
}

/// Checks that a path leads to the folder or below it, and has at most 4095 bytes.
fn is_below(path: &DavPath) {
    assert!(leads_below(path.as_bytes()) && path.as_bytes().len() <= 4095, "{path:?}");
}

fn head(input: &[u8]) -> Option<Parts> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut raw = httparse::Request::new(&mut fields);
    raw.parse(input).ok()?.is_complete().then_some(())?;
    let version = if raw.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut request = Request::builder()
        .method(Method::from_bytes(raw.method?.as_bytes()).ok()?)
        .uri(Uri::try_from(raw.path?).ok()?)
        .version(version);
    for field in raw.headers {
        request = request.header(field.name, field.value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
