//! Names of colors, of events, and of what runs between events. Names survive edits of the program.
//!
//! The name of an event is made from the name of what posted it, the name of its color, and the
//! number of earlier posts from there to that color. The name of a color is made from its label, if
//! it has one, the name of what made it, and the number of earlier colors with that label from
//! there. So code that is added to another part of a program changes no name. Names depend on no
//! line and no address.
//!
//! In addition, each event, color and domain has a *number*, in the order in which they were made.
//! It tells two of them apart in one run, and means nothing in another run.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasherDefault, Hasher};

use super::choice::{Mark, Spot};
use super::mix;
use crate::site::Site;
use crate::sync::{Arc, Fault, Point};

/// A hash table that is never iterated. So its order does not matter, but its speed does.
pub(super) type Table<V> = hashbrown::HashMap<u64, V, BuildHasherDefault<MixHasher>>;

#[derive(Default)]
pub(super) struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(&[self.0, u64::from(*byte)]));
    }

    /// Hashes an address or a name. Addresses have no low bits, and the table uses the bits at both
    /// ends.
    fn write_u64(&mut self, n: u64) {
        let product = u128::from(n ^ 0x9e37_79b9_7f4a_7c15) * 0xff51_afd7_ed55_8ccd;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

/// The name of the color of an event that has no color.
const UNCOLORED: u64 = 0;

/// Something that runs: an event, a part of one, or what a fiber does between two events.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: u64,
    /// The name of the event's color.
    pub(super) color: u64,
    /// The number of the event; `None` if this is not an event.
    pub(super) event: Option<u32>,
    /// The site where the event was posted.
    pub(super) site: Option<Site>,
    /// The label of the event's color.
    pub(super) label: Option<Arc<str>>,
}

/// An event that was made, and has not begun.
struct Made {
    who: Who,
    /// The name of what made the event.
    by: u64,
}

/// A color that was made.
struct Color {
    name: u64,
    number: u32,
    label: Option<Arc<str>>,
    /// The worker that the color is bound to.
    worker: Option<usize>,
}

/// A post of an event to a color, with the numbers of both.
pub(super) struct Posting {
    pub(super) event: u32,
    pub(super) color: u32,
    /// Whether the color is bound to a worker.
    pub(super) is_bound: bool,
}

/// The names and numbers of one run.
#[derive(Default)]
pub(super) struct Names {
    events: RefCell<Table<Made>>,
    colors: RefCell<Table<Color>>,
    domains: RefCell<Table<u32>>,
    /// The numbers of events, colors and domains that were made.
    counts: [Cell<u32>; 3],
    fibers: RefCell<Table<u32>>,
}

/// The number of times that each point was passed, and that each fault was possible.
#[derive(Default)]
struct Counts {
    counts: [u32; Point::ALL.len() + Fault::ALL.len()],
    /// The counts that are not zero, as bits. There are few.
    passed: u32,
}

impl Counts {
    /// Counts one passage. Returns the number of those before it.
    fn count(&mut self, spot: Spot) -> u32 {
        let index = spot.index();
        self.passed |= 1 << index;
        self.counts[index] += 1;
        self.counts[index] - 1
    }

    fn clear(&mut self) {
        while self.passed != 0 {
            self.counts[self.passed.trailing_zeros() as usize] = 0;
            self.passed &= self.passed - 1;
        }
    }
}

/// Something that a fiber is in, with what it has passed and made there.
struct Frame {
    who: Who,
    /// The domain and the ticket with which the frame has accessed a domain's state.
    ticket: Option<(u32, u64)>,
    passed: Counts,
    /// The name and the number of the event that is being posted. Passages during the post are
    /// counted in `passed_posting`.
    posts_now: Option<(u64, u32)>,
    passed_posting: Counts,
    /// The number of posts without a color. `posts` has those to each color, and `made` the colors
    /// of each label.
    uncolored: u32,
    posts: Table<u32>,
    made: Table<u32>,
}

impl Frame {
    fn new(who: Who) -> Frame {
        Frame {
            who,
            ticket: None,
            passed: Counts::default(),
            posts_now: None,
            passed_posting: Counts::default(),
            uncolored: 0,
            posts: Table::default(),
            made: Table::default(),
        }
    }

    fn enters(&mut self, who: Who) {
        self.who = who;
        self.ticket = None;
        self.passed.clear();
        self.posts_now = None;
        self.uncolored = 0;
        self.posts.clear();
        self.made.clear();
    }

    /// Begins the post of an event.
    fn posts_event(&mut self, name: u64, number: u32) {
        self.posts_now = Some((name, number));
        self.passed_posting.clear();
    }
}

