//! Bufferevents and listeners that have a color.
//!
//! They are libevent's, and consist of events and deferred callbacks, which are *tied* to the
//! color. An event of a bufferevent remains tied when libevent assigns it anew for another
//! descriptor. A deferred callback, or the event of a listener, is recognized by its argument when
//! it is activated or added. All of them run on the one color, and so does the finalizer. So
//! libevent frees the memory only after none of them runs any longer.

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use super::base::{Base, BaseState, of_ours};
use super::colored::Stays;
use super::colors::color_for;
use super::core::{Done, Even, Meaning, event_of};
use super::layout::{Bufferevent, Callback, EV_FINALIZE, Event, Listener, flags};
use super::libevent::{next, warn};
use crate::door::{answer, door};
use crate::runtime::colors::Color;

/// What is tied to colors in a base.
#[derive(Default)]
pub(super) struct Ties {
    /// The ties, by the argument of the tied events and callbacks.
    by_argument: HashMap<usize, Tie>,
    /// The bufferevents in a rate-limit group.
    grouped: HashSet<usize>,
}

struct Tie {
    color: Arc<Color>,
    kind: Kind,
    /// The events and callbacks known to be tied: keys of `BaseState::colored`.
    known: Vec<usize>,
}

enum Kind {
    /// A bufferevent, or a buffer of one: its deferred callbacks, and the timer of its own rate
    /// limit.
    Bufferevent,
    /// A listener, with its descriptor.
    Listener(c_int),
}

/// `BEV_OPT_THREADSAFE`.
const THREADSAFE: c_int = 1 << 1;

type GetOptions = unsafe extern "C" fn(*mut Bufferevent) -> c_int;
type GetBufferevent = unsafe extern "C" fn(*mut Bufferevent) -> *mut Bufferevent;
type EnableLocking = unsafe extern "C" fn(*mut Bufferevent, *mut c_void) -> c_int;
type OfGroup = unsafe extern "C" fn(*mut Bufferevent, *mut c_void) -> c_int;
type OfNoGroup = unsafe extern "C" fn(*mut Bufferevent) -> c_int;
type OfListener<R> = unsafe extern "C" fn(*mut Listener) -> R;

impl BaseState {
    /// Returns `true` if an event or callback has a color. One that is tied gets its color here.
    #[inline]
    pub(super) fn is_colored(&mut self, callback: *mut Callback) -> bool {
        if self.colored(callback).is_some() {
            return true;
        }
        !self.ties.by_argument.is_empty() && self.take_tied(callback)
    }

    #[cold]
    fn take_tied(&mut self, callback: *mut Callback) -> bool {
        // SAFETY: the callback is live (see the header of `core`).
        let (argument, is_event) =
            unsafe { ((*callback).arg as usize, (*callback).has(flags::INIT)) };
        let Some(tie) = self.ties.by_argument.get_mut(&argument) else { return false };
        let is_it = match tie.kind {
            // SAFETY: `INIT` is set, so it is an event, which is live (see the header of `core`).
            Kind::Bufferevent => !is_event || unsafe { is_of_bufferevent(event_of(callback)) },
            // SAFETY: `INIT` is set, so it is an event, which is live (see the header of `core`).
            Kind::Listener(fd) => is_event && unsafe { (*event_of(callback)).fd } == fd,
        };
        if is_it && let Kind::Listener(_) = tie.kind {
            // SAFETY: it is a live event. `disable` says why it gets EV_FINALIZE.
            unsafe { (*event_of(callback)).events |= EV_FINALIZE };
        }
        if is_it {
            tie.known.push(callback as usize);
            let color = Arc::clone(&tie.color);
            self.know_color(callback, color, Stays::Tied(argument));
        }
        is_it
    }

    /// Removes an event or callback from its tie, because it loses its color.
    pub(super) fn leave_tie(&mut self, callback: *mut Callback, argument: usize) {
        if let Some(tie) = self.ties.by_argument.get_mut(&argument) {
            tie.known.retain(|known| *known != callback as usize);
        }
    }

