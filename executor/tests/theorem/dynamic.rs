//! Events that run by dynamic tokens.
use dapple::*;

use crate::program::*;
use crate::run::Shared;

/// The step of an event that a dynamic token runs next.
#[derive(Clone, Copy)]
pub enum Place {
    None(usize),
    Global(usize),
    Alone(usize),
    Anon(usize),
}

impl Place {
    pub fn next(self, e: &Event) -> Option<Place> {
        let mut place = match self {
            Place::None(i) => Place::None(i + 1),
            Place::Global(i) => Place::Global(i + 1),
            Place::Alone(i) => Place::Alone(i + 1),
            Place::Anon(i) => Place::Anon(i + 1),
        };
        loop {
            place = match place {
                Place::None(i) if i >= e.none.len() => Place::Global(0),
                Place::Global(i) if i >= e.global.len() => Place::Alone(0),
                Place::Alone(i) if i >= e.alone.len() => Place::Anon(0),
                Place::Anon(i) if i >= e.anon.len() => return None,
                place => return Some(place),
            }
        }
    }
}

impl Shared {
    pub fn dynamic(self, mut t: DynCx<State>, e: Event, place: Place) -> Done {
        let acts = match place {
            Place::None(i) => e.none.get(i),
            Place::Global(i) => e.global.get(i),
            Place::Alone(i) => e.alone.get(i),
            Place::Anon(i) => e.anon.get(i),
        };
        if let (Place::Alone(_), Some(_)) = (place, acts) {
            self.effect(t.ticket().number(), AT_ONCE);
        }
        if let Some(acts) = acts {
            self.acts(&mut t, acts);
        }
        let Some(next) = place.next(&e) else {
            return match e.then.clone() {
                None => t.commit(),
                Some(then) => {
                    t.commit_then(then.highest(), move |t| self.dynamic(t, *then, Place::None(0)))
                }
            };
        };
        match next {
            Place::None(_) => t.enter_then(Context::None, move |t| self.dynamic(t, e, next)),
            Place::Global(_) => t.enter_then(Context::Global, move |t| self.dynamic(t, e, next)),
            Place::Alone(_) => t.exclusive_then(move |t| self.dynamic(t, e, next)),
            Place::Anon(_) => t.enter_then(Context::Anon, move |t| self.dynamic(t, e, next)),
        }
        .unwrap()
    }
}
