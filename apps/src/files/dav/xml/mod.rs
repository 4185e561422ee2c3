//! XML as WebDAV uses it: small documents are parsed into a tree, and elements are written.
//!
//! Document types are refused, and with them all entities except the five of XML itself. So nothing
//! expands, and nothing is fetched. Depth and size are limited. Each written element declares the
//! namespaces that it uses, so a stored property can be put into any document.

mod parse;
mod strict;

use std::fmt::{self, Write};

use quick_xml::escape::escape;
use quick_xml::name::NamespaceError;

pub(in crate::files) use self::parse::parse;

/// The maximum size of a document that sets properties, in bytes.
pub(in crate::files) const MOST_BYTES: usize = 512 * 1024;

/// The maximum size of a document that only asks for something, in bytes.
pub(in crate::files) const MOST_ASKED: usize = 64 * 1024;

/// The namespace of WebDAV.
pub(in crate::files) const DAV: &str = "DAV:";

/// The namespace of XML itself.
pub(in crate::files) const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// A name with its namespace, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::files) struct Name {
    pub(in crate::files) space: String,
    pub(in crate::files) local: String,
}

impl Name {
    pub(in crate::files) fn new(space: &str, local: &str) -> Name {
        Name { space: space.to_owned(), local: local.to_owned() }
    }

    /// Returns `true` if this is the name `local` in WebDAV's namespace.
    pub(in crate::files) fn is_dav(&self, local: &str) -> bool {
        self.space == DAV && self.local == local
    }
}

/// An element with its attributes and its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) struct Element {
    pub(in crate::files) name: Name,
    attributes: Vec<(Name, String)>,
    pub(in crate::files) children: Vec<Node>,
}

/// A child of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Node {
    Element(Element),
    Text(String),
}

/// The reason why a document is refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct BadXml(pub(in crate::files) &'static str);

impl<E: Into<quick_xml::Error>> From<E> for BadXml {
    fn from(error: E) -> Self {
        match error.into() {
            quick_xml::Error::Namespace(NamespaceError::TooManyBindings(_)) => {
                BadXml("the document has too many namespaces")
            }
            _ => BadXml("the document is not well-formed"),
        }
    }
}

impl Element {
    fn new(name: Name) -> Element {
        Element { name, attributes: Vec::new(), children: Vec::new() }
    }

    #[cfg(any(test, dapple_fuzzing))]
    pub(in crate::files) fn attributes(&self) -> impl Iterator<Item = &(Name, String)> {
        self.attributes.iter()
    }

    pub(in crate::files) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Returns the first child that has the name `local` in WebDAV's namespace.
    pub(in crate::files) fn child(&self, local: &str) -> Option<&Element> {
        self.elements().find(|element| element.name.is_dav(local))
    }

    /// Sets the language, unless the element states one itself.
    fn inherit_language(&mut self, language: Option<&str>) {
        let name = Name::new(XML, "lang");
        if let Some(language) = language
            && !self.attributes.iter().any(|(other, _)| *other == name)
        {
            self.attributes.push((name, language.to_owned()));
        }
    }

    fn language(&self) -> Option<&str> {
        let is_language = |name: &Name| name.space == XML && name.local == "lang";
        self.attributes.iter().find(|(name, _)| is_language(name)).map(|(_, value)| value.as_str())
    }

    /// Writes the element so that it is valid anywhere in a document of this server.
    pub(in crate::files) fn write(&self, out: &mut String) {
        let name = &self.name;
        let prefix = open(out, name);
        for (n, (name, value)) in self.attributes.iter().enumerate() {
            let value = escape_attribute(value.as_str());
            let _ = match name.space.as_str() {
                "" => write!(out, " {}=\"{value}\"", name.local),
                XML => write!(out, " xml:{}=\"{value}\"", name.local),
                space => {
                    let space = escape_attribute(space);
                    write!(out, " xmlns:a{n}=\"{space}\" a{n}:{}=\"{value}\"", name.local)
                }
            };
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        self.write_children(out);
        let _ = write!(out, "</{prefix}{}>", name.local);
    }

    /// Writes the contents of the element.
    pub(in crate::files) fn write_children(&self, out: &mut String) {
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(out),
                Node::Text(text) => out.push_str(&escape(text.as_str())),
            }
        }
    }
}

/// Escapes the value of an attribute so that it is read back unchanged. A parser would take white
/// space other than blanks for blanks (XML, 3.3.3).
fn escape_attribute(value: &str) -> String {
    escape(value).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;")
}

/// Begins a tag and declares its namespace. Returns its prefix with the colon.
fn open(out: &mut String, name: &Name) -> &'static str {
    let prefix = match name.space.as_str() {
        // No document of this server has a default namespace.
        "" => "",
        // Every document of this server declares this prefix.
        DAV => "D:",
        _ => "x:",
    };
    let _ = write!(out, "<{prefix}{}", name.local);
    if prefix == "x:" {
        let _ = write!(out, " xmlns:x=\"{}\"", escape_attribute(name.space.as_str()));
    }
    prefix
}

/// Writes an element without contents.
pub(in crate::files) fn write_empty(out: &mut String, name: &Name) {
    open(out, name);
    out.push_str("/>");
}

/// Writes a text as the contents of an element.
pub(in crate::files) fn write_text(out: &mut String, text: &str) {
    out.push_str(&escape(text));
}

/// Returns `true` if XML can represent this text.
pub(in crate::files) fn is_text(text: &str) -> bool {
    let is_space = |c| matches!(c, '\t' | '\n' | '\r');
    let is_text = |c| matches!(c, ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().all(|c| is_space(c) || is_text(c))
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests;