/// One passage of a spot: the name of what passes, the number of its earlier passages, and the name
/// of its color.
pub(super) struct Passes {
    who: u64,
    nth: u32,
    pub(super) color: u64,
}

impl Passes {
    /// Returns the mark of this passage.
    #[inline]
    pub(super) fn mark(&self, spot: Spot) -> Mark {
        Mark { who: self.who, spot, nth: self.nth }
    }
}

/// The stack of frames of a fiber: what it is in, and what is suspended below that.
pub(super) struct Frames {
    /// The name of the fiber itself.
    own: u64,
    frames: RefCell<Vec<Frame>>,
    /// The number of frames in use. The others are kept for their memory.
    used: Cell<usize>,
}

/// Returns something of this name that is not an event.
pub(super) fn nobody(name: u64) -> Who {
    Who { name, color: UNCOLORED, event: None, site: None, label: None }
}

/// Counts one more under a key. Returns the number of those before it.
fn count(table: &mut Table<u32>, key: u64) -> u32 {
    let count = table.entry(key).or_insert(0);
    *count += 1;
    *count - 1
}

impl Frames {
    fn with<R>(&self, f: impl FnOnce(&mut Frame) -> R) -> R {
        f(&mut self.frames.borrow_mut()[self.used.get() - 1])
    }

    pub(super) fn who(&self) -> Who {
        self.with(|frame| frame.who.clone())
    }

    /// Returns the name of the running event, or, between events, a name that is made from that of
    /// the last event.
    pub(super) fn name(&self) -> u64 {
        self.with(|frame| frame.who.name)
    }

    /// Returns the site where the running event was posted.
    pub(super) fn site(&self) -> Option<Site> {
        self.with(|frame| frame.who.site)
    }

    /// Returns the number of the running event.
    pub(super) fn event(&self) -> Option<u32> {
        self.with(|frame| frame.who.event)
    }

    /// Returns the domain and the ticket with which the frame last accessed a state.
    pub(super) fn ticket(&self) -> Option<(u32, u64)> {
        self.with(|frame| frame.ticket)
    }

    /// Records that the frame accesses the state of a domain with a ticket.
    pub(super) fn has_ticket(&self, domain: u32, ticket: u64) {
        self.with(|frame| frame.ticket = Some((domain, ticket)));
    }

    /// Counts a passage of a spot. A post has passages of its own, so other posts of the event do
    /// not change them.
    #[inline]
    pub(super) fn passes(&self, spot: Spot) -> Passes {
        self.with(|frame| {
            let (who, counts) = match frame.posts_now {
                Some((event, _)) => (mix(&[frame.who.name, event]), &mut frame.passed_posting),
                None => (frame.who.name, &mut frame.passed),
            };
            Passes { who, nth: counts.count(spot), color: frame.who.color }
        })
    }

    /// Returns the number of the event that is being posted.
    pub(super) fn posts(&self) -> Option<u32> {
        self.with(|frame| frame.posts_now.map(|(_, number)| number))
    }

    /// Ends a post. Returns the number of its event.
    pub(super) fn has_posted(&self) -> Option<u32> {
        self.with(|frame| frame.posts_now.take().map(|(_, number)| number))
    }

    /// Begins an event, perhaps inside of another one.
    fn begins(&self, who: Who) {
        let mut frames = self.frames.borrow_mut();
        let used = self.used.get();
        match frames.get_mut(used) {
            Some(frame) => frame.enters(who),
            None => frames.push(Frame::new(who)),
        }
        self.used.set(used + 1);
    }

    /// Ends the event. The fiber is then in the frame below. If that is not an event, its name is
    /// made from the name of the event that has ended, until the next one begins.
    pub(super) fn leaves(&self) {
        let mut frames = self.frames.borrow_mut();
        let used = self.used.get();
        if used == 1 {
            return;
        }
        self.used.set(used - 1);
        let name = mix(&[self.own, frames[used - 1].who.name]);
        if used == 2 {
            frames[0].enters(nobody(name));
        }
    }
}

impl Names {
    /// Makes the frames of a fiber that is about to begin. Fibers of the same name are counted.
    pub(super) fn fiber(&self, name: &str) -> Frames {
        let text = text(name);
        let nth = count(&mut self.fibers.borrow_mut(), text);
        let own = mix(&[text, nth.into()]);
        let frames = RefCell::new(vec![Frame::new(nobody(own))]);
        Frames { own, frames, used: Cell::new(1) }
    }

    fn next(&self, kind: usize) -> u32 {
        self.counts[kind].replace(self.counts[kind].get() + 1)
    }

