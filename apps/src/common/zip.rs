//! A folder as a zip that is made while it is sent.
//!
//! Nothing is compressed, and at most about a piece of the contents is in memory. The list of all
//! files, which the format has at its end, is in memory, so the number of files is limited.
//!
//! A [`Tree`] finds the members and opens them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dapple::Handle;
use time::OffsetDateTime;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::pieces::Pieces;
use super::target;

/// The size of a piece, in bytes, at which the zip is handed out.
const PIECE: usize = 128 * 1024;

/// The maximum number of files and folders in a zip. The download of a larger folder fails.
const MOST_ENTRIES: usize = 100_000;

/// The size in bytes from which a file is written in the larger form of the format (zip64).
const LARGE: u64 = u32::MAX as u64 / 2;

/// The contents of a folder.
pub(crate) trait Tree: Send + 'static {
    /// Returns the next member of the folder or of a folder below it, or `None` at the end. It may
    /// block.
    fn next(&mut self) -> io::Result<Option<ZipMember>>;

    /// Opens the file of a member and returns it with its current data.
    ///
    /// Returns `None` if the file is to be left out, because it is gone or may not be read. Any
    /// other failure ends the download, so that an incomplete zip does not look complete. It may
    /// block.
    fn open(&mut self, path: &[u8]) -> io::Result<Option<(File, ZipMember)>>;
}

/// A file or folder in a zip.
#[derive(Debug)]
pub(crate) struct ZipMember {
    /// The path below the folder, without slashes at its ends.
    pub(crate) path: Vec<u8>,
    pub(crate) is_folder: bool,
    pub(crate) is_executable: bool,
    pub(crate) size: u64,
    /// The time of the last change, in seconds since 1970.
    pub(crate) modified: i64,
}

/// A zip in the making. See the module.
pub(crate) struct Zip<T> {
    tree: T,
    made: Made,
    /// The writer, or `None` when the zip is complete.
    writer: Option<ZipWriter<StreamWriter<Made>>>,
    /// The file that is being copied into the zip.
    file: Option<File>,
    buffer: Box<[u8]>,
    entries: usize,
    handle: Handle,
}

/// Ends the zip on the blocking pool, because finishing it takes long even if nobody wants the
/// rest.
impl<T> Drop for Zip<T> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.handle.offload(move || drop(writer)).detach();
        }
    }
}

/// The bytes that have been made and not yet been sent.
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

impl<T: Tree> Zip<T> {
    pub(crate) fn new(tree: T, handle: &Handle) -> Zip<T> {
        let made = Made::default();
        Zip {
            tree,
            writer: Some(ZipWriter::new_stream(made.clone())),
            made,
            file: None,
            buffer: vec![0; PIECE].into(),
            entries: 0,
            handle: handle.clone(),
        }
    }

    /// Adds a little more to the zip. Returns `false` at the end.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some(writer) = &mut self.writer else { return Ok(false) };
        if let Some(file) = &mut self.file {
            match file.read(&mut self.buffer)? {
                0 => self.file = None,
                n => writer.write_all(&self.buffer[..n])?,
            }
            return Ok(true);
        }
        let Some(entry) = self.tree.next()? else {
            if let Some(writer) = self.writer.take() {
                writer.finish().map_err(io::Error::other)?;
            }
            return Ok(false);
        };
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(io::Error::other("too many files for a zip"));
        }
        let name = name_of(&entry.path);
        if entry.is_folder {
            writer.add_directory(name, options(&entry)).map_err(io::Error::other)?;
        } else if let Some((file, entry)) = self.tree.open(&entry.path)? {
            writer.start_file(name, options(&entry)).map_err(io::Error::other)?;
            self.file = Some(file);
        }
        Ok(true)
    }
}

impl<T: Tree> Pieces for Zip<T> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.made.len() < PIECE && self.go_on()? {}
        let made = self.made.take();
        Ok((!made.is_empty()).then(|| made.into()))
    }
}

/// Returns the name of a member in the zip. Bytes that are not UTF-8 are escaped, and so are the
/// separators of other systems: the backslash and the colon.
fn name_of(path: &[u8]) -> String {
    let mut rest = path;
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

fn options(entry: &ZipMember) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(entry.size >= LARGE)
        .unix_permissions(if entry.is_folder || entry.is_executable { 0o755 } else { 0o644 })
        .last_modified_time(time_of(entry.modified).unwrap_or_default())
}

/// Returns a time in the zip's form, or `None` outside of the years 1980 to 2107.
fn time_of(seconds: i64) -> Option<DateTime> {
    let t = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let year = u16::try_from(t.year()).ok()?;
    let (hour, minute, second) = t.to_hms();
    DateTime::from_date_and_time(year, t.month().into(), t.day(), hour, minute, second).ok()
}

/// Returns the Content-Disposition of a download (RFC 6266), named after the folder, whose name may
/// be empty.
pub(crate) fn disposition(name: &[u8]) -> String {
    let name = if name.is_empty() { b"files" } else { name };
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
        assert_eq!(name_of(b"b c/\xc3\xa4.txt"), "b c/\u{e4}.txt");
        assert_eq!(name_of(b"\xff.txt"), "%FF.txt");
        assert_ne!(name_of(b"\xff.txt"), name_of(b"\xfe.txt"));
        assert_eq!(name_of(b"..\\..\\evil.txt"), "..%5C..%5Cevil.txt");
        assert_eq!(name_of(b"C:x"), "C%3Ax");
        assert_eq!(name_of(b"a\xe2\x82"), "a%E2%82");
    }

    #[test]
    fn a_download_has_the_name_of_its_folder() {
        let name = disposition(b"a\"b\xc3\xa4");
        assert_eq!(name, "attachment; filename=\"a_b_.zip\"; filename*=UTF-8''a%22b%C3%A4.zip");
        assert!(disposition(b"").contains("\"files.zip\""));
    }
}
