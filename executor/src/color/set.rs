//! Color sets: an event that needs several colors at once (C6).
//!
//! See [`dapple_colors::set`] for the algorithm, and why sets that meet do not wait for each other in a circle. A set has
//! its closure's [`Event`], which stands in no color's queue; a *request*, an event without closure, in the queue of each of its
//! colors; and a [`Set`], which counts the requests that have not arrived and knows the colors. All of them are slots of the
//! runtime's slab, so that a set of up to five colors allocates nothing.
//!
//! # Who may touch what
//!
//! The `Set` is written by the poster before the first request is in a queue. After that `missing` is counted down by whoever
//! holds a color whose request has come to the front; the rest is immutable. Who counts it down to none has the `Set`, the
//! event and, by their requests, all the colors: an exclusive one is held, with the request, which is spent, at its head; of
//! a shared one it is a reader.
//!
//! A color cannot die while a request is in its queue, or a reader in it, as its grave waits for both. So a `Set` needs
//! no handles.
//!
//! Orderings: counting down is AcqRel, so that what the holders of all colors saw is seen by the set's event. The locks
//! of the posters order their places; what they order is argued in `dapple_colors::set`.

use std::panic::Location;
use std::ptr::NonNull;

use dapple_colors::{Access, Arrived, Gathering, Priority, set::arrange};

use super::cell::ColorCell;
use super::handle::{Color, post_uncolored, refuse};
use super::held::Held;
use super::queue::{Link, Queue};
use super::two_phase::{Site, take_places};
use crate::cx::Cx;
use crate::event::{Event, Kind, Memory, Owned};
use crate::lock::Flag;
use crate::runtime::core::Core;
use crate::runtime::quiesce::Outside;
use crate::sync::{AtomicU32, Ordering};
use crate::worker::entry::Entry;
use crate::worker::local::Local;

/// Colors of a set that needs no allocation.
const FEW: usize = 5;

/// A color that an event needs, and what for; from [`Color::exclusive`] and [`Color::shared`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) color: &'a Color,
    pub(crate) access: Access,
}

/// One color of a set, and what for: the lowest bit says that it is shared.
#[derive(Clone, Copy)]
pub(crate) struct Want(NonNull<u8>);

const SHARED: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > SHARED);

impl Want {
    fn new(cell: NonNull<ColorCell>, access: Access) -> Self {
        let bit = if access == Access::Shared { SHARED } else { 0 };
        let tagged = cell.as_ptr().cast::<u8>().map_addr(|a| a | bit);
        // SAFETY: setting a bit of a pointer that is not null leaves it so.
        Want(unsafe { NonNull::new_unchecked(tagged) })
    }

    pub(crate) fn cell(self) -> NonNull<ColorCell> {
        let plain = self.0.as_ptr().map_addr(|a| a & !SHARED);
        // SAFETY: this undoes `new`.
        unsafe { NonNull::new_unchecked(plain) }.cast()
    }

    pub(crate) fn access(self) -> Access {
        match self.0.as_ptr().addr() & SHARED {
            0 => Access::Exclusive,
            _ => Access::Shared,
        }
    }
}

enum Wants {
    /// So many; the color that was named first comes first.
    Few(u8, [Want; FEW]),
    /// In the order of colors, to be found quickly; and where the one stands that was named first.
    Many(u32, Box<[Want]>),
}

/// See the module.
pub(crate) struct Set {
    missing: AtomicU32,
    /// The highest class among its colors. All that it waits for are in this class until their request arrives.
    class: Priority,
    event: NonNull<Event>,
    wants: Wants,
}

const _: () =
    assert!(size_of::<Set>() <= size_of::<Event>() && align_of::<Set>() <= align_of::<Event>());

