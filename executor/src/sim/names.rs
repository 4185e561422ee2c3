//! Names of colors, events, and of what runs between events, that survive edits of the program.
//!
//! The name of an event is made of the name of what posted it, the name of its color, and the
//! how-manieth post to that color it was there. The name of a color is made of its label, or of
//! none, of the name of what made it, and the how-manieth color of that label it was there. So what
//! is added to a program elsewhere changes no name; lines and addresses are in none.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasherDefault, Hasher};

use super::choice::Mark;
use super::mix;
use crate::site::Site;
use crate::sync::{Arc, Point};

/// Tables that are never iterated, so that their order does not matter, but their speed does.
type Table<V> = hashbrown::HashMap<u64, V, BuildHasherDefault<MixHasher>>;

#[derive(Default)]
struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(&[self.0, u64::from(*byte)]));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = mix(&[n]);
    }
}

/// What stands for an event that has no color.
const UNCOLORED: u64 = 0;

/// An event that was made, and has not begun.
#[derive(Clone, Copy)]
struct Made {
    name: u64,
    color: u64,
    /// The name of what made it.
    by: u64,
    site: Option<Site>,
}

/// The names of one run.
#[derive(Default)]
pub(super) struct Names {
    events: RefCell<Table<Made>>,
    colors: RefCell<Table<u64>>,
    /// Labels by the names of their colors.
    labels: RefCell<Table<Arc<str>>>,
}

/// How often each point was passed.
type Counts = [Cell<u32>; Point::ALL.len()];

/// What a fiber is in, and how often it has come by each point there.
pub(super) struct Place {
    /// Of the fiber itself.
    own: u64,
    name: Cell<u64>,
    color: Cell<u64>,
    site: Cell<Option<Site>>,
    label: RefCell<Option<Arc<str>>>,
    passed: Counts,
    /// The name of the event that is being posted, and how often it has come by each point
    /// meanwhile.
    posts_now: Cell<Option<u64>>,
    passed_posting: Counts,
    /// How many posts to a color there were, and colors of a label.
    posts: RefCell<Table<u32>>,
    made: RefCell<Table<u32>>,
}

impl Place {
    pub(super) fn of_fiber(name: &str, index: usize) -> Place {
        let own = mix(&[text(name), index as u64]);
        Place {
            own,
            name: Cell::new(own),
            color: Cell::new(UNCOLORED),
            site: Cell::new(None),
            label: RefCell::default(),
            passed: Default::default(),
            posts_now: Cell::new(None),
            passed_posting: Default::default(),
            posts: RefCell::default(),
            made: RefCell::default(),
        }
    }

    /// That of the event which runs; of what runs between events, one that is made of the last one.
    pub(super) fn name(&self) -> u64 {
        self.name.get()
    }

    /// The name of its color.
    pub(super) fn color(&self) -> u64 {
        self.color.get()
    }

    /// Where the event that runs was posted.
    pub(super) fn site(&self) -> Option<Site> {
        self.site.get()
    }

    /// The label of its color.
    pub(super) fn label(&self) -> Option<Arc<str>> {
        self.label.borrow().clone()
    }

    /// It comes by here. A post has marks of its own: other posts of the event do not count.
    pub(super) fn passes(&self, point: Point) -> Mark {
        let (who, counts) = match self.posts_now.get() {
            Some(event) => (mix(&[self.name.get(), event]), &self.passed_posting),
            None => (self.name.get(), &self.passed),
        };
        let count = &counts[point as usize];
        let nth = count.replace(count.get() + 1);
        if matches!(point, Point::Posted | Point::Timer) {
            self.posts_now.set(None);
        }
        Mark { who, point, nth }
    }

    /// An event of this name is being posted.
    fn posts_event(&self, name: u64) {
        self.posts_now.set(Some(name));
        self.passed_posting.iter().for_each(|passed| passed.set(0));
    }

    fn enters(&self, name: u64, color: u64, site: Option<Site>) {
        self.name.set(name);
        self.color.set(color);
        self.site.set(site);
        self.label.take();
        self.passed.iter().for_each(|passed| passed.set(0));
        self.posts_now.set(None);
        self.posts.borrow_mut().clear();
        self.made.borrow_mut().clear();
    }

    /// The event has ended. What follows is named by it, until the next one begins.
    pub(super) fn leaves(&self) {
        self.enters(mix(&[self.own, self.name.get()]), UNCOLORED, None);
    }

    fn count(table: &RefCell<Table<u32>>, key: u64) -> u32 {
        let mut table = table.borrow_mut();
        let count = table.entry(key).or_insert(0);
        *count += 1;
        *count - 1
    }
}

impl Names {
    /// A color was made at this address.
    pub(super) fn color_made(&self, address: usize, label: Option<Arc<str>>, place: &Place) {
        let text = label.as_deref().map_or(0, text);
        let nth = Place::count(&place.made, text);
        let name = mix(&[place.name(), text, nth.into()]);
        if let Some(label) = &label {
            self.labels.borrow_mut().insert(name, Arc::clone(label));
        }
        self.colors.borrow_mut().insert(address as u64, name);
    }

    /// An event was made at this address. Until it is told to which color it goes, it has none.
    pub(super) fn event_made(&self, address: usize, site: Option<Site>, place: &Place) {
        let by = place.name();
        let nth = Place::count(&place.posts, UNCOLORED);
        let name = mix(&[by, UNCOLORED, nth.into()]);
        self.events.borrow_mut().insert(address as u64, Made { name, color: UNCOLORED, by, site });
        place.posts_event(name);
    }

    /// An event goes to a color.
    pub(super) fn event_posted(&self, address: usize, color: usize, place: &Place) {
        let color = self.colors.borrow().get(&(color as u64)).copied().unwrap_or(UNCOLORED);
        let mut events = self.events.borrow_mut();
        let Some(made) = events.get_mut(&(address as u64)) else { return };
        if made.by == place.name() {
            // What is posted at once does not count among those without a color.
            if let Some(count) = place.posts.borrow_mut().get_mut(&UNCOLORED) {
                *count = count.saturating_sub(1);
            }
            let nth = Place::count(&place.posts, color);
            made.name = mix(&[made.by, color, nth.into()]);
        } else {
            made.name = mix(&[made.name, color]);
        }
        made.color = color;
        place.posts_event(made.name);
    }

    /// An event begins.
    pub(super) fn event_begins(&self, address: usize, place: &Place) {
        match self.events.borrow_mut().remove(&(address as u64)) {
            Some(made) => {
                place.enters(made.name, made.color, made.site);
                *place.label.borrow_mut() = self.labels.borrow().get(&made.color).cloned();
            }
            None => place.enters(mix(&[place.name(), 1]), UNCOLORED, None),
        }
    }
}

/// The name of a text.
pub(super) fn text(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |name, byte| mix(&[name, byte.into()]))
}
