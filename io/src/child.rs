//! Child processes (N10).
//!
//! A child is started by the standard library's `Command`, while the calling thread may use all
//! cores of the process: a worker is pinned, and a child would begin with its one core. The
//! system's descriptor of the child stands in a reactor, and is readable when the child has ended;
//! then an event waits for it, which does not block, so no zombie is left whether anybody asks or
//! not. What asks is told: callbacks on their colors, and tasks.

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

/// A child process; see [`Io::spawn_child`]. Dropping it leaves the child alone, unless it is to be
/// [killed](Self::kill_on_drop); the runtime waits for it in any case, until it ends itself.
pub struct Child {
    io: Io,
    shared: Arc<Shared>,
    /// Its ends that were asked for and not yet taken.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    kills_on_drop: bool,
}

struct Shared {
    number: u32,
    /// What tells of its end. `None`: it had ended before it could be asked for.
    process: Option<OwnedFd>,
    state: Mutex<State>,
}

enum State {
    Runs(Runs),
    Ended(Ended),
}

/// A child that has not ended, as far as is known.
struct Runs {
    child: std::process::Child,
    /// The callbacks and tasks that wait, each with a number.
    waiting: Vec<(u64, Waits)>,
    next: u64,
    registration: Option<Registration>,
    /// Nobody will be told by the system any more.
    is_lost: bool,
}

/// How it has ended, or why that is not known.
type Ended = Result<ExitStatus, (io::ErrorKind, String)>;

type Tell = Box<dyn FnOnce(io::Result<ExitStatus>, &mut Cx) + Send>;

