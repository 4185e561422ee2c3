//! The media type of a file: from the extension of its name, and from its first bytes where they
//! decide.
//!
//! A charset is stated only where it is known. What a file declares about itself counts, and bytes
//! that are not UTF-8 are not declared as UTF-8. For a long file the start decides: text whose
//! start is ASCII counts as UTF-8. Where no charset is stated, the browser detects or guesses it.

/// The number of bytes at the start of a file that are examined.
pub(crate) const LOOKED_AT: usize = 16 * 1024;

/// The number of bytes at the start of an HTML page in which it may declare its charset.
const HEAD_OF_PAGE: usize = 1024;

/// Returns the type for the extension of a name, without a charset.
pub(crate) fn by_name(name: &[u8]) -> &'static str {
    let name = String::from_utf8_lossy(name);
    let guess = mime_guess::from_path(&*name).first_raw().unwrap_or("application/octet-stream");
    match is_typescript(&name) {
        true => "text/plain",
        false => guess,
    }
}

/// Returns the type for the extension of a name, if the contents of the file cannot change it.
pub(crate) fn by_name_alone(name: &[u8]) -> Option<&'static str> {
    Some(by_name(name)).filter(|kind| !has_charset(kind))
}

/// Returns the type by name and contents. `start` is the whole file, or its first [`LOOKED_AT`]
/// bytes.
pub(crate) fn of(name: &[u8], start: &[u8], size: u64) -> String {
    let start = &start[..start.len().min(LOOKED_AT)];
    let kind = by_name(name);
    if is_typescript(&String::from_utf8_lossy(name)) && is_transport_stream(start) {
        return "video/mp2t".to_owned();
    }
    let is_all = start.len() as u64 >= size;
    match has_charset(kind) && is_utf8(start, is_all) && !says_otherwise(kind, start) {
        true => format!("{kind}; charset=utf-8"),
        false => kind.to_owned(),
    }
}

/// Returns `true` if files of this type usually become smaller when they are compressed.
pub(crate) fn is_compressible(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim_ascii();
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || matches!(
            kind,
            "application/javascript"
                | "application/json"
                | "application/xml"
                | "application/wasm"
                | "application/vnd.ms-fontobject"
                | "font/otf"
                | "font/ttf"
                | "image/bmp"
                | "image/x-icon"
        )
}

/// Returns `true` for the extensions of TypeScript, which some videos have, too.
fn is_typescript(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    matches!(end.as_deref(), Some("ts" | "mts" | "cts"))
}

/// Returns `true` for an MPEG transport stream: packets of 188 bytes, each of which begins with a
/// mark. Some streams have packets of 192 bytes, with four bytes before the mark.
fn is_transport_stream(start: &[u8]) -> bool {
    let marked = |at: usize| start.get(at) == Some(&0x47);
    (marked(0) && marked(188)) || (marked(4) && marked(196))
}

/// Returns `true` for text, except for types such as XML that declare their encoding themselves.
fn has_charset(kind: &str) -> bool {
    let is_xml = kind == "text/xml" || kind.ends_with("+xml");
    let is_text = kind.starts_with("text/");
    (is_text && !is_xml) || matches!(kind, "application/javascript" | "application/json")
}

/// Returns `true` if the bytes are UTF-8. Unless they are the whole file, the last character may be
/// cut off. ASCII with an escape character may be one of the encodings that shift, so it does not
/// count.
fn is_utf8(start: &[u8], is_all: bool) -> bool {
    if start.is_ascii() && start.contains(&0x1b) {
        return false;
    }
    match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => !is_all && error.error_len().is_none(),
    }
}

/// Returns `true` if a page or a style sheet declares another charset than UTF-8.
fn says_otherwise(kind: &str, start: &[u8]) -> bool {
    let head = &start[..start.len().min(HEAD_OF_PAGE)];
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let named = match kind {
        "text/html" => charset_of_page(&head),
        "text/css" => head.strip_prefix("@charset \"").and_then(|rest| rest.split('"').next()),
        _ => None,
    };
    named.is_some_and(|charset| !matches!(charset.trim_ascii(), "utf-8" | "utf8"))
}

