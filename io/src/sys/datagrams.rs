//! Many datagrams in one call: recvmmsg(2) and sendmmsg(2), and segments of one datagram (GSO).

use std::io::{self, IoSlice};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// Datagrams that one call takes, or sends, at most.
pub(crate) const BATCH: usize = 32;

/// A datagram that has come.
#[derive(Debug)]
pub(crate) struct Received {
    /// How many bytes of its slot it has.
    pub(crate) length: usize,
    /// There was no room for all of it; the rest is lost.
    pub(crate) is_cut: bool,
    pub(crate) from: SockAddr,
}

/// A datagram that is to be sent.
#[derive(Debug)]
pub(crate) struct ToSend<'a> {
    pub(crate) bytes: &'a [u8],
    /// `None`: to whom the socket is connected.
    pub(crate) to: Option<&'a SockAddr>,
    /// The system cuts it into datagrams of so many bytes; 0: it does not.
    pub(crate) segment: u16,
}

/// Receives up to [`BATCH`] datagrams into slots of `slot` bytes each, and pushes what came. The
/// first stands at the start of `buffer`, the second `slot` bytes behind it, and so on.
///
/// # Errors
///
/// Those of recvmmsg(2); `WouldBlock` if nothing is there.
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
    // SAFETY: zeroed addresses and messages are ones of nothing.
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
    // SAFETY: the descriptor is open while it is borrowed. Each of `count` messages points to a
    // slot of the buffer, which is borrowed, and to an address of this function, and says how long
    // they are. A null pointer is no limit of time.
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
        // SAFETY: `SockAddrStorage` is a transparent wrapper of `sockaddr_storage`; the system has
        // written so many bytes of an address to it, and those behind them are zero.
        let from = unsafe { SockAddr::new(std::mem::transmute_copy(&address), length) };
        received.push(Received {
            length: (message.msg_len as usize).min(slot),
            is_cut: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            from,
        });
    }
    Ok(())
}

/// Room for the control message that says how long a segment is, aligned as its header has to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

/// Sends up to [`BATCH`] datagrams, and says how many of the first were sent. Raises no SIGPIPE.
///
/// # Errors
///
/// Those of sendmmsg(2) of the first one; `WouldBlock` if the socket is full.
pub(crate) fn send_many(socket: BorrowedFd<'_>, all: &[ToSend<'_>]) -> io::Result<usize> {
    let count = all.len().min(BATCH);
    let mut slices: [IoSlice<'_>; BATCH] = std::array::from_fn(|_| IoSlice::new(&[]));
    let mut controls = [Control([0; 32]); BATCH];
    // SAFETY: zeroed messages are ones of nothing.
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
    // SAFETY: the descriptor is open while it is borrowed. Each of `count` messages points to
    // bytes and to an address that are borrowed, and to control messages of this function, and
    // says how long they are; the system only reads them.
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

/// Writes the control message that says how long a segment is.
#[cfg(target_os = "linux")]
fn write_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `msg_control` points to the control's room, which is borrowed, is enough for one
    // message of two bytes, and is aligned for its header.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
    }
}

/// Other systems do not cut datagrams, and are not asked to.
#[cfg(not(target_os = "linux"))]
fn write_segment(_: &mut libc::msghdr, _: &mut Control, _: u16) {}

/// Says whether the system cuts datagrams of this socket into segments when it is asked to.
pub(crate) fn cuts_segments(socket: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        let (mut segment, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the descriptor is open while it is borrowed, and the pointers are to values of
        // ours, of the length that is said.
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
