//! The attributes of a file that a client may set: times, and whether the file is executable.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT};

use super::checksum::{self, Checksum};
use super::upload::timespec;
use super::{Found, How, Share};
use crate::common::date;
use crate::files::path::DavPath;

/// The permission bits of a mode, with the setuid, setgid and sticky bits.
const PERMISSIONS: u32 = 0o7777;

/// The attributes to set. Those that are `None` stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::files) struct Attributes {
    pub(in crate::files) modified: Option<SystemTime>,
    pub(in crate::files) accessed: Option<SystemTime>,
    pub(in crate::files) executable: Option<bool>,
    /// The checksum that the contents must have. If they have another one, nothing is set.
    pub(in crate::files) checksum: Option<Checksum>,
}

/// The previous attributes, from which the change can be undone.
#[derive(Debug)]
pub(in crate::files) struct Before {
    file: File,
    found: Found,
    sha1: Option<[u8; 20]>,
    /// The attributes that have been set.
    has_mode: bool,
    has_times: bool,
}

impl Share {
    /// Sets attributes, all or none. Returns `None` if the file has another checksum, or cannot
    /// have these attributes.
    pub(in crate::files) fn set_attributes(
        &self,
        path: &DavPath,
        wanted: &Attributes,
    ) -> io::Result<Option<Before>> {
        let (file, found) = self.open_file(path, How::Blocking)?;
        let kept = checksum::kept(&file, &found);
        let sha1 = match &wanted.checksum {
            Some(Checksum::Sha1(expected)) if Some(*expected) == kept => kept,
            Some(expected) => match checksum::verify(&file, expected.clone())? {
                None => return Ok(None),
                sha1 => sha1,
            },
            None => kept,
        };
        let mut before = Before { file, found, sha1: kept, has_mode: false, has_times: false };
        match before.set(wanted).and_then(|()| before.has(wanted)) {
            Ok(true) => {}
            failed => {
                before.restore();
                return failed.map(|_| None);
            }
        }
        // The checksum is stored with the file's version, so it is written last.
        if let Some(sha1) = sha1 {
            checksum::keep(&before.file, &look(&before.file)?, &sha1);
        }
        Ok(Some(before))
    }

    /// Returns the checksum that is stored with a file.
    pub(in crate::files) fn checksum(&self, path: &DavPath) -> io::Result<Option<[u8; 20]>> {
        let (file, found) = self.open_file(path, How::Blocking)?;
        Ok(checksum::kept(&file, &found))
    }
}

impl Before {
    fn set(&mut self, wanted: &Attributes) -> io::Result<()> {
        if let Some(executable) = wanted.executable {
            let mode = self.found.mode & PERMISSIONS;
            // Users who may read the file may execute it.
            let bits = (mode & 0o444) >> 2;
            let mode = if executable { mode | bits } else { mode & !0o111 };
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
            self.has_mode = true;
        }
        if wanted.modified.is_some() || wanted.accessed.is_some() {
            let spec = |time: Option<SystemTime>| match time {
                Some(time) => Timespec { tv_sec: date::seconds(time), tv_nsec: 0 },
                None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            };
            let (last_access, last_modification) = (spec(wanted.accessed), spec(wanted.modified));
            rustix::fs::futimens(&self.file, &Timestamps { last_access, last_modification })?;
            self.has_times = true;
        }
        Ok(())
    }

    /// Returns `true` if the file has the attributes now. A file system may support fewer years
    /// than HTTP.
    fn has(&self, wanted: &Attributes) -> io::Result<bool> {
        let now = look(&self.file)?;
        let is = |wanted: Option<SystemTime>, time| wanted.is_none_or(|wanted| wanted == time);
        Ok(is(wanted.modified, now.version.modified_time())
            && is(wanted.accessed, now.accessed_time())
            && wanted.executable.is_none_or(|wanted| wanted == now.is_executable()))
    }

    /// Restores the previous attributes.
    pub(in crate::files) fn restore(&self) {
        let restore = || {
            if self.has_mode {
                let mode = Mode::from_raw_mode(self.found.mode & PERMISSIONS);
                rustix::fs::fchmod(&self.file, mode)?;
            }
            if self.has_times {
                let last_access = timespec(self.found.accessed);
                let last_modification = timespec(self.found.version.modified);
                let times = Timestamps { last_access, last_modification };
                rustix::fs::futimens(&self.file, &times)?;
            }
            if let Some(sha1) = &self.sha1 {
                checksum::keep(&self.file, &self.found, sha1);
            }
            Ok::<_, io::Error>(())
        };
        if let Err(error) = restore() {
            tracing::error!(%error, "the attributes of a file were only partly set");
        }
    }
}

fn look(file: &File) -> io::Result<Found> {
    Ok(Found::of(&rustix::fs::fstat(file)?))
}
