//! Timers of a [`Colored`] value, and callbacks that run on it.

use std::time::{Duration, Instant};

use super::colored::Colored;
use crate::cx::Cx;
use crate::event::large::{BoxedMut, is_large};
use crate::{Site, Timer};

impl<T: Send + 'static> Colored<T> {
    /// Posts an exclusive event that gets the value, and makes `site` its site in reports. See
    /// [`Handle::post_from`](crate::Handle::post_from).
    ///
    /// See [`Site`] for an example.
    pub fn post_from<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, site: Site, f: F) {
        match is_large::<F>() {
            true => self.post_open(Box::new(f) as BoxedMut<T>, site),
            false => self.post_open(f, site),
        }
    }

    /// Posts an exclusive event that gets the value after `delay`. See
    /// [`Handle::post_after`](crate::Handle::post_after).
    ///
    /// The timer keeps the value alive until it has fired or is cancelled. If the value is poisoned
    /// when the timer fires, `f` is dropped unrun and counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// use dapple::Colored;
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// let session = Colored::new(&rt.handle().new_color(), (7, tx));
    /// session.post_after(Duration::from_millis(1), |(id, tx), _| tx.send(*id).unwrap());
    /// assert_eq!(rx.recv().unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn post_after<F>(&self, delay: Duration, f: F) -> Timer
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        self.color().runtime().post_after(delay, self.color(), self.kept(f))
    }

    /// Posts an exclusive event that gets the value at the time `at`. See
    /// [`post_after`](Self::post_after) and [`Handle::post_at`](crate::Handle::post_at).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// let session = dapple::Colored::new(&rt.handle().new_color(), (7, tx));
    /// let at = rt.handle().now() + Duration::from_millis(1);
    /// session.post_at(at, |(id, tx), cx| tx.send((*id, cx.handle().now())).unwrap());
    /// let (id, fired) = rx.recv().unwrap();
    /// assert!(id == 7 && fired >= at);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn post_at<F>(&self, at: Instant, f: F) -> Timer
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        self.color().runtime().post_at(at, self.color(), self.kept(f))
    }

    /// Posts an exclusive event that gets the value every `period`, until the timer is cancelled.
    /// The first event is posted after one period. See [`Handle::every`](crate::Handle::every).
    ///
    /// The timer keeps the value alive until it is cancelled. While the value is poisoned, the
    /// events do nothing and are counted as dropped.
    ///
    /// # Panics
    ///
    /// Panics if `period` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// use dapple::Colored;
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// let count = Colored::new(&rt.handle().new_color(), 0);
    /// let timer = count.every(Duration::from_millis(1), move |n, _| {
    ///     *n += 1;
    ///     let _ = tx.send(*n);
    /// });
    /// assert_eq!(rx.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    /// timer.cancel();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn every<F>(&self, period: Duration, mut f: F) -> Timer
    where
        F: FnMut(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        let event = move |cx: &mut Cx| this.run_here(cx, &mut f);
        self.color().runtime().every(period, self.color(), event)
    }

    /// Wraps `f` in a closure for an event of the color. The closure keeps the value alive until it
    /// has run.
    fn kept<F>(&self, f: F) -> impl FnOnce(&mut Cx) + Send + use<F, T>
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        move |cx: &mut Cx| this.run_here(cx, f)
    }

    /// Runs `f` on the value, within an exclusive event of its color.
    ///
    /// This is for callbacks that are stored and called repeatedly, such as those of a reactor. The
    /// event must have been posted on behalf of this handle. If the value is poisoned, `f` is
    /// dropped unrun and counted.
    ///
    /// # Panics
    ///
    /// Panics if the caller is not an exclusive event of the value's color, if it already has the
    /// value by reference, or if an earlier event leaked a reference to it, for example by
    /// `mem::forget`.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let sum = dapple::Colored::new(&rt.handle().new_color(), 1);
    /// let also = sum.clone();
    /// sum.color().post(move |cx| also.run_here(cx, |sum, _| *sum += 1));
    /// sum.post(|sum, _| assert_eq!(*sum, 2));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_here(&self, cx: &mut Cx, f: impl FnOnce(&mut T, &mut Cx)) {
        let access = cx.access(self.color());
        if self.is_poisoned() && access.is_some() {
            return cx.local().count_skipped();
        }
        let mut reached = self.reach_alone(access);
        f(reached.value(), cx);
    }
}
