//! The memory of a set.
//!
//! A set of two colors is one slot of the slab of events: what is counted, its event, its colors,
//! and its two requests, which are links of the colors' queues. A larger set has a slot, and a box
//! for its colors and requests. So a request leads to its set: from its place in the slot, or by a
//! pointer behind it.

use std::mem::offset_of;
use std::ptr::NonNull;

use dapple_colors::Priority;

use super::count::SetCount;
use super::named::{Named, Want};
use crate::color::cell::ColorCell;
use crate::color::marks::{CLASS, class_of_tag, class_tag};
use crate::color::queue::Link;
use crate::event::{Event, Header, Memory, Owned, RequestPlace, Word};

/// What every set begins with. Nothing of it is changed, but what is counted.
#[repr(C)]
pub(super) struct Head {
    count: SetCount,
    /// The event, its class, and whether the set is [`Many`].
    event: Word,
}

const MANY: usize = 1;
const _: () = assert!(align_of::<Event>() > (MANY | CLASS));

/// A set of two colors.
#[repr(C)]
struct Pair {
    head: Head,
    /// The one that was named first comes first.
    wants: [Want; 2],
    /// The requests in the order of their colors.
    requests: [Header; 2],
}

/// A larger set.
#[repr(C)]
struct Many {
    head: Head,
    /// A box, in the order of colors, to be found quickly. It is not kept as one, as its requests
    /// stand in queues.
    members: NonNull<[Member]>,
    /// Where the color stands that was named first.
    lead: usize,
}

/// A color of a larger set.
#[repr(C)]
struct Member {
    request: Header,
    set: NonNull<Head>,
    want: Want,
}

/// What is only read of either.
enum Shape<'a> {
    Pair(&'a [Want; 2]),
    /// The members, and which one's color was named first.
    Many(&'a [Member], usize),
}

/// A set, by its address. Who uses one is a keeper of its memory (see `count`): a request that has
/// not arrived, the event, or a request that had to stay; and the poster, if it has come to a
/// request that it has not counted yet.
#[derive(PartialEq, Eq)]
pub(super) struct Block(pub(super) NonNull<Head>);

/// The link of a request that is in no queue.
pub(super) struct RequestLink(pub(super) NonNull<Link>);

impl Block {
    /// A set of two colors in their order; `lead`: which one was named first.
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
        Block(memory.hold(pair).cast())
    }

    /// A set of more than two colors in their order; `lead`: which one was named first.
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
        Block(memory.hold(Many { head, members, lead }).cast())
    }

    /// The set of a request.
    ///
    /// # Safety
    ///
    /// The link is a request's, of a set that is still there; and the caller is a keeper.
    #[inline]
    pub(super) unsafe fn of_request(link: NonNull<Link>) -> Block {
        let header = Header::of(link);
        // SAFETY: the caller says that the request is there; the pointer to it was made from one to
        // all of its set's memory, or of the members.
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
        // SAFETY: who uses a block is a keeper of its memory.
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
        // SAFETY: as in `head`; the tag tells what it is, and the members live as long.
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

    /// The class that it runs in.
    #[inline]
    pub(super) fn class(&self) -> Priority {
        class_of_tag(self.head().event.tags(CLASS))
    }

    /// Its event.
    ///
    /// # Safety
    ///
    /// All requests have arrived, and this is asked once.
    #[inline]
    pub(super) unsafe fn take_event(&self) -> Owned {
        let event = self.head().event.without(MANY | CLASS);
        // SAFETY: it was made of an event, which is the set's until now.
        unsafe { Owned::of_raw(event.as_pointer().expect("a set has an event")) }
    }

    /// The link of one of its requests, which are in the order of colors.
    ///
    /// # Panics
    ///
    /// When it has fewer.
    #[inline]
    pub(super) fn link(&self, at: usize) -> RequestLink {
        assert!(at < self.len(), "a set has as many requests as colors");
        // SAFETY: a field, or a member, of memory that is there, made of a pointer to all of it.
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

    /// How many colors it has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.shape() {
            Shape::Pair(wants) => wants.len(),
            Shape::Many(members, _) => members.len(),
        }
    }

    /// Calls `f` with all its colors.
    #[inline]
    pub(super) fn for_each(&self, mut f: impl FnMut(Want)) {
        match self.shape() {
            Shape::Pair(wants) => wants.iter().for_each(|want| f(*want)),
            Shape::Many(members, _) => members.iter().for_each(|member| f(member.want)),
        }
    }

    /// The color that was named first.
    #[inline]
    pub(super) fn first(&self) -> Want {
        match self.shape() {
            Shape::Pair(wants) => wants[0],
            Shape::Many(members, lead) => members[lead].want,
        }
    }

    /// What it wants of a color, if that is one of its. `serial`: the number of a color.
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

    /// One keeper less. The memory, if it was the last one.
    #[inline]
    pub(super) fn release(self) -> Option<Memory> {
        if !self.count().release() {
            return None;
        }
        // SAFETY: the last keeper has gone, so nobody uses the set any more. It was memory for an
        // event; the members of a larger set were a box. There is nothing else to be dropped.
        unsafe {
            if self.is_many() {
                drop(Box::from_raw(self.0.cast::<Many>().as_ref().members.as_ptr()));
            }
            Some(Memory::of(self.0.cast()))
        }
    }
}

impl Head {
    /// Of a set that will be in this memory.
    #[inline]
    fn new(memory: &Memory, mut event: Owned, tags: usize, colors: usize) -> Head {
        // SAFETY: this is the set's event, and the set knows it alone.
        unsafe { event.set_claims(Word::pointer(memory.address::<Head>())) };
        let event = Word::pointer(event.into_raw()).tagged(tags);
        Head { count: SetCount::new(colors as u32), event }
    }
}
