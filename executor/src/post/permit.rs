//! Posting with room that was asked for (C8, E14).

use std::fmt;
use std::time::Duration;

use dapple_colors::Access;

use super::Posting;
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::site::Site;
use crate::turn::local::Local;
use crate::{Color, Timer, TryPostError};

/// Room for one event of a bounded color; from [`Color::try_reserve`].
///
/// It can be [used up](Self::post) by an event of the color, which gives it back when it has ended.
/// Or it travels: the code that accepts a request takes a permit, and the events that the request
/// passes through hand it on, whatever their colors, until the last one drops it. Then the capacity
/// of the first color bounds what is under way in the whole program.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let (entrance, work) = (h.color_builder().capacity(2).build(), h.new_color());
/// for n in 0..3 {
///     match entrance.try_reserve() {
///         Ok(permit) => h.post(&work, move |cx| {
///             // The answer is an event of its own, and the request is over when it has been sent.
///             cx.post_here(move |_| drop(permit));
///         }),
///         Err(_) => println!("request {n} is refused at once, and costs nothing"),
///     }
/// }
/// rt.wait_idle();
/// assert!(entrance.try_reserve().is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "semaphore")]
#[doc(alias = "admission")]
#[must_use = "a permit that is dropped gives the room back"]
pub struct Permit(Option<Color>);

impl Permit {
    /// Posts `f` to the permit's color, and gives the room back when it has ended.
    #[track_caller]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(self, f: F) {
        self.post_from(Site::caller(), f);
    }

    /// Posts `f` to the permit's color, gives the room back when it has ended, and has reports name
    /// `site` as the place that posted it. See [`post`](Self::post), which names its caller.
    pub fn post_from<F: FnOnce(&mut Cx) + Send + 'static>(mut self, site: Site, f: F) {
        if is_large::<F>() {
            return self.post_from(site, Box::new(f) as Boxed);
        }
        if let Some(color) = self.0.take() {
            color.post_as(Access::Exclusive, f, Posting::counted(site));
        }
    }

    /// Posts `f` to the permit's color after `delay`, and gives the room back when `f` has ended or
    /// has been dropped. See [`Handle::post_after`](crate::Handle::post_after).
    ///
    /// So the [capacity](crate::ColorBuilder::capacity) of a color bounds how many timers wait. The
    /// timer can be cancelled until its time has come, and not any more while `f` is queued; timers
    /// of one color that are due at about the same time may be posted in any order.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let retries = rt.handle().color_builder().capacity(2).build();
    /// let hour = Duration::from_secs(3600);
    /// let first = retries.try_reserve().unwrap().post_after(hour, |_| println!("try again"));
    /// let _second = retries.try_reserve().unwrap().post_after(hour, |_| println!("try again"));
    /// assert!(retries.try_reserve().unwrap_err().is_full());
    /// first.cancel();
    /// rt.wait_idle();
    /// assert!(retries.try_reserve().is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn post_after<F>(self, delay: Duration, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        // The timer has a color of its own: an event of the permit's color would count once more.
        let handle = self.color().runtime();
        let site = Site::caller();
        handle.post_after(delay, &handle.new_color(), move |_| self.post_from(site, f))
    }

    /// The color whose room it is.
    pub fn color(&self) -> &Color {
        self.0.as_ref().expect("it has its color until it is used up")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(color) = &self.0 {
            color.as_cell().leave_bound();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(self.color()).finish()
    }
}

impl Color {
    /// Posts `f` if the color has room for one more event; see
    /// [`Handle::try_post`](crate::Handle::try_post).
    ///
    /// # Errors
    ///
    /// `Full` if as many events as the color may have are queued, running, or have
    /// [permits](crate::Permit); `Closed` when the runtime is shutting down, unless the caller is a
    /// worker. Both hand `f` back.
    #[track_caller]
    pub fn try_post<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
    ) -> Result<(), TryPostError<F>> {
        if let Err(refused) = self.admit() {
            return Err(refused.map(|()| f));
        }
        let posting = Posting::counted(Site::caller());
        match is_large::<F>() {
            true => self.post_as(Access::Exclusive, Box::new(f) as Boxed, posting),
            false => self.post_as(Access::Exclusive, f, posting),
        }
        Ok(())
    }

    /// Takes the room of one event, for an event of this color or for a request that passes through
    /// several.
    ///
    /// A color without a [capacity](crate::ColorBuilder::capacity) always has room.
    ///
    /// # Errors
    ///
    /// `Full` if as many events as it may have are queued, running, or have permits; `Closed` when
    /// the runtime is shutting down, unless the caller is a worker.
    pub fn try_reserve(&self) -> Result<Permit, TryPostError<()>> {
        self.admit().map(|()| Permit(Some(self.clone())))
    }

    /// How many events it may have; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.capacity)
    }

    /// How many events it has, queued or running, with the permits that are out; `None` if it has
    /// no capacity, and nobody counts.
    pub fn occupancy(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.count())
    }

    /// Takes room for one event, if the runtime is open and the color has it.
    pub(crate) fn admit(&self) -> Result<(), TryPostError<()>> {
        let core = self.core();
        if !Local::with(core, |local| core.accepts(local)) {
            return Err(TryPostError::Closed(()));
        }
        match self.as_cell().bound() {
            Some(bound) if !bound.try_enter() => Err(TryPostError::Full(())),
            _ => Ok(()),
        }
    }
}
