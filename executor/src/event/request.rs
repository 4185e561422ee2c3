//! Requests: the places of sets in the queues of their colors.
//!
//! A request is only a header. It is part of the memory of its set (see `color::set`), and says
//! where in that memory it is.

use std::cell::Cell;

use dapple_colors::Access;

use super::RequestPlace::{self, First, OfMany, Second};
use super::{Header, Kind, Ops, nothing_to_discard, nothing_to_run};
use crate::color::queue::Link;

static REQUESTS: [Ops; 3] = all(Kind::Request);
static SHARED_REQUESTS: [Ops; 3] = all(Kind::SharedRequest);
static SPENT_REQUESTS: [Ops; 3] = all(Kind::SpentRequest);

/// Returns the operations in the order of the places.
const fn all(kind: Kind) -> [Ops; 3] {
    [ops(kind, First), ops(kind, Second), ops(kind, OfMany)]
}

const fn ops(kind: Kind, place: RequestPlace) -> Ops {
    Ops { kind, place, run: nothing_to_run, discard: nothing_to_discard }
}

impl Header {
    /// Creates a request that is in no queue yet.
    #[inline]
    pub(crate) fn request(place: RequestPlace, access: Access) -> Header {
        let ops = match access {
            Access::Exclusive => &REQUESTS,
            Access::Shared => &SHARED_REQUESTS,
        };
        Header { link: Link::new(), ops: Cell::new(&ops[place as usize]) }
    }

    /// Returns the place of a request in the memory of its set.
    #[inline]
    pub(crate) fn request_place(&self) -> RequestPlace {
        debug_assert!(self.kind().is_request());
        self.ops.get().place
    }

    /// Marks a request that has come to the front of its queue as spent.
    #[inline]
    pub(crate) fn spend_request(&self) {
        debug_assert!(matches!(self.kind(), Kind::Request | Kind::SharedRequest));
        self.ops.set(&SPENT_REQUESTS[self.request_place() as usize]);
    }
}
