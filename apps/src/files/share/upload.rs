//! Files that are being written. A file grows in a hidden place, and takes its place with one
//! rename, so a reader sees the old file or the new one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};

use super::checksum::{self, Checksum, Hasher};
use super::location::Location;
use super::{Found, Kind, Mount, Share, fresh_name, hidden_name, look_at};
use crate::common::date;
use dapple::clock;

/// The number of free bytes that an upload may not reserve, at most.
const MARGIN: u64 = 64 * 1024 * 1024;

/// A file that is being written. If it is dropped before it has taken its place, it is removed.
#[derive(Debug)]
pub(in crate::files) struct Upload {
    file: File,
    folder: Arc<OwnedFd>,
    name: OsString,
    placed: bool,
    /// The checksum of the contents, if the client has announced one.
    hasher: Option<Box<Hasher>>,
}

impl Share {
    /// Begins a file for a location.
    pub(in crate::files) fn begin_upload(&self, at: &Location<'_>) -> io::Result<Upload> {
        let (folder, name) = self.hidden_place(at)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let file = File::from(rustix::fs::openat(&folder, &name, flags, mode)?);
        Ok(Upload { file, folder, name, placed: false, hasher: None })
    }

    /// Returns a hidden place from which a file or folder can be renamed to `at`: in the corner, if
    /// that is on the same file system, and otherwise in the same folder under a name of the
    /// server's own.
    pub(super) fn hidden_place(&self, at: &Location<'_>) -> io::Result<(Arc<OwnedFd>, OsString)> {
        if Mount::of(&at.folder)? == self.mount {
            return Ok((Arc::clone(&self.uploads), fresh_name().into()));
        }
        self.has_mounts.store(true, Ordering::Relaxed);
        Ok((Arc::new(at.folder.try_clone()?), hidden_name()))
    }

    /// Moves a file to its place, where it replaces `old`, the file that the caller has found
    /// there.
    ///
    /// # Errors
    ///
    /// Returns `AlreadyExists` if `old` is `None` and something exists there, or if `old` is set
    /// and something that is not a file exists there.
    pub(in crate::files) fn finish_upload(
        &self,
        mut upload: Upload,
        at: &Location<'_>,
        old: Option<&Found>,
    ) -> io::Result<Found> {
        if let Some(old) = old {
            // The new file keeps the permissions of the old one.
            let mode = Mode::from_raw_mode(old.mode & 0o777);
            rustix::fs::fchmod(&upload.file, mode)?;
        }
        // A file in the corner of a file system in memory has no disk to be flushed to.
        let has_disk = !self.in_memory || !Arc::ptr_eq(&upload.folder, &self.uploads);
        if has_disk {
            self.sync(&upload.file)?;
        }
        let Location { folder, name } = at;
        if old.is_some() {
            let now = look_at(folder.as_fd(), name)?;
            if now.is_some_and(|now| now.kind != Kind::File) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            rustix::fs::renameat(&upload.folder, &upload.name, folder, *name)?;
        } else {
            rename_to_nothing(&upload.folder, &upload.name, folder, name)?;
        }
        upload.placed = true;
        if has_disk {
            self.sync_done(folder);
        }
        Ok(Found::of(&rustix::fs::fstat(&upload.file)?))
    }
}

/// Renames, if nothing has the new name.
pub(super) fn rename_to_nothing(
    from: impl AsFd,
    name: &std::ffi::OsStr,
    to: impl AsFd,
    new: &std::ffi::OsStr,
) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        // The file system cannot do it atomically. The check is nearly as good, because all changes
        // through the server have claims.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if look_at(to.as_fd(), new)?.is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(rustix::fs::renameat(from, name, to, new)?)
        }
        other => Ok(other?),
    }
}

impl Upload {
    /// Sets the checksum that the contents must have. It must be called before the first
    /// [`write`](Self::write).
    pub(in crate::files) fn expect(&mut self, checksum: Option<Checksum>) {
        self.hasher = checksum.map(Hasher::new).map(Box::new);
    }

    /// Returns `true` if the contents have the expected checksum, and stores it. It is called after
    /// all writes, and after the file's attributes were set, because they are stored with the
    /// checksum.
    pub(in crate::files) fn is_as_expected(&mut self) -> io::Result<bool> {
        let Some(hasher) = self.hasher.take() else { return Ok(true) };
        let Some(sha1) = hasher.finish() else { return Ok(false) };
        let found = Found::of(&rustix::fs::fstat(&self.file)?);
        checksum::keep(&self.file, &found, &sha1);
        Ok(true)
    }

    /// Appends the pieces to the file.
    pub(in crate::files) fn write(&mut self, pieces: &[bytes::Bytes]) -> io::Result<()> {
        if let Some(hasher) = &mut self.hasher {
            pieces.iter().for_each(|piece| hasher.update(piece));
        }
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match self.file.write_vectored(&rest[..rest.len().min(64)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut rest, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reserves room for this number of bytes, so that a full disk is reported before they arrive.
    pub(in crate::files) fn reserve(&self, bytes: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        use rustix::io::Errno;
        // The last bytes of a disk are not reserved, because other programs depend on them.
        let room = rustix::fs::fstatvfs(&self.file)?;
        let margin = (room.f_blocks.saturating_mul(room.f_frsize) / 64).min(MARGIN);
        // Some file systems do not report their size.
        if room.f_blocks > 0
            && room.f_bavail.saturating_mul(room.f_frsize) < bytes.saturating_add(margin)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            // The file system cannot reserve room.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the time of modification. Returns `false` if the file system cannot represent it.
    pub(in crate::files) fn set_modified(&self, time: SystemTime) -> bool {
        let set = self.file.set_modified(time).and_then(|()| self.file.metadata()?.modified());
        let is_set = set.is_ok_and(|set| date::seconds(set) == date::seconds(time));
        if !is_set {
            // The current time is better than one that is neither the requested nor the real one.
            let _ = self.file.set_modified(clock::wall());
        }
        is_set
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())
        {
            tracing::warn!(%error, "an unfinished file remains until the next start");
        }
    }
}

/// Sets the modification time of a copy to that of its original.
pub(super) fn keep_modified(file: impl AsFd, like: &Found) -> io::Result<()> {
    use rustix::fs::UTIME_OMIT;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: timespec(like.version.modified) };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Converts nanoseconds since 1970 to the system's form.
pub(super) fn timespec(nanos: i128) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0),
        tv_nsec: (nanos.rem_euclid(1_000_000_000)) as _,
    }
}
