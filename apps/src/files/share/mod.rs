//! The folder that is served: only what is below it can be read and changed.
//!
//! * [`mod@self`]: looking, opening, and the server's own corner,
//!   [`PRIVATE`](super::path::PRIVATE).
//! * [`location`]: an open folder and a name in it.
//! * [`upload`]: files that are being written.
//! * [`checksum`]: checksums of contents.
//! * [`attributes`]: times and rights that clients set.
//! * [`walk`]: the members of folders.
//! * [`change`]: creating, moving, replacing, deleting.
//! * [`copy`]: copies of files and folders.
//! * [`remove`]: the removal of deleted data.
//!
//! Symbolic links are neither followed nor shown. The kernel resolves every path with `openat2` and
//! `RESOLVE_NO_SYMLINKS`, so no path leads out of the folder, even if something is renamed at the
//! same time. Where `openat2` is missing (Linux before 5.6, some sandboxes), a path is opened
//! component by component, each with `O_NOFOLLOW`.
//!
//! All of this blocks, so it runs on the blocking pool. Exceptions are reads with [`How::Cached`],
//! and small changes where the file system answers at once.

pub(super) mod attributes;
pub(super) mod change;
pub(super) mod checksum;
pub(super) mod copy;
mod location;
pub(super) mod remove;
pub(super) mod upload;
pub(super) mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat, StatxFlags,
};
use rustix::io::Errno;

pub(super) use self::location::Location;
use self::remove::Trash;
use super::path::{DavPath, PRIVATE};
use crate::common::version::Version;
use crate::common::{cached, date};
use dapple::clock;

/// A folder that is served. See the module.
#[derive(Debug)]
pub(super) struct Share {
    root: OwnedFd,
    /// The path of the folder, without symbolic links.
    real: PathBuf,
    /// The folders for unfinished and for deleted data, in the server's own corner.
    uploads: Arc<OwnedFd>,
    trash: Arc<OwnedFd>,
    /// The lock by which only one server serves the folder. `None` means that nothing in the folder
    /// can be changed.
    lock: Option<File>,
    /// The mount of the folder.
    mount: Mount,
    /// Whether the file system of the folder keeps everything in memory.
    in_memory: bool,
    /// Whether something was put on another file system, which is mounted below the folder.
    has_mounts: AtomicBool,
    /// The inode of the corner, if it can have other names, too, because the file system ignores
    /// case or shortens names.
    corner_by_inode: Option<u64>,
    /// Whether written data has to be on the disk before it is acknowledged.
    sync: bool,
}

/// The kind of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link, a device or a socket, which is neither shown nor overwritten.
    Hidden,
}

/// A resource as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) inode: u64,
    /// The number of hard links.
    links: u64,
    mode: u32,
    /// The time of the last access, in nanoseconds since 1970.
    accessed: i128,
}

impl Found {
    fn of(stat: &Stat) -> Found {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            _ => Kind::Hidden,
        };
        Found {
            kind,
            version: Version::of(stat),
            inode: stat.st_ino,
            links: stat.st_nlink,
            mode: stat.st_mode,
            accessed: i128::from(stat.st_atime) * 1_000_000_000 + i128::from(stat.st_atime_nsec),
        }
    }

    /// Returns `true` if both are the same file or folder, even under different names.
    pub(super) fn is_same_as(&self, other: &Found) -> bool {
        self.inode == other.inode && self.version.device == other.version.device
    }

    pub(super) fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    pub(super) fn accessed_time(&self) -> SystemTime {
        let seconds = self.accessed.div_euclid(1_000_000_000);
        date::of_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Returns the entity tag with its quotes. That of a folder changes when its list of members
    /// changes.
    pub(super) fn etag(&self) -> String {
        format!("\"{}\"", self.version.tag())
    }
}

