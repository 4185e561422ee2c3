//! Pipelines: a window of pieces of work that are in progress.

use dapple_colors::Access;

use super::{Rendezvous, Trigger, Unfired, Waiter};
use crate::post::Posting;
use crate::site::Site;
use crate::{Color, Cx};

impl<T: Send + 'static> Rendezvous<usize, T> {
    /// Starts work for each input on `color`, with at most `window` pieces in progress.
    ///
    /// `start` begins a piece of work, and hands the trigger on to the code that ends it. `each`
    /// gets the outcomes as they arrive, with the number of the input, counted from 0. `done` is
    /// called after the last outcome.
    ///
    /// A panic of `start` or `each` ends the pipeline: no further work is begun, and `done` is not
    /// called.
    ///
    /// # Panics
    ///
    /// Panics if `window` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::Rendezvous;
    /// use std::sync::{Arc, Mutex};
    /// let rt = dapple::Runtime::new()?;
    /// let squares = Arc::new(Mutex::new(vec![0; 100]));
    /// let (results, last) = (squares.clone(), squares.clone());
    /// Rendezvous::windowed(
    ///     &rt.handle().new_color(),
    ///     8,
    ///     0..100u32,
    ///     |n, square, cx| cx.post_uncolored(move |_| drop(square.fire(n * n))),
    ///     move |n, square, _| results.lock().unwrap()[n] = square.unwrap(),
    ///     move |_| assert_eq!(last.lock().unwrap()[99], 99 * 99),
    /// );
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # assert_eq!(squares.lock().unwrap()[7], 49);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn windowed<Inputs, Start, Each, Done>(
        color: &Color,
        window: usize,
        inputs: Inputs,
        start: Start,
        each: Each,
        done: Done,
    ) where
        Inputs: IntoIterator,
        Inputs::IntoIter: Send + 'static,
        Start: FnMut(Inputs::Item, Trigger<T>, &mut Cx) + Send + 'static,
        Each: FnMut(usize, Result<T, Unfired>, &mut Cx) + Send + 'static,
        Done: FnOnce(&mut Cx) + Send + 'static,
    {
        assert!(window > 0, "the window must not be 0");
        let inputs = inputs.into_iter().enumerate();
        let (place, site) = (Rendezvous::new(color), Site::caller());
        let pipeline = Pipeline { window, under_way: 0, inputs, start, each, done, site };
        let posting = Posting::promised(site);
        color.post_as(Access::Exclusive, move |cx| pipeline.go_on(&place, cx), posting);
    }
}

/// The state of [`Rendezvous::windowed`].
struct Pipeline<Inputs, Start, Each, Done> {
    window: usize,
    under_way: usize,
    inputs: Inputs,
    start: Start,
    each: Each,
    done: Done,
    site: Site,
}

impl<Input, Inputs, Start, Each, Done> Pipeline<Inputs, Start, Each, Done>
where
    Inputs: Iterator<Item = (usize, Input)> + Send + 'static,
{
    fn go_on<T>(mut self, place: &Rendezvous<usize, T>, cx: &mut Cx)
    where
        T: Send + 'static,
        Start: FnMut(Input, Trigger<T>, &mut Cx) + Send + 'static,
        Each: FnMut(usize, Result<T, Unfired>, &mut Cx) + Send + 'static,
        Done: FnOnce(&mut Cx) + Send + 'static,
    {
        while self.under_way < self.window {
            let Some((n, input)) = self.inputs.next() else { break };
            self.under_way += 1;
            (self.start)(input, place.trigger(n), cx);
        }
        if self.under_way == 0 {
            return (self.done)(cx);
        }
        let site = self.site;
        let next = move |(n, outcome), place: &Rendezvous<usize, T>, cx: &mut Cx| {
            self.under_way -= 1;
            (self.each)(n, outcome, cx);
            self.go_on(place, cx);
        };
        place.wait(Waiter::Inside(Box::new(next)), site);
    }
}
