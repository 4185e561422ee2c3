//! The atomic queue of one color: an intrusive multi-producer, single-consumer list.
//!
//! # Protocol
//!
//! `tail` is the last link, or null when the color is idle. `head` is the link that runs or is next
//! to run; it belongs to the holder of the color.
//!
//! * **Post**: one `swap` of `tail`. It orders the post among all posts of the color (C2), and its
//!   result says whether the color was idle. If it was, the poster stores `head` and puts the color
//!   into a run queue. Otherwise the poster links its event to the one before it.
//! * **Finish** (the event at `head` has ended): if `next` is set, it is the new head. Otherwise
//!   one compare-exchange of `tail` from this link to null makes the color idle. If that fails, a
//!   poster is between its swap and its link: a *gap*. The worker does not wait for it: it leaves
//!   the ended link at `head` and puts the color back into its run queue.
//! * **Keep**: a post by the running event to its own color. If nobody has posted an event behind
//!   the head (`tail` is the head, or only the color's grave stands behind it), the event goes to
//!   the *own list*, which only the holder touches, without a read-modify-write. The own list runs
//!   before the links behind the head. Until it is empty the spent head stays where it is, so that
//!   the color does not become idle. The list passes from holder to holder with the color.
//!
//! # Why it is right
//!
//! *One holder (C1).* Only the poster whose swap returned null queues the color, and after that
//! `tail` is not null until a finish clears it. Hence there is one queueing between two idle
//! states, and the color passes from one holder to the next through the run queues.
//!
//! *An event sees what the one before it wrote (C1).* With the same holder, by program order. From
//! holder to holder, by the release and acquire of the run queue that carries the color. Through
//! idle, the finish's compare-exchange (release) is read by the next poster's swap (acquire), and
//! that poster's push to a run queue passes it on.
//!
//! *Kept events are in order (C2).* Take a post that happened before the kept one. It has exchanged
//! `tail`, and by coherence the holder's load returns that value or a later one. If the link of
//! that post stands behind the head, the value is not the head: a link enters the queue once, and
//! no other holder clears `tail` meanwhile. So either the earlier event stands in front, or the new
//! one is not kept. The grave changes nothing: an event posted before the grave would stand between
//! the head and the grave, and one posted after it would be the tail. An event posted after the
//! kept one stands behind the head, and runs once the own list is empty. The grave itself is no
//! event: the holder comes to it later, and counts the handles then.
//!
//! *An event sees what its poster did before the post (E16).* By the link (stored with release,
//! loaded by the finish with acquire), or by the run queue.
//!
//! *No link is freed while a poster may write to it.* A poster writes to the link that its swap
//! returned. A link leaves the queue only after its `next` was seen, so its one poster is done, or
//! after the compare-exchange took it out of `tail`, so no swap returns it.
//!
//! *Nothing touches the color after it became idle*, because the next holder may free it.
//!
//! Orderings: `swap` is AcqRel. Its acquire pairs with the finish's compare-exchange. Its release
//! pairs with the acquire of the next swap, so that the next poster sees the `prev` link
//! initialized before it writes to it. `next` is stored with release and loaded with acquire.
//! `head` and the own list are relaxed, because the hand-over through the run queue orders them.
//!
//! Left out on purpose: run queues, what a link carries, and when it is freed.

use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};

use crate::sync::{AtomicPtr, Mutant, Ordering, Point, mutant, point};

/// The part of an event that the queue knows: its place in a list.
#[derive(Debug)]
pub(crate) struct Link {
    next: AtomicPtr<Link>,
    #[cfg(debug_assertions)]
    trail: trail::Trail,
}

/// In debug builds links have numbers, and each step checks that the queue goes from a link to the
/// one that was posted right behind it (C15).
#[cfg(debug_assertions)]
mod trail {
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    static IDS: AtomicU64 = AtomicU64::new(1);

    #[derive(Debug, Default)]
    pub(super) struct Trail {
        id: AtomicU64,
        after: AtomicU64,
    }

    impl Trail {
        pub(super) fn start(&self) {
            self.id.store(IDS.fetch_add(1, Relaxed), Relaxed);
            self.after.store(0, Relaxed);
        }
        pub(super) fn follow(&self, prev: &Trail) {
            self.after.store(prev.id.load(Relaxed), Relaxed);
        }
        pub(super) fn check(&self, prev: &Trail) {
            assert_eq!(
                self.after.load(Relaxed),
                prev.id.load(Relaxed),
                "C2: the next event was not posted right behind the last one"
            );
        }
    }
}

