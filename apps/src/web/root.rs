//! The folder that is served: opens what is below it, and nothing else.
//!
//! The kernel resolves every path with `openat2` and `RESOLVE_BENEATH`, so no `..`, no absolute
//! symbolic link and no race between a check and an opening leads out. Where the kernel does not
//! have it (Linux before 5.6, some sandboxes), the real path of what was opened is compared
//! instead.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::common::version::Version;

/// See the module.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    /// Without links, for the comparison of real paths.
    real: PathBuf,
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    File(File, Version),
    Folder,
    /// Neither: a socket, a device.
    Other,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Root {
    pub(super) fn open(folder: &Path) -> io::Result<Root> {
        let real = folder.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, &real, flags, Mode::empty())?;
        Ok(Root { folder, real })
    }

    /// Opens a path below the folder.
    pub(super) fn find(&self, relative: &[u8]) -> io::Result<Found> {
        Self::examine(self.open_beneath(path(relative), ResolveFlags::empty())?)
    }

    /// Finds a file if no disk has to be read for that; otherwise the error is `WouldBlock`.
    pub(super) fn find_cached(&self, relative: &[u8]) -> io::Result<Found> {
        let relative = path(relative);
        match self.open_beneath(relative, ResolveFlags::CACHED) {
            // Linux before 5.12 does not know the flag.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Self::examine(self.open_beneath(relative, ResolveFlags::empty())?)
            }
            found => Self::examine(found?),
        }
    }

    fn examine(file: File) -> io::Result<Found> {
        let stat = rustix::fs::fstat(&file)?;
        Ok(match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => Found::File(file, Version::of(&stat)),
            rustix::fs::FileType::Directory => Found::Folder,
            _ => Found::Other,
        })
    }

    /// The version of the file that a path names now.
    pub(super) fn version(&self, relative: &[u8]) -> io::Result<Version> {
        if let Some(version) = Version::without_links(self.folder.as_fd(), relative)? {
            return Ok(version);
        }
        // Where the link leads has to be found out again.
        match self.find(relative)? {
            Found::File(_, version) => Ok(version),
            Found::Folder | Found::Other => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_beneath(&self, relative: &Path, how: ResolveFlags) -> io::Result<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | how;
        let folder = self.folder.as_fd();
        // The kernel gives up when something is renamed while it follows a `..` of a link.
        let attempt = || rustix::fs::openat2(folder, relative, FLAGS, Mode::empty(), resolve);
        let mut found = attempt();
        for _ in 0..16 {
            if how.contains(ResolveFlags::CACHED) || found.as_ref().err() != Some(&Errno::AGAIN) {
                break;
            }
            found = attempt();
        }
        match found {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::XDEV) => Err(io::ErrorKind::NotFound.into()),
            Err(Errno::NOSYS | Errno::PERM) => self.open_and_compare(relative),
            Err(error) => Err(error.into()),
        }
    }

    fn open_and_compare(&self, relative: &Path) -> io::Result<File> {
        use std::os::fd::AsRawFd;
        let fd = rustix::fs::openat(&self.folder, relative, FLAGS, Mode::empty())?;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        match real.starts_with(&self.real) {
            true => Ok(fd.into()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.real.display().fmt(f)
    }
}

fn path(relative: &[u8]) -> &Path {
    match relative {
        b"" => Path::new("."),
        bytes => Path::new(std::ffi::OsStr::from_bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let folder = outside.path().join("root");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("sub/in"), "y").unwrap();
        symlink("../secret", folder.join("up")).unwrap();
        symlink(outside.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("..", folder.join("sub/parent")).unwrap();
        symlink("sub/in", folder.join("inside")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let root = Root::open(&folder).unwrap();
        for bad in ["up", "absolute", "sub/parent/../secret", "../secret", "/etc/passwd", "loop"] {
            assert!(root.find(bad.as_bytes()).is_err(), "{bad}");
            let compared = root.open_and_compare(Path::new(bad));
            assert!(compared.is_err(), "{bad} by comparison");
        }
        for good in ["sub/in", "inside", "sub/parent/sub/in"] {
            assert!(matches!(root.find(good.as_bytes()), Ok(Found::File(..))), "{good}");
            assert!(root.open_and_compare(Path::new(good)).is_ok(), "{good} by comparison");
        }
        assert!(matches!(root.find(b""), Ok(Found::Folder)));
        assert!(matches!(root.find(b"sub"), Ok(Found::Folder)));
    }

    /// What was opened before and is kept is not served by a way that leads out now.
    #[test]
    fn a_folder_that_was_moved_out_has_no_versions() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("root");
        std::fs::create_dir_all(folder.join("sub/deep")).unwrap();
        std::fs::write(folder.join("sub/deep/f"), "y").unwrap();
        symlink("sub/deep", folder.join("inside")).unwrap();
        let root = Root::open(&folder).unwrap();
        let version = root.version(b"sub/deep/f").unwrap();
        assert_eq!(root.version(b"inside/f").unwrap(), version);
        std::fs::rename(folder.join("sub"), outside.path().join("moved")).unwrap();
        assert!(root.version(b"sub/deep/f").is_err());
        symlink("../moved", folder.join("sub")).unwrap();
        assert!(root.version(b"sub/deep/f").is_err() && root.version(b"inside/f").is_err());
    }

    #[test]
    fn a_replaced_file_has_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("f"), "aaa").unwrap();
        let one = root.version(b"f").unwrap();
        assert_eq!(root.version(b"f").unwrap(), one);
        std::fs::write(folder.path().join("g"), "bbb").unwrap();
        std::fs::rename(folder.path().join("g"), folder.path().join("f")).unwrap();
        assert_ne!(root.version(b"f").unwrap(), one, "same second, same size");
    }
}
