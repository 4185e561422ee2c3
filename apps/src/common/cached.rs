//! Reading files without waiting for a disk.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::io::{Errno, ReadWriteFlags};

/// Reads the part of a file that is in the page cache, at an offset before the end of the file.
///
/// Returns `WouldBlock` if a disk would have to be read, or if the file system cannot tell. A file
/// system that keeps everything in memory is always read.
pub(crate) fn read(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    match try_read(file, buf, at)? {
        Some(n) => Ok(n),
        None if is_in_memory(file) => read_blocking(file, buf, at),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Returns `true` if the file system keeps everything in memory.
pub(crate) fn is_in_memory(file: impl AsFd) -> bool {
    // linux/magic.h: TMPFS_MAGIC, RAMFS_MAGIC.
    rustix::fs::fstatfs(file).is_ok_and(|fs| matches!(fs.f_type, 0x0102_1994 | 0x8584_58f6))
}

/// Reads as [`read`] does, but returns `None` if the file system cannot tell what is in memory.
pub(crate) fn try_read(file: &File, buf: &mut [u8], at: u64) -> io::Result<Option<usize>> {
    loop {
        let mut slices = [IoSliceMut::new(buf)];
        match rustix::io::preadv2(file, &mut slices, at, ReadWriteFlags::NOWAIT) {
            // The file has become shorter, or the kernel (5.9, 5.10) returns 0 for data that is not
            // in memory.
            Ok(0) if !buf.is_empty() => return Err(io::ErrorKind::WouldBlock.into()),
            Ok(n) => return Ok(Some(n)),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads from a file, and waits for the disk if necessary. Returns 0 at the end of the file.
pub(crate) fn read_blocking(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buf, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
