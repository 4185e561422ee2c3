//! The atomic queue of one color: an intrusive multi-producer, single-consumer list.
//!
//! # Protocol
//!
//! `tail` is the last link, or null when the color is idle. `head` is the link that is next to run,
//! or runs; it belongs to the holder of the color.
//!
//! * **Post**: one `swap` of `tail`. It orders the post among all posts of the color (C2), and its
//!   answer tells whether the color was idle. If it was, the poster stores `head` and puts the
//!   color into a run queue; otherwise it links its event to the one before it.
//! * **Finish** (the event at `head` has ended): if `next` is there, it is the new head. Otherwise
//!   one compare-exchange of `tail` from this link to null makes the color idle. If that fails, a
//!   poster stands between its swap and its link: a *gap*. The worker leaves the ended link at
//!   `head` and puts the color back into its run queue; it does not wait.
//! * **Keep**: a post by the event that runs, to its own color. If nobody has posted an event
//!   behind the head (`tail` is the head, or only the color's grave stands behind it), the event
//!   goes to the *own list*, which only the holder touches: no read-modify-write. The own list runs
//!   before what is behind the head; until it is empty the head stays where it is, spent, so that
//!   the color does not become idle. The list goes from holder to holder with the color.
//!
//! # Why it is right
//!
//! *One holder (C1).* Only the poster whose swap answered null queues the color, and after it
//! `tail` is not null until a finish sets it so. Hence between two idle states there is one
//! queueing, and the color travels from one holder to the next by way of the run queues.
//!
//! *What one event wrote the next one sees (C1).* On one holder: program order. From holder to
//! holder: by the release and acquire of the run queue that carries the color. Through idle: the
//! finish's compare-exchange (release) is read by the next poster's swap (acquire), and that
//! poster's run-queue push carries it on.
//!
//! *Kept events are in order (C2).* A post that happened before the kept one has exchanged `tail`,
//! and coherence makes the holder's load see that, or something later, but not the head: a link is
//! in the queue once, and no other holder resets `tail` meanwhile. So it stands in front, or the
//! event is not kept. The same with the grave: what was posted before it would stand between, and
//! what was posted behind it would be the tail. What is posted after the kept one stands behind the
//! head, and runs when the own list is empty. The grave is no event; it comes to the holder later,
//! and counts handles then.
//!
//! *What a poster did before is visible in its event (E16).* By the link (release, read by the
//! finish with acquire), or by the run queue.
//!
//! *No link is freed while somebody may write to it.* A poster writes to the link that its swap
//! answered. A link leaves the queue only after its `next` was seen, so that its one poster has
//! been there, or after the compare-exchange took it out of `tail`, so that no swap answers it.
//!
//! *Nothing of the color is touched after it became idle*, for the next holder may free it.
//!
//! Orderings: `swap` is AcqRel (acquire: partner is the finish's compare-exchange; release: the
//! next swap's acquire makes the `prev` link's initialisation visible before it is written to).
//! `next` is stored with release and loaded with acquire. `head` and the own list are relaxed: the
//! run queue's hand-over orders them.
//!
//! Left out on purpose: run queues, what a link carries, and when to free it.

use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};

use crate::sync::{AtomicPtr, Mutant, Ordering, Point, mutant, point};

/// The part of an event that the queue knows.
#[derive(Debug)]
pub(crate) struct Link {
    next: AtomicPtr<Link>,
    #[cfg(debug_assertions)]
    trail: trail::Trail,
}

