//! Loads files so far that they can be served.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use super::http::coding::Coding;
use super::page::{Body, Page};
use super::policy::Policy;
use super::root::Found;
use crate::common::cache::MOST_IN_MEMORY;
use crate::common::cached;

/// The number of bytes of a large file that are read before it is served.
const MOST_AHEAD: u64 = 256 * 1024;

/// A function that reads the start of a file, given the size of the file.
pub(super) type ReadStart = fn(&File, u64) -> io::Result<Vec<u8>>;

/// Makes a page of a file that was found; returns `None` for a folder. `read` reads as much of the
/// file as is needed to begin to serve it. `asked_at` is a time before the file was found.
pub(super) fn load(
    path: &[u8],
    found: Found,
    asked_at: SystemTime,
    read: ReadStart,
    policy: &Policy,
) -> io::Result<Option<Page>> {
    let (file, version) = match found {
        Found::File(file, version) => (file, version),
        Found::Folder => return Ok(None),
        Found::Other => return Err(io::ErrorKind::NotFound.into()),
    };
    let is_settled = version.is_settled(asked_at);
    let start = read(&file, version.size)?;
    if version.size > MOST_IN_MEMORY {
        let page = Page::new(path, version, &start, Body::File(Arc::new(file)), policy);
        return Ok(Some(page.keep_if(is_settled)));
    }
    let start: Arc<[u8]> = start.into();
    // If the file changed meanwhile, the bytes that were read are served once, under their own
    // size.
    let is_whole = start.len() as u64 == version.size;
    let version = version.with_size(start.len() as u64);
    let page = Page::new(path, version, &start, Body::Memory(Arc::clone(&start)), policy);
    Ok(Some(page.keep_if(is_settled && is_whole)))
}

/// Makes a page of the file that has the contents of `original` in `coding`; returns `None` if it
/// is not a file.
pub(super) fn load_encoded(
    original: &Page,
    coding: Coding,
    found: Found,
    asked_at: SystemTime,
    read: ReadStart,
) -> io::Result<Option<Page>> {
    let Found::File(file, version) = found else { return Ok(None) };
    let is_settled = version.is_settled(asked_at);
    let start = read(&file, version.size)?;
    let (len, is_whole) = (start.len() as u64, start.len() as u64 == version.size);
    let is_large = version.size > MOST_IN_MEMORY;
    let (body, len) = match is_large {
        true => (Body::File(Arc::new(file)), version.size),
        false => (Body::Memory(start.into()), len),
    };
    let tag = version.with_size(len).tag();
    let page = Page::encoded(original, coding, version, &tag, len, body);
    Ok(Some(page.keep_if(is_settled && (is_large || is_whole))))
}

/// Reads a small file, or the start of a large file, without reading the disk. Returns `WouldBlock`
/// if the bytes are not in memory.
pub(super) fn read_cached(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let wanted = size.min(MOST_IN_MEMORY) as usize;
    let mut bytes = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match cached::read(file, &mut bytes[filled..], filled as u64)? {
            // The file has become shorter, on a file system that cannot tell what is in memory.
            0 => return Err(io::ErrorKind::WouldBlock.into()),
            n => filled += n,
        }
    }
    Ok(bytes)
}

/// Reads the start of a file, from memory or from the disk. Of a large file it reads more, so that
/// this part is in memory afterwards.
pub(super) fn read_cold(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let most = if size > MOST_IN_MEMORY { MOST_AHEAD.min(size) } else { MOST_IN_MEMORY };
    let mut bytes = Vec::with_capacity(most.min(size) as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
