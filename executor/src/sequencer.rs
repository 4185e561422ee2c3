//! Commit order alone (I14): results that are made in any order are released in the order in which
//! their places were reserved.
//!
//! The order is the step functions' [`Sequence`], under a small lock. When a thread completes the
//! first open place while nobody releases, it posts an event to the sequencer's color, and that
//! event releases what is complete. So there is one releaser at a time, and values are released in
//! events of that color. After 64 places the event posts the next one, so that other events of the
//! color have their turn.

use std::fmt;

use dapple_colors::{Completed, Sequence, SequencePlace};

use crate::lock::Lock;
use crate::site::Site;
use crate::sync::Arc;
use crate::{Color, Colored, Cx};

/// The number of places that one event releases.
const BUDGET: usize = 64;

type Release<T> = Box<dyn FnMut(T, &mut Cx) + Send>;

struct Shared<T: Send + 'static> {
    sequence: Lock<Sequence<T>>,
    release: Colored<Release<T>>,
}

/// Releases values in the order in which their places were reserved, on a color.
///
/// It is for requests that are worked on in parallel and have to be answered in order. Reserve a
/// place when a request is read, and complete the place on whichever core has the answer. A clone
/// is another handle to the same sequencer, and can be sent to any thread.
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, Sequencer};
/// let rt = Runtime::new()?;
/// let h = rt.handle();
/// let (tx, answers) = std::sync::mpsc::channel();
/// let sequencer = Sequencer::new(&h.new_color(), move |n: u64, _| tx.send(n).unwrap());
/// for n in 0..100 {
///     let place = sequencer.reserve();
///     h.post_uncolored(move |_| place.complete(n * n));     // on all cores, in any order
/// }
/// rt.wait_idle();
/// assert!(answers.try_iter().eq((0..100).map(|n| n * n)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "resequencer")]
#[doc(alias = "reorder buffer")]
pub struct Sequencer<T: Send + 'static>(Arc<Shared<T>>);

impl<T: Send + 'static> Sequencer<T> {
    /// Makes a sequencer that calls `release` with each value, in an event of `color`.
    ///
    /// A call of `release` that panics is counted and reported, and the next value is released all
    /// the same.
    #[track_caller]
    pub fn new(color: &Color, release: impl FnMut(T, &mut Cx) + Send + 'static) -> Self {
        let release: Release<T> = Box::new(release);
        Sequencer(Arc::new(Shared {
            sequence: Lock::new(Sequence::new()),
            release: Colored::new(color, release),
        }))
    }

    /// Reserves the place behind all places that were reserved before.
    #[track_caller]
    pub fn reserve(&self) -> Place<T> {
        let number = self.0.sequence.with(Sequence::reserve);
        Place { shared: Arc::clone(&self.0), number, site: Site::caller(), is_open: true }
    }

    /// Returns the number of places that have not been released, complete or not.
    pub fn len(&self) -> usize {
        self.0.sequence.with(|sequence| sequence.len())
    }

    /// Returns `true` if every place has been released.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the color on which values are released.
    pub fn color(&self) -> &Color {
        self.0.release.color()
    }
}

impl<T: Send + 'static> Clone for Sequencer<T> {
    fn clone(&self) -> Self {
        Sequencer(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for Sequencer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer")
            .field("color", self.color())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A place in the order of a [`Sequencer`].
///
/// A place that is dropped completes without a value, so that it does not block the places behind
/// it.
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, Sequencer};
/// let rt = Runtime::new()?;
/// let (tx, answers) = std::sync::mpsc::channel();
/// let sequencer = Sequencer::new(&rt.handle().new_color(), move |n, _| tx.send(n).unwrap());
/// let [first, second, third] = [(); 3].map(|()| sequencer.reserve());
/// third.complete(3);
/// first.complete(1);
/// drop(second);                           // completes without a value
/// rt.wait_idle();
/// assert!(answers.try_iter().eq([1, 3]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a place that is dropped completes without a value"]
pub struct Place<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    number: SequencePlace,
    site: Site,
    is_open: bool,
}

impl<T: Send + 'static> Place<T> {
    /// Completes the place. `value` is released when all places before this one have been released.
    pub fn complete(mut self, value: T) {
        self.fill(Some(value));
    }

    fn fill(&mut self, value: Option<T>) {
        self.is_open = false;
        let number = self.number;
        match self.shared.sequence.with(|sequence| sequence.complete(number, value)) {
            Completed::Wait => {}
            Completed::Release => release_some(Arc::clone(&self.shared), self.site),
        }
    }
}

impl<T: Send + 'static> Drop for Place<T> {
    fn drop(&mut self) {
        if self.is_open {
            self.fill(None);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.number).finish()
    }
}

/// Posts an event that releases up to 64 complete places.
fn release_some<T: Send + 'static>(shared: Arc<Shared<T>>, site: Site) {
    let colored = shared.release.clone();
    let releases = move |release: &mut Release<T>, cx: &mut Cx| {
        for _ in 0..BUDGET {
            let Some(place) = shared.sequence.with(Sequence::release) else { return };
            if let Some(value) = place {
                cx.guard(site, |cx| release(value, cx));
            }
        }
        release_some(shared, site);
    };
    // The post is never refused, because the event also releases what other threads have completed.
    colored.post_always(releases, site);
}
