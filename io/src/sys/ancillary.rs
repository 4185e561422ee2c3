//! What goes along with the bytes of a Unix socket: descriptors; and who is at its other end.

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Descriptors that go along with one message at most; the system's limit (SCM_MAX_FD).
pub(crate) const MOST_FDS: usize = 253;

/// Room for the control messages of a call, aligned as their headers have to be.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 1_056]);

/// Bytes of a control message with so many descriptors.
fn space(fds: usize) -> usize {
    // SAFETY: the call computes a number of a number.
    unsafe { libc::CMSG_SPACE((fds * size_of::<RawFd>()) as u32) as usize }
}

/// Sends bytes, at least one, and descriptors along with the first of them; says how many bytes
/// were sent. Raises no SIGPIPE.
///
/// # Errors
///
/// Those of sendmsg(2); `WouldBlock` if the socket is full; `InvalidInput` for more than
/// [`MOST_FDS`], or for no bytes.
pub(crate) fn send_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if bytes.is_empty() || fds.len() > MOST_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control([const { MaybeUninit::zeroed() }; 1_056]);
    let slice = IoSlice::new(bytes);
    // SAFETY: a zeroed message is one of nothing. Its parts point to what lives in this function,
    // and say how long that is; the control message is written within its room, which holds
    // `MOST_FDS` descriptors and is zeroed; the descriptors are open while they are borrowed.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = (&raw const slice).cast_mut().cast();
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = space(fds.len()) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN((fds.len() * size_of::<RawFd>()) as u32) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (at, fd) in fds.iter().enumerate() {
                data.add(at).write_unaligned(fd.as_raw_fd());
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
    };
    super::check(sent)
}

/// Receives bytes, and the descriptors that go along with them, which are closed by exec(2); says
/// how many bytes there were. Zero: the peer has closed its side.
///
/// # Errors
///
/// Those of recvmsg(2); `WouldBlock` if nothing is there; `InvalidData` if more than `most`
/// descriptors came, or other things that go along with bytes: then no descriptor is left open, and
/// the bytes are lost.
pub(crate) fn receive_fds(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    most: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([const { MaybeUninit::zeroed() }; 1_056]);
    let mut fds = Vec::new();
    // SAFETY: a zeroed message is one of nothing. Its parts point to what lives in this function or
    // is borrowed, and say how long that is. The system has written whole control messages to the
    // room, which are walked by its own rules; the descriptors in them are new ones, and nobody
    // else's.
    let (received, flags) = unsafe {
        let mut slice = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut slice;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = space(most.min(MOST_FDS)) as _;
        let received = libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC);
        if received >= 0 {
            let mut header = libc::CMSG_FIRSTHDR(&message);
            while !header.is_null() {
                let kind = ((*header).cmsg_level, (*header).cmsg_type);
                if kind == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                    let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                    let data = libc::CMSG_DATA(header).cast::<RawFd>();
                    for at in 0..bytes / size_of::<RawFd>() {
                        fds.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                    }
                }
                header = libc::CMSG_NXTHDR(&message, header);
            }
        }
        (received, message.msg_flags)
    };
    let received = super::check(received)?;
    if flags & libc::MSG_CTRUNC != 0 || fds.len() > most {
        let message = "the peer has passed more descriptors than allowed";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok((received, fds))
}

/// The process at the other end of a Unix socket, as it was when it connected: its number, user and
/// group.
///
/// # Errors
///
/// Those of getsockopt(2); `Unsupported` where the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the pointers are to values of ours,
    // of the length that is said.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut length,
        )
    };
    match got {
        0 => Ok((peer.pid.cast_unsigned(), peer.uid, peer.gid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere it is asked for in other ways.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_credentials(_: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    Err(io::ErrorKind::Unsupported.into())
}
