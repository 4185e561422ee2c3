//! The trait of protocols that talk over a connection in callback style.

use dapple::Cx;

use super::CloseReason;
use super::conn::Conn;
use super::state::Why;

/// A protocol that talks over a connection, in callback style.
///
/// All calls run on the connection's color. The out-buffer is written at the end of the event, or
/// earlier if it is congested.
///
/// A protocol that panics loses its connection, and nothing else. It is dropped without a call of
/// [`on_close`](Self::on_close).
///
/// # Examples
///
/// A server that numbers the lines of its client:
///
/// ```
/// use dapple_io::stream::{Conn, Protocol};
/// use dapple::Cx;
///
/// struct Numbers(u32);
/// impl Protocol for Numbers {
///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
///         // The start of a line stays in the input until the rest has arrived.
///         while let Some(end) = conn.input().iter().position(|byte| *byte == b'\n') {
///             conn.consume(end + 1);
///             self.0 += 1;
///             conn.send(format!("{}\n", self.0).as_bytes());
///         }
///     }
/// }
/// # use dapple_io::{Io, stream::ConnOptions};
/// # use std::{io::{Read, Write}, os::unix::net::UnixStream};
/// # let rt = dapple_io::runtime().build()?;
/// let (ours, mut client) = UnixStream::pair()?;
/// let stream = Io::of(&rt.handle()).adopt(ours)?;
/// stream.serve(&rt.handle().new_color(), ConnOptions::default(), Numbers(0));
/// client.write_all(b"one\ntwo\nthr")?;
/// let mut answers = [0; 4];
/// client.read_exact(&mut answers)?;
/// assert_eq!(&answers, b"1\n2\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Protocol: Send + 'static {
    /// Called when the connection begins, before anything has been read. The default does nothing.
    fn on_open(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// Called when more input has arrived than there was at the last call.
    ///
    /// It is also called after [`Conn::come_back`] and [`Conn::resume`], and by the default of
    /// [`on_room`](Self::on_room), without new input.
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx);

    /// Called when there is room in the out-buffer again, after the connection was
    /// [congested](Conn::is_congested).
    ///
    /// It is called even if the protocol has not checked for congestion, and also while the
    /// connection is [paused](Conn::pause). The default calls [`on_data`](Self::on_data). See
    /// [`Conn::is_congested`] for an example.
    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        self.on_data(conn, cx);
    }

    /// Called when everything that was sent has been written, so that the system has it.
    ///
    /// It is called once after [`Conn::notify_written`], and not if the connection is already being
    /// closed. The default does nothing.
    fn on_written(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// Called when the peer no longer reads, although it may still send.
    ///
    /// This happens to a pipe or a Unix socket whose reader is gone, and is noticed at the next
    /// write. What was in the out-buffer is lost, and nothing more can be [sent](Conn::can_send).
    /// The default does nothing.
    fn on_write_closed(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// Called when the peer has closed its side, after all its input has been delivered. The
    /// default closes the connection when the out-buffer has been written.
    fn on_eof(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.state.end(Why::Peer);
    }

    /// Called when the program is about to end: the protocol should finish what it has begun, and
    /// close.
    ///
    /// It may be called more than once. The default closes the connection when the out-buffer has
    /// been written.
    fn on_drain(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.close();
    }

    /// Called when the connection is gone, as the last call. The default does nothing.
    ///
    /// It is not called if the protocol has panicked, or if the runtime of its color ends first.
    /// The protocol is then only dropped.
    fn on_close(&mut self, _reason: &CloseReason, _cx: &mut Cx) {}
}
