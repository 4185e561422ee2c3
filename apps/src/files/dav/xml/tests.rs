//! Tests of [`super`].
use proptest::prelude::*;

use super::parse::MOST_DEPTH;
use super::*;

fn parsed(text: &str) -> Element {
    parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {}", e.0))
}

fn refused(text: &str) -> &'static str {
    match parse(text.as_bytes()) {
        Err(BadXml(why)) => why,
        Ok(element) => panic!("{text}: {element:?}"),
    }
}

/// Writes an element into a document that declares WebDAV's namespace, as all documents of this
/// server do, and parses it.
fn again(element: &Element) -> Element {
    let text = format!("<D:r xmlns:D=\"DAV:\">{element}</D:r>");
    parsed(&text).elements().next().cloned().unwrap()
}

#[test]
fn namespaces_are_resolved() {
    let e = parsed(
        r#"<?xml version="1.0"?><a:propfind xmlns:a="DAV:" xmlns="other:"><a:prop><x/><y xmlns="" z="1"/></a:prop></a:propfind>"#,
    );
    assert!(e.name.is_dav("propfind"));
    let prop = e.child("prop").unwrap();
    let names: Vec<_> = prop.elements().map(|e| e.name.clone()).collect();
    assert_eq!(names, [Name::new("other:", "x"), Name::new("", "y")]);
}

#[test]
fn what_is_written_means_the_same_anywhere() {
    for text in [
        r#"<p xmlns="http://e/?a=1&amp;b">text &lt;&amp;&gt; <b xmlns="">deep</b><c/></p>"#,
        r#"<q:p xmlns:q="u:" q:one="1" two="&quot;2'" xml:lang="de">x<D:href xmlns:D="DAV:">y</D:href></q:p>"#,
        "<p>no namespace at all</p>",
        r#"<p xmlns="D:"><![CDATA[<raw> & ]]>&#x10000;&#65;</p>"#,
        "<p xmlns=\"a&#10;b&#9;\" c=\"one&#10;two&#13;&#9;three\">four\tfive\nsix</p>",
    ] {
        let element = parsed(text);
        assert_eq!(again(&element), element, "{text}");
    }
}