    fn tie(&mut self, argument: usize, kind: Kind, color: &Arc<Color>) {
        let tie = Tie { color: Arc::clone(color), kind, known: Vec::new() };
        self.ties.by_argument.insert(argument, tie);
    }

    /// Removes the tie of an argument, and the colors of what was tied by it.
    fn untie(&mut self, argument: usize) {
        if let Some(tie) = self.ties.by_argument.remove(&argument) {
            for callback in tie.known {
                self.forget_color(callback as *mut Callback);
            }
        }
    }

    /// Forgets a bufferevent, given by its first callback, because it is about to be freed.
    pub(super) fn forget_bufferevent(&mut self, first: *mut Callback) {
        let Ties { by_argument, grouped } = &mut self.ties;
        if by_argument.is_empty() && grouped.is_empty() {
            return;
        }
        let bufferevent = (first as usize).wrapping_sub(Bufferevent::READ) as *mut Bufferevent;
        grouped.remove(&(bufferevent as usize));
        if !by_argument.contains_key(&(bufferevent as usize)) {
            return;
        }
        // SAFETY: there is a tie for it, so it is a bufferevent. libevent frees it only after this.
        unsafe { self.untie_all(bufferevent) };
    }

    /// # Safety
    ///
    /// It is a bufferevent of this base.
    unsafe fn untie_all(&mut self, bufferevent: *mut Bufferevent) {
        // SAFETY: the caller guarantees a live bufferevent of this base.
        unsafe {
            for argument in Bufferevent::arguments(bufferevent) {
                self.untie(argument);
            }
            self.forget_color((&raw mut (*bufferevent).read).cast());
            self.forget_color((&raw mut (*bufferevent).write).cast());
        }
    }

    /// Returns the bufferevent that an event with a color is a part of.
    fn bufferevent_of(&mut self, event: *mut Event) -> Option<*mut Bufferevent> {
        let Stays::Tied(argument) = self.colored(event.cast())?.stays else { return None };
        let tie = self.ties.by_argument.get(&argument)?;
        matches!(tie.kind, Kind::Bufferevent).then_some(argument as *mut Bufferevent)
    }

    /// Returns `true` if an event may move to another base: it is not part of a bufferevent, or
    /// nothing of that bufferevent is added or active.
    pub(super) fn may_move(&mut self, event: *mut Event) -> bool {
        let Some(bufferevent) = self.bufferevent_of(event) else { return true };
        // SAFETY: there is a tie for the bufferevent, so it is live.
        unsafe {
            let stands = (*bufferevent).read.has(flags::STANDS);
            let stands = stands || (*bufferevent).write.has(flags::STANDS);
            !stands && self.check_bufferevent(bufferevent) != Err(libc::EBUSY)
        }
    }

    /// Forgets an event that moves to another base, and the bufferevent or listener that it is part
    /// of.
    pub(super) fn forget_moved(&mut self, event: *mut Event) {
        match self.bufferevent_of(event) {
            // SAFETY: there is a tie for it, so it is a live bufferevent of this base.
            Some(bufferevent) => unsafe { self.untie_all(bufferevent) },
            None => self.forget_listener(event),
        }
        self.forget_color(event.cast());
    }

    /// Removes the tie of a listener whose event is no longer used.
    pub(super) fn forget_listener(&mut self, event: *mut Event) {
        if self.ties.by_argument.is_empty() {
            return;
        }
        // SAFETY: the event is live (see the header of `core`).
        let argument = unsafe { (*event).callback.arg } as usize;
        let tie = self.ties.by_argument.get(&argument);
        let is_its = |tie: &Tie| {
            matches!(tie.kind, Kind::Listener(_)) && tie.known.contains(&(event as usize))
        };
        if tie.is_some_and(is_its) {
            self.untie(argument);
        }
    }