/// Somebody who is to be told of the end.
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
    /// The child has ended, or may have; in an event.
    fn look(&self) {
        let mut state = lock(&self.state);
        let State::Runs(Runs { child, .. }) = &mut *state else { return };
        let ended: Ended = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => Ok(status),
            // Somebody else has waited for it, or the process ignores the ends of its children.
            Err(error) => Err((error.kind(), error.to_string())),
        };
        drop(state);
        self.has_ended(ended);
    }

    fn has_ended(&self, ended: Ended) {
        let mut state = lock(&self.state);
        if let State::Ended(_) = &*state {
            return;
        }
        let before = std::mem::replace(&mut *state, State::Ended(ended.clone()));
        drop(state);
        if let State::Runs(Runs { waiting, registration, .. }) = before {
            drop(registration);
            // A foreign waker may panic, which is not to keep the others from it.
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

    /// Nobody will be told by the system any more.
    fn is_lost(&self) {
        self.look();
        let error = runtime_has_ended();
        self.has_ended(Err((error.kind(), error.to_string())));
    }

    fn on_exit(&self, waits: Waits) {
        let ended = match &mut *lock(&self.state) {
            State::Runs(runs) => {
                let number = runs.take_number();
                return runs.waiting.push((number, waits));
            }
            State::Ended(ended) => ended.clone(),
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

/// Looks when the system tells that the child has ended. It goes when that has been told, or with
/// the runtime; who waits is told of the latter then.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let State::Runs(runs) = &mut *lock(&self.0.state) {
            runs.is_lost = true;
            if runs.registration.is_none() {
                // Who registers it sees that.
                return;
            }
        }
        self.0.is_lost();
    }
}

/// A task that waits for the end of a child.
struct Wait {
    shared: Arc<Shared>,
    /// Its number among those who wait.
    number: Option<u64>,
}

impl Future for Wait {
    type Output = io::Result<ExitStatus>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waits = Waits::Task(cx.waker().clone());
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        let runs = match &mut *state {
            State::Ended(ended) => return Poll::Ready(result(ended)),
            State::Runs(runs) => runs,
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
        // The old waker goes outside of the lock.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = lock(&self.shared.state);
        let State::Runs(runs) = &mut *state else { return };
        let place = runs.waiting.iter().position(|(other, _)| *other == number);
        let waits = place.map(|at| runs.waiting.swap_remove(at));
        drop(state);
        drop(waits);
    }
}

impl Child {
    /// The number of the process.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.shared.number
    }

    /// Kills the child when this is dropped before it has ended.
    pub fn kill_on_drop(&mut self) -> &mut Self {
        self.kills_on_drop = true;
        self
    }

    /// Calls `f`, as an event of `color`, when the child has ended; also if it has by now.
    ///
    /// It gets an error only if it is not known how the child has ended: because somebody else has
    /// waited for it, because the process ignores `SIGCHLD`, or because the runtime has ended
    /// first.
    #[track_caller]
    #[doc(alias = "chldcb")]
    #[doc(alias = "uv_exit_cb")]
    pub fn on_exit<F>(&self, color: &Color, f: F)
    where
        F: FnOnce(io::Result<ExitStatus>, &mut Cx) + Send + 'static,
    {
        self.shared.on_exit(Waits::Callback(color.clone(), Site::caller(), Box::new(f)));
    }

    /// Waits until the child has ended.
    ///
    /// # Errors
    ///
    /// If it is not known how the child has ended: because somebody else has waited for it, because
    /// the process ignores `SIGCHLD`, or because the runtime has ended first.
    pub fn wait(&self) -> impl Future<Output = io::Result<ExitStatus>> + Send + use<> {
        Wait { shared: Arc::clone(&self.shared), number: None }
    }

    /// Kills the child.
    ///
    /// # Errors
    ///
    /// ESRCH if it has ended.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Sends a signal to the child, and never to another process that has its number by now.
    ///
    /// # Errors
    ///
    /// ESRCH if it has ended; `InvalidInput` for a number that is no signal.
    #[doc(alias = "uv_process_kill")]
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.shared.send_signal(signal)
    }

    /// The pipes to its standard input and from its standard output, as one stream; each if it was
    /// asked for (`Stdio::piped()`), and has not been taken. `None` if there is neither.
    ///
    /// To end its input while its output is still read, close one direction:
    /// [`Conn::shutdown_write`](crate::stream::Conn::shutdown_write). A child that reads no more
    /// does not end the stream; what was to be written to it is dropped. If only its input is
    /// piped, that is the end.
    ///
    /// The limits of a [connection](crate::stream::ConnOptions) hold for a child, too: by default
    /// one that prints nothing for 60 s is left, and so is one that takes 10 s for what its
    /// protocol takes for one message.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
    pub fn take_stdio(&mut self) -> io::Result<Option<Stream>> {
        match (self.stdout.take(), self.stdin.take()) {
            (None, None) => Ok(None),
            (from, to) => self.stream(from, to).map(Some),
        }
    }

    /// The pipe to its standard input alone, if it was asked for and has not been taken: a stream
    /// that brings nothing, and ends when the child reads no more.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
    pub fn take_stdin(&mut self) -> io::Result<Option<Stream>> {
        self.stdin.take().map(|to| self.stream(None, Some(to))).transpose()
    }

    /// The pipe from its standard output alone, if it was asked for and has not been taken.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
    pub fn take_stdout(&mut self) -> io::Result<Option<Stream>> {
        self.stdout.take().map(|from| self.stream(Some(from), None)).transpose()
    }

    /// The pipe from its standard error, if it was asked for and has not been taken.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor.
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
            // It fails if it has ended.
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
    /// Standard input, output and error are those of this process, unless the command says
    /// otherwise; those that are piped become [streams](Child::take_stdio). When the child has
    /// ended it is waited for, and callbacks and tasks that ask for it are told.
    ///
    /// # Errors
    ///
    /// What the system says if it cannot start the program; `Unsupported` on Linux before 5.3, and
    /// on other systems; when the runtime has ended. No child is left then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{process::{Command, Stdio}, sync::mpsc};
    /// use dapple_io::{Io, stream::{CloseReason, Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// /// Sends a text, and collects what comes back.
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
            // It has ended, and the process ignores that.
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
        let state = Mutex::new(State::Runs(runs));
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
        if let State::Runs(runs) = &mut *lock(&shared.state) {
            runs.registration = Some(registration);
            is_lost = runs.is_lost;
        }
        if is_lost {
            shared.is_lost();
        }
        Ok(())
    }
}

impl Shared {
    /// Nobody can watch the child: it is ended.
    fn give_up(&self) {
        let ended = State::Ended(Err((io::ErrorKind::Other, "nobody watches".to_owned())));
        let state = std::mem::replace(&mut *lock(&self.state), ended);
        if let State::Runs(runs) = state {
            give_up(runs.child);
        }
    }
}

/// Ends a child that nobody can watch.
fn give_up(mut child: std::process::Child) {
    // It fails if it has ended; then it is there to be waited for.
    let _ = child.kill();
    let _ = child.wait();
}
