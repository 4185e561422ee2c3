//! Parsing a document into a tree, within its limits.

use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};

use super::strict::{are_apart, bad_name, check_declaration, check_instruction, is_name};
use super::{BadXml, Element, Name, Node, XML, is_text};

/// Elements and attributes of a document, at most,
const MOST_NODES: usize = 10_000;

/// and bytes of a name, a namespace or a language: each element has its own.
const MOST_NAME: usize = 1024;

/// Elements within elements, at most.
pub(super) const MOST_DEPTH: usize = 32;

/// The namespace of declarations: nothing is in it.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Parses a document of one element.
pub(in crate::files) fn parse(bytes: &[u8]) -> Result<Element, BadXml> {
    let text = decode(bytes)?;
    if !is_text(&text) {
        return Err(BadXml("it has characters that XML does not allow"));
    }
    // The mark has been taken off; the reader would take off a second one.
    if text.starts_with('\u{feff}') {
        return Err(BadXml("it has text outside of its root"));
    }
    let mut reader = NsReader::from_str(&text);
    reader.config_mut().check_comments = true;
    let mut open: Vec<Element> = Vec::new();
    let (mut root, mut nodes) = (None, 0);
    loop {
        let is_first = reader.buffer_position() == 0;
        let event = reader.read_event()?;
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err(BadXml("it has more than one root"));
                }
                if open.len() == MOST_DEPTH {
                    return Err(BadXml("its elements are nested too deeply"));
                }
                open.push(element(&reader, &start, &mut nodes)?);
            }
            Event::Empty(start) => {
                let element = element(&reader, &start, &mut nodes)?;
                close(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or(BadXml("it is not well-formed"))?;
                close(element, &mut open, &mut root)?;
            }
            // The end of a section that has not begun (XML 1.0, production 14).
            Event::Text(text) if text.contains("]]>") => {
                return Err(BadXml("it is not well-formed"));
            }
            Event::Text(text) => add_text(&text.xml10_content(), &mut open)?,
            // Outside of the root there is white space, and only as it is.
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => {
                return Err(BadXml("it has text outside of its root"));
            }
            Event::CData(text) => add_text(&text.xml10_content(), &mut open)?,
            Event::GeneralRef(reference) => add_text(&meant(&reference)?, &mut open)?,
            Event::DocType(_) => return Err(BadXml("it has a document type")),
            Event::Decl(declaration) if is_first => check_declaration(&declaration, bytes, &text)?,
            Event::Decl(_) => return Err(BadXml("its declaration is not at its begin")),
            Event::PI(instruction) => check_instruction(instruction.target())?,
            Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    match (root, open.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(BadXml("it ends too early")),
    }
}

/// What a reference stands for.
fn meant(reference: &BytesRef<'_>) -> Result<String, BadXml> {
    let text = match reference.resolve_char_ref()? {
        Some(character) => character.to_string(),
        None => match resolve_xml_entity(&reference.xml10_content()) {
            Some(text) => text.to_owned(),
            None => return Err(BadXml("it uses an entity that is not declared")),
        },
    };
    match is_text(&text) {
        true => Ok(text),
        false => Err(BadXml("it has characters that XML does not allow")),
    }
}

/// The text of a document: UTF-8, or UTF-16 if its first bytes say so.
fn decode(bytes: &[u8]) -> Result<String, BadXml> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|_| BadXml("it is not UTF-16, as it says"))
    };
    match bytes {
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|_| BadXml("it is not UTF-8"))?;
            Ok(text.to_owned())
        }
    }
}

fn element(
    reader: &NsReader<&[u8]>,
    start: &BytesStart<'_>,
    nodes: &mut usize,
) -> Result<Element, BadXml> {
    let (space, local) = reader.resolver().resolve_element(start.name());
    let mut element = Element::new(name(space, local.into_inner())?);
    if element.name.space == XML {
        return Err(BadXml("it has an element in the namespace of XML itself"));
    }
    if !are_apart(start.attributes_raw()) {
        return Err(BadXml("it is not well-formed"));
    }
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| BadXml("it is not well-formed"))?;
        if attribute.value.contains('<') {
            return Err(BadXml("it is not well-formed"));
        }
        let value = attribute.normalized_value(XmlVersion::Explicit1_0)?;
        if !is_text(&value) {
            return Err(BadXml("it has characters that XML does not allow"));
        }
        if attribute.key.as_namespace_binding().is_some() {
            // A prefix cannot be given up in XML 1.0.
            if value.is_empty() && attribute.key.prefix().is_some() {
                return Err(BadXml("it declares a prefix for no namespace"));
            }
            if !is_name(attribute.key.local_name().into_inner()) {
                return Err(bad_name());
            }
            continue;
        }
        let (space, local) = reader.resolver().resolve_attribute(attribute.key);
        let name = name(space, local.into_inner())?;
        if name.space == XML && name.local == "lang" && value.len() > MOST_NAME {
            return Err(BadXml("it has a language that is too long"));
        }
        element.attributes.push((name, value.into_owned()));
    }
    *nodes += 1 + element.attributes.len();
    if *nodes > MOST_NODES {
        return Err(BadXml("it has too many elements"));
    }
    // Two prefixes may mean one namespace.
    let mut names: Vec<&Name> = element.attributes.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(BadXml("it has an attribute twice"));
    }
    Ok(element)
}

fn name(space: ResolveResult<'_>, local: &str) -> Result<Name, BadXml> {
    if !is_name(local) || local.len() > MOST_NAME {
        return Err(bad_name());
    }
    match space {
        ResolveResult::Bound(space) => {
            // As it stands in the document: white space in values means blanks (XML 1.0, 3.3.3).
            let raw = space.into_inner().replace("\r\n", " ").replace(['\t', '\r', '\n'], " ");
            let space = unescape(&raw)?;
            if space.len() > MOST_NAME || !is_text(&space) || space == XMLNS {
                return Err(BadXml("it has a namespace that is no good"));
            }
            Ok(Name::new(&space, local))
        }
        ResolveResult::Unbound => Ok(Name::new("", local)),
        ResolveResult::Unknown(prefix) if prefix.is_empty() => Err(bad_name()),
        ResolveResult::Unknown(_) => Err(BadXml("it uses a prefix that is not declared")),
    }
}

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
        None if root.is_some() => Err(BadXml("it has more than one root")),
        None => {
            spread_language(&mut element);
            *root = Some(element);
            Ok(())
        }
    }
}

/// A property keeps its language when it leaves the document, wherever that was said.
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
        None if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => Ok(()),
        None => Err(BadXml("it has text outside of its root")),
    }
}