    /// Names a color that was made at this address.
    pub(super) fn color_made(
        &self,
        address: usize,
        worker: Option<usize>,
        label: Option<Arc<str>>,
        place: &Frames,
    ) {
        let text = label.as_deref().map_or(0, text);
        let name =
            place.with(|frame| mix(&[frame.who.name, text, count(&mut frame.made, text).into()]));
        let color = Color { name, number: self.next(1), label, worker };
        self.colors.borrow_mut().insert(address as u64, color);
    }

    /// Returns the name and the label of the color at this address.
    pub(super) fn color(&self, address: usize) -> Option<(u64, Option<Arc<str>>)> {
        let colors = self.colors.borrow();
        let color = colors.get(&(address as u64))?;
        Some((color.name, color.label.clone()))
    }

    /// Numbers a domain that was made at this address, and returns its number.
    pub(super) fn domain_made(&self, address: usize) -> u32 {
        let number = self.next(2);
        self.domains.borrow_mut().insert(address as u64, number);
        number
    }

    /// Returns the number of the domain at this address.
    pub(super) fn domain(&self, address: usize) -> u32 {
        let known = self.domains.borrow().get(&(address as u64)).copied();
        known.unwrap_or_else(|| self.domain_made(address))
    }

    /// Names an event that was made at this address, and returns its number. The event has no color
    /// until `event_posted` names one.
    pub(super) fn event_made(&self, address: usize, site: Option<Site>, place: &Frames) -> u32 {
        let number = self.next(0);
        let (by, name) = place.with(|frame| {
            let name = mix(&[frame.who.name, UNCOLORED, frame.uncolored.into()]);
            frame.uncolored += 1;
            frame.posts_event(name, number);
            (frame.who.name, name)
        });
        let who = Who { event: Some(number), site, ..nobody(name) };
        self.events.borrow_mut().insert(address as u64, Made { who, by });
        number
    }

    pub(super) fn event_moved(&self, from: usize, to: usize) {
        let mut events = self.events.borrow_mut();
        if let Some(made) = events.remove(&(from as u64)) {
            events.insert(to as u64, made);
        }
    }

    /// Names the color to which an event goes, or, if it is the event of a set, one of its colors.
    pub(super) fn event_posted(
        &self,
        address: usize,
        color: usize,
        place: &Frames,
    ) -> Option<Posting> {
        let mut events = self.events.borrow_mut();
        let Made { who, by } = events.get_mut(&(address as u64))?;
        let colors = self.colors.borrow();
        let color = colors.get(&(color as u64))?;
        let event = who.event?;
        place.with(|frame| {
            if who.color == UNCOLORED && *by == frame.who.name {
                // An event that is posted at once does not count among those without a color.
                frame.uncolored = frame.uncolored.saturating_sub(1);
                let nth = count(&mut frame.posts, color.name);
                who.name = mix(&[*by, color.name, nth.into()]);
            } else {
                who.name = mix(&[who.name, color.name]);
            }
            frame.posts_event(who.name, event);
        });
        if who.color == UNCOLORED {
            (who.color, who.label) = (color.name, color.label.clone());
        }
        Some(Posting { event, color: color.number, is_bound: color.worker.is_some() })
    }

    /// Removes the event at this address, which is about to begin or is dropped, and returns what
    /// it was.
    fn take(&self, address: usize) -> Option<Who> {
        self.events.borrow_mut().remove(&(address as u64)).map(|made| made.who)
    }

    /// Begins an event.
    pub(super) fn event_begins(&self, address: usize, place: &Frames) {
        let who = self.take(address);
        place.begins(who.unwrap_or_else(|| nobody(mix(&[place.name(), 1]))));
    }

    /// Begins a part of the running event, and returns its number. The part has the color and the
    /// label of the event.
    pub(super) fn part_begins(&self, address: usize, place: &Frames) -> Option<u32> {
        let part = self.take(address)?;
        let number = part.event;
        place.with(|frame| {
            let (color, label) = (frame.who.color, frame.who.label.take());
            let event = frame.who.event;
            frame.enters(Who { color, label, event, ..part });
        });
        number
    }

    /// Removes an event that is dropped without having run, and returns its number.
    pub(super) fn event_dropped(&self, address: usize) -> Option<u32> {
        self.take(address)?.event
    }

    /// Returns the number of the event at this address.
    pub(super) fn number(&self, address: usize) -> Option<u32> {
        self.events.borrow().get(&(address as u64))?.who.event
    }
}

/// Returns the name of a text.
pub(super) fn text(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |name, byte| mix(&[name, byte.into()]))
}
