//! The seam between the executor, which knows no descriptor, and a reactor: how a worker sleeps.
//!
//! # Examples
//!
//! A reactor with a socket for each worker. An empty datagram ends the worker's wait, and any other
//! one becomes an event:
//!
//! ```
//! use std::io::{self, ErrorKind};
//! use std::os::unix::net::UnixDatagram;
//! use std::sync::{Arc, Mutex, mpsc};
//! use std::time::Duration;
//! use dapple::{Cx, Runtime, park::{Driver, Park, Unpark}};
//!
//! /// The poller of a worker.
//! struct Inbox { socket: UnixDatagram, outbox: Arc<Outbox>, got: mpsc::Sender<Vec<u8>> }
//!
//! /// The other end of its socket.
//! struct Outbox(UnixDatagram);
//!
//! impl Unpark for Outbox {
//!     fn unpark(&self) {
//!         let _ = self.0.send(b"");       // if there is no room, the next wait ends anyway
//!     }
//! }
//!
//! impl Park for Inbox {
//!     fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()> {
//!         self.socket.set_nonblocking(timeout == Some(Duration::ZERO))?;
//!         self.socket.set_read_timeout(timeout.filter(|time| !time.is_zero()))?;
//!         let mut text = vec![0; 100];
//!         match self.socket.recv(&mut text) {
//!             Ok(0) => {}
//!             Ok(length) => {
//!                 let got = self.got.clone();
//!                 text.truncate(length);
//!                 cx.post_default(move |_| got.send(text).unwrap());
//!             }
//!             Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
//!             Err(e) => return Err(e),
//!         }
//!         Ok(())
//!     }
//!
//!     fn unparker(&self) -> Arc<dyn Unpark> {
//!         self.outbox.clone()
//!     }
//! }
//!
//! struct Reactor { outboxes: Mutex<Vec<Arc<Outbox>>>, got: mpsc::Sender<Vec<u8>> }
//!
//! impl Driver for Reactor {
//!     fn park(&self, _worker: usize) -> io::Result<Box<dyn Park>> {
//!         let (socket, outbox) = UnixDatagram::pair()?;
//!         outbox.set_nonblocking(true)?;
//!         let outbox = Arc::new(Outbox(outbox));
//!         self.outboxes.lock().unwrap().push(outbox.clone());
//!         Ok(Box::new(Inbox { socket, outbox, got: self.got.clone() }))
//!     }
//! }
//!
//! let (got, gets) = mpsc::channel();
//! let reactor = Reactor { outboxes: Mutex::default(), got };
//! let rt = Runtime::builder().driver(Arc::new(reactor)).build()?;
//! let h = rt.handle();
//! let reactor: &Reactor = h.driver().expect("the runtime was built with it");
//! reactor.outboxes.lock().unwrap()[0].0.send(b"hello")?;
//! assert_eq!(gets.recv().unwrap(), b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::cx::Cx;
pub use crate::fork::Process;
use crate::sync::{Arc, Parker, Unparker};
pub use crate::worker::poller::{Attention, Unpark};

/// A poller: a worker sleeps on it when it has nothing to run, and polls it regularly while it is
/// busy.
///
/// A reactor implements this trait. While it waits, descriptors become ready, and it posts their
/// callbacks through the [`Cx`]. Each worker has its own `Park`.
///
/// A worker counts as awake from the first post that its `Park` makes in a wait. If the `Park`
/// blocks after that, the delay is noticed like that of an event that blocks, but no other worker
/// can poll in its place.
///
/// See the example of the [module](self).
pub trait Park: Send {
    /// Waits until something is ready, [`Unpark::unpark`] is called, or the time is over, and posts
    /// the callbacks of what became ready.
    ///
    /// With `Some(Duration::ZERO)` it polls without waiting; with `None` there is no time limit. An
    /// `unpark` that came before the call is not lost: the next wait ends at once. While the worker
    /// is stuck in an event, another worker may call this in its place.
    ///
    /// # Errors
    ///
    /// Returns the error that the operating system reports. The worker logs it, and goes on.
    fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()>;

    /// Begins or ends attending to the poller of another worker.
    ///
    /// While that worker is stuck in an event, and this one stands in for it, a wait of this poller
    /// is to end also when something is ready in the poller of `worker`, where this worker then
    /// polls itself. By default this method does nothing, and the other poller is polled at
    /// intervals only.
    fn attend(&mut self, worker: usize, attention: Attention) {
        let _ = (worker, attention);
    }

    /// Ends the poller, as its worker ends. A reactor drops its registrations here, because their
    /// callbacks may own colors, and through them the runtime.
    fn close(&mut self) {}

    /// Returns a descriptor that is readable while a wait would end at once.
    ///
    /// That is so when something is ready or [`Unpark::unpark`] was called. The descriptor is for a
    /// thread that waits elsewhere (see [`Here::poll_fd`](crate::Here::poll_fd)). By default there
    /// is none.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if it refuses the descriptor.
    fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Returns the handle that ends a wait of this poller, from any thread.
    fn unparker(&self) -> Arc<dyn Unpark>;
}

/// Returns `true` if the waker of this context belongs to the task of this crate that is polled on
/// this thread.
///
/// Such a waker posts an event, and runs nothing else, so a reactor may call it in its [`Park`].
/// Any other waker is foreign: it may block, and no worker could take the place of a poller that is
/// blocked in it. A reactor calls a foreign waker in an event of its own.
///
/// # Examples
///
/// ```
/// use std::{future::poll_fn, task::Poll};
/// let rt = dapple::Runtime::new()?;
/// let ask = || poll_fn(|cx| Poll::Ready(dapple::park::wakes_a_task(cx)));
/// let task = rt.handle().new_color().spawn(ask());
/// assert_eq!(task.join(), Ok(true));
/// assert!(!rt.block_on(ask()), "this waker wakes a thread");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wakes_a_task(cx: &std::task::Context<'_>) -> bool {
    crate::task::polled::wakes_a_task(cx)
}

/// A factory that makes a [`Park`] for each worker of a runtime.
///
/// [`Handle::driver`](crate::Handle::driver) returns the driver of a runtime. See the example of
/// the [module](self).
pub trait Driver: std::any::Any + Send + Sync {
    /// Makes the `Park` of the worker with this number, counted from 0.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if it refuses what the `Park` needs. The runtime
    /// is not built then.
    fn park(&self, worker: usize) -> io::Result<Box<dyn Park>>;
}

/// A poller without a reactor: the worker sleeps on a parker of its thread.
pub(crate) struct ThreadPark(Parker);

struct ThreadUnpark(Unparker);

impl ThreadPark {
    pub(crate) fn new() -> Self {
        ThreadPark(Parker::new())
    }
}

impl Park for ThreadPark {
    fn park(&mut self, timeout: Option<Duration>, _cx: &mut Cx) -> io::Result<()> {
        match timeout {
            None => self.0.park(),
            // A limit of zero consumes an `unpark` that came before.
            Some(limit) => self.0.park_timeout(limit),
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(ThreadUnpark(self.0.unparker().clone()))
    }
}

impl Unpark for ThreadUnpark {
    fn unpark(&self) {
        self.0.unpark();
    }
}
