//! Timers of a value that belongs to a color.

use std::time::{Duration, Instant};

use super::colored::Colored;
use crate::cx::Cx;
use crate::event::large::{BoxedMut, is_large};
use crate::{Site, Timer};

impl<T: Send + 'static> Colored<T> {
    /// Posts an event that gets the value, and has reports name `site` as the place that posted it.
    /// See [`Handle::post_from`](crate::Handle::post_from).
    pub fn post_from<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, site: Site, f: F) {
        match is_large::<F>() {
            true => self.post_open(Box::new(f) as BoxedMut<T>, site),
            false => self.post_open(f, site),
        }
    }

    /// Posts an event that gets the value after `delay`. See
    /// [`Handle::post_after`](crate::Handle::post_after).
    ///
    /// The timer keeps the value until it has fired or is cancelled. When it fires and the value is
    /// poisoned, `f` is dropped unrun, and counted.
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

    /// Posts an event that gets the value at a time. See [`post_after`](Self::post_after) and
    /// [`Handle::post_at`](crate::Handle::post_at).
    #[track_caller]
    pub fn post_at<F>(&self, at: Instant, f: F) -> Timer
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        self.color().runtime().post_at(at, self.color(), self.kept(f))
    }

    /// Posts an event that gets the value every `period`, for the first time after one, until it is
    /// cancelled. See [`Handle::every`](crate::Handle::every).
    ///
    /// The timer keeps the value until it is cancelled. While the value is poisoned, the events do
    /// nothing, and are counted as dropped.
    ///
    /// # Panics
    ///
    /// When `period` is zero.
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

    /// A closure for an event of the color, which keeps the value until it has run.
    fn kept<F>(&self, f: F) -> impl FnOnce(&mut Cx) + Send + use<F, T>
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        let this = self.clone();
        move |cx: &mut Cx| this.run_here(cx, f)
    }

    /// Runs `f` on the value, from within an exclusive event of its color that was posted on behalf
    /// of this handle: for callbacks that are kept and called again, such as those of a reactor. If
    /// the value is poisoned, drops `f` unrun, and counts.
    ///
    /// # Panics
    ///
    /// When the event does not run alone on the value's color, or has the value by reference
    /// already.
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
