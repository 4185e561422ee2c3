//! PROPFIND: the properties of a resource, of its members, or of everything below it.
//!
//! The document is made on the blocking pool while it is sent, so a large folder takes no more
//! memory than a small one.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::{Call, DepthField};
use super::live::{APACHE, LIVE, MICROSOFT, OWNCLOUD};
use super::problem::{Outcome, Problem, XML_HEAD};
use super::xml::{self, DAV, Name};
use super::{Dav, lock, xml_response};
use crate::common::https::body::Body;
use crate::common::https::request_body::RequestBody;
use crate::common::pieces::Pieces;
use crate::common::{date, media_type};
use crate::files::meta::locks::Locks;
use crate::files::meta::store::{Property, View};
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, Share, checksum};
use dapple::clock;

/// The maximum number of resources in a response with infinite depth. The response says if there
/// are more.
const MOST_LISTED: usize = 100_000;

/// The maximum number of properties in a request, and the maximum total size of their names in
/// bytes.
const MOST_NAMES: usize = 500;
const MOST_NAMES_BYTES: usize = 32 * 1024;

/// The size of a piece of a document, in bytes.
const PIECE: usize = 32 * 1024;

/// The properties that are requested.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All properties that exist, and these.
    All(Vec<Name>),
    Names,
    These(Vec<Name>),
}

impl Dav {
    pub(super) async fn propfind(&self, call: Call, body: &mut RequestBody) -> Outcome {
        let depth = call.depth()?.unwrap_or(DepthField::Infinity);
        let body = body.read(xml::MOST_ASKED).await?;
        let want = match body.is_empty() {
            true => Want::All(Vec::new()),
            false => want(&xml::parse(&body)?)?,
        };
        let read = |state: &crate::files::meta::State| {
            (Arc::clone(&state.locks), Arc::clone(&state.properties))
        };
        let (locks, properties) = self.meta.read(read).await?;
        let share = Arc::clone(&self.share);
        let begin = move || Listing::begin(share, &call, depth, want, locks, properties);
        let listing = self.handle.offload(begin).await??;
        Ok(xml_response(StatusCode::MULTI_STATUS, Body::pieces(&self.handle, listing)))
    }
}

/// Returns `true` if there is any dead property. An unreadable store does not prevent the listing.
fn has_some(properties: &View) -> bool {
    properties.has_some().unwrap_or_else(|error| {
        tracing::error!("{error}");
        false
    })
}

