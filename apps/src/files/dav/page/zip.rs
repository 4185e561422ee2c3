//! A folder as a zip, made while it is sent: nothing is compressed, and of the contents no more
//! than a piece is in memory. The list of all files, which the format has at its end, is; so there
//! is a limit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dapple::Handle;
use time::OffsetDateTime;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use crate::common::{date, target};
use crate::files::dav::body::Pieces;
use crate::files::gate::Pass;
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, How, Share};

/// Bytes that are made at once.
const PIECE: usize = 128 * 1024;

/// Files and folders in a zip, at most: of what has more, the download fails.
const MOST_ENTRIES: usize = 100_000;

/// Files from this size on need the larger form of the format.
const LARGE: u64 = u32::MAX as u64 / 2;

/// See the module.
pub(super) struct Zip {
    share: Arc<Share>,
    folder: DavPath,
    walk: Walk,
    made: Made,
    /// `None`: all is said.
    writer: Option<ZipWriter<StreamWriter<Made>>>,
    /// The file that is being put in.
    file: Option<File>,
    buffer: Box<[u8]>,
    entries: usize,
    handle: Handle,
    _pass: Pass,
}

/// To end it takes a while, also if nobody wants it any more.
impl Drop for Zip {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.handle.offload(move || drop(writer)).detach();
        }
    }
}

/// What has been made and not been sent.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Vec<u8>>>);

impl Made {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Zip {
    pub(super) fn begin(
        share: Arc<Share>,
        folder: &DavPath,
        handle: &Handle,
        pass: Pass,
    ) -> io::Result<Zip> {
        let walk = share.walk(folder, Depth::All)?;
        let made = Made::default();
        Ok(Zip {
            share,
            folder: folder.clone(),
            walk,
            writer: Some(ZipWriter::new_stream(made.clone())),
            made,
            file: None,
            buffer: vec![0; PIECE].into(),
            entries: 0,
            handle: handle.clone(),
            _pass: pass,
        })
    }

    /// Puts a bit more of it in; false: that was all.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some(writer) = &mut self.writer else { return Ok(false) };
        if let Some(file) = &mut self.file {
            match file.read(&mut self.buffer)? {
                0 => self.file = None,
                n => writer.write_all(&self.buffer[..n])?,
            }
            return Ok(true);
        }
        let Some((path, found)) = self.walk.next(&self.share) else {
            if let Some(writer) = self.writer.take() {
                writer.finish().map_err(io::Error::other)?;
            }
            return Ok(false);
        };
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(io::Error::other("there are too many files for a zip"));
        }
        let name = name_of(&path, &self.folder);
        if found.is_folder() {
            writer.add_directory(name, options(&found)).map_err(io::Error::other)?;
            return Ok(true);
        }
        // What has gone meanwhile, or may not be read, is left out. Whatever else fails ends the
        // download: what is not whole is not to look so.
        match self.share.open_file(&path, How::Blocking) {
            Ok((file, found)) if !found.is_folder() => {
                writer.start_file(name, options(&found)).map_err(io::Error::other)?;
                self.file = Some(file);
            }
            Ok(_) => {}
            Err(error) if is_left_out(&error) => {
                tracing::debug!(?path, %error, "a file is left out of a zip");
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

impl Pieces for Zip {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.made.len() < PIECE && self.go_on()? {}
        let made = self.made.take();
        Ok((!made.is_empty()).then(|| made.into()))
    }
}

fn is_left_out(error: &io::Error) -> bool {
    crate::files::share::is_missing(error) || error.kind() == io::ErrorKind::PermissionDenied
}

/// The name in the zip: below the folder. Bytes that are no text are escaped; so is what some
/// systems take for the end of a folder's name, or of a drive's.
fn name_of(path: &DavPath, folder: &DavPath) -> String {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes()).unwrap_or(path.as_bytes());
    let mut rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let mut name = String::new();
    let escape = |name: &mut String, bytes: &[u8]| {
        bytes.iter().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
    };
    while !rest.is_empty() {
        let (text, bad, after) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..], &[][..]),
            Err(error) => {
                let (text, rest) = rest.split_at(error.valid_up_to());
                let bad = error.error_len().unwrap_or(rest.len());
                (std::str::from_utf8(text).unwrap_or_default(), &rest[..bad], &rest[bad..])
            }
        };
        for c in text.chars() {
            match c {
                '\\' | ':' => escape(&mut name, &[c as u8]),
                c => name.push(c),
            }
        }
        escape(&mut name, bad);
        rest = after;
    }
    name
}

fn options(found: &Found) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(found.version.size >= LARGE)
        .unix_permissions(if found.is_folder() || found.is_executable() { 0o755 } else { 0o644 })
        .last_modified_time(modified(found).unwrap_or_default())
}

/// `None`: the format knows the years from 1980 to 2107.
fn modified(found: &Found) -> Option<DateTime> {
    let seconds = date::seconds(found.version.modified_time());
    let t = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let year = u16::try_from(t.year()).ok()?;
    let (hour, minute, second) = t.to_hms();
    DateTime::from_date_and_time(year, t.month().into(), t.day(), hour, minute, second).ok()
}

/// What a browser calls it (RFC 6266).
pub(super) fn disposition(folder: &DavPath) -> String {
    let name = if folder.is_root() { &b"files"[..] } else { folder.name() };
    let plain: String = String::from_utf8_lossy(name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || " .-_".contains(c) { c } else { '_' })
        .collect();
    let exact = target::encode_component(name);
    format!("attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{exact}.zip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_lead_nowhere() {
        let of = |path: &[u8], folder: &[u8]| {
            name_of(&DavPath::from_bytes(path), &DavPath::from_bytes(folder))
        };
        assert_eq!(of(b"a/b c/\xc3\xa4.txt", b"a"), "b c/\u{e4}.txt");
        assert_eq!(of(b"\xff.txt", b""), "%FF.txt");
        assert_ne!(of(b"\xff.txt", b""), of(b"\xfe.txt", b""));
        assert_eq!(of(b"..\\..\\evil.txt", b""), "..%5C..%5Cevil.txt");
        assert_eq!(of(b"C:x", b""), "C%3Ax");
        assert_eq!(of(b"a\xe2\x82", b""), "a%E2%82");
    }
}