impl Set {
    /// Makes one in `memory`, whose first color is `first`.
    ///
    /// # Safety
    ///
    /// The memory is a slot of a slab of events, and the caller's; there is a place, and one of them is of `first`.
    unsafe fn write(
        memory: Memory,
        event: NonNull<Event>,
        places: &[Place],
        first: NonNull<ColorCell>,
        class: Priority,
    ) -> NonNull<Set> {
        let of = |p: &Place| Want::new(p.cell, p.access);
        let lead = places.iter().position(|p| p.cell == first).unwrap_or(0);
        let wants = match places.len() {
            n @ ..=FEW => {
                let mut few = [of(&places[0]); FEW];
                few.iter_mut().zip(places).for_each(|(want, place)| *want = of(place));
                few.swap(0, lead);
                Wants::Few(n as u8, few)
            }
            _ => Wants::Many(lead as u32, places.iter().map(of).collect()),
        };
        let set = memory.into_slot().cast::<Set>();
        let missing = AtomicU32::new(places.len() as u32);
        // SAFETY: by contract; a slot is large enough.
        unsafe { set.write(Set { missing, class, event, wants }) };
        set
    }

    pub(crate) fn wants(&self) -> &[Want] {
        match &self.wants {
            Wants::Few(n, few) => &few[..usize::from(*n)],
            Wants::Many(_, many) => many,
        }
    }

    /// The color that was named first.
    pub(crate) fn first(&self) -> NonNull<ColorCell> {
        match &self.wants {
            Wants::Few(_, few) => few[0].cell(),
            Wants::Many(lead, many) => many[*lead as usize].cell(),
        }
    }

    /// What the set may do with a color, if it has it.
    pub(crate) fn access(&self, cell: NonNull<ColorCell>) -> Option<Access> {
        let want = match &self.wants {
            Wants::Few(n, few) => few[..usize::from(*n)].iter().find(|want| want.cell() == cell),
            Wants::Many(_, many) => {
                let at = many.binary_search_by_key(&cell, |want| want.cell());
                at.ok().map(|at| &many[at])
            }
        };
        want.map(|want| want.access())
    }

    /// A request has come to the front of its color's queue.
    pub(crate) fn has_come_to(&self, color: &ColorCell) {
        if self.class.is_higher_than(color.own_priority()) {
            color.unboost(self.class);
        }
    }

    /// A request has arrived. If it was the last one, this is what is to be queued, and the caller has all colors of the set.
    /// Otherwise the caller must not touch the set any more, nor a color that the request was exclusive for.
    ///
    /// # Safety
    ///
    /// The request is spent, and each arrives once.
    pub(crate) unsafe fn arrive(set: NonNull<Set>) -> Option<Entry> {
        // SAFETY: a set is there until its last request has arrived.
        let left = unsafe { set.as_ref() }.missing.fetch_sub(1, Ordering::AcqRel) - 1;
        match Gathering::after(left as usize) {
            Arrived::Waits => None,
            Arrived::Complete => {
                // SAFETY: we have the set.
                let set = unsafe { set.as_ref() };
                // SAFETY: the set gives its event away once, when it is complete.
                Some(Entry::event(unsafe { Owned::of_raw(set.event) }, set.class))
            }
        }
    }
}

/// A color of a set that is being posted.
#[derive(Clone, Copy)]
struct Place {
    cell: NonNull<ColorCell>,
    access: Access,
    request: Option<NonNull<Event>>,
    /// The set's class, if it is higher than the color's.
    boost: Option<Priority>,
    became_runnable: bool,
    /// It runs in a higher class now, and may stand in a lane of a lower one.
    was_raised: bool,
}

impl Site for Place {
    fn queue(&self) -> &Queue {
        // SAFETY: who posts has a handle of the color.
        unsafe { &self.cell.as_ref().queue }
    }
    fn lock(&self) -> &Flag {
        // SAFETY: as above.
        unsafe { &self.cell.as_ref().set_lock }
    }
    fn link(&self) -> NonNull<Link> {
        self.request.expect("it is written before the place is taken").cast()
    }
    fn entering(&mut self) {
        // SAFETY: as in `queue`.
        let color = unsafe { self.cell.as_ref() };
        if color.is_bounded()
            && let Some(request) = self.request
        {
            // SAFETY: it is ours until the place is taken.
            color.enter_bound(&unsafe { Owned::of_raw(request) });
        }
        if let Some(class) = self.boost {
            self.was_raised = color.boost(class);
        }
    }
    fn became_runnable(&mut self) {
        self.became_runnable = true;
        self.was_raised = false;
    }
}