/// Whether a disk may be read. If not, and a read would be necessary, the error is `WouldBlock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Cached,
    Blocking,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Share {
    /// Opens the folder, and creates the server's corner in it.
    ///
    /// # Errors
    ///
    /// Returns `ResourceBusy` if another server serves the folder, or the error of a system call.
    pub(super) fn open(folder: &Path, sync: bool) -> io::Result<Share> {
        let real = folder.canonicalize()?;
        let root = rustix::fs::openat(CWD, &real, FOLDER, Mode::empty())?;
        match Share::open_writable(root.try_clone()?, real.clone(), sync) {
            Err(error) if is_read_only(&error) => Share::open_read_only(root, real),
            opened => opened,
        }
    }

    fn open_writable(root: OwnedFd, real: PathBuf, sync: bool) -> io::Result<Share> {
        let private = make_folder(&root, OsStr::from_bytes(PRIVATE))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock =
            File::from(rustix::fs::openat(&private, "lock", flags, Mode::RUSR | Mode::WUSR)?);
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::ResourceBusy.into()),
            // The file system has no locks.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => {}
            Err(error) => return Err(error.into()),
        }
        let uploads = Arc::new(make_folder(&private, OsStr::new("uploads"))?);
        let trash = Arc::new(make_folder(&private, OsStr::new("trash"))?);
        let corner_by_inode = corner_by_inode(&root)?;
        let (mount, in_memory) = (Mount::of(&root)?, cached::is_in_memory(&root));
        Ok(Share {
            root,
            real,
            uploads,
            trash,
            lock: Some(lock),
            mount,
            in_memory,
            has_mounts: AtomicBool::new(false),
            corner_by_inode,
            sync,
        })
    }

    /// Opens a folder in which nothing can be created, not even the server's corner.
    fn open_read_only(root: OwnedFd, real: PathBuf) -> io::Result<Share> {
        let nowhere = Arc::new(root.try_clone()?);
        let corner_by_inode = corner_by_inode(&root)?;
        let (mount, in_memory) = (Mount::of(&root)?, cached::is_in_memory(&root));
        Ok(Share {
            root,
            real,
            uploads: Arc::clone(&nowhere),
            trash: nowhere,
            lock: None,
            mount,
            in_memory,
            has_mounts: AtomicBool::new(false),
            corner_by_inode,
            sync: false,
        })
    }

    /// Returns `true` if nothing in the folder can be changed.
    pub(super) fn is_read_only(&self) -> bool {
        self.lock.is_none()
    }

    /// Returns the path of the server's corner, for files of its own.
    pub(super) fn corner(&self) -> PathBuf {
        self.real.join(OsStr::from_bytes(PRIVATE))
    }

    /// Returns the data that a server which was killed has left in the corner. What was put aside
    /// is included only if `put_aside` is set.
    pub(super) fn leftovers(&self, put_aside: bool) -> io::Result<Vec<Trash>> {
        let mut all = Vec::new();
        let trash = put_aside.then_some(&self.trash);
        for folder in [&self.uploads].into_iter().chain(trash) {
            let names = remove::names(folder)?;
            all.extend(names.into_iter().map(|name| Trash(Some((Arc::clone(folder), name)))));
        }
        Ok(all)
    }

    /// Returns the resource at a path.
    pub(super) fn look(&self, path: &DavPath) -> io::Result<Found> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.open_beneath(path, flags, How::Blocking)?;
        Ok(Found::of(&rustix::fs::fstat(&fd)?))
    }

    /// Returns the resource at a path, or `None` if nothing exists there.
    pub(super) fn look_for(&self, path: &DavPath) -> io::Result<Option<Found>> {
        match self.look(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading, or a folder.
    pub(super) fn open_file(&self, path: &DavPath, how: How) -> io::Result<(File, Found)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(self.open_beneath(path, flags, how)?);
        let found = Found::of(&rustix::fs::fstat(&file)?);
        Ok((file, found))
    }

    /// Returns the current version of the file at a path, where a file of version `was` has been.
    /// Returns `WouldBlock` if a disk would have to be read.
    pub(super) fn version(&self, path: &DavPath, was: &Version) -> io::Result<Version> {
        if self.in_memory && was.device == self.mount.device {
            let version = Version::without_links(self.root.as_fd(), path.as_bytes())?;
            return version.ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.open_beneath(path, flags, How::Cached)?;
        Ok(Version::of(&rustix::fs::fstat(&fd)?))
    }

    /// Returns `true` if everything that is served is in memory, as far as is known.
    pub(super) fn is_all_in_memory(&self) -> bool {
        self.in_memory && !self.has_mounts.load(Ordering::Relaxed)
    }

    /// Returns `true` if a resource is known to be in memory, so that no disk has to be read.
    pub(super) fn is_in_memory(&self, found: &Found) -> bool {
        self.in_memory && found.version.device == self.mount.device
    }

    fn open_folder(&self, path: &DavPath) -> io::Result<OwnedFd> {
        self.open_beneath(path, FOLDER | OFlags::NOFOLLOW, How::Blocking)
    }

    fn open_beneath(&self, path: &DavPath, flags: OFlags, how: How) -> io::Result<OwnedFd> {
        if self.corner_by_inode.is_some()
            && let Some(first) = path.as_bytes().split(|b| *b == b'/').next()
            && look_at(
                self.root.as_fd(),
                OsStr::from_bytes(if first.is_empty() { b"." } else { first }),
            )?
            .is_some_and(|found| self.is_corner(&found))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let relative = relative(path);
        let mut resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if how == How::Cached {
            resolve |= ResolveFlags::CACHED;
        }
        match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), resolve) {
            // Linux before 5.12 does not have `RESOLVE_CACHED`.
            Err(Errno::INVAL) if how == How::Cached => {
                self.open_beneath(path, flags, How::Blocking)
            }
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(path, flags),
            Err(error) => Err(shown(error)),
            Ok(fd) => Ok(fd),
        }
    }

    /// Returns `true` if this is the server's own corner, found under another name.
    fn is_corner(&self, found: &Found) -> bool {
        self.corner_by_inode == Some(found.inode) && found.version.device == self.mount.device
    }

    /// Opens a path component by component, with calls that every kernel has.
    fn open_step_by_step(&self, path: &DavPath, flags: OFlags) -> io::Result<OwnedFd> {
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(&self.root, c".", way, Mode::empty())?;
        let mut steps = path.as_bytes().split(|b| *b == b'/').peekable();
        while let Some(step) = steps.next() {
            let flags = if steps.peek().is_some() { way } else { flags | OFlags::NOFOLLOW };
            let step = if step.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(step) };
            at = rustix::fs::openat(&at, step, flags, Mode::empty()).map_err(shown)?;
        }
        Ok(at)
    }

    /// Returns the numbers of bytes that are free for this process, and in use, on the file system
    /// of the folder.
    pub(super) fn room(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let used = (stat.f_blocks.saturating_sub(stat.f_bfree)).saturating_mul(stat.f_frsize);
        Ok((free, used))
    }

    /// Flushes a file or folder to the disk, if the server is configured to.
    fn sync(&self, fd: impl AsFd) -> io::Result<()> {
        if self.sync {
            match rustix::fs::fsync(fd) {
                // The file system has no disk.
                Ok(()) | Err(Errno::INVAL | Errno::ROFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.real.display().fmt(f)
    }
}

fn relative(path: &DavPath) -> &Path {
    match path.as_bytes() {
        b"" => Path::new("."),
        bytes => Path::new(OsStr::from_bytes(bytes)),
    }
}

/// Returns the inode of the corner, if it can be found under another case, too.
fn corner_by_inode(root: &OwnedFd) -> io::Result<Option<u64>> {
    let own = look_at(root.as_fd(), OsStr::from_bytes(PRIVATE))?;
    let other_case = look_at(root.as_fd(), OsStr::new(".DAPPLE"))?;
    let is_same = |own: &Found| other_case.is_some_and(|other| other.is_same_as(own));
    Ok(own.filter(is_same).map(|own| own.inode))
}

/// Returns `true` if nothing can be created there. Reading may still be possible.
fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

fn make_folder(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Converts an error. A link on the path, or another mount that may not be entered, counts as a
/// missing file.
fn shown(error: Errno) -> io::Error {
    match error {
        Errno::LOOP | Errno::XDEV => io::ErrorKind::NotFound.into(),
        error => error.into(),
    }
}

/// Returns `true` if the error means that nothing exists at the path.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns `true` if the error means that there is no room for more data.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Returns the resource of this name in a folder. Links are not followed.
fn look_at(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Found>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Found::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A mount of a file system. Renames work only within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    device: u64,
    id: Option<u64>,
}

impl Mount {
    fn of(fd: impl AsFd) -> io::Result<Mount> {
        let told = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
        let Ok(told) = told else {
            return Ok(Mount { device: rustix::fs::fstat(fd)?.st_dev, id: None });
        };
        let mask = StatxFlags::from_bits_retain(told.stx_mask);
        let id = mask.contains(StatxFlags::MNT_ID).then_some(told.stx_mnt_id);
        Ok(Mount { device: rustix::fs::makedev(told.stx_dev_major, told.stx_dev_minor), id })
    }
}

/// Returns an unused name that is not shown to clients.
fn hidden_name() -> OsString {
    format!("{}-{}", String::from_utf8_lossy(PRIVATE), fresh_name()).into()
}

/// Returns an unused name.
fn fresh_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// N9: Even without `openat2` no path leads out of the folder.
    #[test]
    fn steps_follow_no_links() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let folder = outside.path().join("share");
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(folder.join("a/b/file"), "y").unwrap();
        symlink("..", folder.join("a/up")).unwrap();
        symlink("../../secret", folder.join("a/b/out")).unwrap();
        symlink("b", folder.join("a/inside")).unwrap();
        let share = Share::open(&folder, false).unwrap();
        let open = |path: &str| {
            let path = DavPath::from_bytes(path.as_bytes());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let both = [
                share.open_beneath(&path, flags, How::Blocking).is_ok(),
                share.open_step_by_step(&path, flags).is_ok(),
            ];
            assert_eq!(both[0], both[1], "{path:?}");
            both[1]
        };
        assert!(open("") && open("a") && open("a/b") && open("a/b/file"));
        for bad in
            ["a/up", "a/up/secret", "a/b/out", "a/inside", "a/inside/file", "none", "a/b/file/x"]
        {
            assert!(!open(bad), "{bad}");
        }
    }
}
