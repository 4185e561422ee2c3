//! Many datagrams in one system call (recvmmsg(2), sendmmsg(2)), and segmentation by the system
//! (GSO).

use std::io::{self, IoSlice};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// The most datagrams that one call receives or sends.
pub(crate) const BATCH: usize = 32;

/// A datagram that was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// The number of bytes of its slot that the datagram fills.
    pub(crate) length: usize,
    /// The datagram was longer than its slot, and the rest of it is lost.
    pub(crate) is_truncated: bool,
    pub(crate) from: SockAddr,
}

/// A datagram that is to be sent.
#[derive(Debug)]
pub(crate) struct ToSend<'a> {
    pub(crate) bytes: &'a [u8],
    /// The receiver's address; `None` stands for the address that the socket is connected to.
    pub(crate) to: Option<&'a SockAddr>,
    /// The length in bytes of the datagrams into which the system cuts this one; 0 if it does not.
    pub(crate) segment: u16,
}

/// Receives up to [`BATCH`] datagrams into slots of `slot` bytes each, and pushes them to
/// `received`. The first datagram is at the start of `buffer`, the second `slot` bytes behind it,
/// and so on.
///
/// # Errors
///
/// Returns the errors of recvmmsg(2), among them `WouldBlock` if no datagram is there. Returns
/// `InvalidInput` if `buffer` has no room for a slot.
pub(crate) fn receive_many(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    received: &mut Vec<Received>,
) -> io::Result<()> {
    let count = (buffer.len() / slot.max(1)).min(BATCH);
    if count == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: both are C structures for which all zeros are a valid value: no address, and an empty
    // message.
    let (mut addresses, mut messages) = unsafe {
        (zeroed::<[libc::sockaddr_storage; BATCH]>(), zeroed::<[libc::mmsghdr; BATCH]>())
    };
    let mut slices: [libc::iovec; BATCH] =
        std::array::from_fn(|_| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
    for (at, bytes) in buffer.chunks_exact_mut(slot).take(count).enumerate() {
        slices[at] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let header = &mut messages[at].msg_hdr;
        header.msg_iov = &mut slices[at];
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut addresses[at]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }
    // SAFETY: the socket is borrowed, so its descriptor is open. Each of the `count` messages
    // points to its own slot of `buffer`, which is borrowed mutably, and to a local address, with
    // their lengths. A null pointer as the timeout means no timeout.
    let came = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let came = super::check(came as isize)?;
    for (message, address) in messages.iter().zip(addresses).take(came) {
        let length = message.msg_hdr.msg_namelen.min(size_of_val(&address) as libc::socklen_t);
        // SAFETY: `SockAddrStorage` is a transparent wrapper of `sockaddr_storage`. The system has
        // written an address of `length` bytes to `address`, and the bytes behind it are still
        // zero.
        let from = unsafe { SockAddr::new(std::mem::transmute_copy(&address), length) };
        received.push(Received {
            length: (message.msg_len as usize).min(slot),
            is_truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            from,
        });
    }
    Ok(())
}

/// A buffer for the control message with a segment's length, with the alignment that its header
/// needs.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

/// Sends up to [`BATCH`] datagrams, and returns how many were sent, counted from the first. Raises
/// no SIGPIPE.
///
/// # Errors
///
/// Returns the error of sendmmsg(2) for the first datagram, `WouldBlock` if the socket is full.
pub(crate) fn send_many(socket: BorrowedFd<'_>, all: &[ToSend<'_>]) -> io::Result<usize> {
    let count = all.len().min(BATCH);
    let mut slices: [IoSlice<'_>; BATCH] = std::array::from_fn(|_| IoSlice::new(&[]));
    let mut controls = [Control([0; 32]); BATCH];
    // SAFETY: `mmsghdr` is a C structure for which all zeros are a valid value, an empty message.
    let mut messages = unsafe { zeroed::<[libc::mmsghdr; BATCH]>() };
    for (at, one) in all.iter().take(count).enumerate() {
        slices[at] = IoSlice::new(one.bytes);
        let header = &mut messages[at].msg_hdr;
        header.msg_iov = (&raw mut slices[at]).cast();
        header.msg_iovlen = 1;
        if let Some(to) = one.to {
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
        }
        if one.segment > 0 {
            write_segment(header, &mut controls[at], one.segment);
        }
    }
    // SAFETY: the socket is borrowed, so its descriptor is open. Each of the `count` messages
    // points to borrowed bytes, to a borrowed address or none, and to a local control message or
    // none, with their lengths. The system only reads through these pointers.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as _,
        )
    };
    super::check(sent as isize)
}

/// Writes the control message with the length of a segment.
#[cfg(target_os = "linux")]
fn write_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `msg_control` points to `control`, which is borrowed mutably and aligned for a
    // header. Its 32 bytes have room for one message with two bytes of data, so the first header
    // exists and all writes stay inside it.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
    }
}

/// Does nothing, as other systems do not cut datagrams.
#[cfg(not(target_os = "linux"))]
fn write_segment(_: &mut libc::msghdr, _: &mut Control, _: u16) {}

/// Returns `true` if the system can cut datagrams of this socket into segments.
pub(crate) fn cuts_segments(socket: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        let (mut segment, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the socket is borrowed, so its descriptor is open. The pointers lead to locals,
        // and `length` is the size of `segment`.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw mut segment).cast(),
                &mut length,
            )
        };
        got == 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}
