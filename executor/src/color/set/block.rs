//! The memory of a set.
//!
//! A set of two colors is one slot of the slab of events. It contains the counts, the set's event,
//! the colors, and the two requests, which are links of the colors' queues. A larger set has a
//! slot, and a box for its colors and requests. A request leads to its set: from its place in the
//! slot, or by the pointer behind it in the box.

use std::mem::offset_of;
use std::ptr::NonNull;

use dapple_colors::Priority;

use super::count::SetCount;
use super::named::{Named, Want};
use crate::color::cell::ColorCell;
use crate::color::marks::{CLASS, class_of_tag, class_tag};
use crate::color::queue::Link;
use crate::event::{Event, Header, Memory, Owned, RequestPlace, Word};

/// The first field of every set. Only its counts change.
#[repr(C)]
pub(super) struct Head {
    count: SetCount,
    /// The event, with the class of the set and whether it is a [`Many`] as tags.
    event: Word,
}

const MANY: usize = 1;
const _: () = assert!(align_of::<Event>() > (MANY | CLASS));

/// A set of two colors.
#[repr(C)]
struct Pair {
    head: Head,
    /// The colors. The one that was named first comes first.
    wants: [Want; 2],
    /// The requests, in the order of their colors.
    requests: [Header; 2],
}

/// A set of more than two colors.
#[repr(C)]
struct Many {
    head: Head,
    /// A leaked box in the order of the colors, so that a color is found by binary search. It is
    /// not a `Box`, because its requests are links of queues.
    members: NonNull<[Member]>,
    /// The index of the color that was named first.
    lead: usize,
}

/// A color of a larger set, with its request.
#[repr(C)]
struct Member {
    request: Header,
    set: NonNull<Head>,
    want: Want,
}