    /// Returns an error if a bufferevent cannot get another color now.
    ///
    /// # Safety
    ///
    /// It is a bufferevent of this base.
    unsafe fn check_bufferevent(&mut self, bufferevent: *mut Bufferevent) -> Result<(), c_int> {
        if self.ties.grouped.contains(&(bufferevent as usize)) {
            warn("bufferevent_set_color: the bufferevent is in a rate-limit group.");
            return Err(libc::EINVAL);
        }
        // SAFETY: the caller guarantees a live bufferevent of this base.
        let (events, arguments) = unsafe {
            let events = [&raw mut (*bufferevent).read, &raw mut (*bufferevent).write];
            (events.map(<*mut Event>::cast::<Callback>), Bufferevent::arguments(bufferevent))
        };
        let is_its = |callback: *mut Callback| {
            // SAFETY: a callback in a queue is live, and is an event if `INIT` is set.
            events.contains(&callback) || arguments.contains(&unsafe { argument_of(callback) })
        };
        let known = arguments.iter().filter_map(|argument| self.ties.by_argument.get(argument));
        let known = known.flat_map(|tie| &tie.known).map(|at| *at as *mut Callback);
        let mut all = known.chain(events);
        // SAFETY: an event or callback that is tied is live until it is untied.
        let is_posted = |callback: *mut Callback| unsafe { (*callback).has(flags::ACTIVE) };
        let is_pending = all.any(|callback| is_posted(callback) || self.runs(callback))
            || self.is_queued(is_its)
            || arguments.contains(&self.current_argument);
        if is_pending { Err(libc::EBUSY) } else { Ok(()) }
    }

    /// Returns `true` if an active callback without a color satisfies `is_so`.
    fn is_queued(&self, is_so: impl Fn(*mut Callback) -> bool) -> bool {
        self.active.iter().chain([&self.later]).any(|queue| queue.any(&is_so))
    }

    /// Returns `true` if a callback runs on its color.
    fn runs(&self, callback: *mut Callback) -> bool {
        self.running.iter().any(|(at, ..)| *at == callback as usize)
    }

    /// Gives a color to an event that is not active, or takes it away. A pending event remains
    /// pending.
    ///
    /// # Safety
    ///
    /// It is an event of this base.
    unsafe fn recolor(
        &mut self,
        event: *mut Event,
        color: Option<&Arc<Color>>,
        stays: Stays,
    ) -> Done {
        // SAFETY: the caller guarantees a live event of this base.
        let (waits, timeout) = unsafe {
            let timeout = (*event).has(flags::TIMEOUT).then_some((*event).timeout);
            ((*event).has(flags::STANDS), timeout.map(|at| (at, Meaning::At)))
        };
        if waits {
            self.delete(event, Even::UnlessFinalizing);
        }
        self.forget_color(event.cast());
        if let Some(color) = color {
            self.know_color(event.cast(), Arc::clone(color), stays);
        }
        if waits { self.add(event, timeout) } else { Done::Yes }
    }
}

/// Returns the argument of a callback that may be a bufferevent's; 0 for an event of the program.
///
/// # Safety
///
/// The callback is live, and is an event if `INIT` is set.
pub(super) unsafe fn argument_of(callback: *mut Callback) -> usize {
    // SAFETY: the caller guarantees a live callback, which is an event if `INIT` is set.
    unsafe {
        let is_event = (*callback).has(flags::INIT);
        match is_event && (*event_of(callback)).events & EV_FINALIZE == 0 {
            true => 0,
            false => (*callback).arg as usize,
        }
    }
}

/// Returns `true` if an event with a bufferevent as its argument is libevent's, not the program's.
///
/// # Safety
///
/// The event is live.
unsafe fn is_of_bufferevent(event: *const Event) -> bool {
    // SAFETY: the caller guarantees a live event.
    unsafe { (*event).events & EV_FINALIZE != 0 && (*event).fd < 0 }
}

impl Bufferevent {
    const READ: usize = std::mem::offset_of!(Bufferevent, read);

    /// Returns the arguments of its deferred callbacks.
    ///
    /// # Safety
    ///
    /// It is a bufferevent.
    unsafe fn arguments(this: *mut Bufferevent) -> [usize; 3] {
        // SAFETY: the caller guarantees a live bufferevent.
        unsafe { [this as usize, (*this).input as usize, (*this).output as usize] }
    }
}

