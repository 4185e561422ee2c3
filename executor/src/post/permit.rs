//! Posting to a bounded color with room that was reserved before (C8, E14).

use std::fmt;
use std::time::Duration;

use dapple_colors::Access;

use super::Posting;
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::site::Site;
use crate::turn::local::Local;
use crate::{Color, Timer, TryPostError};

/// The right to post one event to a bounded color; from [`Color::try_reserve`].
///
/// A permit is released in one of two ways. An event of its color can [use it up](Self::post),
/// which releases it when the event has ended. Or the permit travels: the code that accepts a
/// request takes a permit, and the events that the request passes through hand it on, whatever
/// their colors, until the last one drops it. Then the capacity of the first color bounds the
/// number of requests in flight in the whole program.
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
///             // The answer is an event of its own. The request is over when it has been sent.
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
#[must_use = "dropping a permit releases its room"]
pub struct Permit(Option<Color>);

impl Permit {
    /// Posts `f` to the permit's color, and releases the permit when `f` has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let mail = rt.handle().color_builder().capacity(1).build();
    /// let permit = mail.try_reserve()?;       // first the room, then the work
    /// let letter = String::from("a letter");
    /// permit.post(move |_| println!("{letter}"));
    /// rt.wait_idle();
    /// assert_eq!(mail.occupancy(), Some(0));
    /// # assert_eq!(rt.metrics().events(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(self, f: F) {
        self.post_from(Site::caller(), f);
    }

    /// Posts `f` to the permit's color, with `site` as the place that reports name.
    ///
    /// The permit is released when `f` has ended. See [`post`](Self::post), which names its caller.
    pub fn post_from<F: FnOnce(&mut Cx) + Send + 'static>(mut self, site: Site, f: F) {
        if is_large::<F>() {
            return self.post_from(site, Box::new(f) as Boxed);
        }
        if let Some(color) = self.0.take() {
            color.post_as(Access::Exclusive, f, Posting::counted(site));
        }
    }

    /// Posts `f` to the permit's color after `delay`.
    ///
    /// The permit is released when `f` has ended or has been dropped. See
    /// [`Handle::post_after`](crate::Handle::post_after).
    ///
    /// With permits, the [capacity](crate::ColorBuilder::capacity) of a color bounds the number of
    /// waiting timers. The timer can be cancelled until its deadline, but no longer once `f` is
    /// queued. Timers of one color that are due at about the same time may be posted in any order.
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
        // The timer has a color of its own, because an event of the permit's color would count
        // twice.
        let handle = self.color().runtime();
        let site = Site::caller();
        handle.post_after(delay, &handle.new_color(), move |_| self.post_from(site, f))
    }

    /// Returns the color to which the permit belongs.
    pub fn color(&self) -> &Color {
        self.0.as_ref().expect("a permit has its color until it is used")
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
    /// Posts `f` to this color if the color has room for one more event. See
    /// [`Handle::try_post`](crate::Handle::try_post).
    ///
    /// # Errors
    ///
    /// Returns `Full` if the color has reached its capacity, which counts events that are queued or
    /// running and outstanding [permits](crate::Permit). Returns `Closed` if the color's runtime is
    /// shutting down, unless the caller is one of its workers, or its blocking work before the
    /// runtime drops the events that are left. Both errors return `f`.
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

    /// Reserves room for one event of this color, or for a request that passes through several
    /// colors.
    ///
    /// A color without a [capacity](crate::ColorBuilder::capacity) always has room.
    ///
    /// # Errors
    ///
    /// Returns `Full` if the color has reached its capacity, which counts events that are queued or
    /// running and outstanding permits. Returns `Closed` if the color's runtime is shutting down ,
    /// unless the caller is one of its workers, or its blocking work before the runtime drops the
    /// events that are left.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let mail = rt.handle().color_builder().capacity(1).build();
    /// let permit = mail.try_reserve()?;
    /// assert!(mail.try_reserve().unwrap_err().is_full());
    /// drop(permit);
    /// assert!(mail.try_reserve().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_reserve(&self) -> Result<Permit, TryPostError<()>> {
        self.admit().map(|()| Permit(Some(self.clone())))
    }

    /// Returns the color's capacity in events, or `None` if the color is not bounded.
    pub fn capacity(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.capacity)
    }

    /// Returns the number of events that are queued or running, plus the outstanding permits.
    /// Returns `None` if the color has no capacity, because its events are not counted then.
    pub fn occupancy(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.count())
    }

    /// Reserves room for one event, if the runtime is open and the color has room.
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
