//! Typed sets of [`Colored`] values, which may have several colors (C6, C13).

use std::ptr::NonNull;

use dapple_colors::Access;

use super::colored::{Colored, Reach};
use super::handle::Color;
use super::value::{Borrow, Inner, Sharing};
use crate::cx::Cx;
use crate::event::large::is_large;
use crate::post::Posting;
use crate::post::set::{Request, post_set};
use crate::site::Site;

/// A part of a set whose event gets the value by `&mut`; see [`Colored::exclusive`].
#[derive(Debug)]
pub struct Exclusive<'a, T: Send + 'static>(pub(super) &'a Colored<T>);

/// A part of a set whose event gets the value by `&`; see [`Colored::shared`].
#[derive(Debug)]
pub struct Shared<'a, T: Send + Sync + 'static>(pub(super) &'a Colored<T>);

impl<T: Send + 'static> Clone for Exclusive<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Send + 'static> Copy for Exclusive<'_, T> {}
impl<T: Send + Sync + 'static> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Send + Sync + 'static> Copy for Shared<'_, T> {}

/// One value of a set: an [`Exclusive`] or a [`Shared`] part.
///
/// See [`ColoredSet`] for an example.
pub trait Part: sealed::Part {
    /// The reference that the event gets: `&mut T` or `&T`.
    type Ref<'r>;
    #[doc(hidden)]
    type Reach: Copy + Send + 'static;
    #[doc(hidden)]
    type Held<'r>;
    #[doc(hidden)]
    fn request(&self) -> Request<'_>;
    #[doc(hidden)]
    fn reach(&self) -> Self::Reach;
    /// Returns the address of the value, which identifies it.
    #[doc(hidden)]
    fn address(&self) -> usize;
    /// Returns `true` if the value is poisoned.
    ///
    /// # Safety
    ///
    /// During the call, an event of the value's color runs that was posted through a handle of the
    /// value and has the access of this part.
    #[doc(hidden)]
    unsafe fn is_poisoned(reach: Self::Reach) -> bool;
    /// Reaches the value for an event.
    ///
    /// # Safety
    ///
    /// Until `'r` ends, an event of the value's color runs that was posted through a handle of the
    /// value and has the access of this part. The parts of its set are different values.
    #[doc(hidden)]
    unsafe fn borrow<'r>(reach: Self::Reach, others: Others<'_>) -> Self::Held<'r>;
    #[doc(hidden)]
    fn get<'h>(held: &'h mut Self::Held<'_>) -> Self::Ref<'h>;
}

impl<T: Send + 'static> Part for Exclusive<'_, T> {
    type Ref<'r> = &'r mut T;
    type Reach = Reach<T>;
    type Held<'r> = Borrow<'r, T>;

    fn request(&self) -> Request<'_> {
        Request { color: self.0.color(), access: Access::Exclusive }
    }
    fn reach(&self) -> Reach<T> {
        self.0.reach()
    }
    fn address(&self) -> usize {
        self.0.reach().0.as_ptr().addr()
    }
    unsafe fn is_poisoned(reach: Reach<T>) -> bool {
        // SAFETY: the caller is an event that was posted through a handle, so the value is alive.
        unsafe { inner(reach.0) }.is_poisoned()
    }
    unsafe fn borrow<'r>(reach: Reach<T>, _: Others<'_>) -> Borrow<'r, T> {
        // SAFETY: the caller is an exclusive event of the color, posted through a handle, so the
        // value is alive. The parts of the set are different values, so the event has no reference
        // to this one.
        unsafe { inner(reach.0).borrow() }
    }
    fn get<'h>(held: &'h mut Borrow<'_, T>) -> &'h mut T {
        held.value()
    }
}

impl<T: Send + Sync + 'static> Part for Shared<'_, T> {
    type Ref<'r> = &'r T;
    type Reach = Reach<T>;
    type Held<'r> = Sharing<'r, T>;

