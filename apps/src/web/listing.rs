//! The page of a folder without an `index.html`: its members, sorted and searchable, as HTML for
//! people or as JSON for programs.
//!
//! All links are relative to the page, so they work behind any prefix.

use std::fmt::Write;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::root::Members;
use crate::common::listing::{self, Member, STYLE, escaped, write_size, write_time};
use crate::common::{date, target};

const SCRIPT: &str = include_str!("listing.js");

/// The column by which the members are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Name,
    Size,
    Time,
}

/// The form of a listing that a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListingForm {
    key: Key,
    descends: bool,
    pub(super) as_json: bool,
    pub(super) as_zip: bool,
}

impl ListingForm {
    /// Reads the form from a query and the `Accept` field. Unknown parameters are ignored.
    pub(super) fn of(query: Option<&str>, accept: Option<&[u8]>) -> ListingForm {
        let mut asked = ListingForm::default();
        for parameter in query.unwrap_or_default().split('&') {
            match parameter {
                "json" => asked.as_json = true,
                "zip" => asked.as_zip = true,
                "sort=name" => asked.key = Key::Name,
                "sort=size" => asked.key = Key::Size,
                "sort=time" => asked.key = Key::Time,
                "order=asc" => asked.descends = false,
                "order=desc" => asked.descends = true,
                _ => {}
            }
        }
        let names = |kind: &str| accept.is_some_and(|list| contains(list, kind.as_bytes()));
        asked.as_json |= names("application/json") && !names("text/html");
        asked
    }

    fn sort(self, members: &mut [Member]) {
        listing::sort(members);
        match self.key {
            Key::Name => {}
            Key::Size => members.sort_by_key(|member| (!member.is_folder, member.size)),
            Key::Time => members.sort_by_key(|member| (!member.is_folder, member.modified)),
        }
        if self.descends {
            // Folders stay in front.
            let folders = members.partition_point(|member| member.is_folder);
            members[..folders].reverse();
            members[folders..].reverse();
        }
    }
}

fn contains(list: &[u8], text: &[u8]) -> bool {
    list.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text))
}

/// Returns the media type of a listing.
pub(super) fn kind(asked: ListingForm) -> &'static str {
    match asked.as_json {
        true => "application/json",
        false => "text/html; charset=utf-8",
    }
}

/// Returns the field lines of a listing, in addition to the common ones.
pub(super) fn fields(asked: ListingForm) -> String {
    let mut fields = "Cache-Control: no-cache\r\nVary: Accept\r\n".to_owned();
    if !asked.as_json {
        let _ = write!(fields, "Content-Security-Policy: {}\r\n", policy());
    }
    fields
}

/// Returns the page's content security policy, which allows its one script and its one style by
/// their hashes.
fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        )
    })
}

/// The most members of a folder that are listed.
pub(super) const MOST_MEMBERS: usize = 10_000;

/// Writes the listing of the folder `path`, which has no slashes at its ends.
pub(super) fn write(path: &[u8], mut members: Members, asked: ListingForm) -> String {
    asked.sort(&mut members.all);
    match asked.as_json {
        true => json(path, &members),
        false => html(path, &members, asked),
    }
}

/// Returns the link to a member. It begins with `./`, so that a name with a colon is not taken for
/// a scheme.
fn href(member: &Member) -> String {
    let slash = if member.is_folder { "/" } else { "" };
    format!("./{}{slash}", target::encode(&member.name))
}

fn json(path: &[u8], members: &Members) -> String {
    let slash = if path.is_empty() { "" } else { "/" };
    let mut out = format!("{{\"path\":{},\"members\":[", text(&format!("/{}{slash}", shown(path))));
    for (at, member) in members.all.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let kind = if member.is_folder { "folder" } else { "file" };
        let modified = date::iso(member.modified);
        let _ = write!(
            out,
            "{comma}\n{{\"name\":{},\"type\":\"{kind}\",\"size\":{},\"modified\":{},\"href\":{}}}",
            text(&shown(&member.name)),
            if member.is_folder { 0 } else { member.size },
            modified.map_or("null".to_owned(), |time| text(&time)),
            text(&href(member))
        );
    }
    let _ = writeln!(out, "\n],\"complete\":{}}}", !members.has_more);
    out
}

fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// Formats a string of JSON (RFC 8259, section 7).
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn html(path: &[u8], members: &Members, asked: ListingForm) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>/{}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style></head>\n\
         <body><main>\n<h1>",
        escaped(&shown(path))
    );
    write_way(&mut out, path);
    out.push_str("</h1>\n<p class=\"actions\">");
    out.push_str(
        "<input type=\"search\" id=\"search\" placeholder=\"Search\" aria-label=\"Search in this \
         folder\" hidden>",
    );
    out.push_str("<a id=\"zip\" href=\"?zip\" download>Download as zip</a>");
    out.push_str("</p>\n<p id=\"state\" role=\"status\"></p>\n<table><thead class=\"sorts\"><tr>");
    for (key, class, name) in
        [(Key::Name, "name", "Name"), (Key::Time, "time", "Modified"), (Key::Size, "size", "Size")]
    {
        write_column(&mut out, asked, key, class, name);
    }
    out.push_str("</tr></thead><tbody>\n");
    if !path.is_empty() {
        out.push_str(
            "<tr><td><a class=\"folder\" href=\"../\">..</a></td><td class=\"time\"></td>\
             <td class=\"size\"></td></tr>\n",
        );
    }
    for member in &members.all {
        write_member(&mut out, member);
    }
    out.push_str("</tbody></table>\n");
    match (members.all.len(), members.has_more) {
        (0, _) => out.push_str("<p class=\"none\">Nothing is in this folder.</p>\n"),
        (n, true) => {
            let _ = writeln!(out, "<p class=\"none\">More than {n} are in this folder.</p>");
        }
        _ => {}
    }
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script>\n</body></html>\n");
    out
}

