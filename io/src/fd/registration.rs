//! The user's handle of a registration, and the functions that make one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use dapple::sync::Arc;
use dapple::{Color, Cx, JoinHandle, Site};

use super::entry::{self, Calls, EntryId};
use super::interest::{Interest, Ready};
use super::slots::Owns;
use crate::reactor::Io;

/// A persistent callback on a descriptor; see [`Io::on_ready`] and [`Io::on_readable`].
///
/// Dropping the value ends the registration. The callback is not called after that, but a call that
/// already runs on another thread goes on; see [`end`](Self::end).
#[must_use = "the callback ends when its registration is dropped"]
pub struct Registration {
    id: EntryId,
    calls: Arc<Calls>,
}

impl Registration {
    /// Stops the calls of the callback until it is [resumed](Self::resume).
    ///
    /// If an event of the registration's color calls this, no call follows, even if one is queued.
    /// From elsewhere, a call that already runs goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
    /// let rt = dapple_io::runtime().workers(1).build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// let (tx, rx) = mpsc::channel();
    /// let registration = io.on_readable(&theirs, &rt.handle().new_color(), move |_| {
    ///     tx.send("readable").unwrap();
    /// })?;
    /// registration.pause();
    /// ours.write_all(b"abc")?;
    /// rt.wait_idle();
    /// assert!(registration.is_paused() && rx.try_recv().is_err());
    /// registration.resume();
    /// rx.recv().unwrap();
    /// # registration.end().join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "event_del")]
    #[doc(alias = "uv_poll_stop")]
    pub fn pause(&self) {
        self.id.pause();
    }

    /// Ends a [pause](Self::pause). The callback is then called if the descriptor is ready. See
    /// [`pause`](Self::pause) for an example.
    #[doc(alias = "event_add")]
    #[doc(alias = "uv_poll_start")]
    pub fn resume(&self) {
        self.id.resume();
    }

    /// Returns `true` if the registration is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.id.is_paused()
    }

    /// Changes the readiness for which the callback is called. The callback is then called if the
    /// descriptor has that readiness already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{os::unix::net::UnixStream, sync::mpsc};
    /// use dapple_io::{Interest, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let (ours, _peer) = UnixStream::pair()?;
    /// let (tx, rx) = mpsc::channel();
    /// let color = rt.handle().new_color();
    /// let registration = io.on_ready(ours, Interest::READABLE, &color, move |ready, _| {
    ///     tx.send(ready.is_writable()).unwrap_or(());
    /// })?;
    /// // There is nothing to read, but there is room to write.
    /// registration.set_interest(Interest::WRITABLE.edge_triggered());
    /// assert!(rx.recv().unwrap());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_interest(&self, interest: Interest) {
        self.id.set_interest(interest);
    }

    /// Returns the color that the callback runs on.
    pub fn color(&self) -> &Color {
        self.calls.color()
    }

    /// Ends the registration, and returns a handle that tells when that is done. The handle
    /// completes when the callback no longer runs, and has been dropped with all that it owns. A
    /// thread may [join](JoinHandle::join) the handle, and a task may await it.
    ///
    /// # Errors
    ///
    /// The handle completes with an error if dropping the callback panics, or if the runtime of its
    /// color has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{os::unix::net::UnixStream, sync::mpsc};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (ours, _peer) = UnixStream::pair()?;
    /// let (tx, rx) = mpsc::channel();
    /// let registration = io.on_readable(&ours, &rt.handle().new_color(), move |_| {
    ///     tx.send("readable").unwrap();
    /// })?;
    /// registration.end().join().unwrap();
    /// // The callback and its sender are gone, so the channel is closed.
    /// assert!(rx.recv().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end(self) -> JoinHandle<()> {
        let calls = Arc::clone(&self.calls);
        calls.end();
        self.id.deregister();
        calls.dropped_on_its_color()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.calls.is_live() {
            self.calls.end();
            self.id.deregister();
            self.calls.drop_on_its_color();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("color", self.color()).finish_non_exhaustive()
    }
}

impl Io {
    /// Calls `f`, as an event of `color`, whenever `fd` has the readiness that `interest` names.
    ///
    /// `f` is called again and again as long as the descriptor is ready, with one event queued at
    /// most. It may read as little as it likes. If something else reads too, the readiness that is
    /// passed to `f` may be out of date. The end of a stream, and errors, count as readable and as
    /// writable. A callback that panics is called again.
    ///
    /// An [edge-triggered](Interest::edge_triggered) callback is called when the descriptor becomes
    /// ready, and once at the start if it is ready by then.
    ///
    /// The descriptor should be non-blocking. The registration keeps it open until it has ended. A
    /// program that also reads and writes elsewhere passes an [`Arc`](std::sync::Arc) of the
    /// descriptor. A descriptor may have several registrations; each of them is called.
    ///
    /// If all registrations of a descriptor own it and none is edge-triggered, a callback that runs
    /// on the worker that polls the descriptor needs no system call except for the poller's.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled, for example
    /// `PermissionDenied` for a regular file. Returns `AlreadyExists` if an
    /// [`AsyncFd`](crate::AsyncFd) or a stream has registered the descriptor with the same worker,
    /// and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::{Arc, mpsc}};
    /// use dapple_io::{Interest, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let ours = Arc::new(ours);
    /// let (tx, rx) = mpsc::channel();
    /// let reader = Arc::clone(&ours);
    /// let color = rt.handle().new_color();
    /// let registration = io.on_ready(ours, Interest::READABLE, &color, move |ready, _| {
    ///     let mut byte = [0];
    ///     match (&*reader).read(&mut byte) {
    ///         Ok(0) => tx.send(None).unwrap_or(()),            // the end
    ///         Ok(_) => tx.send(Some(byte[0])).unwrap_or(()),   // one byte a call
    ///         Err(error) => println!("{ready:?}: {error}"),
    ///     }
    /// })?;
    /// peer.write_all(b"abc")?;
    /// drop(peer);
    /// let all: Vec<_> = rx.iter().take(4).collect();
    /// assert_eq!(all, [Some(b'a'), Some(b'b'), Some(b'c'), None]);
    /// drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "event_new")]
    #[doc(alias = "uv_poll_start")]
    pub fn on_ready<D, F>(
        &self,
        fd: D,
        interest: Interest,
        color: &Color,
        f: F,
    ) -> io::Result<Registration>
    where
        D: AsFd + Send + 'static,
        F: FnMut(Ready, &mut Cx) + Send + 'static,
    {
        self.on_ready_from(Site::caller(), fd, interest, color, f)
    }

