//! The access log: a line for each response, in formats that common tools read.
//!
//! Each worker gathers lines in its own buffer. The buffers are written on the blocking pool, every
//! second and when a buffer is full. If the disk is too slow, lines are dropped, and their number
//! is reported. The lines of one worker are in order; lines of different workers may not be. The
//! line of a body whose length is not known at first, such as that of a zip, is written when the
//! body ends. At SIGHUP the file is opened again, so that it can be rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use dapple::clock;
use dapple::{Colored, Cx, Handle};

use crate::common::date;

/// The size at which a worker's buffer is written, in bytes.
const MANY: usize = 64 * 1024;

/// The most bytes that wait for the disk.
const MOST_WAITING: usize = 16 * 1024 * 1024;

/// The most bytes of a request line, and of each field, that are logged.
const MOST_OF_LINE: usize = 2 * 1024;

/// The time between two writes of all buffers.
const EVERY: Duration = Duration::from_secs(1);

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The format of NCSA's server: address, time, request line, status and bytes.
    Common,
    /// The format `Common`, with the referer and the user agent.
    Combined,
    /// A JSON object.
    Json,
}

/// The parts of a line that are known from the request. They are kept until the response is
/// written.
#[derive(Debug)]
pub(super) struct LogLine {
    /// The line up to the status.
    begin: Vec<u8>,
    /// The line after the number of bytes.
    end: Vec<u8>,
}

/// The logged facts about a request.
pub(super) struct Facts<'a> {
    /// The address of the client, or `None` if the connection is not over IP.
    pub(super) peer: Option<IpAddr>,
    /// The first line of the request.
    pub(super) line: &'a [u8],
    pub(super) referer: Option<&'a [u8]>,
    pub(super) agent: Option<&'a [u8]>,
}

/// The access log; see the module.
pub(super) struct Log {
    format: Format,
    handle: Handle,
    file: Arc<LogFile>,
    gathered: Box<[CachePadded<Mutex<Vec<u8>>>]>,
    writing: Colored<Writing>,
}

/// The lines that wait to be written.
#[derive(Default)]
struct Writing {
    waiting: Vec<u8>,
    is_busy: bool,
    left_out: u64,
}

struct LogFile {
    /// The path of the file, or `None` for the standard output.
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        let path = (path.as_os_str() != "-").then(|| path.to_owned());
        let file = LogFile { path, file: Mutex::new(None) };
        file.open_again()?;
        Ok(file)
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_again(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            *self.file() = Some(file);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match &mut *self.file() {
            Some(file) => file.write_all(bytes),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
        }
    }
}

impl Log {
    /// Opens a log that appends to the file `path`, or writes to the standard output if it is `-`.
    pub(super) fn open(path: &Path, format: Format, handle: &Handle) -> io::Result<Arc<Log>> {
        let color = handle.color_builder().label("log").build();
        let log = Arc::new(Log {
            format,
            handle: handle.clone(),
            file: Arc::new(LogFile::open(path)?),
            gathered: (0..handle.workers()).map(|_| CachePadded::default()).collect(),
            writing: Colored::new(&color, Writing::default()),
        });
        log.write_now_and_then();
        Ok(log)
    }