/// Returns a bufferevent and those that share its color: the other one of a pair, and the ones that
/// a filter or TLS is built on.
///
/// # Safety
///
/// It is a bufferevent.
unsafe fn all_of(first: *mut Bufferevent) -> Vec<*mut Bufferevent> {
    let mut all = vec![first];
    let mut at = 0;
    while let Some(&bufferevent) = all.get(at) {
        for name in [c"bufferevent_pair_get_partner", c"bufferevent_get_underlying"] {
            if let Some(get) = next::<GetBufferevent>(name) {
                // SAFETY: the first one is live, as the caller guarantees, and libevent keeps the
                // others alive with it.
                let other = unsafe { get(bufferevent) };
                if !other.is_null() && !all.contains(&other) {
                    all.push(other);
                }
            }
        }
        at += 1;
    }
    all
}

/// Makes the events and deferred callbacks of a bufferevent run on a color.
///
/// The bufferevent keeps a reference to the color. With NULL it has no color, and runs on the
/// thread of the loop. The other one of a pair, and the bufferevents that a filter or TLS is built
/// on, share the color: give it to the outermost one, after all of them are made.
///
/// All of them must have been made with BEV_OPT_THREADSAFE, after evthread_use_pthreads(), and must
/// not be in a rate-limit group. With BEV_OPT_DEFER_CALLBACKS, all callbacks of the program run on
/// the color. Without it, libevent calls some at once, on the thread that causes them: in
/// bufferevent_trigger, a filter's in bufferevent_write, and when the look-up of a host name fails.
///
/// Returns 0, or -1 with errno set: EBUSY if a callback of it runs or is pending, EINVAL if the
/// bufferevent is NULL, does not meet the conditions above or has another base than the color, EIO
/// if the system refuses its descriptor, so that it has no color, ENOTSUP without libevent's
/// bufferevents.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bufferevent_set_color(
    bufferevent: *mut Bufferevent,
    color: *mut Color,
) -> c_int {
    const NAME: &str = "bufferevent_set_color";
    // SAFETY: the caller guarantees that each pointer is null or live (see `events`).
    answer(NAME, || unsafe {
        if bufferevent.is_null() {
            return Err(libc::EINVAL);
        }
        let get = next::<GetOptions>(c"bufferevent_get_options_").ok_or(libc::ENOTSUP)?;
        let base = of_ours((*bufferevent).base, NAME).ok_or(libc::EINVAL)?;
        let color = color_for(base, color, NAME)?;
        let all = all_of(bufferevent);
        if all.iter().any(|one| !std::ptr::eq((**one).base, base)) {
            return Err(libc::EINVAL);
        }
        // A filter, or one of a pair, may not report the option. All of them share one lock, and
        // one that has no lock yet gets the lock of the one below it.
        if !all.iter().any(|one| get(*one) & THREADSAFE != 0) {
            warn("bufferevent_set_color: the bufferevent lacks BEV_OPT_THREADSAFE.");
            return Err(libc::EINVAL);
        }
        if let Some(lock) = next::<EnableLocking>(c"bufferevent_enable_locking_") {
            for one in all.iter().rev() {
                // It fails if there is a lock already.
                let _ = lock(*one, null_mut());
            }
        }
        base.use_colors();
        let mut state = base.lock();
        for &one in &all {
            state.check_bufferevent(one)?;
        }
        if state.tie_all(&all, color.as_ref()) == Done::Refused {
            // No color for any of them is better than a color for some.
            state.tie_all(&all, None);
            return Err(libc::EIO);
        }
        Ok(())
    })
}

