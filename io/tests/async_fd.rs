//! N10: tasks await any descriptor: pipes, eventfd, inotify, and blocking descriptors.
#![cfg(target_os = "linux")]
mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use common::start;
use dapple_io::AsyncFd;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

#[test]
fn n10_pipes_are_read_and_written_by_tasks() {
    let (rt, io) = start(2);
    let (read, write) = std::io::pipe().unwrap();
    // The pipes are blocking, so `AsyncFd` reads and writes only when the system says that it can.
    let mut reader = AsyncFd::new(&io, File::from(OwnedFd::from(read))).unwrap();
    let mut writer = AsyncFd::new(&io, File::from(OwnedFd::from(write))).unwrap();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let sent = bytes.clone();
    let writes = rt.handle().spawn(&rt.handle().new_color(), async move {
        // No more bytes than there is room for when the system reports a pipe as writable.
        for part in sent.chunks(4_096) {
            writer.write_all(part).await.unwrap();
        }
    });
    let mut all = Vec::new();
    rt.block_on(reader.read_to_end(&mut all)).unwrap();
    assert!(all == bytes);
    writes.join().unwrap();
}

#[test]
fn n10_a_callback_of_its_own_decides_what_would_block() {
    let (rt, io) = start(1);
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: `fd` is open, and nothing else owns it.
    let event = unsafe { File::from_raw_fd(fd) };
    let mut sender = event.try_clone().unwrap();
    let event = AsyncFd::new(&io, event).unwrap();
    let count = |mut event: &File| {
        let mut count = [0; 8];
        event.read_exact(&mut count).map(|()| u64::from_ne_bytes(count))
    };
    for n in 1..100u64 {
        let early = rt.handle().timeout(Duration::from_micros(50), event.read_with(count));
        assert!(rt.block_on(early).is_err(), "nothing has come, and the wait is given up");
        sender.write_all(&n.to_ne_bytes()).unwrap();
        rt.block_on(event.readable()).unwrap();
        assert_eq!(rt.block_on(event.read_with(count)).unwrap(), n);
        rt.block_on(event.writable()).unwrap();
    }
}

#[test]
fn n10_changes_of_files_are_awaited() {
    let (rt, io) = start(1);
    let folder = tempfile::tempdir().unwrap();
    let path = std::ffi::CString::new(folder.path().to_str().unwrap()).unwrap();
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: `fd` is open, and nothing else owns it.
    let inotify = unsafe { File::from_raw_fd(fd) };
    // SAFETY: `path` is a `CString` that outlives the call, so the pointer is to a string with a
    // final zero.
    assert!(unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_CREATE) } >= 0);
    let mut inotify = AsyncFd::new(&io, inotify).unwrap();
    std::fs::write(folder.path().join("new file"), "").unwrap();
    let mut buffer = [0; 4_096];
    let n = rt.block_on(inotify.read(&mut buffer)).unwrap();
    let told = String::from_utf8_lossy(&buffer[..n]);
    assert!(told.contains("new file"), "{told:?}");
}

#[test]
fn n10_what_cannot_be_polled_is_an_error_and_so_is_the_end_of_the_runtime() {
    let (rt, io) = start(1);
    let file = AsyncFd::new(&io, tempfile::tempfile().unwrap()).map(drop).unwrap_err();
    assert_eq!(file.kind(), ErrorKind::PermissionDenied);
    let (read, _write) = std::io::pipe().unwrap();
    let reader = AsyncFd::new(&io, File::from(OwnedFd::from(read))).unwrap();
    drop(rt);
    let ended = futures_lite::future::block_on(reader.readable()).unwrap_err();
    assert_eq!(ended.to_string(), "the runtime has ended");
}

#[test]
fn n2_a_number_that_a_closed_descriptor_had_is_not_taken_from_its_new_owner() {
    let (rt, io) = start(1);
    for _ in 0..50 {
        let color = rt.handle().new_color();
        let (early, _peer) = common::pair();
        let stale = io.on_readable(&early, &color, |_| ()).unwrap();
        // The descriptor is closed before its registration ends, and another descriptor gets its
        // number.
        drop(early);
        let (ours, mut theirs) = common::pair();
        let awaited = AsyncFd::new(&io, ours).unwrap();
        drop(stale);
        rt.wait_idle();
        theirs.write_all(b"x").unwrap();
        let readable = rt.handle().timeout(Duration::from_secs(60), awaited.readable());
        rt.block_on(readable).unwrap().unwrap();
    }
}
