//! Descriptors that travel with the bytes of a Unix socket, and the credentials of its peer.

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that one message can carry, which is the system's limit (SCM_MAX_FD).
pub(crate) const MOST_FDS: usize = 253;

/// A buffer for the control messages of one call, with the alignment that their headers need.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 1_056]);

/// Returns the bytes that a control message with `fds` descriptors takes.
fn space(fds: usize) -> usize {
    // SAFETY: `CMSG_SPACE` only computes a number from a number.
    unsafe { libc::CMSG_SPACE((fds * size_of::<RawFd>()) as u32) as usize }
}

/// Sends bytes, at least one, with descriptors attached to the first, and returns how many bytes
/// were sent. Raises no SIGPIPE.
///
/// # Errors
///
/// Returns the errors of sendmsg(2), among them `WouldBlock` if the socket is full. Returns
/// `InvalidInput` for more than [`MOST_FDS`] descriptors, and for no bytes.
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
    // SAFETY: an all-zero `msghdr` is a valid empty message. Its pointers lead to the caller's
    // bytes and to locals of this function, with their lengths. `control` is zeroed, aligned for a
    // header, and has room for `MOST_FDS` descriptors, so the header and the numbers are written
    // inside it. The descriptors are borrowed, so they are open.
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

/// Receives bytes and the descriptors that came with them, and returns the number of bytes. The
/// descriptors are close-on-exec. Zero bytes mean that the peer has closed its side.
///
/// # Errors
///
/// Returns the errors of recvmsg(2), among them `WouldBlock` if nothing is there. Returns
/// `InvalidData` if more than `most` descriptors came, or if other control messages did not fit.
/// All received descriptors are closed then, and the bytes are lost.
pub(crate) fn receive_fds(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    most: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([const { MaybeUninit::zeroed() }; 1_056]);
    let mut fds = Vec::new();
    // SAFETY: an all-zero `msghdr` is a valid empty message. Its pointers lead to the borrowed
    // `buf` and to locals of this function, with their lengths. The loop walks whole control
    // messages that the system has written, with the system's own macros. The descriptors in them
    // are new, so nothing else owns them.
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

/// Returns the process ID, user ID and group ID of the process at the other end of a Unix socket,
/// as they were when it connected.
///
/// # Errors
///
/// Returns the errors of getsockopt(2), and `Unsupported` on systems other than Linux and Android.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the socket is borrowed, so its descriptor is open. The pointers lead to locals, and
    // `length` is the size of `peer`.
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

/// Other systems report the peer's credentials in other ways, which this crate does not use.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_credentials(_: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    Err(io::ErrorKind::Unsupported.into())
}
