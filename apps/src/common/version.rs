//! Versions of files.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Stat};

use super::date;

/// The figures that distinguish two versions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) device: u64,
    inode: u64,
    pub(crate) size: u64,
    /// The time of the last modification, in nanoseconds since 1970.
    pub(crate) modified: i128,
    /// The time of the last change of contents or attributes, in nanoseconds since 1970.
    pub(crate) changed: i128,
}

impl Version {
    pub(crate) fn of(stat: &Stat) -> Version {
        let nanos = |s: i64, n: u64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Version {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Returns the current version of the file at a path below a folder, or `None` if the path
    /// contains a symbolic link.
    ///
    /// It is for comparison with the version of a file that was opened. It costs less than opening
    /// does.
    pub(crate) fn without_links(
        folder: BorrowedFd<'_>,
        path: &[u8],
    ) -> io::Result<Option<Version>> {
        let look = |path| rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if is_link(&look(&path[..end])?) {
                return Ok(None);
            }
        }
        let stat = look(path)?;
        Ok((!is_link(&stat)).then(|| Version::of(&stat)))
    }

    /// Returns a text that no other version of the file has.
    pub(crate) fn tag(&self) -> String {
        format!("{:x}-{:x}-{:x}-{:x}", self.modified, self.changed, self.size, self.inode)
    }

    /// Returns the time of the modification in whole seconds, as HTTP dates have it.
    pub(crate) fn modified_time(&self) -> SystemTime {
        let seconds = self.modified.div_euclid(1_000_000_000);
        date::of_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// Returns this version with another size, for a file that changed while it was read.
    pub(crate) fn with_size(self, size: u64) -> Version {
        Version { size, ..self }
    }

    /// Returns the version of a file that is part of the program.
    pub(crate) fn built_in(started: SystemTime, size: u64) -> Version {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = since.as_nanos() as i128;
        Version { device: 0, inode: 0, size, modified, changed: modified }
    }

    /// Returns `true` if the file has not been touched for so long that a further change cannot
    /// have the same times.
    ///
    /// Kernels before 6.13 take file times from a clock that ticks about 100 times a second. Some
    /// file systems keep only whole seconds, or even seconds. So the limit is 50 ms, or 2.05 s if
    /// the times are whole seconds.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
        let is_whole = |time: i128| time.rem_euclid(1_000_000_000) == 0;
        let is_coarse = is_whole(self.changed) && is_whole(self.modified);
        let longest = if is_coarse { 2_050_000_000 } else { 50_000_000 };
        now - self.changed.max(self.modified) > longest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_just_touched_is_not_settled() {
        let seconds = 1_000_000_000;
        let version = |modified, changed| {
            let at = |nanos: i128| 1_000 * seconds + nanos;
            let (modified, changed) = (at(modified), at(changed));
            Version { modified, changed, ..Version::built_in(UNIX_EPOCH, 1) }
        };
        let is_settled = |version: Version, millis| {
            version
                .is_settled(UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(millis))
        };
        assert!(!is_settled(version(1, 1), 40) && is_settled(version(1, 1), 60));
        assert!(!is_settled(version(0, 100_000_001), 140), "the later time counts");
        // These times are whole seconds, so the file system may know no others.
        assert!(!is_settled(version(0, 0), 2_000) && is_settled(version(0, 0), 2_100));
        assert!(is_settled(version(0, 1), 60), "one of them is not");
    }
}