impl BaseState {
    /// Ties everything that belongs to bufferevents to a color, or unties it.
    ///
    /// # Safety
    ///
    /// They are bufferevents of this base.
    unsafe fn tie_all(&mut self, all: &[*mut Bufferevent], color: Option<&Arc<Color>>) -> Done {
        let mut done = Done::Yes;
        for &one in all {
            // SAFETY: the caller guarantees live bufferevents of this base.
            unsafe {
                for argument in Bufferevent::arguments(one) {
                    self.untie(argument);
                    if let Some(color) = color {
                        self.tie(argument, Kind::Bufferevent, color);
                    }
                }
                for event in [&raw mut (*one).read, &raw mut (*one).write] {
                    if self.recolor(event, color, Stays::Tied(one as usize)) == Done::Refused {
                        done = Done::Refused;
                    }
                }
            }
        }
        done
    }
}

/// Makes the callbacks of a listener run on a color.
///
/// The listener keeps a reference to the color. With NULL it has no color, and runs on the thread
/// of the loop. A listener that another thread may use needs LEV_OPT_THREADSAFE.
///
/// Returns 0, or -1 with errno set: EINVAL if the listener is NULL or has another base than the
/// color, EBUSY if a callback of it runs or is pending, EIO if the system refuses its descriptor,
/// so that it has no color, ENOTSUP without libevent's listeners.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evconnlistener_set_color(
    listener: *mut Listener,
    color: *mut Color,
) -> c_int {
    const NAME: &str = "evconnlistener_set_color";
    // SAFETY: the caller guarantees that each pointer is null or live (see `events`).
    answer(NAME, || unsafe {
        if listener.is_null() {
            return Err(libc::EINVAL);
        }
        let get_base = next::<OfListener<*mut Base>>(c"evconnlistener_get_base");
        let get_fd = next::<OfListener<c_int>>(c"evconnlistener_get_fd");
        let (Some(get_base), Some(get_fd)) = (get_base, get_fd) else { return Err(libc::ENOTSUP) };
        let base = of_ours(get_base(listener), NAME).ok_or(libc::EINVAL)?;
        let color = color_for(base, color, NAME)?;
        let fd = get_fd(listener);
        base.use_colors();
        let mut state = base.lock();
        let event = state.event_of_listener(listener, fd);
        if state.current_listener == (listener as usize, fd)
            || !event.is_null()
                && ((*event).has(flags::ACTIVE | flags::ACTIVE_LATER) || state.runs(event.cast()))
        {
            return Err(libc::EBUSY);
        }
        let waits = !event.is_null() && (*event).has(flags::STANDS);
        if waits {
            state.delete(event, Even::UnlessFinalizing);
        }
        state.untie(listener as usize);
        if let Some(color) = &color {
            state.tie(listener as usize, Kind::Listener(fd), color);
        }
        if event.is_null() {
            // The event is recognized and tied when it is added.
            return Ok(());
        }
        (*event).events &= !EV_FINALIZE;
        // Adding the event ties it, because its argument is tied.
        if waits && state.add(event, None) == Done::Refused {
            state.untie(listener as usize);
            (*event).events &= !EV_FINALIZE;
            state.add(event, None);
            return Err(libc::EIO);
        }
        Ok(())
    })
}

impl BaseState {
    /// Returns the event of a listener if it waits or is tied, otherwise null.
    fn event_of_listener(&mut self, listener: *mut Listener, fd: c_int) -> *mut Event {
        let tied = self.ties.by_argument.get(&(listener as usize));
        if let Some(known) = tied.and_then(|tie| tie.known.first()) {
            return *known as *mut Event;
        }
        // SAFETY: an event that waits is live.
        let is_it = |event: &*mut Event| unsafe { (**event).callback.arg == listener.cast() };
        let waiting = self.fds.get(fd).map(|slot| slot.latest_first());
        waiting.and_then(|all| all.into_iter().find(is_it)).unwrap_or(null_mut())
    }
}

/// Returns the base of a listener that has a color.
///
/// # Safety
///
/// The listener is live.
unsafe fn base_of_tied<'a>(listener: *mut Listener) -> Option<&'a Base> {
    let get_base = next::<OfListener<*mut Base>>(c"evconnlistener_get_base")?;
    // SAFETY: the listener is live. Its base may have been freed, which `event_del` forgives, too.
    let base = unsafe {
        let base = super::base::unless_freed(get_base(listener))?;
        super::base::if_ours(base)?
    };
    base.lock().ties.by_argument.contains_key(&(listener as usize)).then_some(base)
}