#[test]
fn a_language_is_inherited() {
    let e = parsed(r#"<r xml:lang="fr"><a><b/></a><c xml:lang="en"/></r>"#);
    let languages: Vec<_> = e.elements().map(|e| e.language().unwrap()).collect();
    assert_eq!(languages, ["fr", "en"]);
}

#[test]
fn bad_documents_are_refused() {
    for (text, why) in [
        ("", "too early"),
        ("<a>", "too early"),
        ("<a></b>", "well-formed"),
        ("<a/><b/>", "more than one root"),
        ("<a></a>x", "outside"),
        ("x<a/>", "outside"),
        ("<p:a/>", "prefix that is not declared"),
        ("<a p:x='1'/>", "prefix that is not declared"),
        ("<a xmlns:p=''/>", "no namespace"),
        ("<a>&b;</a>", "entity"),
        ("<a b='&c;'/>", "well-formed"),
        ("<a b='1' b='2'/>", "twice"),
        ("<a xmlns:b='u:' xmlns:b='u:'/>", "twice"),
        ("<a>&#0;</a>", ""),
        ("<a>\u{1}</a>", "characters"),
        ("<1/>", "name"),
        ("<a b='<'/>", "well-formed"),
        ("<a b='1'c='2'/>", "well-formed"),
        ("<a>]]></a>", "well-formed"),
        ("<a/>&#9;", "outside"),
        ("\u{205f}<a/>", "outside"),
        ("<a/><![CDATA[ ]]>", "outside"),
        ("\u{feff}\u{feff}<a/>", "outside"),
        ("<?xml?><a/>", "declaration is not"),
        ("<?xml ver='1.0'?><a/>", "declaration is not"),
        ("<?xml version='1.0'encoding='utf-8'?><a/>", "declaration is not"),
        ("<?xml encoding='utf-8' version='1.0'?><a/>", "declaration is not"),
        ("<?xml version='1.0' standalone='maybe'?><a/>", "declaration is not"),
        ("<?xml version='2.0'?><a/>", "version of XML"),
        ("<?xml version='1.0' encoding='utf-:'?><a/>", "declaration is not"),
        ("<?xml version='1.0' encoding='utf-16'?><a/>", "encoding"),
        ("<?xml version='1.0' encoding='ebcdic'?><a/>", "encoding"),
        ("<?xml version='1.0' encoding='iso-8859-1'?><a>\u{e4}</a>", "encoding"),
        (" <?xml version='1.0'?><a/>", "at its start"),
        ("<a><?xml version='1.0'?></a>", "at its start"),
        ("<?(x y?><a/>", "instruction"),
        ("<?XML y?><a/>", "instruction"),
        ("<a :b='1'/>", "name"),
        ("<a xmlns:`='u:'/>", "name"),
        ("<a xmlns:p='&#1;'/>", "characters"),
        ("<a:b xmlns:a='u:' xmlns='http://www.w3.org/XML/1998/namespace'/>", "reserved"),
        ("<a:b xmlns:a='u:' xmlns='http://www.w3.org/2000/xmlns/'/>", "reserved"),
        ("<a xmlns:p='http://www.w3.org/2000/xmlns&#47;'/>", "reserved"),
        ("<a xmlns:p='http://www.w3.org/XML/1998/namespac&#101;' p:lang='de'/>", "reserved"),
        (r#"<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>"#, "document type"),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "document type"),
    ] {
        let told = refused(text);
        assert!(told.contains(why), "{text}: {told}");
    }
    let long = "n".repeat(2000);
    for text in
        [format!("<a xmlns='{long}'/>"), format!("<{long}/>"), format!("<a xml:lang='{long}'/>")]
    {
        refused(&text);
    }
    assert!(refused("<a xmlns='&#1;'/>").contains("characters"));
    assert!(refused("<xml:a/>").contains("XML itself"));
    assert!(refused("<xmlns:a/>").contains("XML itself"));
    assert!(
        refused("<a xmlns='http://www.w3.org/XML/1998/namespac&#101;'/>").contains("XML itself")
    );
    assert!(refused("<a xmlns='http://www.w3.org/2000/xmlns&#47;'/>").contains("namespace"));
    assert!(refused("<a xmlns:p='u:' xmlns:q='u:' p:x='1' q:x='2'/>").contains("twice"));
    assert!(refused(&format!("<a>{}</a>", "<b/>".repeat(10_000))).contains("too many"));
    let deep = "<a>".repeat(MOST_DEPTH + 1) + &"</a>".repeat(MOST_DEPTH + 1);
    assert!(refused(&deep).contains("nested"));
    parsed(&("<a>".repeat(MOST_DEPTH) + &"</a>".repeat(MOST_DEPTH)));
}

#[test]
fn documents_are_read_as_other_parsers_read_them() {
    // White space in attribute values counts as blanks.
    let e = parsed("<p:a xmlns:p='u:\r\nb\t&#9;'/>");
    assert_eq!(e.name.space, "u: b \t");
    assert!(parsed("<a><![CDATA[]]></a>").children.is_empty());
    parsed("<?xml version = '1.1'\tencoding=\"UTF-8\" standalone='yes' ?><?x?><!-- y --><a/>");
    parsed("<?xml version='1.0' encoding='ISO-8859-1'?><a/>");
}

/// A reference with many zeros stands for one character, and costs as much as its length.
#[test]
fn long_namespaces_cost_little() {
    let zeros = "0".repeat(32_000);
    let many = format!("<a xmlns='&#x{zeros}41;'>{}</a>", "<b/>".repeat(8_000));
    assert!(refused(&many).contains("too many"));
    // The length of a namespace counts without the escapes.
    let quotes = "'".repeat(1_000);
    let element = parsed(&format!("<p:a xmlns:p=\"{quotes}\"/>"));
    assert_eq!(again(&element), element);
    assert!(refused(&format!("<a xmlns='{}'/>", "n".repeat(1_025))).contains("too long"));
    let attributes: String = (0..20_000).map(|n| format!(" p:a{n}=''")).collect();
    assert!(refused(&format!("<a xmlns:p='u:'{attributes}/>")).contains("too many"));
}

#[test]
fn namespaces_in_scope_are_bounded() {
    let declared = |n: usize| (0..n).map(|n| format!(" xmlns:p{n}='u:{n}'")).collect::<String>();
    parsed(&format!("<a{}/>", declared(100)));
    assert!(refused(&format!("<a{}/>", declared(200))).contains("too many namespaces"));
}

#[test]
fn utf_16_is_read() {
    let text = "<a>\u{e4}\u{10000}</a>";
    let expected = parsed(text);
    let big: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    let small: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&big), Ok(expected.clone()));
    assert_eq!(parse(&small), Ok(expected));
    for bytes in [&big, &small] {
        assert!(parse(&[bytes, &b"x"[..]].concat()).is_err(), "half a unit");
    }
}

proptest! {
    /// Any bytes are parsed or refused without a panic.
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// A document that was parsed is parsed to the same tree after it was written.
    #[test]
    fn likely_documents(text in r#"(<[ab:/?!x]{0,4}( [abx:]{1,5}="[a&;<]{0,3}")?/?>|[a-z&;#\]]{0,5}){0,12}"#) {
        if let Ok(element) = parse(text.as_bytes()) {
            prop_assert_eq!(again(&element), element);
        }
    }
}