    /// Checks whether the file can be written, as far as that is possible without creating it.
    pub(super) fn check(path: &Path) -> Result<(), String> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let is_there = || match path.exists() {
            true => OpenOptions::new().append(true).open(path).map(drop),
            false => folder.unwrap_or(Path::new(".")).metadata().map(drop),
        };
        match path.as_os_str() == "-" {
            true => Ok(()),
            false => is_there().map_err(|e| format!("cannot write {}: {e}", path.display())),
        }
    }

    /// Opens the file again; if that fails, the old file stays open. It blocks.
    pub(super) fn open_again(&self) {
        if let Err(error) = self.file.open_again() {
            tracing::error!("the old log file remains open: {error}");
        }
    }

    /// Prepares the line of a request.
    pub(super) fn asked<'a>(&self, facts: &Facts<'a>) -> Box<LogLine> {
        let (mut begin, mut end) = (Vec::with_capacity(128), Vec::new());
        let Facts { peer, line, referer, agent } = facts;
        let cut = |text: &'a [u8]| &text[..text.len().min(MOST_OF_LINE)];
        let (line, referer, agent) = (cut(line), referer.map(cut), agent.map(cut));
        let peer = peer.map_or("-".to_owned(), |peer| peer.to_canonical().to_string());
        let now = date::seconds(clock::wall());
        if self.format == Format::Json {
            let time = date::iso(now).unwrap_or_default();
            let _ = write!(begin, "{{\"time\":\"{time}\",\"remote\":\"{peer}\",");
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            for name in ["method", "target", "version"] {
                let _ = write!(begin, "\"{name}\":\"");
                escape(&mut begin, parts.next().unwrap_or_default(), IN_JSON);
                begin.extend_from_slice(b"\",");
            }
            begin.extend_from_slice(b"\"status\":");
            for (name, field) in [("referer", referer), ("agent", agent)] {
                let _ = write!(end, ",\"{name}\":\"");
                escape(&mut end, field.unwrap_or_default(), IN_JSON);
                end.push(b'"');
            }
            end.extend_from_slice(b"}\n");
            return Box::new(LogLine { begin, end });
        }
        let _ = write!(begin, "{peer} - - [{}] \"", date::of_logs(now));
        escape(&mut begin, line, IN_TEXT);
        begin.extend_from_slice(b"\" ");
        if self.format == Format::Combined {
            for field in [referer, agent] {
                end.extend_from_slice(b" \"");
                escape(&mut end, field.unwrap_or(b"-"), IN_TEXT);
                end.push(b'"');
            }
        }
        end.push(b'\n');
        Box::new(LogLine { begin, end })
    }

    /// Adds the line of an answered request, with the status and the number of bytes of the body.
    pub(super) fn answered(&self, mut asked: LogLine, status: u16, bytes: u64) {
        let line = &mut asked.begin;
        let _ = match self.format {
            Format::Json => write!(line, "{status},\"bytes\":{bytes}"),
            _ => write!(line, "{status} {bytes}"),
        };
        line.extend_from_slice(&asked.end);
        let worker = self.handle.current_worker().unwrap_or_default();
        let mut gathered = lock(&self.gathered[worker]);
        gathered.extend_from_slice(&asked.begin);
        if gathered.len() >= MANY {
            let bytes = std::mem::take(&mut *gathered);
            drop(gathered);
            self.write(bytes);
        }
    }

    /// Writes the buffers every [`EVERY`], as long as the log exists.
    fn write_now_and_then(self: &Arc<Self>) {
        // The timer has a weak reference, because the log ends with the server.
        let (this, color) = (Arc::downgrade(self), self.writing.color().clone());
        self.handle.post_after(EVERY, &color, move |_| {
            if let Some(log) = this.upgrade() {
                log.gather().into_iter().for_each(|bytes| log.write(bytes));
                log.write_now_and_then();
            }
        });
    }

    fn gather(&self) -> Vec<Vec<u8>> {
        let taken = self.gathered.iter().map(|gathered| std::mem::take(&mut *lock(gathered)));
        taken.filter(|bytes| !bytes.is_empty()).collect()
    }

    fn write(&self, bytes: Vec<u8>) {
        let (file, handle) = (Arc::clone(&self.file), self.handle.clone());
        let writing = self.writing.clone();
        self.writing.post(move |state, _| {
            if state.waiting.len() + bytes.len() > MOST_WAITING {
                state.left_out += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                return;
            }
            state.waiting.extend_from_slice(&bytes);
            go_on(state, &writing, &file, &handle);
        });
    }

    /// Writes everything that is left, after the last response. It blocks.
    pub(super) fn end(&self) {
        let left = self.gather().concat();
        if let Err(error) = self.file.write(&left) {
            tracing::error!("cannot write the access log: {error}");
        }
    }
}

/// Writes the waiting lines, unless a write is in progress.
fn go_on(state: &mut Writing, writing: &Colored<Writing>, file: &Arc<LogFile>, handle: &Handle) {
    if state.is_busy || state.waiting.is_empty() {
        return;
    }
    state.is_busy = true;
    let left_out = std::mem::take(&mut state.left_out);
    if left_out > 0 {
        tracing::warn!("the access log lost {left_out} lines: the disk is too slow");
    }
    let bytes = std::mem::take(&mut state.waiting);
    let (out, again, file, handle) =
        (Arc::clone(file), writing.clone(), Arc::clone(file), handle.clone());
    let color = writing.color().clone();
    handle.clone().offload_then(
        &color,
        move || out.write(&bytes),
        move |outcome, _: &mut Cx| {
            if let Ok(Err(error)) = outcome {
                tracing::error!("cannot write the access log: {error}");
            }
            let (inner, file, handle) = (again.clone(), file, handle);
            again.post(move |state, _| {
                state.is_busy = false;
                go_on(state, &inner, &file, &handle);
            });
        },
    );
}

fn lock(gathered: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The prefix of an escaped byte in Apache's format; two hexadecimal digits follow.
const IN_TEXT: &str = "\\x";

/// The prefix of an escaped byte in JSON; two hexadecimal digits follow.
const IN_JSON: &str = "\\u00";

/// Appends a text. A byte that could end a field, or control a terminal, is escaped.
fn escape(line: &mut Vec<u8>, text: &[u8], begin: &str) {
    for byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => line.push(*byte),
            _ => {
                let _ = write!(line, "{begin}{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format) -> String {
        let folder = tempfile::tempdir().unwrap();
        let rt = dapple::Runtime::new().unwrap();
        let path = folder.path().join("log");
        let log = Log::open(&path, format, &rt.handle()).unwrap();
        let asked = log.asked(&Facts {
            peer: Some("::ffff:1.2.3.4".parse().unwrap()),
            line: b"GET /a\"b HTTP/1.1",
            referer: None,
            agent: Some(b"x\n\xff\\"),
        });
        log.answered(*asked, 200, 10);
        log.end();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1);
        text
    }

    #[test]
    fn lines_are_as_tools_know_them_and_nobody_writes_into_them() {
        let common = line(Format::Common);
        assert!(common.starts_with("1.2.3.4 - - ["), "{common}");
        assert!(common.ends_with(" +0000] \"GET /a\\\"b HTTP/1.1\" 200 10\n"), "{common}");
        let combined = line(Format::Combined);
        assert!(combined.ends_with("\" 200 10 \"-\" \"x\\x0a\\xff\\\\\"\n"), "{combined}");
        let json = line(Format::Json);
        assert!(json.starts_with("{\"time\":\"2") && json.contains("\"remote\":\"1.2.3.4\""));
        let end = "\"target\":\"/a\\\"b\",\"version\":\"HTTP/1.1\",\"status\":200,\"bytes\":10,\
                   \"referer\":\"\",\"agent\":\"x\\u000a\\u00ff\\\\\"}\n";
        assert!(json.ends_with(end), "{json}");
    }
}