/// The immutable part of a set.
enum Shape<'a> {
    Pair(&'a [Want; 2]),
    /// The members, and the index of the color that was named first.
    Many(&'a [Member], usize),
}

/// A set, by its address.
///
/// A `Block` is used only while the set's memory is kept (see `count`): by a request that has not
/// arrived, by the event, by a request that had to stay in its queue, and by the poster while it
/// has come to a request that it has not counted yet.
#[derive(PartialEq, Eq)]
pub(super) struct Block(pub(super) NonNull<Head>);

/// The link of a request that is in no queue.
pub(super) struct RequestLink(pub(super) NonNull<Link>);

impl Block {
    /// Creates a set of two colors in their order. `lead` is the index of the color named first.
    #[inline]
    pub(super) fn pair(
        memory: Memory,
        event: Owned,
        named: [Named<'_>; 2],
        lead: usize,
        class: Priority,
    ) -> Block {
        let pair = Pair {
            head: Head::new(&memory, event, class_tag(class), 2),
            wants: [named[lead].0, named[1 - lead].0],
            requests: [
                Header::request(RequestPlace::First, named[0].access()),
                Header::request(RequestPlace::Second, named[1].access()),
            ],
        };
        Block(memory.reuse_for(pair).cast())
    }

    /// Creates a set of more than two colors in their order. `lead` is the index of the color named
    /// first.
    pub(super) fn many(
        memory: Memory,
        event: Owned,
        named: &[Named<'_>],
        lead: usize,
        class: Priority,
    ) -> Block {
        let set = memory.address();
        let member = |named: &Named<'_>| Member {
            request: Header::request(RequestPlace::OfMany, named.access()),
            set,
            want: named.0,
        };
        let members: Box<[Member]> = named.iter().map(member).collect();
        let head = Head::new(&memory, event, class_tag(class) | MANY, named.len());
        let members = NonNull::from(Box::leak(members));
        Block(memory.reuse_for(Many { head, members, lead }).cast())
    }

    /// Returns the set of a request.
    ///
    /// # Safety
    ///
    /// The link is that of a request, and its set's memory is kept until the caller is done with
    /// it.
    #[inline]
    pub(super) unsafe fn of_request(link: NonNull<Link>) -> Block {
        let header = Header::of(link);
        // SAFETY: the caller guarantees that the request is alive. The pointer to it was made from
        // a pointer to all of its set's memory, or of the members.
        unsafe {
            let back = match header.as_ref().request_place() {
                RequestPlace::First => offset_of!(Pair, requests),
                RequestPlace::Second => offset_of!(Pair, requests) + size_of::<Header>(),
                RequestPlace::OfMany => return Block(header.cast::<Member>().as_ref().set),
            };
            Block(header.byte_sub(back).cast())
        }
    }

    #[inline]
    pub(super) fn into_word(self) -> Word {
        Word::pointer(self.0)
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: a `Block` is used only while the set's memory is kept.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn count(&self) -> &SetCount {
        &self.head().count
    }

    #[inline]
    fn is_many(&self) -> bool {
        self.head().event.tags(MANY) != 0
    }

    #[inline]
    fn shape(&self) -> Shape<'_> {
        // SAFETY: the set's memory is kept, and its members live as long. The tag says which type
        // it is.
        unsafe {
            match self.is_many() {
                false => Shape::Pair(&self.0.cast::<Pair>().as_ref().wants),
                true => {
                    let many = self.0.cast::<Many>().as_ref();
                    Shape::Many(many.members.as_ref(), many.lead)
                }
            }
        }
    }

    /// Returns the class in which the set runs.
    #[inline]
    pub(super) fn class(&self) -> Priority {
        class_of_tag(self.head().event.tags(CLASS))
    }

    /// Takes the event of the set.
    ///
    /// # Safety
    ///
    /// All requests have arrived, and this is called once.
    #[inline]
    pub(super) unsafe fn take_event(&self) -> Owned {
        let event = self.head().event.without(MANY | CLASS);
        // SAFETY: the word was made from an event, which the set has owned until now.
        unsafe { Owned::of_raw(event.as_pointer().expect("a set has an event")) }
    }

    /// Returns the link of the request at this index, in the order of the colors.
    ///
    /// # Panics
    ///
    /// Panics if the set has fewer requests.
    #[inline]
    pub(super) fn link(&self, at: usize) -> RequestLink {
        assert!(at < self.len(), "a set has as many requests as colors");
        // SAFETY: the index is in bounds, and the pointer is made from one to all of the set's
        // memory or of its members.
        RequestLink(unsafe {
            match self.is_many() {
                false => {
                    let request = offset_of!(Pair, requests) + at * size_of::<Header>();
                    self.0.byte_add(request).cast()
                }
                true => self.0.cast::<Many>().as_ref().members.cast::<Member>().add(at).cast(),
            }
        })
    }

    /// Returns the number of colors.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.shape() {
            Shape::Pair(wants) => wants.len(),
            Shape::Many(members, _) => members.len(),
        }
    }

    /// Calls `f` with each color.
    #[inline]
    pub(super) fn for_each(&self, mut f: impl FnMut(Want)) {
        match self.shape() {
            Shape::Pair(wants) => wants.iter().for_each(|want| f(*want)),
            Shape::Many(members, _) => members.iter().for_each(|member| f(member.want)),
        }
    }

    /// Returns the color that was named first.
    #[inline]
    pub(super) fn first(&self) -> Want {
        match self.shape() {
            Shape::Pair(wants) => wants[0],
            Shape::Many(members, lead) => members[lead].want,
        }
    }

    /// Returns what the set wants of a color, if it is one of the set's. `serial` returns the
    /// number of a color.
    pub(super) fn find(&self, cell: &ColorCell, serial: impl Fn(Want) -> u64) -> Option<Want> {
        let is_it = |want: &Want| want.is_of(cell);
        match self.shape() {
            Shape::Pair(wants) => wants.iter().copied().find(is_it),
            Shape::Many(members, _) => {
                let at = members.binary_search_by_key(&cell.serial(), |member| serial(member.want));
                at.ok().map(|at| members[at].want).filter(is_it)
            }
        }
    }

    /// Releases one keeper. Returns the memory if it was the last one.
    #[inline]
    pub(super) fn release(self) -> Option<Memory> {
        if !self.count().release() {
            return None;
        }
        // SAFETY: the last keeper has gone, so nothing uses the set. Its memory was a slot for an
        // event, and the members of a larger set were a box. Nothing else in it needs a drop.
        unsafe {
            if self.is_many() {
                drop(Box::from_raw(self.0.cast::<Many>().as_ref().members.as_ptr()));
            }
            Some(Memory::of(self.0.cast()))
        }
    }
}

impl Head {
    /// Creates the head of a set that `memory` is about to store.
    #[inline]
    fn new(memory: &Memory, mut event: Owned, tags: usize, colors: usize) -> Head {
        // SAFETY: the word is that of the set to which this event belongs, and of no other event.
        unsafe { event.set_claims(Word::pointer(memory.address::<Head>())) };
        let event = Word::pointer(event.into_raw()).tagged(tags);
        Head { count: SetCount::new(colors as u32), event }
    }
}
