//! The standard input and output of the process as a stream (N10).
//!
//! A terminal, or a pipe, is shared with other processes, such as the shell; were it made
//! non-blocking, it would be so for them. So it is opened anew, which gives a descriptor with a
//! setting of its own. What cannot be opened so, or cannot be polled, as a regular file, is copied
//! through a pipe by a thread for blocking work.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use crate::Addr;
use crate::reactor::Io;
use crate::stream::Stream;
use crate::stream::socket::Socket;
use crate::sys;

impl Io {
    /// The standard input of the process as a stream, whose output goes nowhere.
    ///
    /// Reading it blocks nothing, and nothing waits for it at the end of the runtime. Other readers
    /// of the process's standard input, such as [`std::io::stdin`], compete with it.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
    #[doc(alias = "uv_tty_init")]
    pub fn stdin(&self) -> io::Result<Stream> {
        let from = self.input(io::stdin().as_fd())?;
        self.stdio_stream(from, None)
    }

    /// The standard input and output of the process as one stream: for a protocol that talks with
    /// whoever sits at the terminal.
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
        let from = self.input(io::stdin().as_fd())?;
        let to = output(io::stdout().as_fd())?;
        self.stdio_stream(from, Some(to))
    }

    fn stdio_stream(&self, from: OwnedFd, to: Option<OwnedFd>) -> io::Result<Stream> {
        let socket = Socket::pipes(Some(from), to)?;
        Ok(Stream::new(socket, Addr::unnamed(), self.reactor(self.place())))
    }

    /// A descriptor that can be polled, and does not block.
    fn input(&self, fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let own = fd.try_clone_to_owned()?;
        let kind = kind(&own)?;
        if kind.is_socket() {
            sys::set_nonblocking(own.as_fd())?;
            return Ok(own);
        }
        if is_pollable(kind)
            && let Ok(anew) = open_anew(fd, OpenOptions::new().read(true))
        {
            return Ok(anew);
        }
        let (read, mut write) = io::pipe()?;
        self.handle()
            .offload(move || {
                // It ends with the input, or with whoever reads; an error is an end.
                sys::block_sigpipe();
                let _ = io::copy(&mut File::from(own), &mut write);
                let _ = write.flush();
            })
            .detach();
        sys::set_nonblocking(read.as_fd())?;
        Ok(read.into())
    }
}

/// A descriptor that does not block, as far as that can be had.
fn output(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let own = fd.try_clone_to_owned()?;
    let kind = kind(&own)?;
    if kind.is_socket() {
        sys::set_nonblocking(own.as_fd())?;
    } else if is_pollable(kind)
        && let Ok(anew) = open_anew(fd, OpenOptions::new().write(true))
    {
        return Ok(anew);
    }
    Ok(own)
}

fn kind(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(File::from(fd.try_clone()?).metadata()?.file_type())
}

/// Says whether it is one of those that the system can poll.
fn is_pollable(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_char_device()
}

fn open_anew(fd: BorrowedFd<'_>, how: &mut OpenOptions) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    how.custom_flags(flags).open(path).map(OwnedFd::from)
}