    fn request(&self) -> Request<'_> {
        Request { color: self.0.color(), access: Access::Shared }
    }
    fn reach(&self) -> Reach<T> {
        self.0.reach()
    }
    fn address(&self) -> usize {
        self.0.reach().0.as_ptr().addr()
    }
    unsafe fn is_poisoned(reach: Reach<T>) -> bool {
        // SAFETY: the caller is an event that was posted through a handle, so the value is alive.
        unsafe { inner(reach.0) }.is_poisoned()
    }
    unsafe fn borrow<'r>(reach: Reach<T>, others: Others<'_>) -> Sharing<'r, T> {
        // SAFETY: either no exclusive event of the color runs, or the caller is the only one. In
        // that case the parts of the set are different values, so the caller does not have this one
        // by `&mut`, and `share_first` keeps it from getting it in that way.
        unsafe {
            let inner = inner(reach.0);
            inner.share_first(others.make_alone(&inner.color))
        }
    }
    fn get<'h>(held: &'h mut Sharing<'_, T>) -> &'h T {
        held.value()
    }
}

/// The accesses of the other parts, one of which may have made the set exclusive on this color.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub enum Others<'a> {
    /// All parts of the set have the same access.
    Alike,
    /// Another part may be exclusive on this color; the context knows the access of the set.
    Any(&'a Cx),
}

impl Others<'_> {
    fn make_alone(self, color: &Color) -> bool {
        match self {
            Others::Alike => false,
            Others::Any(cx) => cx.access(color) == Some(Access::Exclusive),
        }
    }
}

/// Returns the value and its bookkeeping.
///
/// # Safety
///
/// The value is alive until `'r` ends.
unsafe fn inner<'r, T>(reach: NonNull<Inner<T>>) -> &'r Inner<T> {
    // SAFETY: the caller guarantees that the value is alive.
    unsafe { reach.as_ref() }
}