/// A debug build numbers the links, and checks at every step that the queue goes from a link to the
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
                "C2: an event is about to run that was not posted right behind the last one"
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

    /// In the model: nobody uses the link beside the caller, who is about to free it, and what
    /// others did with it has happened before.
    #[cfg(loom)]
    pub(crate) fn is_freed(&mut self) {
        self.next.with_mut(|_| ());
    }

    /// What a link that is in no queue carries instead of its neighbour.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn word(&self) -> *mut () {
        self.next.load(Ordering::Relaxed).cast()
    }

    /// Sets it; the thread that hands the link on orders it.
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    tail: AtomicPtr<Link>,
    head: AtomicPtr<Link>,
    /// The own list: its first link, null if it is empty, and its last one.
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

    /// Appends `link`: [`take_place`](Self::take_place) and, if needed, [`link`](Self::link).
    ///
    /// # Safety
    ///
    /// The caller owns `link` alone, and gives it to the queue until the consumer has passed it.
    #[inline]
    pub(crate) unsafe fn push(&self, link: NonNull<Link>) -> Posted {
        // SAFETY: passed on from the caller.
        match unsafe { self.take_place(link) } {
            None => Posted::BecameRunnable,
            Some(prev) => {
                point(Point::Swapped);
                // SAFETY: `prev` is what `take_place` answered for this link, used once.
                unsafe { self.link(prev, link) };
                Posted::Behind
            }
        }
    }

    /// First step of a post. `None`: the color was idle, the post is complete, and the caller puts
    /// the color into a run queue. Otherwise the link before, for [`link`](Self::link).
    ///
    /// # Safety
    ///
    /// As [`push`](Self::push).
    #[inline]
    pub(crate) unsafe fn take_place(&self, link: NonNull<Link>) -> Option<NonNull<Link>> {
        // SAFETY: the caller owns the link.
        let fresh = unsafe { link.as_ref() };
        fresh.next.store(std::ptr::null_mut(), Ordering::Relaxed);
        #[cfg(debug_assertions)]
        fresh.trail.start();
        let prev = NonNull::new(self.tail.swap(link.as_ptr(), Ordering::AcqRel));
        match prev {
            None => self.head.store(link.as_ptr(), Ordering::Relaxed),
            #[cfg(debug_assertions)]
            // SAFETY: a link that a swap answered stays until its `next` is set, which only this
            // poster does; and the consumer cannot reach `link` before that.
            Some(prev) => unsafe { link.as_ref().trail.follow(&prev.as_ref().trail) },
            #[cfg(not(debug_assertions))]
            Some(_) => {}
        }
        prev
    }

    /// Second step of a post.
    ///
    /// # Safety
    ///
    /// `prev` is what [`take_place`](Self::take_place) answered for `link`; once.
    #[inline]
    pub(crate) unsafe fn link(&self, prev: NonNull<Link>, link: NonNull<Link>) {
        // SAFETY: `prev` stays in the queue until its `next` is set; nobody else sets it.
        unsafe { prev.as_ref() }.next.store(link.as_ptr(), Ordering::Release);
    }

    /// A post by the event that runs, to its own color, whose grave is `grave`. False: some event
    /// is behind the head, and the caller appends the link as any poster does.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `head` is up to date. If the answer is true, the link is the
    /// queue's until [`drop_own`](Self::drop_own).
    #[inline]
    pub(crate) unsafe fn keep(&self, link: NonNull<Link>, grave: *const Link) -> bool {
        let (tail, head) = (self.tail.load(Ordering::Relaxed), self.head());
        if tail != head.as_ptr() && !mutant(Mutant::OvertakingPost) {
            // SAFETY: the head of a held color is in the queue.
            let behind = unsafe { head.as_ref() }.next.load(Ordering::Relaxed);
            if !std::ptr::eq(tail, grave) || !std::ptr::eq(behind, grave) {
                return false;
            }
        }
        // SAFETY: the caller owns the link.
        unsafe { link.as_ref() }.next.store(std::ptr::null_mut(), Ordering::Relaxed);
        if self.own.load(Ordering::Relaxed).is_null() {
            self.own.store(link.as_ptr(), Ordering::Relaxed);
        } else {
            let last = self.own_last.load(Ordering::Relaxed);
            // SAFETY: the own list is not empty, so its last link is there, and it is the holder's.
            let last = unsafe { &*last };
            last.next.store(link.as_ptr(), Ordering::Relaxed);
            #[cfg(debug_assertions)]
            // SAFETY: the caller owns the link.
            unsafe {
                link.as_ref().trail.start();
                link.as_ref().trail.follow(&last.trail);
            }
        }
        self.own_last.store(link.as_ptr(), Ordering::Relaxed);
        true
    }

    /// The first link of the own list, which runs before anything else of the color. For the
    /// holder.
    #[inline]
    pub(crate) fn own(&self) -> Option<NonNull<Link>> {
        NonNull::new(self.own.load(Ordering::Relaxed))
    }

    /// Takes the first link out of the own list, and gives it back to the caller.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `first` is what [`own`](Self::own) answers.
    #[inline]
    pub(crate) unsafe fn drop_own(&self, first: NonNull<Link>) {
        // SAFETY: it is in the list, so it is there.
        let first = unsafe { first.as_ref() };
        let next = first.next.load(Ordering::Relaxed);
        #[cfg(debug_assertions)]
        // SAFETY: what follows in the list is there, too.
        if let Some(next) = unsafe { next.as_ref() } {
            next.trail.check(&first.trail);
        }
        self.own.store(next, Ordering::Relaxed);
    }

    /// The link that is next to run, unless the own list has one. The color must be queued or
    /// running, and held by the caller; it may be one that has already run.
    #[inline]
    pub(crate) fn head(&self) -> NonNull<Link> {
        let head = self.head.load(Ordering::Relaxed);
        debug_assert!(!head.is_null(), "a held color has a head");
        // SAFETY: the poster that made the color runnable stored `head` before it queued the
        // color, and no holder ever stores null.
        unsafe { NonNull::new_unchecked(head) }
    }

    /// The event of `link` has ended. After [`Finished::Next`] that one is the head. After
    /// [`Finished::Idle`] the caller must no longer touch the color; after it and after
    /// [`Finished::Next`] the caller owns `link` again. After [`Finished::Gap`] the link is still
    /// in the queue and at `head`.
    ///
    /// # Safety
    ///
    /// The caller holds the color, `link` is its head, and the own list is empty.
    #[inline]
    pub(crate) unsafe fn finish(&self, link: NonNull<Link>) -> Finished<NonNull<Link>> {
        debug_assert!(self.own().is_none(), "what the holder has kept runs first");
        // SAFETY: the head of a held color is in the queue.
        let ended = unsafe { link.as_ref() };
        if let Some(next) = self.follow(ended) {
            return Finished::Next(next);
        }
        // Release: partner is the acquire of the next poster's swap.
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

    /// Goes on to the link behind `ended`, if there is one.
    #[inline]
    fn follow(&self, ended: &Link) -> Option<NonNull<Link>> {
        let next = NonNull::new(ended.next.load(Ordering::Acquire))?;
        #[cfg(debug_assertions)]
        // SAFETY: `next` is in the queue, and only the holder takes it out.
        unsafe { next.as_ref() }.trail.check(&ended.trail);
        self.head.store(next.as_ptr(), Ordering::Relaxed);
        Some(next)
    }

    /// Says whether nothing stands behind the head. Stable only when nobody can post.
    #[inline]
    pub(crate) fn is_head_last(&self) -> bool {
        self.tail.load(Ordering::Acquire) == self.head().as_ptr()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "queue_tests.rs"]
mod tests;
