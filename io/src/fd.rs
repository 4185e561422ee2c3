//! Callbacks on raw descriptors, as libasync's `fdcb` had them (N2).
//!
//! mio reports edges; a callback wants a level: to be called again as long as the descriptor is
//! readable, even if it reads one byte a call. So when a callback has returned, the descriptor is
//! registered again, which makes the system look at it afresh and report it if it is still ready.
//! Until then further edges are ignored: at most one event of a registration is queued.
//!
//! A descriptor has one entry in a reactor, with a slot for each direction. The user keeps the
//! descriptor open while it is registered; one that was closed all the same, and whose number was
//! given to a new one, is noticed when the new one is registered, by whatever part of this crate,
//! and its registration is dead.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use dapple::sync::{Arc, AtomicBool, Mutex, Ordering, PoisonError, TryLockError, Weak};
use dapple::{Color, Cx};
use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::reactor::{Io, News, Readiness, Ready, Site, Table};

/// A persistent callback on a descriptor or a signal. It ends when this is dropped: the callback
/// is not called any more, except for a call that runs at this moment on another thread.
#[must_use = "the callback ends when its registration is dropped"]
pub struct Registration {
    pub(crate) slot: Arc<Slot>,
    pub(crate) end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("color", &self.slot.color).finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.slot.live.store(false, Ordering::Release);
        if let Some(end) = self.end.take() {
            end();
        }
        // The callback goes as an event of its color.
        let slot = Arc::clone(&self.slot);
        self.slot.color.post(move |_| slot.take_callback());
    }
}

type Callback = Box<dyn FnMut(&mut Cx) + Send>;

/// One callback, and whether its event is queued.
pub(crate) struct Slot {
    color: Color,
    /// Locked in events of the color only, so never contended; a lock, as it is shared with the
    /// entry.
    callback: Mutex<Option<Callback>>,
    live: AtomicBool,
    queued: AtomicBool,
}

impl Slot {
    pub(crate) fn new(color: &Color, callback: Callback) -> Arc<Slot> {
        Arc::new(Slot {
            color: color.clone(),
            callback: Mutex::new(Some(callback)),
            live: AtomicBool::new(true),
            queued: AtomicBool::new(false),
        })
    }

    /// Posts a call, unless one is queued. A descriptor's counts as queued until the callback has
    /// returned, and the descriptor is then looked at again, even if the callback panics; a
    /// signal's until the callback begins: what comes while it runs is worth another call.
    ///
    /// If the call is refused, or dropped unrun, the runtime of the color has ended, and with it
    /// the registration (N11).
    pub(crate) fn post(self: &Arc<Self>, cx: &mut Cx, of: Of) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        struct After {
            slot: Arc<Slot>,
            of: Of,
            runs: bool,
        }
        impl Drop for After {
            fn drop(&mut self) {
                if !self.runs || matches!(self.of, Of::Fd(..)) {
                    // First, so that an edge that a rearming brings about is not ignored.
                    self.slot.queued.store(false, Ordering::Release);
                }
                match self.runs {
                    true => self.of.look_again(),
                    false => self.of.end(&self.slot),
                }
            }
        }
        let after = After { slot: Arc::clone(self), of, runs: false };
        cx.post(&self.color, move |cx| {
            let mut after = after;
            after.runs = true;
            let slot = Arc::clone(&after.slot);
            if let Of::Signal(..) = after.of {
                slot.queued.store(false, Ordering::Release);
            }
            let mut callback = slot.callback.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(callback) = callback.as_mut().filter(|_| slot.is_live()) {
                callback(cx);
            }
        });
    }

    /// The reactor ends. A callback that runs at this moment keeps itself.
    pub(crate) fn end(&self) {
        let mut callback = match self.callback.try_lock() {
            Ok(callback) => callback,
            // It panicked once, and goes all the same.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let taken = callback.take();
        drop(callback);
        drop(taken);
    }

    fn take_callback(&self) {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(callback);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }
}

/// Both directions of a descriptor.
pub(crate) struct FdEntry {
    this: Weak<FdEntry>,
    fd: RawFd,
    site: Arc<Site>,
    token: Mutex<Option<Token>>,
    slots: Mutex<[Option<Arc<Slot>>; 2]>,
}

