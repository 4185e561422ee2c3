//! Posting to several colors at once (C6); what a set is stands in `color::set`.

use dapple_colors::set::{Want, arrange};
use dapple_colors::{Access, Priority};

use super::{Posting, refuse};
use crate::Color;
use crate::color::cell::ColorCell;
use crate::color::held::Held;
use crate::color::set::{FEW, Named, SetRequest};
use crate::color::two_phase::{QueuePlace, take_places};
use crate::cx::Cx;
use crate::event::{Kind, Owned};
use crate::lock::Flag;
use crate::runtime::core::Core;
use crate::site::Site;
use crate::turn::local::Local;
use crate::turn::outside::Outside;

/// A color that an event needs, and what for; from [`Color::exclusive`] and [`Color::shared`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) color: &'a Color,
    pub(crate) access: Access,
}

/// The place of a set in the queue of one of its colors.
struct SetPlace<'a> {
    cell: &'a ColorCell,
    /// What stands in that place; until it is taken.
    request: Option<Owned>,
    /// The color was idle: whoever posts holds it.
    held: Option<Held>,
    /// The set's class, if it is higher than the color's.
    boost: Option<Priority>,
    /// It runs in a higher class now, and may stand in a lane of a lower one.
    was_raised: bool,
}

impl QueuePlace for Option<SetPlace<'_>> {
    #[inline]
    fn lock(&self) -> &Flag {
        &self.as_ref().expect("there are as many places as colors").cell.set_lock
    }

    #[inline]
    fn take(&mut self) {
        let Some(place) = self else { return };
        let Some(request) = place.request.take() else { return };
        let cell = place.cell;
        if cell.is_bounded() {
            cell.enter_bound(&request);
        }
        let was_raised = place.boost.is_some_and(|class| cell.boost(class));
        place.held = cell.push(request);
        place.was_raised = was_raised && place.held.is_none();
    }
}

/// Posts `f` to several colors.
///
/// # Panics
///
/// When one of them does not belong to `core`.
#[inline]
pub(crate) fn post_set<'a, F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    requests: &[Request<'a>],
    f: F,
    posting: Posting,
) {
    let Some(first) = requests.first() else {
        return core.post_uncolored(f, posting);
    };
    let is_ours = |request: &Request<'a>| std::ptr::eq(request.color.core(), core);
    let same = requests.iter().all(is_ours);
    assert!(same, "the colors of a set belong to the runtime that it is posted to");
    let name = |request: &Request<'a>| Named::new(request.color.as_cell(), request.access);
    if requests.len() <= FEW {
        let mut few = [name(first); FEW];
        few.iter_mut().zip(requests).for_each(|(named, request)| *named = name(request));
        let n = arrange(&mut few[..requests.len()]);
        post_named(core, &few[..n], first.color, f, posting);
    } else {
        let mut many: Vec<_> = requests.iter().map(|request| Numbered::of(name(request))).collect();
        let n = arrange(&mut many);
        let many: Vec<_> = many[..n].iter().map(|numbered| numbered.named).collect();
        post_named(core, &many, first.color, f, posting);
    }
}

/// A color of many, with its number, so that sorting looks at no color.
struct Numbered<'a> {
    serial: u64,
    named: Named<'a>,
}

impl<'a> Numbered<'a> {
    fn of(named: Named<'a>) -> Self {
        Numbered { serial: named.cell().serial(), named }
    }
}

impl Want for Numbered<'_> {
    type Key = u64;
    fn key(&self) -> u64 {
        self.serial
    }
    fn access(&self) -> Access {
        self.named.access()
    }
    fn set_access(&mut self, access: Access) {
        self.named.set_access(access);
    }
}

/// Posts `f` to colors in their order, each named once.
#[inline]
fn post_named<'a, F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    named: &[Named<'a>],
    first: &'a Color,
    f: F,
    posting: Posting,
) {
    if let [one] = named {
        return first.post_as(one.access(), f, posting);
    }
    // The closure is moved once: what it is moved through costs more than all the rest.
    let site = posting.site;
    match posting.begin(core) {
        Some((memory, posted)) => {
            let event = Owned::closure(memory, f, Kind::Set, site, posted);
            post_event(core, named, first.as_cell(), event, site);
        }
        None => refuse(core, f, site),
    }
}

/// Posts a set's event.
fn post_event<'a>(
    core: &Core,
    named: &[Named<'a>],
    first: &'a ColorCell,
    event: Owned,
    site: Site,
) {
    Local::with(core, |local| {
        // Until all colors are queued; see `quiesce`.
        let _outside = Outside::on(core, local);
        let class = choose_class(core, named);
        let set = SetRequest::make(core.memory(local), event, named, first, class);
        let place = |named: &Named<'a>| {
            let request = Owned::request(core.memory(local), set, named.access(), site);
            let boosts = class.is_higher_than(named.cell().own_priority());
            SetPlace {
                cell: named.cell(),
                request: Some(request),
                held: None,
                boost: boosts.then_some(class),
                was_raised: false,
            }
        };
        if named.len() <= FEW {
            let mut few = [const { None }; FEW];
            few.iter_mut().zip(named).for_each(|(to, named)| *to = Some(place(named)));
            take(core, local, &mut few[..named.len()]);
        } else {
            let mut many: Vec<_> = named.iter().map(|named| Some(place(named))).collect();
            take(core, local, &mut many);
        }
    });
}

/// Takes the places, and goes on with those colors that were idle.
#[inline]
fn take(core: &Core, local: Option<&Local>, places: &mut [Option<SetPlace<'_>>]) {
    take_places(places);
    if places.iter().flatten().any(|place| place.was_raised) {
        core.fleet.has_raised();
    }
    match local {
        Some(local) => {
            local.traffic.count(places.len() as u32);
            let _aside = local.current.set_aside();
            let idle = places.iter_mut().flatten().filter_map(|place| place.held.take());
            idle.for_each(|held| local.go_on(held));
        }
        None => {
            let idle = places.iter_mut().flatten().filter_map(|place| place.held.take());
            idle.for_each(|held| core.inject_held(held));
        }
    }
}

/// The highest class among the colors.
fn choose_class(core: &Core, named: &[Named<'_>]) -> Priority {
    if !core.fleet.has_classes() {
        return Priority::Normal;
    }
    let own = named.iter().map(|named| named.cell().own_priority());
    own.fold(Priority::Low, Priority::or_higher)
}
