//! The folder that is served: opens what is below it, and nothing else.
//!
//! The kernel resolves every path with `openat2` and `RESOLVE_BENEATH`. So no `..`, no absolute
//! symbolic link and no race between a check and an open leads out of the folder. If the kernel
//! does not have it (Linux before 5.6, some sandboxes), the real path of the opened file is
//! compared instead.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::common::date;
use crate::common::listing::Member;
use crate::common::version::Version;

/// The folder that is served; see the module.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    /// The path of the folder without symbolic links, for the comparison of real paths.
    real: PathBuf,
    reach: Reach,
    /// The name of the only file that is served, if `DIR` is a file.
    only: Option<Box<[u8]>>,
}

/// The parts of the folder that are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Whether names that begin with a dot are served, too. `.well-known` always is (RFC 8615).
    pub(super) has_hidden: bool,
    /// Whether symbolic links may lead out of the folder.
    pub(super) leads_out: bool,
}

/// The members of a folder.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) all: Vec<Member>,
    /// Whether there are more members than were read.
    pub(super) has_more: bool,
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    File(File, Version),
    Folder,
    /// Something else, such as a socket or a device.
    Other,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Root {
    /// Opens a folder; if `served` is a file, only this file is served.
    pub(super) fn open(served: &Path, reach: Reach) -> io::Result<Root> {
        let mut real = served.canonicalize()?;
        let mut only = None;
        if !real.is_dir() {
            only = real.file_name().map(|name| name.as_bytes().into());
            real.pop();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, &real, flags, Mode::empty())?;
        Ok(Root { folder, real, reach, only })
    }

    /// Returns the name of the file that is served for a folder.
    pub(super) fn index(&self) -> &[u8] {
        self.only.as_deref().unwrap_or(b"index.html")
    }

    /// Returns `true` if a path may be served, whether or not it exists.
    pub(super) fn serves(&self, relative: &[u8]) -> bool {
        if let Some(only) = &self.only {
            return relative == &**only;
        }
        let is_hidden = |name: &[u8]| name.starts_with(b".") && name != b".well-known";
        self.reach.has_hidden || !relative.split(|byte| *byte == b'/').any(is_hidden)
    }

    /// Returns at most `most` of the folder's members that may be served, in no order. It may
    /// block.
    pub(super) fn members(&self, relative: &[u8], most: usize) -> io::Result<Members> {
        let folder = self.open_beneath(path(relative), ResolveFlags::empty())?;
        let mut members = Members { all: Vec::new(), has_more: false };
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || !self.serves(name) {
                continue;
            }
            if members.all.len() == most {
                members.has_more = true;
                break;
            }
            // A member that is gone by now, or a link that leads nowhere, is left out.
            members.all.extend(self.member(folder.as_fd(), relative, name).ok().flatten());
        }
        Ok(members)
    }

    /// Returns what a listing shows of a member of an open folder; `relative` is the folder's path.
    fn member(
        &self,
        folder: BorrowedFd<'_>,
        relative: &[u8],
        name: &[u8],
    ) -> io::Result<Option<Member>> {
        let file_name = Path::new(std::ffi::OsStr::from_bytes(name));
        let mut stat = rustix::fs::statat(folder, file_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if is_link {
            let whole = [relative, name].join(&b"/"[..]);
            let whole = whole.strip_prefix(b"/").unwrap_or(&whole);
            stat = rustix::fs::fstat(self.open_beneath(path(whole), ResolveFlags::empty())?)?;
        }
        let is_folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::Directory => true,
            _ => return Ok(None),
        };
        let version = Version::of(&stat);
        let modified = date::seconds(version.modified_time());
        Ok(Some(Member {
            name: name.into(),
            is_folder,
            is_link,
            is_executable: stat.st_mode & 0o111 != 0,
            size: version.size,
            modified,
        }))
    }

    /// Opens the file at a path below the folder.
    pub(super) fn find(&self, relative: &[u8]) -> io::Result<Found> {
        Self::examine(self.open_beneath(path(relative), ResolveFlags::empty())?)
    }

    /// Opens the file at a path without reading the disk. Returns `WouldBlock` if the answer is not
    /// in memory.
    pub(super) fn find_cached(&self, relative: &[u8]) -> io::Result<Found> {
        let relative = path(relative);
        match self.open_beneath(relative, ResolveFlags::CACHED) {
            // Linux before 5.12 does not have the flag.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Self::examine(self.open_beneath(relative, ResolveFlags::empty())?)
            }
            found => Self::examine(found?),
        }
    }

    fn examine(file: File) -> io::Result<Found> {
        let stat = rustix::fs::fstat(&file)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File(file, Version::of(&stat)),
            FileType::Directory => Found::Folder,
            _ => Found::Other,
        })
    }

    /// Returns the version of the file that a path names now.
    pub(super) fn version(&self, relative: &[u8]) -> io::Result<Version> {
        if let Some(version) = Version::without_links(self.folder.as_fd(), relative)? {
            return Ok(version);
        }
        // The path has a link, which must be resolved again.
        match self.find(relative)? {
            Found::File(_, version) => Ok(version),
            Found::Folder | Found::Other => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_beneath(&self, relative: &Path, how: ResolveFlags) -> io::Result<File> {
        let beneath = match self.reach.leads_out {
            true => ResolveFlags::empty(),
            false => ResolveFlags::BENEATH,
        };
        let resolve = beneath | ResolveFlags::NO_MAGICLINKS | how;
        let folder = self.folder.as_fd();
        // The kernel returns EAGAIN if something is renamed while it follows a `..` of a link.
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
        match self.reach.leads_out || real.starts_with(&self.real) {
            true => Ok(fd.into()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.only {
            None => self.real.display().fmt(f),
            Some(only) => path(only).to_path_buf().display().fmt(f),
        }
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
        let root = Root::open(&folder, Reach::default()).unwrap();
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

    /// A file that was cached before is not served by a path that now leads out of the folder.
    #[test]
    fn a_folder_that_was_moved_out_has_no_versions() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("root");
        std::fs::create_dir_all(folder.join("sub/deep")).unwrap();
        std::fs::write(folder.join("sub/deep/f"), "y").unwrap();
        symlink("sub/deep", folder.join("inside")).unwrap();
        let root = Root::open(&folder, Reach::default()).unwrap();
        let version = root.version(b"sub/deep/f").unwrap();
        assert_eq!(root.version(b"inside/f").unwrap(), version);
        std::fs::rename(folder.join("sub"), outside.path().join("moved")).unwrap();
        assert!(root.version(b"sub/deep/f").is_err());
        symlink("../moved", folder.join("sub")).unwrap();
        assert!(root.version(b"sub/deep/f").is_err() && root.version(b"inside/f").is_err());
    }

    #[test]
    fn links_lead_out_only_if_that_is_asked_for() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let folder = outside.path().join("root");
        std::fs::create_dir(&folder).unwrap();
        symlink("../secret", folder.join("up")).unwrap();
        symlink("nowhere", folder.join("broken")).unwrap();
        let root = Root::open(&folder, Reach { leads_out: true, ..Reach::default() }).unwrap();
        assert!(matches!(root.find(b"up"), Ok(Found::File(..))) && root.version(b"up").is_ok());
        assert!(root.open_and_compare(Path::new("up")).is_ok());
        assert_eq!(root.members(b"", 10).unwrap().all.len(), 1);
        let root = Root::open(&folder, Reach::default()).unwrap();
        assert_eq!(root.members(b"", 10).unwrap().all.len(), 0, "neither the one nor the other");
    }

    #[test]
    fn what_begins_with_a_dot_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".git")).unwrap();
        std::fs::create_dir_all(folder.path().join(".well-known")).unwrap();
        std::fs::write(folder.path().join("...x"), "y").unwrap();
        std::fs::write(folder.path().join("x.y"), "y").unwrap();
        let root = Root::open(folder.path(), Reach::default()).unwrap();
        for hidden in [&b".git"[..], b".git/config", b"a/.b/c", b"...x", b"a/.env"] {
            assert!(!root.serves(hidden));
        }
        for served in [&b""[..], b"x.y", b".well-known", b".well-known/acme-challenge/x", b"a/b."] {
            assert!(root.serves(served));
        }
        assert_eq!(root.members(b"", 10).unwrap().all.len(), 2);
        let reach = Reach { has_hidden: true, ..Reach::default() };
        let root = Root::open(folder.path(), reach).unwrap();
        assert!(root.serves(b".git/config") && root.members(b"", 10).unwrap().all.len() == 4);
    }

    #[test]
    fn members_have_sizes_and_times_and_links_those_of_their_targets() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sub/deep")).unwrap();
        std::fs::write(folder.path().join("sub/f"), "12345").unwrap();
        symlink("f", folder.path().join("sub/link")).unwrap();
        symlink("deep", folder.path().join("sub/way")).unwrap();
        let root = Root::open(folder.path(), Reach::default()).unwrap();
        let mut members = root.members(b"sub", 10).unwrap().all;
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let told: Vec<_> = members.iter().map(|m| (&*m.name, m.is_folder)).collect();
        let expected = [(&b"deep"[..], true), (b"f", false), (b"link", false), (b"way", true)];
        assert_eq!(told, expected);
        assert_eq!((members[1].size, members[2].size), (5, 5));
        assert!(members[2].modified > 1_700_000_000);
        let some = root.members(b"sub", 3).unwrap();
        assert!(some.all.len() == 3 && some.has_more && !root.members(b"sub", 4).unwrap().has_more);
        assert!(root.members(b"sub/f", 10).is_err() && root.members(b"nothing", 10).is_err());
    }

    #[test]
    fn a_replaced_file_has_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), Reach::default()).unwrap();
        std::fs::write(folder.path().join("f"), "aaa").unwrap();
        let one = root.version(b"f").unwrap();
        assert_eq!(root.version(b"f").unwrap(), one);
        std::fs::write(folder.path().join("g"), "bbb").unwrap();
        std::fs::rename(folder.path().join("g"), folder.path().join("f")).unwrap();
        assert_ne!(root.version(b"f").unwrap(), one, "same second, same size");
    }
}
