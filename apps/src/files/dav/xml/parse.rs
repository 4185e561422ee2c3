//! Parsing a document into a tree, within limits.

use std::borrow::Cow;

use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};

use super::strict::{
    SPACE, are_apart, bad_name, check_declaration, check_instruction, is_name, wide,
};
use super::{BadXml, Element, Name, Node, XML, is_text};

/// The maximum number of elements, attributes and namespace declarations in a document.
const MOST_NODES: usize = 10_000;

/// The maximum size of a name, a namespace or a language, in bytes. Each element has its own copy.
const MOST_NAME: usize = 1024;

/// The maximum depth of elements within elements.
pub(super) const MOST_DEPTH: usize = 32;

/// The namespace of declarations, which has no elements.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Parses a document of one element.
///
/// # Errors
///
/// Returns the reason if the document is malformed or exceeds a limit.
pub(in crate::files) fn parse(bytes: &[u8]) -> Result<Element, BadXml> {
    let text = decode(bytes)?;
    if !is_text(&text) {
        return Err(BadXml("the document has characters that XML does not allow"));
    }
    // `decode` has removed the byte order mark. The reader would remove a second one.
    if text.starts_with('\u{feff}') {
        return Err(BadXml("the document has text outside of its root"));
    }
    let mut reader = NsReader::from_str(&text);
    reader.config_mut().check_comments = true;
    let mut open: Vec<Element> = Vec::new();
    let (mut root, mut nodes) = (None, Nodes::default());
    loop {
        let is_first = reader.buffer_position() == 0;
        let event = reader.read_event()?;
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err(BadXml("the document has more than one root"));
                }
                if open.len() == MOST_DEPTH {
                    return Err(BadXml("the document's elements are nested too deeply"));
                }
                open.push(element(&reader, &start, &mut nodes)?);
            }
            Event::Empty(start) => {
                let element = element(&reader, &start, &mut nodes)?;
                close(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or(BadXml("the document is not well-formed"))?;
                close(element, &mut open, &mut root)?;
            }
            // The end of a CDATA section that has not begun (XML 1.0, production 14).
            Event::Text(text) if text.contains("]]>") => {
                return Err(BadXml("the document is not well-formed"));
            }
            Event::Text(text) => add_text(&text.xml10_content(), &mut open)?,
            // Outside of the root only literal white space is allowed.
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => {
                return Err(BadXml("the document has text outside of its root"));
            }
            Event::CData(text) => add_text(&text.xml10_content(), &mut open)?,
            Event::GeneralRef(reference) => add_text(&meant(&reference)?, &mut open)?,
            Event::DocType(_) => return Err(BadXml("the document has a document type")),
            Event::Decl(declaration) if is_first => check_declaration(&declaration, bytes, &text)?,
            Event::Decl(_) => return Err(BadXml("the document's declaration is not at its start")),
            Event::PI(instruction) => check_instruction(instruction.target())?,
            Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    match (root, open.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(BadXml("the document ends too early")),
    }
}

/// Returns the text that a reference stands for.
fn meant(reference: &BytesRef<'_>) -> Result<String, BadXml> {
    let text = match reference.resolve_char_ref()? {
        Some(character) => character.to_string(),
        None => match resolve_xml_entity(&reference.xml10_content()) {
            Some(text) => text.to_owned(),
            None => return Err(BadXml("the document uses an entity that is not declared")),
        },
    };
    match is_text(&text) {
        true => Ok(text),
        false => Err(BadXml("the document has characters that XML does not allow")),
    }
}

/// Decodes a document: as UTF-16 if its first bytes are a byte order mark of UTF-16, otherwise as
/// UTF-8.
fn decode(bytes: &[u8]) -> Result<String, BadXml> {
    let Some((unit, wide)) = wide(bytes) else {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| BadXml("the document is not UTF-8"))?;
        return Ok(text.to_owned());
    };
    let (pairs, rest) = wide.as_chunks::<2>();
    let text: Result<String, _> = char::decode_utf16(pairs.iter().copied().map(unit)).collect();
    match text {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(BadXml("the document is not the UTF-16 that it declares")),
    }
}