/// Writes the path of the folder, with a link for each part.
fn write_way(out: &mut String, path: &[u8]) {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|p| !p.is_empty()).collect();
    let up = |levels: usize| if levels == 0 { "./".to_owned() } else { "../".repeat(levels) };
    let _ = write!(out, "<a href=\"{}\">Files</a>", up(parts.len()));
    for (at, part) in parts.iter().enumerate() {
        let (href, name) = (up(parts.len() - 1 - at), escaped(&shown(part)));
        let _ = write!(out, " / <a href=\"{href}\">{name}</a>");
    }
}

/// Writes the head of a column: a link that sorts by the column, or reverses the order.
fn write_column(out: &mut String, asked: ListingForm, key: Key, class: &str, name: &str) {
    let (is_sorted, descends) = (asked.key == key, asked.descends);
    let sorted = match (is_sorted, descends) {
        (false, _) => "none",
        (true, false) => "ascending",
        (true, true) => "descending",
    };
    let order = if is_sorted && !descends { "desc" } else { "asc" };
    let _ = write!(
        out,
        "<th class=\"{class}\" aria-sort=\"{sorted}\">\
         <a href=\"?sort={class}&amp;order={order}\">{name}</a></th>"
    );
}

fn write_member(out: &mut String, member: &Member) {
    let (class, slash) = if member.is_folder { (" class=\"folder\"", "/") } else { ("", "") };
    let (href, name) = (escaped(&href(member)), escaped(&shown(&member.name)));
    let _ = write!(out, "<tr><td><a{class} href=\"{href}\">{name}{slash}</a></td> ");
    write_time(out, member.modified);
    match member.is_folder {
        true => out.push_str("<td class=\"size\"></td>"),
        false => write_size(out, member.size),
    }
    out.push_str("</tr>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &[u8], is_folder: bool, size: u64, modified: i64) -> Member {
        Member {
            name: name.into(),
            is_folder,
            is_link: false,
            is_executable: false,
            size,
            modified,
        }
    }

    fn members() -> Members {
        let all = vec![
            member(b"b.txt", false, 10, 3),
            member(b"sub", true, 4_096, 1),
            member(b"a \"<&>:.txt", false, 20, 2),
            member(b"\xff", false, 5, 4),
            member(b"also", true, 4_096, 2),
        ];
        Members { all, has_more: false }
    }

    fn names(query: &str) -> Vec<String> {
        let mut members = members();
        ListingForm::of(Some(query), None).sort(&mut members.all);
        members.all.iter().map(|member| shown(&member.name).into_owned()).collect()
    }

    #[test]
    fn folders_come_first_in_every_order() {
        assert_eq!(names(""), ["also", "sub", "a \"<&>:.txt", "b.txt", "\u{fffd}"]);
        assert_eq!(names("order=desc"), ["sub", "also", "\u{fffd}", "b.txt", "a \"<&>:.txt"]);
        assert_eq!(names("sort=size")[2..], ["\u{fffd}", "b.txt", "a \"<&>:.txt"]);
        assert_eq!(names("sort=time&order=desc")[2..], ["\u{fffd}", "b.txt", "a \"<&>:.txt"]);
        assert_eq!(names("sort=nonsense&x=y"), names(""));
    }

    #[test]
    fn json_is_json_and_has_every_name() {
        let asked = ListingForm::of(Some("json"), None);
        let json = write(b"x/y", members(), asked);
        assert!(json.starts_with(
            "{\"path\":\"/x/y/\",\"members\":[\n{\"name\":\"also\",\"type\":\"folder\""
        ));
        assert!(json.contains("\"name\":\"a \\\"<&>:.txt\""), "{json}");
        assert!(json.contains("\"href\":\"./%FF\"") && json.contains("\"href\":\"./sub/\""));
        assert!(json.ends_with("],\"complete\":true}\n"));
        assert_eq!(text("a\u{1}\n\\"), "\"a\\u0001\\u000a\\\\\"");
        assert!(write(b"", members(), asked).starts_with("{\"path\":\"/\""));
    }

    #[test]
    fn who_accepts_json_only_gets_it() {
        let as_json = |accept: &str| ListingForm::of(None, Some(accept.as_bytes())).as_json;
        assert!(as_json("application/json") && as_json("Application/JSON;q=0.9, text/plain"));
        assert!(!as_json("*/*") && !as_json("text/html,application/json"));
    }

    #[test]
    fn a_page_escapes_what_strangers_have_named() {
        let page = write(b"x<y/z", members(), ListingForm::default());
        assert!(page.contains("<title>/x&lt;y/z</title>"));
        assert!(page.contains(
            "<a href=\"../../\">Files</a> / <a href=\"../\">x&lt;y</a> / <a href=\"./\">z</a>"
        ));
        assert!(page.contains("href=\"./a%20%22%3C&amp;%3E:.txt\">a &quot;&lt;&amp;&gt;:.txt</a>"));
        assert!(page.contains("href=\"../\">..</a>"));
        let sorted = write(b"", members(), ListingForm::of(Some("sort=size"), None));
        assert!(sorted.contains("aria-sort=\"ascending\"><a href=\"?sort=size&amp;order=desc\">"));
        let empty = Members { all: vec![], has_more: false };
        assert!(write(b"", empty, ListingForm::default()).contains("Nothing is in this folder."));
    }
}
