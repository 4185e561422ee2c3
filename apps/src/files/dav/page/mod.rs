//! The page of a folder, for browsers: its members, sorted, with uploads, new folders, and the
//! folder as a zip.
//!
//! The page has a Content-Security-Policy of its own. It allows one script and one style sheet, by
//! their hashes, and requests to this server. The files that users have stored in the folder have
//! another policy: see [`get`](super::get).

mod tree;

use std::fmt::Write;
use std::io;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha256};

use self::tree::Walked;
use super::call::Call;
use super::problem::Outcome;
use super::{Dav, empty, is_head, value};
use crate::common::date;
use crate::common::gate::Pass;
use crate::common::https::body::Body;
use crate::common::listing::{self, Member, escaped};
use crate::common::pieces::Pieces;
use crate::common::zip::{self, Zip};
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, Share};

const STYLE: &str = listing::STYLE;
const SCRIPT: &str = include_str!("page.js");

/// The size of a piece of a page, in bytes.
const PIECE: usize = 32 * 1024;

/// The maximum memory use of the members that are sorted, in bytes. Further members follow
/// unsorted.
const MOST_SORTED: usize = 4 * 1024 * 1024;

impl Dav {
    /// Answers a GET of a folder: with a page that links to its members, or with a zip of the
    /// folder.
    pub(super) async fn page(&self, call: &Call) -> Outcome {
        if !call.is_folder {
            let mut response = empty(StatusCode::MOVED_PERMANENTLY);
            let query = if call.wants_zip { "?zip" } else { "" };
            let location = format!("{}{query}", call.path.href(true));
            response.headers_mut().insert(header::LOCATION, value(&location));
            return Ok(response);
        }
        let body = match is_head(call) {
            true => Body::Empty,
            false => {
                // Each page or zip uses more memory than other responses do, for as long as its
                // client likes.
                let pass = self.gates.pages.enter(&call.client.user).await;
                let pass = pass.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
                let (share, call) = (Arc::clone(&self.share), call.clone());
                let handle = self.handle.clone();
                let begin = move || match call.wants_zip {
                    true => Walked::begin(share, &call.path, pass)
                        .map(|tree| Body::pieces(&handle, Zip::new(tree, &handle))),
                    false => {
                        Page::begin(share, &call, pass).map(|page| Body::pieces(&handle, page))
                    }
                };
                self.handle.offload(begin).await??
            }
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if call.wants_zip {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
            headers.insert(header::CONTENT_DISPOSITION, value(&zip::disposition(call.path.name())));
        } else {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            headers.insert(header::CONTENT_TYPE, kind);
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy()));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        Ok(response)
    }
}

/// Returns the Content-Security-Policy of the page.
fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        )
    })
}

/// The page of a folder, which is made piece by piece.
struct Page {
    share: Arc<Share>,
    folder: DavPath,
    /// Whether the user may change something.
    is_writable: bool,
    sorted: std::vec::IntoIter<Member>,
    /// The members after the sorted ones, or `None` when the page is complete.
    walk: Option<Walk>,
    begun: bool,
    is_empty: bool,
    _pass: Pass,
}

fn member_of((path, found): &(DavPath, Found)) -> Member {
    Member {
        name: path.name().into(),
        is_folder: found.is_folder(),
        is_link: false,
        is_executable: found.is_executable(),
        size: found.version.size,
        modified: date::seconds(found.version.modified_time()),
    }
}

impl Page {
    fn begin(share: Arc<Share>, call: &Call, pass: Pass) -> io::Result<Page> {
        let mut walk = share.walk(&call.path, Depth::Members)?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while bytes < MOST_SORTED
            && let Some(member) = walk.next(&share)
        {
            let member = member_of(&member);
            bytes += member.cost();
            all.push(member);
        }
        listing::sort(&mut all);
        Ok(Page {
            share,
            folder: call.path.clone(),
            is_writable: !call.read_only,
            is_empty: all.is_empty(),
            sorted: all.into_iter(),
            walk: Some(walk),
            begun: false,
            _pass: pass,
        })
    }
}

impl Pieces for Page {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            begin(&mut out, &self.folder, self.is_writable);
        }
        while out.len() < PIECE {
            let next = self.sorted.next();
            match next.or_else(|| walk.next(&self.share).as_ref().map(member_of)) {
                Some(member) => line(&mut out, &self.folder, &member),
                None => {
                    if self.is_empty {
                        out.push_str(
                            "<tr><td class=\"none\">Nothing is in this folder.</td></tr>\n",
                        );
                    }
                    let _ = write!(out, "</tbody></table></main>\n<script>{SCRIPT}</script>\n");
                    out.push_str("</body></html>\n");
                    self.walk = None;
                    break;
                }
            }
        }
        Ok(Some(out.into()))
    }
}

fn begin(out: &mut String, folder: &DavPath, is_writable: bool) {
    let shown = String::from_utf8_lossy(folder.as_bytes());
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>/{}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style></head>\n<body><main>\n<h1>",
        escaped(&shown)
    );
    // The path to this folder, each part as a link.
    let mut way: Vec<DavPath> = folder.upwards().collect();
    way.reverse();
    for part in &way {
        let (href, name) = (escaped(&part.href(true)), String::from_utf8_lossy(part.name()));
        let name = if part.is_root() { "Files".into() } else { escaped(&name) };
        let slash = if part.is_root() { "" } else { " / " };
        let _ = write!(out, "{slash}<a href=\"{href}\">{name}</a>");
    }
    out.push_str("</h1>\n<p class=\"actions\">");
    if is_writable {
        out.push_str(
            "<input type=\"file\" id=\"files\" multiple hidden>\
             <button id=\"upload\" hidden>Upload files</button>\
             <button id=\"folder\" hidden>New folder</button>",
        );
    }
    out.push_str("<a id=\"zip\" href=\"?zip\" download>Download as zip</a>");
    if is_writable {
        out.push_str(
            "<span id=\"hint\" class=\"none\" hidden>or drop files and folders here</span>",
        );
    }
    out.push_str("</p>\n");
    out.push_str(
        "<p id=\"state\" role=\"status\"></p>\n<table><thead><tr><th>Name</th>\
         <th class=\"time\">Modified</th>\
         <th class=\"size\">Size</th></tr></thead><tbody>\n",
    );
    if let Some(parent) = folder.parent() {
        let href = escaped(&parent.href(true));
        let _ = writeln!(
            out,
            "<tr><td><a class=\"folder\" href=\"{href}\">..</a></td>\
             <td class=\"time\"></td><td class=\"size\"></td></tr>"
        );
    }
}

fn line(out: &mut String, folder: &DavPath, member: &Member) {
    let Member { name, is_folder, size: bytes, modified, .. } = member;
    let href = escaped(&folder.join(name).href(*is_folder));
    let name = escaped(&String::from_utf8_lossy(name));
    let (class, slash) = if *is_folder { (" class=\"folder\"", "/") } else { ("", "") };
    let _ = write!(
        out,
        "<tr><td><a{class} href=\"{href}\" data-name=\"{name}\">{name}{slash}</a></td> "
    );
    listing::write_time(out, *modified);
    match is_folder {
        true => out.push_str("<td class=\"size\"></td>"),
        false => listing::write_size(out, *bytes),
    }
    out.push_str("</tr>\n");
}