/// Returns the charset of the first `<meta charset=..>`, or of its older form.
fn charset_of_page(head: &str) -> Option<&str> {
    let mut rest = head;
    loop {
        let at = rest.find('<')?;
        rest = &rest[at..];
        if rest.starts_with("<!--") {
            rest = &rest[rest.find("-->")?..];
            continue;
        }
        let end = rest.find('>')?;
        let tag = &rest[..end];
        if let Some(fields) = tag.strip_prefix("<meta")
            && let Some((_, value)) = fields.split_once("charset")
            && let Some(value) = value.trim_start().strip_prefix('=')
        {
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            return value.split(['"', '\'', ' ', '\t', '\n', '\r', ';', '/']).next();
        }
        rest = &rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressible_and_pictures_are_not() {
        for kind in ["text/html; charset=utf-8", "image/svg+xml", "application/wasm", "text/x"] {
            assert!(is_compressible(kind), "{kind}");
        }
        for kind in ["image/png", "application/zip", "video/mp4", "font/woff2", ""] {
            assert!(!is_compressible(kind), "{kind}");
        }
    }

    fn kind(name: &str, contents: &[u8]) -> String {
        of(name.as_bytes(), contents, contents.len() as u64)
    }

    #[test]
    fn types_by_name_and_contents() {
        for (name, contents, expected) in [
            ("a.html", "<h1>ä</h1>", "text/html; charset=utf-8"),
            ("a.html", "<meta charset=\"utf-8\">", "text/html; charset=utf-8"),
            ("a.html", "<meta charset=iso-8859-1>", "text/html"),
            ("a.html", "<!-- <meta charset=x> --><META CHARSET='Windows-1252'>", "text/html"),
            ("a.html", "<!-- <meta charset=x> -->", "text/html; charset=utf-8"),
            (
                "a.html",
                "<meta http-equiv=content-type content='text/html; charset=koi8-r'>",
                "text/html",
            ),
            ("a.css", "@charset \"iso-8859-1\"; a{}", "text/css"),
            ("a.css", "a{}", "text/css; charset=utf-8"),
            ("a.txt", "", "text/plain; charset=utf-8"),
            ("a.js", "let ä", "text/javascript; charset=utf-8"),
            ("a.json", "{}", "application/json; charset=utf-8"),
            ("a.xml", "<?xml version='1.0' encoding='iso-8859-1'?>", "text/xml"),
            ("a.svg", "<svg/>", "image/svg+xml"),
            ("a.ts", "let a: number", "text/plain; charset=utf-8"),
            ("a.mts", "let a: number", "text/plain; charset=utf-8"),
            ("A.TS", "let a: number", "text/plain; charset=utf-8"),
            ("a.bin", "text", "application/octet-stream"),
            ("README", "text", "application/octet-stream"),
        ] {
            assert_eq!(kind(name, contents.as_bytes()), expected, "{name} {contents}");
        }
        assert_eq!(kind("a.txt", b"\xe4"), "text/plain");
        assert_eq!(kind("a.html", b"\xff\xfe<\0h\0"), "text/html");
        let mut video = [0; 400];
        (video[0], video[188], video[376]) = (0x47, 0x47, 0x47);
        assert_eq!(kind("a.ts", &video), "video/mp2t");
        let mut with_times = [0; 400];
        (with_times[4], with_times[196]) = (0x47, 0x47);
        assert_eq!(kind("a.mts", &with_times), "video/mp2t");
    }

    #[test]
    fn what_was_looked_at_decides() {
        let mut text = "x".repeat(LOOKED_AT - 1).into_bytes();
        text.extend_from_slice("ä".as_bytes());
        assert_eq!(kind("a.txt", &text), "text/plain; charset=utf-8", "a character that is cut");
        assert_eq!(of(b"a.txt", "ä".as_bytes(), 2), "text/plain; charset=utf-8");
        assert_eq!(of(b"a.txt", &"ä".as_bytes()[..1], 2), "text/plain; charset=utf-8");
        assert_eq!(of(b"a.txt", &"ä".as_bytes()[..1], 1), "text/plain");
    }
}