fn element(
    reader: &NsReader<&[u8]>,
    start: &BytesStart<'_>,
    nodes: &mut Nodes,
) -> Result<Element, BadXml> {
    if !are_apart(start.attributes_raw()) {
        return Err(BadXml("the document is not well-formed"));
    }
    let (space, local) = reader.resolver().resolve_element(start.name());
    let mut element = Element::new(name(space, local.into_inner(), nodes)?);
    if matches!(element.name.space.as_str(), XML | XMLNS) {
        return Err(BadXml("the document has an element in the namespace of XML itself"));
    }
    let mut keys = Vec::new();
    // The reader's own search for duplicates takes quadratic time.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| BadXml("the document is not well-formed"))?;
        if attribute.value.contains('<') {
            return Err(BadXml("the document is not well-formed"));
        }
        keys.push(attribute.key);
        let value = attribute.normalized_value(XmlVersion::Explicit1_0)?;
        if !is_text(&value) {
            return Err(BadXml("the document has characters that XML does not allow"));
        }
        if attribute.key.as_namespace_binding().is_some() {
            nodes.count(1)?;
            check_binding(&attribute, &value)?;
            continue;
        }
        let (space, local) = reader.resolver().resolve_attribute(attribute.key);
        let name = name(space, local.into_inner(), nodes)?;
        if name.space == XML && name.local == "lang" && value.len() > MOST_NAME {
            return Err(BadXml("the document has a language that is too long"));
        }
        element.attributes.push((name, value.into_owned()));
    }
    // Two prefixes can stand for the same namespace, so the names are compared, too.
    let names = element.attributes.iter().map(|(name, _)| name).collect();
    match has_twice(names) || has_twice(keys) {
        true => Err(BadXml("the document has an attribute twice")),
        false => Ok(element),
    }
}

fn has_twice<T: Ord>(mut all: Vec<T>) -> bool {
    all.sort_unstable();
    all.windows(2).any(|pair| pair[0] == pair[1])
}

/// Checks the declaration of a namespace (Namespaces in XML 1.0, section 3).
fn check_binding(declaration: &Attribute<'_>, space: &str) -> Result<(), BadXml> {
    let (local, prefix) = (declaration.key.local_name().into_inner(), declaration.key.prefix());
    if !is_name(local) {
        return Err(bad_name());
    }
    match (space, prefix) {
        (XML, Some(_)) if local == "xml" => Ok(()),
        (XML | XMLNS, _) => Err(BadXml("the document declares a namespace that is reserved")),
        // XML 1.0 does not allow a prefix to be undeclared.
        ("", Some(_)) => Err(BadXml("the document declares a prefix for no namespace")),
        _ => Ok(()),
    }
}

fn name(space: ResolveResult<'_>, local: &str, nodes: &mut Nodes) -> Result<Name, BadXml> {
    nodes.count(1)?;
    if !is_name(local) {
        return Err(bad_name());
    }
    if local.len() > MOST_NAME {
        return Err(BadXml("the document has a name that is too long"));
    }
    match space {
        ResolveResult::Bound(space) => {
            // Each use copies the namespace as its declaration has it, so a long one counts several
            // times.
            nodes.count(space.0.len() / MOST_NAME)?;
            Ok(Name::new(&normalized(space.into_inner())?, local))
        }
        ResolveResult::Unbound => Ok(Name::new("", local)),
        ResolveResult::Unknown(prefix) if prefix.is_empty() => Err(bad_name()),
        ResolveResult::Unknown(_) => Err(BadXml("the document uses a prefix that is not declared")),
    }
}

/// Returns a namespace from the raw value of its declaration: white space counts as blanks (XML
/// 1.0, 3.3.3).
fn normalized(raw: &str) -> Result<Cow<'_, str>, BadXml> {
    let space = match raw.contains(['&', '\t', '\r', '\n']) {
        false => Cow::Borrowed(raw),
        true => {
            let blanks = raw.replace("\r\n", " ").replace(['\t', '\r', '\n'], " ");
            Cow::Owned(unescape(&blanks)?.into_owned())
        }
    };
    match space.len() <= MOST_NAME {
        true => Ok(space),
        false => Err(BadXml("the document has a namespace that is too long")),
    }
}

/// The number of elements, attributes and namespace declarations so far.
#[derive(Default)]
struct Nodes(usize);

impl Nodes {
    fn count(&mut self, more: usize) -> Result<(), BadXml> {
        self.0 += more;
        if self.0 > MOST_NODES { Err(BadXml("the document has too many elements")) } else { Ok(()) }
    }
}

/// Adds a finished element to its parent, or makes it the root.
fn close(
    mut element: Element,
    open: &mut [Element],
    root: &mut Option<Element>,
) -> Result<(), BadXml> {
    match open.last_mut() {
        Some(parent) => {
            parent.children.push(Node::Element(element));
            Ok(())
        }
        None if root.is_some() => Err(BadXml("the document has more than one root")),
        None => {
            spread_language(&mut element);
            *root = Some(element);
            Ok(())
        }
    }
}

/// Copies each element's language to its children, so that a property keeps its language outside of
/// the document.
fn spread_language(element: &mut Element) {
    let language = element.language().map(str::to_owned);
    for child in &mut element.children {
        if let Node::Element(child) = child {
            child.inherit_language(language.as_deref());
            spread_language(child);
        }
    }
}

fn add_text(text: &str, open: &mut [Element]) -> Result<(), BadXml> {
    match open.last_mut() {
        _ if text.is_empty() => Ok(()),
        Some(element) => {
            match element.children.last_mut() {
                Some(Node::Text(before)) => before.push_str(text),
                _ => element.children.push(Node::Text(text.to_owned())),
            }
            Ok(())
        }
        None if text.trim_matches(SPACE).is_empty() => Ok(()),
        None => Err(BadXml("the document has text outside of its root")),
    }
}
