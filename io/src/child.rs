//! Child processes (N10).
//!
//! The standard library's `Command` starts a child. Meanwhile the calling thread may use all cores
//! of the process: a worker is pinned to one core, and the child would inherit that.
//!
//! The system's descriptor of the child (a pidfd) is registered with a reactor, and becomes
//! readable when the child has ended. An event then waits for the child without blocking. So no
//! zombie is left, whether the program asks for the exit status or not. Callbacks and tasks that
//! did ask are told.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process::{Command, ExitStatus};
use std::task::{Context, Poll, Waker};

use dapple::sync::{Arc, Mutex, lock};
use dapple::{Color, Cx, Site};

use crate::fd::{Interest, Registration};
use crate::reactor::{Io, runtime_has_ended};
use crate::stream::Stream;
use crate::sys;

/// A child process; see [`Io::spawn_child`].
///
/// Dropping this leaves the child running, unless [`kill_on_drop`](Self::kill_on_drop) was called.
/// In both cases the runtime waits for the child, until the runtime itself ends.
pub struct Child {
    io: Io,
    shared: Arc<Shared>,
    /// The ends of the child's pipes that were asked for and have not been taken.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    kills_on_drop: bool,
}

struct Shared {
    number: u32,
    /// The child's descriptor, which becomes readable when the child has ended. `None`: the child
    /// had ended before it could be opened, and the process ignores `SIGCHLD`.
    process: Option<OwnedFd>,
    state: Mutex<ChildState>,
}

enum ChildState {
    Runs(Runs),
    Ended(Ended),
}

/// A child that has not ended, as far as is known.
struct Runs {
    child: std::process::Child,
    /// The callbacks and tasks that wait for the end, each with a number.
    waiting: Vec<(u64, Waits)>,
    next: u64,
    registration: Option<Registration>,
    /// The runtime has ended, so the reactor no longer watches the child.
    is_lost: bool,
}

/// The exit status, or the reason why it is not known.
type Ended = Result<ExitStatus, (io::ErrorKind, String)>;

type Tell = Box<dyn FnOnce(io::Result<ExitStatus>, &mut Cx) + Send>;

/// A callback or a task that waits for the end.
enum Waits {
    Callback(Color, Site, Tell),
    Task(Waker),
}

fn result(ended: &Ended) -> io::Result<ExitStatus> {
    ended.clone().map_err(|(kind, message)| io::Error::new(kind, message))
}

impl Waits {
    fn tell(self, ended: &Ended) {
        match self {
            Waits::Task(waker) => waker.wake(),
            Waits::Callback(color, site, tell) => {
                let outcome = result(ended);
                color.runtime().post_from(site, &color, move |cx| tell(outcome, cx));
            }
        }
    }
}

impl Shared {
    /// Checks whether the child has ended. This runs in an event.
    fn look(&self) {
        let mut state = lock(&self.state);
        let ChildState::Runs(Runs { child, .. }) = &mut *state else { return };
        let ended: Ended = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => Ok(status),
            // Other code has waited for the child, or the process ignores `SIGCHLD`.
            Err(error) => Err((error.kind(), error.to_string())),
        };
        drop(state);
        self.set_ended(ended);
    }

    fn set_ended(&self, ended: Ended) {
        let mut state = lock(&self.state);
        if let ChildState::Ended(_) = &*state {
            return;
        }
        let before = std::mem::replace(&mut *state, ChildState::Ended(ended.clone()));
        drop(state);
        if let ChildState::Runs(Runs { waiting, registration, .. }) = before {
            drop(registration);
            // A foreign waker may panic. The others are told all the same.
            let mut panicked = None;
            for (_, one) in waiting {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| one.tell(&ended))) {
                    panicked = Some(payload);
                }
            }
            if let Some(payload) = panicked {
                resume_unwind(payload);
            }
        }
    }

    /// Tells the waiting callbacks and tasks that the runtime has ended, unless the child has ended
    /// by now.
    fn on_runtime_end(&self) {
        self.look();
        let error = runtime_has_ended();
        self.set_ended(Err((error.kind(), error.to_string())));
    }

    fn on_exit(&self, waits: Waits) {
        let ended = match &mut *lock(&self.state) {
            ChildState::Runs(runs) => {
                let number = runs.take_number();
                return runs.waiting.push((number, waits));
            }
            ChildState::Ended(ended) => ended.clone(),
        };
        waits.tell(&ended);
    }

    fn send_signal(&self, signal: i32) -> io::Result<()> {
        match &self.process {
            Some(process) => sys::send_signal(process.as_fd(), signal),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

impl Runs {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The part of the reactor's callback that checks for the end of the child.
///
/// It is dropped after the child has ended, or with the runtime. In the latter case the waiting
/// callbacks and tasks get an error.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let ChildState::Runs(runs) = &mut *lock(&self.0.state) {
            runs.is_lost = true;
            if runs.registration.is_none() {
                // `watch` has not stored the registration yet, and looks at `is_lost` when it does.
                return;
            }
        }
        self.0.on_runtime_end();
    }
}

