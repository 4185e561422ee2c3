//! The standard input and output of the process as a stream (N10).
//!
//! A terminal or a pipe is shared with other processes, such as the shell. If it were made
//! non-blocking, it would be non-blocking for them as well. So it is opened again, which gives a
//! descriptor with flags of its own. A file that cannot be opened again or cannot be polled, such
//! as a regular file or /dev/null, is copied through a pipe by a thread of its own. A socket cannot
//! be opened again either: it is made non-blocking itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use dapple::sync::thread;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::Addr;
use crate::reactor::Io;
use crate::stream::Stream;
use crate::stream::socket::Socket;
use crate::sys;

impl Io {
    /// Returns the standard input of the process as a stream.
    ///
    /// Output to the stream goes nowhere.
    ///
    /// Reading the stream blocks no worker, and the runtime does not wait for it at its end. Other
    /// readers of the process's standard input, such as [`std::io::stdin`], compete with the
    /// stream. The limits of a [connection](crate::stream::ConnOptions) apply as well. By default
    /// the connection ends when no input arrives for 60 s, or when a message is incomplete for 10
    /// s.
    ///
    /// See [`stdio`](Self::stdio) for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    #[doc(alias = "uv_tty_init")]
    pub fn stdin(&self) -> io::Result<Stream> {
        let from = input(io::stdin().as_fd())?;
        self.stdio_stream(from, None)
    }

    /// Returns the standard input and output of the process as one stream.
    ///
    /// This is for a protocol that talks with a user at a terminal. The limits and the notes of
    /// [`stdin`](Self::stdin) apply here as well.
    ///
    /// If the standard output is a socket, as that of a service may be, it is non-blocking from
    /// then on. This also affects other processes that share the socket, and [`println!`]. Output
    /// is lost if the process ends before the system, or the thread that copies the output, has
    /// taken it.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Parrot;
    /// impl Protocol for Parrot {
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         let said = conn.input().to_vec();
    ///         conn.consume(said.len());
    ///         conn.send(&said);
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let stdio = Io::of(&rt.handle()).stdio()?;
    /// stdio.serve(&rt.handle().new_color(), ConnOptions::default(), Parrot);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stdio(&self) -> io::Result<Stream> {
        let from = input(io::stdin().as_fd())?;
        let to = output(io::stdout().as_fd())?;
        self.stdio_stream(from, Some(to))
    }

    fn stdio_stream(&self, from: OwnedFd, to: Option<OwnedFd>) -> io::Result<Stream> {
        let socket = Socket::pipes(Some(from), to)?;
        Ok(Stream::new(socket, Addr::unnamed(), self.reactor(self.watcher())))
    }
}

/// Returns the input as a descriptor that can be polled, and does not block.
fn input(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let own = fd.try_clone_to_owned()?;
    if let Some(ready) = pollable(fd, &own, OpenOptions::new().read(true))? {
        return Ok(ready);
    }
    let (read, write) = io::pipe()?;
    copy(File::from(own), File::from(OwnedFd::from(write)))?;
    sys::set_nonblocking(read.as_fd())?;
    Ok(read.into())
}

/// Returns the output as a descriptor that can be polled, or that takes everything at once (a
/// regular file).
fn output(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let own = fd.try_clone_to_owned()?;
    if File::from(own.try_clone()?).metadata()?.is_file() {
        return Ok(own);
    }
    if let Some(ready) = pollable(fd, &own, OpenOptions::new().write(true))? {
        return Ok(ready);
    }
    let (read, write) = io::pipe()?;
    copy(File::from(OwnedFd::from(read)), File::from(own))?;
    sys::set_nonblocking(write.as_fd())?;
    Ok(write.into())
}

/// Returns the file behind `fd` as a descriptor that does not block, or `None` if it cannot be
/// polled. `own` is a duplicate of `fd`.
fn pollable(
    fd: BorrowedFd<'_>,
    own: &OwnedFd,
    how: &mut OpenOptions,
) -> io::Result<Option<OwnedFd>> {
    let copy = own.try_clone()?;
    if File::from(own.try_clone()?).metadata()?.file_type().is_socket() {
        sys::set_nonblocking(copy.as_fd())?;
        return Ok(Some(copy));
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let Ok(anew) = how.custom_flags(flags).open(path) else { return Ok(None) };
    // The system tells whether it can poll a file when the file is registered.
    let raw = anew.as_raw_fd();
    let poll = Poll::new()?;
    let asked = poll.registry().register(&mut SourceFd(&raw), Token(0), Interest::READABLE);
    Ok(asked.is_ok().then(|| anew.into()))
}

/// Copies on a thread of its own, until one of the two files has ended. Nothing waits for that
/// thread.
fn copy(mut from: File, mut to: File) -> io::Result<()> {
    let copies = move || {
        sys::block_sigpipe();
        // The copy ends with the input, with the reader of the output, or with an error.
        let _ = io::copy(&mut from, &mut to);
    };
    let thread = thread::Builder::new().name("dapple-stdio".to_owned());
    dapple::unpinned(|| thread.spawn(copies)).map(drop)
}
