//! Posting to several colors at once (C6); what a set is stands in `color::set`.

use dapple_colors::set::arrange;
use dapple_colors::{Access, Priority};

use super::{Admission, Posting, refuse};
use crate::Color;
use crate::color::cell::{ColorCell, ColorId};
use crate::color::held::Held;
use crate::color::set::{FEW, SetRequest, Want};
use crate::color::two_phase::{QueuePlace, take_places};
use crate::cx::Cx;
use crate::event::{Kind, Owned};
use crate::lock::Flag;
use crate::runtime::core::Core;
use crate::turn::local::Local;
use crate::turn::outside::Outside;

/// A color that an event needs, and what for; from [`Color::exclusive`] and [`Color::shared`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) color: &'a Color,
    pub(crate) access: Access,
}

/// A color of a set that is being posted.
struct SetPlace<'a> {
    cell: &'a ColorCell,
    access: Access,
    request: Option<Owned>,
    /// The set's class, if it is higher than the color's.
    boost: Option<Priority>,
    /// The color was idle: whoever posts holds it.
    held: Option<Held>,
    /// It runs in a higher class now, and may stand in a lane of a lower one.
    was_raised: bool,
}

impl<'a> SetPlace<'a> {
    fn new(request: &Request<'a>) -> Self {
        let (cell, access) = (request.color.as_cell(), request.access);
        SetPlace { cell, access, request: None, boost: None, held: None, was_raised: false }
    }

    fn want(&self) -> Want {
        Want::new(self.cell, self.access)
    }
}

impl QueuePlace for SetPlace<'_> {
    fn lock(&self) -> &Flag {
        &self.cell.set_lock
    }

    fn take(&mut self) {
        let request = self.request.take().expect("it is made before the place is taken");
        if self.cell.is_bounded() {
            self.cell.enter_bound(&request);
        }
        let was_raised = self.boost.is_some_and(|class| self.cell.boost(class));
        self.held = self.cell.push(request);
        self.was_raised = was_raised && self.held.is_none();
    }
}

impl dapple_colors::set::Want for SetPlace<'_> {
    /// The one order of all colors.
    type Key = ColorId;
    fn key(&self) -> ColorId {
        self.cell.id()
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
    posting: Posting,
) {
    let place = |request: &Request<'_>| {
        let same = std::ptr::eq(request.color.core(), core);
        assert!(same, "the colors of a set belong to the runtime that it is posted to");
    };
    requests.iter().for_each(place);
    let Some((first, last)) = requests.first().zip(requests.last()) else {
        return core.post_uncolored(f, posting);
    };
    if requests.len() <= FEW {
        let request = |at| requests.get(at).unwrap_or(last);
        let mut places: [_; FEW] = std::array::from_fn(|at| SetPlace::new(request(at)));
        post_places(core, &mut places[..requests.len()], first.color, f, posting);
    } else {
        let mut places: Vec<_> = requests.iter().map(SetPlace::new).collect();
        post_places(core, &mut places, first.color, f, posting);
    }
}

#[inline]
fn post_places<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    places: &mut [SetPlace<'_>],
    first: &Color,
    f: F,
    posting: Posting,
) {
    let n = arrange(places);
    let places = &mut places[..n];
    if let [one] = places {
        return first.post_as(one.access, f, posting);
    }
    Local::with(core, |local| {
        if posting.admission == Admission::Open && !core.accepts(local) {
            return refuse(core, f, posting.site);
        }
        let class = choose_class(core, places);
        // Until all colors are queued; see `quiesce`.
        let _outside = Outside::enter(core);
        let event = core.make_event(local, f, Kind::Set, posting.site);
        let wants = places.iter().map(SetPlace::want);
        let set = SetRequest::make(core.memory(local), event, wants, first.as_cell(), class);
        for place in &mut *places {
            let memory = core.memory(local);
            place.request = Some(Owned::request(memory, set, place.access, posting.site));
        }
        take_places(places);
        if places.iter().any(|place| place.was_raised) {
            core.fleet.has_raised();
        }
        let idle = places.iter_mut().filter_map(|place| place.held.take());
        match local {
            Some(local) => {
                local.posts.count(n as u32);
                let _aside = local.current.set_aside();
                idle.for_each(|held| local.go_on(held));
            }
            None => idle.for_each(|held| core.inject_held(held)),
        }
    });
}

/// The highest class among the colors; those of a lower one are to be raised.
fn choose_class(core: &Core, places: &mut [SetPlace<'_>]) -> Priority {
    if !core.fleet.has_classes() {
        return Priority::Normal;
    }
    let own = places.iter().map(|place| place.cell.own_priority());
    let class = own.fold(Priority::Low, Priority::or_higher);
    for place in places {
        place.boost = class.is_higher_than(place.cell.own_priority()).then_some(class);
    }
    class
}