pub(super) fn want(document: &xml::Element) -> Result<Want, Problem> {
    let bad = || Problem::Told(StatusCode::BAD_REQUEST, "the body is not a propfind document");
    if !document.name.is_dav("propfind") {
        return Err(bad());
    }
    let names = |element: &xml::Element| {
        let mut names: Vec<Name> = element.elements().map(|e| e.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    };
    let (prop, all, only_names) =
        (document.child("prop"), document.child("allprop"), document.child("propname"));
    let want = match (prop, all, only_names) {
        (Some(prop), None, None) => Want::These(names(prop)),
        (None, Some(_), None) => {
            Want::All(document.child("include").map(names).unwrap_or_default())
        }
        (None, None, Some(_)) => Want::Names,
        _ => return Err(bad()),
    };
    // The response repeats the names for each resource.
    if let Want::These(names) | Want::All(names) = &want {
        let bytes: usize = names.iter().map(|name| name.space.len() + name.local.len()).sum();
        if names.len() > MOST_NAMES || bytes > MOST_NAMES_BYTES {
            return Err(Problem::Told(
                StatusCode::BAD_REQUEST,
                "the request asks for too many properties",
            ));
        }
    }
    Ok(want)
}

/// A response document in the making.
struct Listing {
    share: Arc<Share>,
    locks: Arc<Locks>,
    properties: Arc<View>,
    /// Whether there is a dead property.
    has_dead: bool,
    want: Want,
    /// The numbers of free and used bytes, if the request asks for them.
    room: Option<(u64, u64)>,
    /// Whether the user may not change anything.
    read_only: bool,
    first: Option<(DavPath, Found)>,
    path: DavPath,
    walk: Option<Walk>,
    /// The number of resources that may still be listed.
    left: usize,
    now: Instant,
    ended: bool,
}

impl Listing {
    fn begin(
        share: Arc<Share>,
        call: &Call,
        depth: DepthField,
        want: Want,
        locks: Arc<Locks>,
        properties: Arc<View>,
    ) -> Result<Listing, Problem> {
        let found = super::tree::shown(&share, call)?;
        let path = call.path.clone();
        let walk = match depth {
            DepthField::One if found.is_folder() => Some(share.walk(&path, Depth::Members)?),
            DepthField::Infinity if found.is_folder() => Some(share.walk(&path, Depth::All)?),
            _ => None,
        };
        let names = match &want {
            Want::These(names) | Want::All(names) => &names[..],
            Want::Names => &[],
        };
        // From version 15.4 on, macOS waits 90 s before it mounts a server that reports its quota.
        let is_macos =
            call.field("user-agent")?.is_some_and(|agent| agent.starts_with("WebDAVFS/"));
        let asks_for_room = !is_macos && names.iter().any(|name| name.local.starts_with("quota-"));
        let room = if asks_for_room { share.room().ok() } else { None };
        Ok(Listing {
            has_dead: has_some(&properties),
            share,
            locks,
            properties,
            want,
            room,
            read_only: call.read_only,
            first: Some((path.clone(), found)),
            path,
            walk,
            left: match depth {
                DepthField::Infinity => MOST_LISTED,
                _ => usize::MAX,
            },
            now: clock::now(),
            ended: false,
        })
    }

    fn next_resource(&mut self) -> Option<(DavPath, Found)> {
        match self.first.take() {
            Some(first) => Some(first),
            None => self.walk.as_mut()?.next(&self.share),
        }
    }

    fn write(&self, out: &mut String, path: &DavPath, found: &Found) {
        let dead = match self.has_dead {
            true => self.properties.of(path).unwrap_or_else(|error| {
                tracing::error!("{error}");
                Vec::new()
            }),
            false => Vec::new(),
        };
        out.push_str("<D:response><D:href>");
        xml::write_text(out, &path.href(found.is_folder()));
        out.push_str("</D:href><D:propstat><D:prop>");
        let mut missing = Vec::new();
        match &self.want {
            Want::Names => {
                for (space, live, _) in LIVE {
                    let name = Name::new(space, live);
                    if self.live(&mut String::new(), &name, path, found, &dead) {
                        xml::write_empty(out, &name);
                    }
                }
                dead.iter().for_each(|(name, _)| xml::write_empty(out, name));
            }
            Want::All(more) => {
                for (space, live, _) in LIVE.iter().filter(|(_, _, always)| *always) {
                    self.live(out, &Name::new(space, live), path, found, &dead);
                }
                dead.iter().for_each(|(_, element)| out.push_str(element));
                let is_told = |name: &Name| {
                    let is_live = LIVE.iter().any(|(space, live, always)| {
                        *always && name.space == *space && name.local == *live
                    });
                    is_live || dead.iter().any(|(other, _)| other == name)
                };
                for name in more.iter().filter(|name| !is_told(name)) {
                    if !self.live(out, name, path, found, &dead) {
                        missing.push(name);
                    }
                }
            }
            Want::These(names) => {
                for name in names {
                    if self.live(out, name, path, found, &dead) {
                        continue;
                    }
                    match dead.iter().find(|(other, _)| other == name) {
                        Some((_, element)) => out.push_str(element),
                        None => missing.push(name),
                    }
                }
            }
        }
        out.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        if !missing.is_empty() {
            out.push_str("<D:propstat><D:prop>");
            missing.iter().for_each(|name| xml::write_empty(out, name));
            out.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        out.push_str("</D:response>\n");
    }

    /// Writes a live property. Returns `false` if the resource does not have it.
    fn live(
        &self,
        out: &mut String,
        name: &Name,
        path: &DavPath,
        found: &Found,
        dead: &[Property],
    ) -> bool {
        if name.space != DAV {
            return self.live_of_others(out, name, path, found);
        }
        let version = &found.version;
        let is_folder = found.is_folder();
        let local = name.local.as_str();
        let mut put = |value: &str| {
            let _ = write!(out, "<D:{local}>{value}</D:{local}>");
            true
        };
        match local {
            // The system does not always know the creation time, so the earlier one of the times of
            // modification and change is used.
            "creationdate" => {
                let nanos = version.modified.min(version.changed);
                let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
                let text =
                    time.map(|t| t.truncate_to_second()).and_then(|t| t.format(&Rfc3339).ok());
                text.is_some_and(|text| put(&text))
            }
            // A name that a client has set is stored like a dead property.
            "displayname" if dead.iter().any(|(other, _)| other == name) => false,
            "displayname" => match std::str::from_utf8(path.name()) {
                Ok(name) if xml::is_text(name) && !name.is_empty() => {
                    put(&quick_xml::escape::escape(name))
                }
                _ => false,
            },
            "getcontentlength" => !is_folder && put(&version.size.to_string()),
            "getcontenttype" => !is_folder && put(media_type::by_name(path.name())),
            "getetag" => put(&quick_xml::escape::escape(found.etag())),
            "getlastmodified" => put(&date::format(version.modified_time())),
            "resourcetype" => put(if is_folder { "<D:collection/>" } else { "" }),
            "supportedlock" => put(if self.read_only { "" } else { SUPPORTED_LOCKS }),
            "lockdiscovery" => {
                let mut all = String::new();
                for active in self.locks.covering(path, self.now) {
                    lock::write_active(&mut all, active, self.now);
                }
                put(&all)
            }
            "quota-available-bytes" => {
                is_folder && self.room.is_some_and(|(free, _)| put(&free.to_string()))
            }
            "quota-used-bytes" => {
                is_folder && self.room.is_some_and(|(_, used)| put(&used.to_string()))
            }
            _ => false,
        }
    }

    /// Writes a live property of another namespace than WebDAV's. Returns `false` if the resource
    /// does not have it.
    fn live_of_others(&self, out: &mut String, name: &Name, path: &DavPath, found: &Found) -> bool {
        let text = match (name.space.as_str(), name.local.as_str()) {
            (MICROSOFT, "Win32LastModifiedTime") => date::format(found.version.modified_time()),
            (MICROSOFT, "Win32LastAccessTime") => date::format(found.accessed_time()),
            (APACHE, "executable") if !found.is_folder() => {
                (if found.is_executable() { "T" } else { "F" }).to_owned()
            }
            (OWNCLOUD, "checksums") if !found.is_folder() => match self.share.checksum(path) {
                Ok(Some(sha1)) => format!(
                    "<x:checksum xmlns:x=\"{OWNCLOUD}\">SHA1:{}</x:checksum>",
                    checksum::to_hex(&sha1)
                ),
                _ => return false,
            },
            _ => return false,
        };
        let (local, space) = (&name.local, &name.space);
        let _ = write!(out, "<x:{local} xmlns:x=\"{space}\">{text}</x:{local}>");
        true
    }
}

const SUPPORTED_LOCKS: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype></D:lockentry>\
    <D:lockentry><D:lockscope><D:shared/></D:lockscope>\
    <D:locktype><D:write/></D:locktype></D:lockentry>";

impl Pieces for Listing {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let mut out = String::with_capacity(PIECE + 4096);
        if self.first.is_some() {
            out.push_str(XML_HEAD);
            out.push_str("<D:multistatus xmlns:D=\"DAV:\">\n");
        }
        while out.len() < PIECE {
            let Some((path, found)) = self.next_resource() else {
                self.ended = true;
                break;
            };
            if self.left == 0 {
                // RFC 6578 uses this response for an incomplete list.
                out.push_str("<D:response><D:href>");
                xml::write_text(&mut out, &self.path.href(true));
                out.push_str(
                    "</D:href><D:status>HTTP/1.1 507 Insufficient Storage</D:status>\
                     <D:error><D:number-of-matches-within-limits/></D:error></D:response>\n",
                );
                self.ended = true;
                break;
            }
            self.left -= 1;
            self.write(&mut out, &path, &found);
        }
        if self.ended {
            out.push_str("</D:multistatus>\n");
        }
        Ok(Some(out.into()))
    }
}