impl dapple_colors::set::Want for Place {
    /// The one order of all colors is that of their addresses.
    type Key = NonNull<ColorCell>;
    fn key(&self) -> NonNull<ColorCell> {
        self.cell
    }
    fn access(&mut self) -> &mut Access {
        &mut self.access
    }
}

/// Posts `f` to several colors.
///
/// # Panics
///
/// When one of them does not belong to `core`.
#[inline]
pub(crate) fn post_set<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    requests: &[Request<'_>],
    f: F,
    site: &'static Location<'static>,
) {
    let place = |request: &Request<'_>| {
        let same = std::ptr::eq(request.color.core(), core);
        assert!(same, "the colors of a set belong to the runtime that it is posted to");
        let (cell, access) = (request.color.cell(), request.access);
        Place {
            cell,
            access,
            request: None,
            boost: None,
            became_runnable: false,
            was_raised: false,
        }
    };
    let Some(first) = requests.first() else {
        return post_uncolored(core, f, site);
    };
    if requests.len() <= FEW {
        let mut places = [place(first); FEW];
        for (to, request) in places.iter_mut().zip(requests) {
            *to = place(request);
        }
        post_places(core, &mut places[..requests.len()], first.color, f, site);
    } else {
        let mut places: Vec<Place> = requests.iter().map(place).collect();
        post_places(core, &mut places, first.color, f, site);
    }
}

#[inline]
fn post_places<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    places: &mut [Place],
    first: &Color,
    f: F,
    site: &'static Location<'static>,
) {
    let n = arrange(places);
    let places = &mut places[..n];
    match (n, places[0].access) {
        (1, Access::Exclusive) => return first.post_from_anywhere(f, site),
        (1, Access::Shared) => return first.post_shared_from_anywhere(f, site),
        _ => {}
    }
    let local = Local::current(core);
    if !core.accepts(local) {
        return refuse(core, f, site);
    }
    let posted = local.map_or_else(|| core.stamp_outside(), Local::stamp);
    let memory = || Local::memory_for(core);
    let class = choose_class(core, places);
    // Until all colors are queued; see `quiesce`.
    let _outside = Outside::enter(core);
    // SAFETY: the memory is fresh or recycled; the caller has handles of all colors, one of which is the first; and the set's
    // event is in no color's queue.
    unsafe {
        let mut event = Owned::closure(memory(), f, Kind::Set, site, posted);
        let raw = event.as_raw();
        let set = Set::write(memory(), raw, places, first.cell(), class);
        event.set_word(set.as_ptr().cast());
        for place in &mut *places {
            let request = Owned::request(memory(), set, place.access, site);
            place.request = Some(request.into_raw());
        }
        take_places(places);
    }
    if places.iter().any(|place| place.was_raised) {
        core.raised.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(local) = local {
        local.count_posts(n as u32);
    }
    let idle = places.iter().filter(|place| place.became_runnable).map(|place| place.cell);
    match local {
        Some(local) => {
            let _aside = local.current.set_aside();
            // SAFETY: they were idle, and have not been queued: we hold them.
            idle.for_each(|cell| local.go_on(unsafe { Held::of(cell) }));
        }
        None => idle.for_each(|cell| {
            // SAFETY: the caller has a handle.
            let color = unsafe { cell.as_ref() };
            core.inject(color.home(), color.entry(), color.worth());
        }),
    }
}

/// The highest class among the colors; those of a lower one are to be raised.
fn choose_class(core: &Core, places: &mut [Place]) -> Priority {
    if !core.has_classes() {
        return Priority::Normal;
    }
    // SAFETY: the caller has handles of the colors.
    let own = |place: &Place| unsafe { place.cell.as_ref() }.own_priority();
    let class = places.iter().map(own).fold(Priority::Low, Priority::or_higher);
    for place in places {
        place.boost = class.is_higher_than(own(place)).then_some(class);
    }
    class
}
