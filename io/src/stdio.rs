//! The standard input and output of the process as a stream (N10).
//!
//! A terminal, or a pipe, is shared with other processes, such as the shell; were it made
//! non-blocking, it would be so for them. So it is opened anew, which gives a descriptor with a
//! setting of its own. What cannot be opened so, or cannot be polled, as a regular file or
//! /dev/null, is copied through a pipe by a thread of its own. (A socket cannot be opened anew: it
//! is made non-blocking.)

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
    /// The standard input of the process as a stream, whose output goes nowhere.
    ///
    /// Reading it blocks nothing, and nothing waits for it at the end of the runtime. Other readers
    /// of the process's standard input, such as [`std::io::stdin`], compete with it. The limits of
    /// a [connection](crate::stream::ConnOptions) hold for it, too: by default one that says
    /// nothing for 60 s is closed, and so is one that leaves a message incomplete for 10 s.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
    #[doc(alias = "uv_tty_init")]
    pub fn stdin(&self) -> io::Result<Stream> {
        let from = input(io::stdin().as_fd())?;
        self.stdio_stream(from, None)
    }

    /// The standard input and output of the process as one stream: for a protocol that talks with a
    /// user at a terminal. See [`stdin`](Self::stdin).
    ///
    /// A standard output that is a socket, as a service's may be, does not block from then on,
    /// which holds for others that have it, and for [`println!`], too. What was written is lost if
    /// the process ends before the system, or the thread that copies it, has taken it.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
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
        Ok(Stream::new(socket, Addr::unnamed(), self.reactor(self.place())))
    }
}

/// A descriptor that can be polled, and does not block.
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

/// A descriptor that can be polled, or takes everything at once.
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

/// The file behind a descriptor by one that does not block, if it can be polled. `own`: a copy.
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
    // The system says which files it can poll when it is asked to.
    let raw = anew.as_raw_fd();
    let poll = Poll::new()?;
    let asked = poll.registry().register(&mut SourceFd(&raw), Token(0), Interest::READABLE);
    Ok(asked.is_ok().then(|| anew.into()))
}

/// Copies on a thread of its own, until one of the two has ended. Nobody waits for that.
fn copy(mut from: File, mut to: File) -> io::Result<()> {
    let copies = move || {
        sys::block_sigpipe();
        // It ends with the input, or with the reader; an error is an end.
        let _ = io::copy(&mut from, &mut to);
    };
    let thread = thread::Builder::new().name("dapple-stdio".to_owned());
    dapple::unpinned(|| thread.spawn(copies)).map(drop)
}