    /// Calls `f`, as an event of `color`, when `fd` is ready, and makes reports name `site` as the
    /// place that registered the callback. See [`on_ready`](Self::on_ready), which passes its
    /// caller's place.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled, for example
    /// `PermissionDenied` for a regular file. Returns `AlreadyExists` if an
    /// [`AsyncFd`](crate::AsyncFd) or a stream has registered the descriptor with the same worker,
    /// and an error if the runtime has ended.
    pub fn on_ready_from<D, F>(
        &self,
        site: Site,
        fd: D,
        interest: Interest,
        color: &Color,
        mut f: F,
    ) -> io::Result<Registration>
    where
        D: AsFd + Send + 'static,
        F: FnMut(Ready, &mut Cx) + Send + 'static,
    {
        let raw = fd.as_fd().as_raw_fd();
        // The closure owns the descriptor, and is dropped after the descriptor was deregistered.
        let call = move |ready, cx: &mut Cx| {
            let _open = &fd;
            f(ready, cx);
        };
        let calls = Arc::new(Calls::new(color, site, Box::new(call)));
        let id = entry::register(self, raw, interest, Owns::Yes, &calls)?;
        Ok(Registration { id, calls })
    }

    /// Calls `f`, as an event of `color`, whenever `fd` is readable.
    ///
    /// `f` is called again and again as long as the descriptor is readable, with one event queued
    /// at most. It may read as little as it likes. The end of a stream, and errors, count as
    /// readable. A callback that panics is called again.
    ///
    /// The descriptor should be non-blocking, and must stay open while it is registered. It is only
    /// borrowed, so the system is asked about it after each call. [`on_ready`](Self::on_ready),
    /// which owns the descriptor, needs no such call.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled, for example
    /// `PermissionDenied` for a regular file. Returns `AlreadyExists` if an
    /// [`AsyncFd`](crate::AsyncFd) or a stream has registered the descriptor with the same worker,
    /// and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::mpsc};
    /// let rt = dapple_io::runtime().workers(1).build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// theirs.set_nonblocking(true)?;
    /// let (tx, rx) = mpsc::channel();
    /// let mut reader = theirs.try_clone()?;
    /// let registration = io.on_readable(&theirs, &rt.handle().new_color(), move |_| {
    ///     let mut byte = [0];
    ///     if let Ok(1) = reader.read(&mut byte) {
    ///         tx.send(byte[0]).unwrap();       // one byte a call
    ///     }
    /// })?;
    /// ours.write_all(b"abc")?;
    /// assert_eq!(rx.iter().take(3).collect::<Vec<_>>(), b"abc");
    /// drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "fdcb")]
    pub fn on_readable<F>(&self, fd: &impl AsFd, color: &Color, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.on_borrowed(fd.as_fd(), Interest::READABLE, color, f)
    }

    /// Calls `f`, as an event of `color`, whenever `fd` is writable.
    ///
    /// A descriptor is writable most of the time. So the registration should be dropped, or
    /// [paused](Registration::pause), while there is nothing to write. Otherwise this function is
    /// like [`on_readable`](Self::on_readable).
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled, for example
    /// `PermissionDenied` for a regular file. Returns `AlreadyExists` if an
    /// [`AsyncFd`](crate::AsyncFd) or a stream has registered the descriptor with the same worker,
    /// and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// Bytes for which the socket does not have room at once:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let (mut writer, mut left) = (ours.try_clone()?, vec![7; 1_000_000]);
    /// let registration = io.on_writable(&ours, &rt.handle().new_color(), move |_| {
    ///     if let Ok(n) = writer.write(&left) {      // as much as there is room for
    ///         left.drain(..n);
    ///     }
    /// })?;
    /// let mut all = vec![0; 1_000_000];
    /// peer.read_exact(&mut all)?;
    /// drop(registration);                           // there is nothing more to write
    /// assert!(all.iter().all(|byte| *byte == 7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn on_writable<F>(&self, fd: &impl AsFd, color: &Color, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.on_borrowed(fd.as_fd(), Interest::WRITABLE, color, f)
    }

    #[track_caller]
    fn on_borrowed<F>(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
        color: &Color,
        mut f: F,
    ) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        let call = move |_, cx: &mut Cx| f(cx);
        let calls = Arc::new(Calls::new(color, Site::caller(), Box::new(call)));
        let id = entry::register(self, fd.as_raw_fd(), interest, Owns::No, &calls)?;
        Ok(Registration { id, calls })
    }
}