#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl FdEntry {
    fn slots(&self) -> dapple::sync::MutexGuard<'_, [Option<Arc<Slot>>; 2]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interest(&self) -> Option<Interest> {
        let slots = self.slots();
        let read = slots[0].as_ref().map(|_| Interest::READABLE);
        let write = slots[1].as_ref().map(|_| Interest::WRITABLE);
        match (read, write) {
            (Some(r), Some(w)) => Some(r | w),
            (r, w) => r.or(w),
        }
    }

    /// Has the system look at the descriptor afresh. Under the table's lock, so that the entry is
    /// the descriptor's.
    fn rearm(&self, table: &Table) -> io::Result<()> {
        match (self.interest(), self.token()) {
            (Some(interest), Some(token)) if self.is_of_fd(table) => {
                self.site.registry().reregister(&mut SourceFd(&self.fd), token, interest)
            }
            _ => Ok(()),
        }
    }

    /// Says whether the descriptor is still this entry's.
    fn is_of_fd(&self, table: &Table) -> bool {
        table.by_fd.get(&self.fd).is_some_and(|known| known.ptr_eq(&self.this))
    }

    fn token(&self) -> Option<Token> {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call is about.
pub(crate) enum Of {
    Fd(Weak<FdEntry>, Direction),
    Signal(Arc<Site>, Token),
}

impl Of {
    /// A call has returned: a descriptor is looked at again.
    fn look_again(&self) {
        let Of::Fd(entry, _) = self else { return };
        let Some(entry) = entry.upgrade() else { return };
        let rearmed = entry.rearm(&entry.site.table());
        if let Err(error) = rearmed {
            tracing::debug!(%error, fd = entry.fd, "a registered descriptor was closed");
        }
    }

    /// Nobody calls any more.
    fn end(&self, slot: &Arc<Slot>) {
        slot.live.store(false, Ordering::Release);
        match self {
            Of::Fd(entry, direction) => leave(entry, *direction, slot),
            // Refused, it leaves the reactor.
            Of::Signal(site, token) => {
                if let Some(entry) = site.find(*token) {
                    entry.tell(News::Refused);
                }
            }
        }
    }
}

impl Ready for FdEntry {
    fn ready(&self, readiness: Readiness, cx: &mut Cx) {
        let wanted =
            [(readiness.readable, Direction::Read), (readiness.writable, Direction::Write)];
        let slots = self.slots().clone();
        for (slot, (wanted, direction)) in slots.into_iter().zip(wanted) {
            if let Some(slot) = slot.filter(|_| wanted) {
                slot.post(cx, Of::Fd(self.this.clone(), direction));
            }
        }
    }

    fn tell(&self, news: News) {
        let News::Closed = news else { return };
        let slots = self.slots().clone();
        slots.iter().flatten().for_each(|slot| slot.end());
    }
}

impl Io {
    /// Calls `f`, as an event of `color`, whenever `fd` is readable: again and again as long as it
    /// is, but with one event queued at most. A callback may read as little as it likes.
    ///
    /// The descriptor should be non-blocking, and must stay open while it is registered. A callback
    /// that panics is called again. The end of a stream and errors count as readable.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the descriptor's readability has a callback on the same worker; what the
    /// system says if it cannot be polled (a regular file: `PermissionDenied`); when the runtime
    /// has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::mpsc};
    /// let rt = dapple_io::runtime().workers(1).build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// theirs.set_nonblocking(true)?;
    /// let (tx, rx) = mpsc::channel();
    /// let mut reader = theirs.try_clone()?;
    /// let registration = io.on_readable(&theirs, &rt.handle().new_color(), move |_| {
    ///     let mut byte = [0];
    ///     if let Ok(1) = reader.read(&mut byte) {
    ///         tx.send(byte[0]).unwrap();       // one byte a call
    ///     }
    /// })?;
    /// ours.write_all(b"abc")?;
    /// assert_eq!(rx.iter().take(3).collect::<Vec<_>>(), b"abc");
    /// drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "fdcb")]
    pub fn on_readable<F>(&self, fd: &impl AsFd, color: &Color, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.on_fd(fd.as_fd().as_raw_fd(), Direction::Read, color, Box::new(f))
    }

    /// Calls `f` whenever `fd` is writable; see [`on_readable`](Self::on_readable). A descriptor
    /// is writable most of the time, so the registration is dropped when there is nothing to write.
    ///
    /// # Errors
    ///
    /// As [`on_readable`](Self::on_readable).
    pub fn on_writable<F>(&self, fd: &impl AsFd, color: &Color, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.on_fd(fd.as_fd().as_raw_fd(), Direction::Write, color, Box::new(f))
    }

    fn on_fd(
        &self,
        fd: RawFd,
        direction: Direction,
        color: &Color,
        callback: Callback,
    ) -> io::Result<Registration> {
        let site = Arc::clone(self.site(self.place()));
        let slot = Slot::new(color, callback);
        let entry = {
            let mut table = site.table();
            table.check_open()?;
            match join(&mut table, fd, direction, &slot)? {
                Some(entry) => entry,
                None => create(&mut table, &site, fd, direction, &slot)?,
            }
        };
        let ours = Arc::clone(&slot);
        let end = move || leave(&entry, direction, &ours);
        Ok(Registration { slot, end: Some(Box::new(end)) })
    }
}

/// Adds a direction to the entry that the descriptor has; `None`: it has none (any more).
fn join(
    table: &mut Table,
    fd: RawFd,
    direction: Direction,
    slot: &Arc<Slot>,
) -> io::Result<Option<Weak<FdEntry>>> {
    let Some(entry) = table.by_fd.get(&fd).and_then(Weak::upgrade) else {
        return Ok(None);
    };
    let Some(token) = entry.token().filter(|token| table.get(*token).is_some()) else {
        return Ok(None);
    };
    // Does the system still know the descriptor by this entry? If it was closed, it does not.
    let known = match entry.interest() {
        Some(interest) => {
            entry.site.registry().reregister(&mut SourceFd(&fd), token, interest).is_ok()
        }
        None => false,
    };
    if !known {
        table.by_fd.remove(&fd);
        table.remove(token);
        return Ok(None);
    }
    if entry.slots()[direction as usize].is_some() {
        let message = format!("descriptor {fd} has a callback for this already");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    entry.slots()[direction as usize] = Some(Arc::clone(slot));
    if let Err(error) = entry.rearm(table) {
        entry.slots()[direction as usize] = None;
        return Err(error);
    }
    Ok(Some(Arc::downgrade(&entry)))
}

fn create(
    table: &mut Table,
    site: &Arc<Site>,
    fd: RawFd,
    direction: Direction,
    slot: &Arc<Slot>,
) -> io::Result<Weak<FdEntry>> {
    let mut slots = [None, None];
    slots[direction as usize] = Some(Arc::clone(slot));
    let entry = Arc::new_cyclic(|this| FdEntry {
        this: this.clone(),
        fd,
        site: Arc::clone(site),
        token: Mutex::new(None),
        slots: Mutex::new(slots),
    });
    let token = table.insert(Arc::clone(&entry) as Arc<dyn Ready>);
    *entry.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    let interest = match direction {
        Direction::Read => Interest::READABLE,
        Direction::Write => Interest::WRITABLE,
    };
    // The reactor cannot be told before we leave the table's lock.
    if let Err(error) = site.registry().register(&mut SourceFd(&fd), token, interest) {
        table.remove(token);
        return Err(error);
    }
    table.by_fd.insert(fd, Arc::downgrade(&entry));
    Ok(Arc::downgrade(&entry))
}

/// Takes a direction out of an entry, if it is still this callback's, and the entry out of the
/// reactor if it was the last.
fn leave(entry: &Weak<FdEntry>, direction: Direction, slot: &Arc<Slot>) {
    let Some(entry) = entry.upgrade() else { return };
    let mut gone = None;
    let mut table = entry.site.table();
    let is_ours = || {
        let there = entry.slots()[direction as usize].clone();
        there.is_some_and(|there| Arc::ptr_eq(&there, slot))
    };
    if let Some(token) = entry.token().filter(|token| table.get(*token).is_some())
        && is_ours()
    {
        entry.slots()[direction as usize] = None;
        let result = match entry.interest().is_some() {
            true => entry.rearm(&table),
            false => {
                gone = table.remove(token);
                match entry.is_of_fd(&table) {
                    true => {
                        table.by_fd.remove(&entry.fd);
                        entry.site.registry().deregister(&mut SourceFd(&entry.fd))
                    }
                    false => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, fd = entry.fd, "a registered descriptor was closed");
        }
    }
    drop(table);
    drop(gone);
}
