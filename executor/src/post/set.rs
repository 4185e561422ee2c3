//! Posting to several colors at once (C6). The set itself is described in `color::set`.

use dapple_colors::set::{Want, arrange};
use dapple_colors::{Access, Priority};

use super::{Posting, refuse};
use crate::Color;
use crate::color::cell::ColorCell;
use crate::color::set::named::Named;
use crate::color::set::place::{NewSet, SetPlace};
use crate::color::two_phase::take_places;
use crate::cx::Cx;
use crate::event::{Kind, Owned};
use crate::runtime::core::Core;
use crate::sync::{Mutant, Point, event_posted, mutant, point};
use crate::turn::local::Local;
use crate::turn::outside::Outside;

/// The largest number of colors that are sorted on the stack, without an allocation.
const FEW: usize = 5;

/// A color that an event needs, with its access; from [`Color::exclusive`] and [`Color::shared`].
///
/// See [`Handle::post_set`](crate::Handle::post_set) for an example.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) color: &'a Color,
    pub(crate) access: Access,
}

/// Posts `f` to several colors.
///
/// # Panics
///
/// If a color does not belong to `core`, or if two colors are bound to different workers.
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
    assert!(same, "every color of a set must belong to the runtime that the set is posted to");
    if core.fleet.has_affine() {
        check_affinity(requests);
    }
    let name = |request: &Request<'a>| Named::new(request.color.as_cell(), request.access);
    if let [a, b] = requests
        && a.color != b.color
    {
        return post_two(core, [name(a), name(b)], f, posting);
    }
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

/// Panics if two of the colors are bound to different workers (E17).
#[cold]
fn check_affinity(requests: &[Request<'_>]) {
    let mut bound = requests.iter().filter_map(|request| request.color.as_cell().bound_to());
    let Some(worker) = bound.next() else { return };
    if let Some(other) = bound.find(|&other| other != worker) {
        panic!("a set must not have colors of worker {worker} and of worker {other}");
    }
}

/// A color of a large set with its number, so that sorting does not read the colors' memory.
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

/// Posts `f` to colors that are sorted and distinct.
#[inline]
fn post_named<'a, F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    named: &[Named<'a>],
    first: &'a Color,
    f: F,
    posting: Posting,
) {
    match *named {
        [one] => first.post_as(one.access(), f, posting),
        [a, b] if std::ptr::eq(a.cell(), first.as_cell()) => post_two(core, [a, b], f, posting),
        [a, b] => post_two(core, [b, a], f, posting),
        _ => {
            if let Some(event) = make_event(core, f, posting) {
                Local::with(core, |local| {
                    post_many(core, local, named, first.as_cell(), event);
                });
            }
        }
    }
}

/// Posts `f` to two colors.
#[inline(always)]
fn post_two<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    named: [Named<'_>; 2],
    f: F,
    posting: Posting,
) {
    if let Some(event) = make_event(core, f, posting) {
        Local::with(core, |local| post_pair(core, local, named, event));
    }
}

/// Makes `f` the event of a set. Returns `None` if the post is refused.
#[inline(always)]
fn make_event<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    f: F,
    posting: Posting,
) -> Option<Owned> {
    let take_place = |local: Option<&Local>| {
        posting.is_accepted(core, local).then(|| core.event_place::<F>(local))
    };
    match Local::with(core, take_place) {
        Some(place) => Some(place.fill(f, Kind::Set, posting.site)),
        None => {
            refuse(core, f, posting.site);
            None
        }
    }
}

/// Posts the event of a set of two colors.
fn post_pair(core: &Core, local: Option<&Local>, [a, b]: [Named<'_>; 2], event: Owned) {
    // Kept until both colors are queued; see `quiesce`.
    let _outside = Outside::on(core, local);
    let (mut lead, mut ordered) = match a.cell().serial() < b.cell().serial() {
        true => (0, [a, b]),
        false => (1, [b, a]),
    };
    if mutant(Mutant::UnorderedSet) {
        (lead, ordered) = (0, [a, b]);
    }
    let class = choose_class(core, &ordered);
    let address = event.address();
    let (set, mut places) = NewSet::pair(core.memory(local), event, ordered, lead, class);
    take(core, local, set, address, class, &mut places);
}

/// Posts the event of a set of three or more colors, which are sorted.
fn post_many(
    core: &Core,
    local: Option<&Local>,
    named: &[Named<'_>],
    first: &ColorCell,
    event: Owned,
) {
    // Kept until all colors are queued; see `quiesce`.
    let _outside = Outside::on(core, local);
    let class = choose_class(core, named);
    let address = event.address();
    let (set, mut places) = NewSet::many(core.memory(local), event, named, first, class);
    take(core, local, set, address, class, &mut places);
}

/// Takes the set's places in the queues of its colors, and advances the colors that were idle.
/// `event` is the address of the set's event.
#[inline(always)]
fn take(
    core: &Core,
    local: Option<&Local>,
    set: NewSet,
    event: usize,
    class: Option<Priority>,
    places: &mut [SetPlace<'_>],
) {
    take_places(places, |place| {
        let named = place.named();
        event_posted(event, named.cell().address(), || named.access());
        place.take(class);
    });
    match local {
        Some(local) => {
            local.traffic.counts_set(places.len() as u32);
            local.scheduler.posts_ready();
            let _aside = local.current.set_aside();
            local.go_on_with_set(set, places);
        }
        None => {
            let idle = places.iter_mut().filter_map(SetPlace::take_held);
            idle.for_each(|(held, _)| core.inject_held(held));
        }
    }
    point(Point::Posted);
}

/// Returns the highest class among the colors, or `None` if all colors of the runtime are of the
/// normal class.
#[inline]
fn choose_class(core: &Core, named: &[Named<'_>]) -> Option<Priority> {
    core.fleet.has_classes().then(|| {
        let own = named.iter().map(|named| named.cell().own_priority());
        own.fold(Priority::Low, Priority::or_higher)
    })
}