/// Values of several colors: a tuple, or a `Vec`, of [`Exclusive`] and [`Shared`] parts.
///
/// # Examples
///
/// ```
/// use dapple::{Colored, ColoredSet};
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let rate = Colored::new(&h.new_color(), 3);
/// let accounts: Vec<_> = (0..2).map(|_| Colored::new(&h.new_color(), 100)).collect();
///
/// (accounts[0].exclusive(), accounts[1].exclusive(), rate.shared()).post(|(from, to, rate), _| {
///     *from -= 10 * rate;
///     *to += 10 * rate;
/// });
/// let all: Vec<_> = accounts.iter().map(Colored::shared).collect();
/// all.post(|accounts, _| assert_eq!(accounts.into_iter().sum::<i32>(), 200));
/// rt.wait_idle();
/// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ColoredSet: sealed::Set + Sized {
    /// The references that the event gets: a tuple, or a `Vec`, of `&mut T` and `&T`.
    type Refs<'r>;
    #[doc(hidden)]
    type Reach: Send + 'static;
    #[doc(hidden)]
    fn reach(&self) -> Self::Reach;
    #[doc(hidden)]
    fn with_parts<R>(&self, f: impl FnOnce(&[Request<'_>], &mut [usize]) -> R) -> R;
    /// Runs `f` on the values and returns `true`. If one of them is poisoned, returns `false`
    /// instead.
    ///
    /// # Safety
    ///
    /// The parts are different values, and until the function returns, an event runs that has the
    /// access of each part to the color of its value and was posted through handles of the values.
    #[doc(hidden)]
    unsafe fn run<F>(reach: Self::Reach, f: F, cx: &mut Cx) -> bool
    where
        F: FnOnce(Self::Refs<'_>, &mut Cx);

    /// Posts an event that runs when it has the colors of all values, and gets the values. See
    /// [`Handle::post_set`](crate::Handle::post_set).
    ///
    /// If the event panics, the values that it has by `&mut` are poisoned. If one of the values is
    /// poisoned when the event would run, the event is dropped unrun and counted.
    ///
    /// See [`ColoredSet`] for an example.
    ///
    /// # Panics
    ///
    /// Panics if the set is empty, if it names a value twice, if the colors belong to different
    /// runtimes, or if two of them are bound to different workers.
    #[track_caller]
    fn post<F>(self, f: F)
    where
        F: for<'r> FnOnce(Self::Refs<'r>, &mut Cx) + Send + 'static,
    {
        match is_large::<F>() {
            // The closure is boxed once, here: the box itself is not large.
            true => post_values(self, Box::new(f), Site::caller()),
            false => post_values(self, f, Site::caller()),
        }
    }
}

/// Posts the event of a set of values.
#[inline]
fn post_values<V, F>(values: V, f: F, site: Site)
where
    V: ColoredSet,
    F: for<'r> FnOnce(V::Refs<'r>, &mut Cx) + Send + 'static,
{
    let reach = values.reach();
    let event = move |cx: &mut Cx| {
        // SAFETY: this is the set's event, which has all the colors. The check below, made before
        // the event was posted, shows that the parts are different values.
        if !unsafe { V::run(reach, f, cx) } {
            cx.local().count_skipped();
        }
    };
    values.with_parts(|requests, parts| {
        assert!(!has_twins(parts), "a set must not name a value twice");
        let first = requests.first().expect("a set must name at least one value");
        post_set(first.color.core(), requests, event, Posting::open(site));
    });
}

/// Sorts the addresses. Returns `true` if two of them are equal.
#[inline(always)]
fn has_twins(values: &mut [usize]) -> bool {
    if let [a, b] = values {
        return a == b;
    }
    values.sort_unstable();
    values.windows(2).any(|pair| pair[0] == pair[1])
}

impl<P: Part> ColoredSet for Vec<P> {
    type Refs<'r> = Vec<P::Ref<'r>>;
    type Reach = Vec<P::Reach>;

    fn reach(&self) -> Self::Reach {
        self.iter().map(P::reach).collect()
    }

    fn with_parts<R>(&self, f: impl FnOnce(&[Request<'_>], &mut [usize]) -> R) -> R {
        let requests: Vec<_> = self.iter().map(P::request).collect();
        let mut values: Vec<_> = self.iter().map(P::address).collect();
        f(&requests, &mut values)
    }

    unsafe fn run<F>(reach: Self::Reach, f: F, cx: &mut Cx) -> bool
    where
        F: FnOnce(Self::Refs<'_>, &mut Cx),
    {
        // SAFETY: the caller has the access of each part, and the parts are different values.
        unsafe {
            if reach.iter().any(|r| P::is_poisoned(*r)) {
                return false;
            }
            let hold = |r: &P::Reach| P::borrow(*r, Others::Alike);
            let mut held: Vec<P::Held<'_>> = reach.iter().map(hold).collect();
            f(held.iter_mut().map(P::get).collect(), cx);
        }
        true
    }
}

macro_rules! tuples {
    ($($part:ident $held:ident),+) => {
        impl<$($part: Part),+> ColoredSet for ($($part,)+) {
            type Refs<'r> = ($($part::Ref<'r>,)+);
            type Reach = ($($part::Reach,)+);

            #[allow(non_snake_case)]
            fn reach(&self) -> Self::Reach {
                let ($($part,)+) = self;
                ($($part.reach(),)+)
            }

            #[allow(non_snake_case)]
            fn with_parts<R>(&self, f: impl FnOnce(&[Request<'_>], &mut [usize]) -> R) -> R {
                let ($($part,)+) = self;
                f(&[$($part.request()),+], &mut [$($part.address()),+])
            }

            #[allow(non_snake_case)]
            unsafe fn run<F>(reach: Self::Reach, f: F, cx: &mut Cx) -> bool
            where
                F: FnOnce(Self::Refs<'_>, &mut Cx),
            {
                let ($($held,)+) = reach;
                // SAFETY: the caller has the access of each part, and the parts are different
                // values.
                unsafe {
                    if $($part::is_poisoned($held))||+ {
                        return false;
                    }
                    $(let mut $held = $part::borrow($held, Others::Any(cx));)+
                    f(($($part::get(&mut $held),)+), cx);
                }
                true
            }
        }
        impl<$($part: Part),+> sealed::Set for ($($part,)+) {}
    };
}

tuples!(A a);
tuples!(A a, B b);
tuples!(A a, B b, C c);
tuples!(A a, B b, C c, D d);
tuples!(A a, B b, C c, D d, E e);
tuples!(A a, B b, C c, D d, E e, G g);
tuples!(A a, B b, C c, D d, E e, G g, H h);
tuples!(A a, B b, C c, D d, E e, G g, H h, I i);

/// Restricts the implementations of `Part` and `ColoredSet` to this file.
mod sealed {
    pub trait Part {}
    impl<T: Send + 'static> Part for super::Exclusive<'_, T> {}
    impl<T: Send + Sync + 'static> Part for super::Shared<'_, T> {}
    pub trait Set {}
    impl<P: super::Part> Set for Vec<P> {}
}