/// A task that waits for the end of a child.
struct Wait {
    shared: Arc<Shared>,
    /// Its number in [`Runs::waiting`]; `None` until the task has been polled.
    number: Option<u64>,
}

impl Future for Wait {
    type Output = io::Result<ExitStatus>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waits = Waits::Task(cx.waker().clone());
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        let runs = match &mut *state {
            ChildState::Ended(ended) => return Poll::Ready(result(ended)),
            ChildState::Runs(runs) => runs,
        };
        let number = *self.number.get_or_insert_with(|| runs.take_number());
        let place = runs.waiting.iter_mut().find(|(other, _)| *other == number);
        let before = match place {
            Some((_, place)) => Some(std::mem::replace(place, waits)),
            None => {
                runs.waiting.push((number, waits));
                None
            }
        };
        drop(state);
        // The old waker is dropped outside the lock, as it may be foreign code.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = lock(&self.shared.state);
        let ChildState::Runs(runs) = &mut *state else { return };
        let place = runs.waiting.iter().position(|(other, _)| *other == number);
        let waits = place.map(|at| runs.waiting.swap_remove(at));
        drop(state);
        drop(waits);
    }
}

impl Child {
    /// Returns the ID of the process.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.shared.number
    }

    /// Has the child killed when this handle is dropped before the child has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{os::unix::process::ExitStatusExt, process::Command};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let mut child = io.spawn_child(Command::new("sleep").arg("60"))?;
    /// let end = child.kill_on_drop().wait();
    /// drop(child);
    /// assert_eq!(rt.block_on(end)?.signal(), Some(libc::SIGKILL));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(&mut self) -> &mut Self {
        self.kills_on_drop = true;
        self
    }

    /// Calls `f`, as an event of `color`, when the child has ended.
    ///
    /// If the child has already ended, the event is posted at once.
    ///
    /// `f` gets an error only if it is not known how the child has ended: because other code has
    /// waited for it, because the process ignores `SIGCHLD`, or because the runtime has ended
    /// first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{process::Command, sync::mpsc};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (tell, told) = mpsc::channel();
    /// let child = io.spawn_child(Command::new("sh").args(["-c", "exit 3"]))?;
    /// child.on_exit(&rt.handle().new_color(), move |status, _| tell.send(status).unwrap());
    /// assert_eq!(told.recv().unwrap()?.code(), Some(3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "chldcb")]
    #[doc(alias = "uv_exit_cb")]
    pub fn on_exit<F>(&self, color: &Color, f: F)
    where
        F: FnOnce(io::Result<ExitStatus>, &mut Cx) + Send + 'static,
    {
        self.shared.on_exit(Waits::Callback(color.clone(), Site::caller(), Box::new(f)));
    }

    /// Waits until the child has ended, and returns its exit status.
    ///
    /// See [`signal`](Self::signal) for an example.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not known how the child has ended: because other code has waited
    /// for it, because the process ignores `SIGCHLD`, or because the runtime has ended first.
    pub fn wait(&self) -> impl Future<Output = io::Result<ExitStatus>> + Send + use<> {
        Wait { shared: Arc::clone(&self.shared), number: None }
    }

    /// Kills the child with `SIGKILL`.
    ///
    /// See [`signal`](Self::signal) for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error `ESRCH` if the child has ended and has been waited for.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Sends a signal to the child.
    ///
    /// The signal never reaches another process that has the child's ID by now.
    ///
    /// # Errors
    ///
    /// Returns the system's error `ESRCH` if the child has ended and has been waited for, and
    /// `InvalidInput` if `signal` is not the number of a signal.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{os::unix::process::ExitStatusExt, process::Command};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let child = io.spawn_child(Command::new("sleep").arg("60"))?;
    /// child.signal(libc::SIGTERM)?;
    /// assert_eq!(rt.block_on(child.wait())?.signal(), Some(libc::SIGTERM));
    /// // The child has ended, so there is nothing to send a signal to.
    /// assert_eq!(child.signal(libc::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "uv_process_kill")]
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.shared.send_signal(signal)
    }

    /// Takes the pipes to the child's standard input and from its standard output, as one stream.
    ///
    /// The stream has each of the two pipes that was asked for (`Stdio::piped()`) and has not been
    /// taken. Returns `None` if there is neither.
    ///
    /// To end the child's input while its output is still read, close one direction:
    /// [`Conn::shutdown_write`](crate::stream::Conn::shutdown_write). A child that no longer reads
    /// does not end the stream, and what was to be written to the child is dropped. If only the
    /// child's input is piped, the stream then ends.
    ///
    /// The limits of a [connection](crate::stream::ConnOptions) apply to a child as well. By
    /// default the connection ends when the child prints nothing for 60 s, or when one message of
    /// its protocol takes longer than 10 s.
    ///
    /// See [`Io::spawn_child`] for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    pub fn take_stdio(&mut self) -> io::Result<Option<Stream>> {
        match (self.stdout.take(), self.stdin.take()) {
            (None, None) => Ok(None),
            (from, to) => self.stream(from, to).map(Some),
        }
    }

    /// Takes the pipe to the child's standard input alone, if it was asked for and has not been
    /// taken.
    ///
    /// Nothing can be read from the stream. It ends when the child no longer reads.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::process::{Command, Stdio};
    /// use futures_lite::io::AsyncWriteExt;
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "read word; test $word = go"]).stdin(Stdio::piped());
    /// let mut child = io.spawn_child(&mut command)?;
    /// let mut stdin = child.take_stdin()?.expect("it is piped").into_async()?;
    /// rt.block_on(stdin.write_all(b"go\n"))?;
    /// assert!(rt.block_on(child.wait())?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_stdin(&mut self) -> io::Result<Option<Stream>> {
        self.stdin.take().map(|to| self.stream(None, Some(to))).transpose()
    }

    /// Takes the pipe from the child's standard output alone, if it was asked for and has not been
    /// taken.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::process::{Command, Stdio};
    /// use futures_lite::io::AsyncReadExt;
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let mut child = io.spawn_child(Command::new("echo").arg("hello").stdout(Stdio::piped()))?;
    /// let mut stdout = child.take_stdout()?.expect("it is piped").into_async()?;
    /// let mut text = String::new();
    /// rt.block_on(stdout.read_to_string(&mut text))?;
    /// assert_eq!(text, "hello\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_stdout(&mut self) -> io::Result<Option<Stream>> {
        self.stdout.take().map(|from| self.stream(Some(from), None)).transpose()
    }

    /// Takes the pipe from the child's standard error, if it was asked for and has not been taken.
    ///
    /// See [`take_stdout`](Self::take_stdout) for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors.
    pub fn take_stderr(&mut self) -> io::Result<Option<Stream>> {
        self.stderr.take().map(|from| self.stream(Some(from), None)).transpose()
    }

    fn stream(&self, from: Option<OwnedFd>, to: Option<OwnedFd>) -> io::Result<Stream> {
        self.io.adopt_pipes(from, to)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kills_on_drop {
            // This fails if the child has ended.
            let _ = self.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Io {
    /// Starts a child process, which may use all cores that this process may use.
    ///
    /// The child has the standard input, output and error of this process, unless the command says
    /// otherwise. Those that are piped become [streams](Child::take_stdio). When the child has
    /// ended, the runtime waits for it, and tells the callbacks and tasks that have asked.
    ///
    /// # Errors
    ///
    /// Returns the system's error if it cannot start the program, `Unsupported` on Linux before 5.3
    /// and on other systems, and an error if the runtime has ended. In all these cases no child is
    /// left.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{process::{Command, Stdio}, sync::mpsc};
    /// use dapple_io::{Io, stream::{CloseReason, Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// /// Sends a text, and collects the answer.
    /// struct Ask { answer: Vec<u8>, tell: mpsc::Sender<Vec<u8>> }
    ///
    /// impl Protocol for Ask {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"3\n1\n2\n");
    ///         conn.shutdown_write();
    ///     }
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         self.answer.extend(conn.input());
    ///         conn.consume(conn.input().len());
    ///     }
    ///     fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
    ///         let _ = self.tell.send(std::mem::take(&mut self.answer));
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let mut command = Command::new("sort");
    /// let mut child = io.spawn_child(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    /// let (tell, told) = mpsc::channel();
    /// let stdio = child.take_stdio()?.expect("both are piped");
    /// let ask = Ask { answer: Vec::new(), tell };
    /// stdio.serve(&rt.handle().new_color(), ConnOptions::default(), ask);
    /// assert_eq!(told.recv().unwrap(), b"1\n2\n3\n");
    /// assert!(rt.block_on(child.wait())?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "uv_spawn")]
    #[doc(alias = "fork")]
    pub fn spawn_child(&self, command: &mut Command) -> io::Result<Child> {
        let mut child = dapple::unpinned(|| command.spawn())?;
        let process = match sys::process_fd(child.id()) {
            Ok(process) => Some(process),
            // The child has ended, and the process ignores `SIGCHLD`.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            Err(error) => {
                give_up(child);
                return Err(error);
            }
        };
        let stdin = child.stdin.take().map(OwnedFd::from);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let number = child.id();
        let watched = process.as_ref().map(OwnedFd::try_clone).transpose();
        let runs = Runs { child, waiting: Vec::new(), next: 0, registration: None, is_lost: false };
        let state = Mutex::new(ChildState::Runs(runs));
        let shared = Arc::new(Shared { number, process, state });
        if let Err(error) = watched.and_then(|watched| self.watch(&shared, watched)) {
            shared.give_up();
            return Err(error);
        }
        let io = self.clone();
        Ok(Child { io, shared, stdin, stdout, stderr, kills_on_drop: false })
    }

    fn watch(&self, shared: &Arc<Shared>, process: Option<OwnedFd>) -> io::Result<()> {
        let Some(process) = process else {
            shared.look();
            return Ok(());
        };
        let (watch, color) = (Watch(Arc::clone(shared)), self.handle().new_color());
        let look = move |_, _: &mut Cx| watch.0.look();
        let registration = self.on_ready(process, Interest::READABLE, &color, look)?;
        let mut is_lost = false;
        if let ChildState::Runs(runs) = &mut *lock(&shared.state) {
            runs.registration = Some(registration);
            is_lost = runs.is_lost;
        }
        if is_lost {
            shared.on_runtime_end();
        }
        Ok(())
    }
}

impl Shared {
    /// Kills the child, as it cannot be watched.
    fn give_up(&self) {
        let ended = ChildState::Ended(Err((
            io::ErrorKind::Other,
            "the child cannot be watched".to_owned(),
        )));
        let state = std::mem::replace(&mut *lock(&self.state), ended);
        if let ChildState::Runs(runs) = state {
            give_up(runs.child);
        }
    }
}

/// Kills a child that cannot be watched.
fn give_up(mut child: std::process::Child) {
    // `kill` fails if the child has ended. Then `wait` returns at once.
    let _ = child.kill();
    let _ = child.wait();
}
