//! A folder as a zip, made while it is sent: nothing is compressed, and no more than a piece is in memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use time::OffsetDateTime;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use crate::common::{date, target};
use crate::files::dav::body::Pieces;
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, How, Share};

/// Bytes that are made at once.
const PIECE: usize = 128 * 1024;

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
    pub(super) fn begin(share: Arc<Share>, folder: &DavPath) -> io::Result<Zip> {
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
        let name = name_of(&path, &self.folder);
        if found.is_folder() {
            writer.add_directory(name, options(&found)).map_err(io::Error::other)?;
            return Ok(true);
        }
        // What has gone meanwhile, or may not be read, is left out.
        match self.share.open_file(&path, How::Blocking) {
            Ok((file, found)) if !found.is_folder() => {
                writer.start_file(name, options(&found)).map_err(io::Error::other)?;
                self.file = Some(file);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(?path, %error, "a file is left out of a zip"),
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

/// The name in the zip: below the folder.
fn name_of(path: &DavPath, folder: &DavPath) -> String {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes()).unwrap_or(path.as_bytes());
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    String::from_utf8_lossy(rest).into_owned()
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
