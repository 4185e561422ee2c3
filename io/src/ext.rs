//! Extension traits for the executor's [`Colored`] and [`Cx`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use dapple::{Colored, Cx};

use crate::fd::{Interest, Ready, Registration};
use crate::reactor::Io;
use crate::signal::SignalRegistration;
use crate::stream::Stream;

/// Callbacks on descriptors and signals that get the value of a [`Colored`].
///
/// A registration keeps the value alive until it ends. This also holds for a registration that is
/// stored in the value itself, just as pending operations keep a session alive in other libraries.
/// The value is dropped when its last registration, timer and handle are gone.
///
/// # Examples
///
/// ```
/// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::mpsc};
/// use dapple::Colored;
/// use dapple_io::{ColoredExt, Io};
///
/// struct Session { stream: UnixStream, bytes: usize, done: mpsc::Sender<usize> }
///
/// let rt = dapple_io::runtime().build()?;
/// let io = Io::of(&rt.handle());
/// let (stream, mut peer) = UnixStream::pair()?;
/// stream.set_nonblocking(true)?;
/// let also = stream.try_clone()?;
/// let (done, rx) = mpsc::channel();
/// let session = Colored::new(&rt.handle().new_color(), Session { stream, bytes: 0, done });
/// let registration = session.on_readable(&io, &also, |session, _| {
///     match session.stream.read(&mut [0; 100]) {
///         Ok(0) => session.done.send(session.bytes).unwrap_or(()),
///         Ok(n) => session.bytes += n,
///         Err(error) => println!("{error}"),
///     }
/// })?;
/// peer.write_all(&[7; 1_000])?;
/// drop(peer);
/// assert_eq!(rx.recv().unwrap(), 1_000);
/// # registration.end().join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ColoredExt<T: Send + 'static> {
    /// Calls `f` with the value whenever `fd` is readable. See [`Io::on_readable`].
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled (`PermissionDenied` for a
    /// regular file), and an error if the runtime has ended. Returns `AlreadyExists` if an
    /// [`AsyncFd`](crate::AsyncFd) or a stream has registered the descriptor with the same worker.
    /// Returns `AlreadyExists` if an [`AsyncFd`](crate::AsyncFd) or a stream has registered the
    /// descriptor with the same worker. Returns `AlreadyExists` if an [`AsyncFd`](crate::AsyncFd)
    /// or a stream has registered the descriptor with the same worker.
    fn on_readable<F>(&self, io: &Io, fd: &impl AsFd, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static;

    /// Calls `f` with the value whenever `fd` is writable. See [`Io::on_writable`].
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled (`PermissionDenied` for a
    /// regular file), and an error if the runtime has ended.
    fn on_writable<F>(&self, io: &Io, fd: &impl AsFd, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static;

    /// Calls `f` with the value when `fd` is ready in one of the ways that `interest` names. See
    /// [`Io::on_ready`].
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled (`PermissionDenied` for a
    /// regular file), and an error if the runtime has ended.
    fn on_ready<D, F>(&self, io: &Io, fd: D, interest: Interest, f: F) -> io::Result<Registration>
    where
        D: AsFd + Send + 'static,
        F: FnMut(&mut T, Ready, &mut Cx) + Send + 'static;

    /// Calls `f` with the value when the process gets a signal. See [`Io::on_signal`].
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signal` is not the number of a signal, or is a signal that cannot
    /// be handled. Otherwise, returns the system's error, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use dapple::Colored;
    /// use dapple_io::{ColoredExt, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let (tx, rx) = mpsc::channel();
    /// let reloads = Colored::new(&rt.handle().new_color(), 0);
    /// let io = Io::of(&rt.handle());
    /// let registration = reloads.on_signal(&io, libc::SIGHUP, move |reloads, _| {
    ///     *reloads += 1;
    ///     tx.send(*reloads).unwrap();
    /// })?;
    /// # // SAFETY: `raise` takes a number only, and the signal has a handler.
    /// unsafe { libc::raise(libc::SIGHUP) };
    /// assert_eq!(rx.recv().unwrap(), 1);
    /// # drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn on_signal<F>(&self, io: &Io, signal: i32, f: F) -> io::Result<SignalRegistration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static;
}

impl<T: Send + 'static> ColoredExt<T> for Colored<T> {
    #[track_caller]
    fn on_readable<F>(&self, io: &Io, fd: &impl AsFd, mut f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        io.on_readable(fd, self.color(), move |cx| this.run_here(cx, &mut f))
    }

    #[track_caller]
    fn on_writable<F>(&self, io: &Io, fd: &impl AsFd, mut f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        io.on_writable(fd, self.color(), move |cx| this.run_here(cx, &mut f))
    }

    #[track_caller]
    fn on_ready<D, F>(
        &self,
        io: &Io,
        fd: D,
        interest: Interest,
        mut f: F,
    ) -> io::Result<Registration>
    where
        D: AsFd + Send + 'static,
        F: FnMut(&mut T, Ready, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        io.on_ready(fd, interest, self.color(), move |ready, cx| {
            this.run_here(cx, |value, cx| f(value, ready, cx));
        })
    }

    #[track_caller]
    fn on_signal<F>(&self, io: &Io, signal: i32, mut f: F) -> io::Result<SignalRegistration>
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        io.on_signal(signal, self.color(), move |cx| this.run_here(cx, &mut f))
    }
}

/// Access to the reactors from within a callback.
pub trait CxExt {
    /// Returns the reactors of the runtime that the callback runs on.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was not built with [`dapple_io::runtime()`](crate::runtime).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use dapple_io::CxExt;
    /// let rt = dapple_io::runtime().build()?;
    /// let server = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(server.local_addr()?)?;
    /// rt.handle().post_default(move |cx| {
    ///     assert_eq!(cx.io().handle().workers(), cx.handle().workers());
    ///     let stream = cx.adopt(stream).expect("it is connected");
    ///     println!("connected with {}", stream.peer_addr());
    /// });
    /// # rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn io(&self) -> Io;

    /// Takes over a connected stream of the standard library, of TCP or of a Unix socket.
    ///
    /// The worker that runs the callback watches the stream. See [`Io::adopt`].
    ///
    /// See [`io`](Self::io) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is a socket, but no stream socket. Otherwise,
    /// returns the system's error, for example if the stream is no longer connected.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was not built with [`dapple_io::runtime()`](crate::runtime).
    fn adopt(&self, stream: impl Into<OwnedFd>) -> io::Result<Stream>;
}

impl CxExt for Cx {
    #[track_caller]
    fn io(&self) -> Io {
        Io::of(&self.handle())
    }

    #[track_caller]
    fn adopt(&self, stream: impl Into<OwnedFd>) -> io::Result<Stream> {
        self.io().adopt(stream)
    }
}