impl Link {
    pub(crate) fn new() -> Self {
        Link {
            next: AtomicPtr::new(std::ptr::null_mut()),
            #[cfg(debug_assertions)]
            trail: trail::Trail::default(),
        }
    }

    /// For models: states that the caller is about to free the link. Loom checks that no other
    /// thread uses it, and that all earlier uses happened before.
    #[cfg(loom)]
    pub(crate) fn is_freed(&mut self) {
        self.next.with_mut(|_| ());
    }

    /// Returns the word that a link in no queue carries in place of its neighbour's address.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn word(&self) -> *mut () {
        self.next.load(Ordering::Relaxed).cast()
    }

    /// Sets the word. The thread that hands the link on orders this store.
    ///
    /// # Safety
    ///
    /// The link is in no queue.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) unsafe fn set_word(&self, word: *mut ()) {
        self.next.store(word.cast(), Ordering::Relaxed);
    }
}

/// The queue of one color.
#[derive(Debug)]
pub(crate) struct Queue {
    tail: AtomicPtr<Link>,
    head: AtomicPtr<Link>,
    /// The own list: its first link, or null if it is empty, and its last link.
    own: AtomicPtr<Link>,
    own_last: AtomicPtr<Link>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Queue {
            tail: AtomicPtr::new(std::ptr::null_mut()),
            head: AtomicPtr::new(std::ptr::null_mut()),
            own: AtomicPtr::new(std::ptr::null_mut()),
            own_last: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Appends `link`, by [`take_place`](Self::take_place) and, if needed, [`link`](Self::link).
    ///
    /// # Safety
    ///
    /// The caller has exclusive ownership of `link`, and gives it to the queue until the consumer
    /// has passed it.
    #[inline]
    pub(crate) unsafe fn push(&self, link: NonNull<Link>) -> Posted {
        // SAFETY: the caller owns `link` alone and gives it to the queue.
        match unsafe { self.take_place(link) } {
            None => Posted::BecameRunnable,
            Some(prev) => {
                point(Point::Swapped);
                // SAFETY: `take_place` returned `prev` for this link, and it is used once.
                unsafe { self.link(prev, link) };
                Posted::Behind
            }
        }
    }

    /// Takes a place in the queue, the first step of a post.
    ///
    /// Returns `None` if the color was idle: the post is complete, and the caller puts the color
    /// into a run queue. Otherwise returns the link before this one, for [`link`](Self::link).
    ///
    /// # Safety
    ///
    /// The caller has exclusive ownership of `link`, and gives it to the queue until the consumer
    /// has passed it.
    #[inline]
    pub(crate) unsafe fn take_place(&self, link: NonNull<Link>) -> Option<NonNull<Link>> {
        // SAFETY: the caller owns the link alone.
        let fresh = unsafe { link.as_ref() };
        fresh.next.store(std::ptr::null_mut(), Ordering::Relaxed);
        #[cfg(debug_assertions)]
        fresh.trail.start();
        let prev = NonNull::new(self.tail.swap(link.as_ptr(), Ordering::AcqRel));
        match prev {
            None => self.head.store(link.as_ptr(), Ordering::Relaxed),
            #[cfg(debug_assertions)]
            // SAFETY: a link that a swap returned stays in the queue until its `next` is set, which
            // only this poster does. The consumer cannot reach `link` before that.
            Some(prev) => unsafe { link.as_ref().trail.follow(&prev.as_ref().trail) },
            #[cfg(not(debug_assertions))]
            Some(_) => {}
        }
        prev
    }

    /// Links `link` behind `prev`, the second step of a post.
    ///
    /// # Safety
    ///
    /// [`take_place`](Self::take_place) returned `prev` for `link`, and this is called once for it.
    #[inline]
    pub(crate) unsafe fn link(&self, prev: NonNull<Link>, link: NonNull<Link>) {
        // SAFETY: `prev` stays in the queue until its `next` is set, which only this poster does.
        unsafe { prev.as_ref() }.next.store(link.as_ptr(), Ordering::Release);
    }

    /// Keeps a post by the running event to its own color, whose grave is `grave`. Returns `false`
    /// if another event stands behind the head: then the caller appends the link as any poster
    /// does.
    ///
    /// # Safety
    ///
    /// The caller holds the color, owns `link` alone, and `head` is up to date. If the answer is
    /// `true`, the link belongs to the queue until [`drop_own`](Self::drop_own).
    #[inline]
    pub(crate) unsafe fn keep(&self, link: NonNull<Link>, grave: *const Link) -> bool {
        let (tail, head) = (self.tail.load(Ordering::Relaxed), self.head());
        if tail != head.as_ptr() && !mutant(Mutant::OvertakingPost) {
            // SAFETY: the head of a held color is in the queue, so its memory is valid.
            let behind = unsafe { head.as_ref() }.next.load(Ordering::Relaxed);
            if !std::ptr::eq(tail, grave) || !std::ptr::eq(behind, grave) {
                return false;
            }
        }
        // SAFETY: the caller owns the link alone.
        unsafe { link.as_ref() }.next.store(std::ptr::null_mut(), Ordering::Relaxed);
        if self.own.load(Ordering::Relaxed).is_null() {
            self.own.store(link.as_ptr(), Ordering::Relaxed);
        } else {
            let last = self.own_last.load(Ordering::Relaxed);
            // SAFETY: the own list is not empty, so its last link is alive, and it belongs to the
            // holder.
            let last = unsafe { &*last };
            last.next.store(link.as_ptr(), Ordering::Relaxed);
            #[cfg(debug_assertions)]
            // SAFETY: the caller owns the link alone.
            unsafe {
                link.as_ref().trail.start();
                link.as_ref().trail.follow(&last.trail);
            }
        }
        self.own_last.store(link.as_ptr(), Ordering::Relaxed);
        true
    }

    /// Returns the first link of the own list, which runs before anything else of the color. Only
    /// the holder calls this.
    #[inline]
    pub(crate) fn own(&self) -> Option<NonNull<Link>> {
        NonNull::new(self.own.load(Ordering::Relaxed))
    }

    /// Removes the first link from the own list. The caller owns the link again.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `first` is the link that [`own`](Self::own) returns.
    #[inline]
    pub(crate) unsafe fn drop_own(&self, first: NonNull<Link>) {
        // SAFETY: the link is in the own list, so it is alive.
        let first = unsafe { first.as_ref() };
        let next = first.next.load(Ordering::Relaxed);
        #[cfg(debug_assertions)]
        // SAFETY: the next link of the own list is in the list as well, so it is alive.
        if let Some(next) = unsafe { next.as_ref() } {
            next.trail.check(&first.trail);
        }
        self.own.store(next, Ordering::Relaxed);
    }

    /// Returns the head: the next link to run unless the own list has one. It may be a spent link.
    /// The color must be queued or running, and the caller must hold it.
    #[inline]
    pub(crate) fn head(&self) -> NonNull<Link> {
        let head = self.head.load(Ordering::Relaxed);
        debug_assert!(!head.is_null(), "a held color has a head");
        // SAFETY: the poster that made the color runnable stored `head` before it queued the color,
        // and no holder ever stores null.
        unsafe { NonNull::new_unchecked(head) }
    }

    /// Removes a head whose event has ended.
    ///
    /// After [`Finished::Next`] the next link is the head. After [`Finished::Idle`] the caller must
    /// no longer touch the color. In both cases the caller owns `link` again. After
    /// [`Finished::Gap`] the link is still in the queue and at `head`.
    ///
    /// # Safety
    ///
    /// The caller holds the color, `link` is its head, and the own list is empty.
    #[inline]
    pub(crate) unsafe fn finish(&self, link: NonNull<Link>) -> Finished<NonNull<Link>> {
        debug_assert!(self.own().is_none(), "kept events run before the head leaves the queue");
        // SAFETY: the head of a held color is in the queue, so its memory is valid.
        let ended = unsafe { link.as_ref() };
        if let Some(next) = self.follow(ended) {
            return Finished::Next(next);
        }
        // Release: pairs with the acquire of the next poster's swap.
        match self.tail.compare_exchange(
            link.as_ptr(),
            std::ptr::null_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => Finished::Idle,
            Err(_) => self.follow(ended).map_or(Finished::Gap, Finished::Next),
        }
    }

    /// Makes the link behind `ended` the head and returns it, if there is one.
    #[inline]
    fn follow(&self, ended: &Link) -> Option<NonNull<Link>> {
        let next = NonNull::new(ended.next.load(Ordering::Acquire))?;
        #[cfg(debug_assertions)]
        // SAFETY: `next` is in the queue, and only the holder takes it out.
        unsafe { next.as_ref() }.trail.check(&ended.trail);
        self.head.store(next.as_ptr(), Ordering::Relaxed);
        Some(next)
    }

    /// Returns `true` if nothing stands behind the head. The answer is stable only if nobody can
    /// post.
    #[inline]
    pub(crate) fn is_head_last(&self) -> bool {
        self.tail.load(Ordering::Acquire) == self.head().as_ptr()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "queue_tests.rs"]
mod tests;