/// Disables a listener, and waits for its callback, unless the callback runs on this thread.
///
/// libevent deletes the listener's event while it holds the listener's lock, for which the callback
/// may wait. So the event has `EV_FINALIZE`, by which the deletion does not wait, and this function
/// waits for the callback without that lock.
///
/// # Safety
///
/// The listener is live.
unsafe fn disable(base: &Base, listener: *mut Listener) -> c_int {
    let Some(disable) = next::<OfListener<c_int>>(c"evconnlistener_disable") else { return -1 };
    // SAFETY: the caller guarantees a live listener.
    let result = unsafe { disable(listener) };
    let state = base.lock();
    drop(base.wait_for_return(state, |state| {
        let known = state.ties.by_argument.get(&(listener as usize));
        let event = known.and_then(|tie| tie.known.first()).copied();
        event.is_some_and(|event| state.runs_elsewhere(event as *mut Event))
    }));
    result
}

/// Calls libevent's function of this name, and then waits for the callback of a listener with a
/// color, unless it is called in that callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evconnlistener_disable(listener: *mut Listener) -> c_int {
    // SAFETY: the caller guarantees that each pointer is null or live (see `events`).
    door("evconnlistener_disable", || unsafe {
        if let Some(base) = base_of_tied(listener) {
            return disable(base, listener);
        }
        next::<OfListener<c_int>>(c"evconnlistener_disable").map_or(-1, |disable| disable(listener))
    })
}

/// Waits for the callback of a listener with a color, unless it is called in that callback, and
/// then calls libevent's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evconnlistener_free(listener: *mut Listener) {
    // SAFETY: the caller guarantees that each pointer is null or live (see `events`).
    door("evconnlistener_free", || unsafe {
        let base = base_of_tied(listener);
        if let Some(base) = base {
            disable(base, listener);
        }
        if let Some(free) = next::<OfListener<()>>(c"evconnlistener_free") {
            free(listener);
        }
        if let Some(base) = base {
            base.lock().untie(listener as usize);
        }
    });
}

/// Calls libevent's function of this name; refuses a bufferevent that has a color.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bufferevent_add_to_rate_limit_group(
    bufferevent: *mut Bufferevent,
    group: *mut c_void,
) -> c_int {
    const NAME: &str = "bufferevent_add_to_rate_limit_group";
    door(NAME, || {
        let Some(add) = next::<OfGroup>(c"bufferevent_add_to_rate_limit_group") else { return -1 };
        // SAFETY: the caller guarantees a live bufferevent (see `events`).
        unsafe {
            let Some(base) = super::base::if_ours((*bufferevent).base) else {
                return add(bufferevent, group);
            };
            {
                let state = base.lock();
                if state.ties.by_argument.contains_key(&(bufferevent as usize)) {
                    warn("bufferevent_add_to_rate_limit_group: the bufferevent has a color.");
                    return -1;
                }
            }
            // `add` takes the bufferevent out of its previous group.
            let result = add(bufferevent, group);
            if result == 0 {
                base.lock().ties.grouped.insert(bufferevent as usize);
            }
            result
        }
    })
}

/// Calls libevent's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bufferevent_remove_from_rate_limit_group(
    bufferevent: *mut Bufferevent,
) -> c_int {
    const NAME: &str = "bufferevent_remove_from_rate_limit_group";
    door(NAME, || {
        let Some(remove) = next::<OfNoGroup>(c"bufferevent_remove_from_rate_limit_group") else {
            return -1;
        };
        // SAFETY: the caller guarantees a live bufferevent (see `events`).
        unsafe {
            let result = remove(bufferevent);
            if let Some(base) = super::base::if_ours((*bufferevent).base) {
                base.lock().ties.grouped.remove(&(bufferevent as usize));
            }
            result
        }
    })
}
