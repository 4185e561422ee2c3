//! What a client may set of a file beside its contents: times, and whether it can be executed.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT};

use super::checksum::{self, Checksum};
use super::{Found, How, Share};
use crate::common::date;
use crate::files::path::DavPath;

/// What is to be set; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::files) struct Attributes {
    pub(in crate::files) modified: Option<SystemTime>,
    pub(in crate::files) accessed: Option<SystemTime>,
    pub(in crate::files) executable: Option<bool>,
    /// The contents have this one, or nothing is set.
    pub(in crate::files) checksum: Option<Checksum>,
}

/// What there was before: for the way back.
#[derive(Debug)]
pub(in crate::files) struct Before {
    file: File,
    found: Found,
}

impl Share {
    /// Sets attributes, all or none. `None`: they are not what the file has, or can have.
    pub(in crate::files) fn set_attributes(
        &self,
        path: &DavPath,
        wanted: &Attributes,
    ) -> io::Result<Option<Before>> {
        let (file, found) = self.open_file(path, How::Blocking)?;
        let sha1 = match &wanted.checksum {
            None => checksum::kept(&file, &found),
            Some(expected) => match checksum::verify(&file, expected.clone())? {
                None => return Ok(None),
                sha1 => sha1,
            },
        };
        let before = Before { file, found };
        let set = before.set(wanted).and_then(|()| before.has(wanted));
        match set {
            Ok(true) => {}
            failed => {
                before.restore();
                return failed.map(|_| None);
            }
        }
        // It says as of which version it holds, so it is written last.
        if let Some(sha1) = sha1 {
            checksum::keep(&before.file, &look(&before.file)?, &sha1);
        }
        Ok(Some(before))
    }

    /// The checksum that is kept of a file.
    pub(in crate::files) fn checksum(&self, path: &DavPath) -> io::Result<Option<[u8; 20]>> {
        let (file, found) = self.open_file(path, How::Blocking)?;
        Ok(checksum::kept(&file, &found))
    }
}

impl Before {
    fn set(&self, wanted: &Attributes) -> io::Result<()> {
        if let Some(executable) = wanted.executable {
            let mode = self.found.mode & 0o777;
            // Who may read it may execute it.
            let bits = (mode & 0o444) >> 2;
            let mode = if executable { mode | bits } else { mode & !0o111 };
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        }
        if wanted.modified.is_some() || wanted.accessed.is_some() {
            let spec = |time: Option<SystemTime>| match time {
                Some(time) => Timespec { tv_sec: date::seconds(time), tv_nsec: 0 },
                None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            };
            let (last_access, last_modification) = (spec(wanted.accessed), spec(wanted.modified));
            rustix::fs::futimens(&self.file, &Timestamps { last_access, last_modification })?;
        }
        Ok(())
    }

    /// Does the file have them now? A file system may know fewer years than HTTP.
    fn has(&self, wanted: &Attributes) -> io::Result<bool> {
        let now = look(&self.file)?;
        let is = |wanted: Option<SystemTime>, time| wanted.is_none_or(|wanted| wanted == time);
        Ok(is(wanted.modified, now.version.modified_time())
            && is(wanted.accessed, now.accessed_time())
            && wanted.executable.is_none_or(|wanted| wanted == now.is_executable()))
    }

    /// All as it was.
    pub(in crate::files) fn restore(&self) {
        let mode = Mode::from_raw_mode(self.found.mode & 0o777);
        let restored = rustix::fs::fchmod(&self.file, mode)
            .map_err(io::Error::from)
            .and_then(|()| super::upload::keep_modified(&self.file, &self.found));
        if let Err(error) = restored {
            tracing::error!(%error, "attributes of a file are left half set");
        }
    }
}

fn look(file: &File) -> io::Result<Found> {
    Ok(Found::of(&rustix::fs::fstat(file)?))
}
