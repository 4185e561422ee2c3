//! XML as WebDAV uses it: small documents in, parsed into a tree; elements out.
//!
//! There is no document type: no entities but the five of XML itself, so nothing expands and
//! nothing is fetched. Depth and size are bounded. What is written declares the namespaces that it
//! uses on each element, so a stored property can be put into any document.

mod parse;
mod strict;

use std::fmt::{self, Write};

use quick_xml::escape::escape;
use quick_xml::name::NamespaceError;

pub(in crate::files) use self::parse::parse;

/// Bytes of a document that brings properties, at most.
pub(in crate::files) const MOST_BYTES: usize = 512 * 1024;

/// And of one that only asks.
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

    /// Says whether it is this one of WebDAV's own.
    pub(in crate::files) fn is_dav(&self, local: &str) -> bool {
        self.space == DAV && self.local == local
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) struct Element {
    pub(in crate::files) name: Name,
    attributes: Vec<(Name, String)>,
    pub(in crate::files) children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Node {
    Element(Element),
    Text(String),
}

/// Why a document is refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct BadXml(pub(in crate::files) &'static str);

impl<E: Into<quick_xml::Error>> From<E> for BadXml {
    fn from(error: E) -> Self {
        match error.into() {
            quick_xml::Error::Namespace(NamespaceError::TooManyBindings(_)) => {
                BadXml("it has too many namespaces")
            }
            _ => BadXml("it is not well-formed"),
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

    /// The first child of this name of WebDAV's.
    pub(in crate::files) fn child(&self, local: &str) -> Option<&Element> {
        self.elements().find(|element| element.name.is_dav(local))
    }

    /// Its language, unless it says so itself, is this.
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

    /// Writes it so that it can stand anywhere.
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

    /// Writes what is in it.
    pub(in crate::files) fn write_children(&self, out: &mut String) {
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(out),
                Node::Text(text) => out.push_str(&escape(text.as_str())),
            }
        }
    }
}

/// A value of an attribute, as it is read again: white space other than blanks would be taken for
/// blanks (XML, 3.3.3).
fn escape_attribute(value: &str) -> String {
    escape(value).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;")
}

/// Begins a tag, declares its namespace, and says its prefix with the colon.
fn open(out: &mut String, name: &Name) -> &'static str {
    let prefix = match name.space.as_str() {
        // No document of ours has a default namespace.
        "" => "",
        // Every document of ours declares it.
        DAV => "D:",
        _ => "x:",
    };
    let _ = write!(out, "<{prefix}{}", name.local);
    if prefix == "x:" {
        let _ = write!(out, " xmlns:x=\"{}\"", escape_attribute(name.space.as_str()));
    }
    prefix
}

/// An element without contents.
pub(in crate::files) fn write_empty(out: &mut String, name: &Name) {
    open(out, name);
    out.push_str("/>");
}

/// Text as the contents of an element.
pub(in crate::files) fn write_text(out: &mut String, text: &str) {
    out.push_str(&escape(text));
}

/// Says whether XML can carry this text.
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
