//! Events that run by typed tokens.
use dapple::*;

use crate::program::*;
use crate::run::Shared;

impl Shared {
    pub fn typed_none(self, mut n: NoneCx<State>, e: Event, step: usize) -> Done {
        let Some(acts) = e.none.get(step) else {
            return n.upgrade_global_then(move |g| self.typed_global(g, e, 0));
        };
        self.acts(&mut n, acts);
        n.then(move |n| self.typed_none(n, e, step + 1))
    }

    pub fn typed_anon_at_most(self, mut n: NoneCx<State, MayAnon>, e: Event, step: usize) -> Done {
        let Some(acts) = e.none.get(step) else {
            return match e.anon.is_empty() {
                true if e.renounces => {
                    let n: NoneCx<State, NoneOnly> = n.renounce();
                    n.then(move |n| match e.then.clone() {
                        None => n.commit(),
                        Some(then) => n.commit_then(move |n| self.sub_event(n, *then)),
                    })
                }
                true => match e.then.clone() {
                    None => n.commit(),
                    Some(then) => n.commit_then(move |n| self.sub_event(n, *then)),
                },
                false => n.upgrade_anon_then(move |a| self.typed_anon(a, e, 0)),
            };
        };
        self.acts(&mut n, acts);
        n.then(move |n| self.typed_anon_at_most(n, e, step + 1))
    }

    pub fn typed_global(self, mut g: GlobalCx<State>, e: Event, step: usize) -> Done {
        if let Some(acts) = e.global.get(step) {
            self.acts(&mut g, acts);
            return g.then(move |g| self.typed_global(g, e, step + 1));
        }
        self.typed_alone(g, e, 0)
    }

    pub fn typed_alone(self, g: GlobalCx<State>, e: Event, step: usize) -> Done {
        if step < e.alone.len() {
            return g.exclusive_then(move |mut g| {
                self.effect(g.ticket().number(), AT_ONCE);
                self.acts(&mut g, &e.alone[step]);
                self.typed_alone(g, e, step + 1)
            });
        }
        match (e.anon.is_empty(), e.then.clone()) {
            (false, _) => g.downgrade_then(move |a| self.typed_anon(a, e, 0)),
            (true, None) => g.commit(),
            (true, Some(then)) => g.commit_then(move |n| self.sub_event(n, *then)),
        }
    }

    pub fn typed_anon(self, mut a: AnonCx<State>, e: Event, step: usize) -> Done {
        if let Some(acts) = e.anon.get(step) {
            self.acts(&mut a, acts);
            return a.then(move |a| self.typed_anon(a, e, step + 1));
        }
        match e.then.clone() {
            None => a.commit(),
            Some(then) => a.commit_then(move |n| self.sub_event(n, *then)),
        }
    }

    /// Runs a sub-event, which has declared that it may go up to global.
    pub fn sub_event(self, mut n: NoneCx<State>, e: Event) -> Done {
        if e.highest() == Context::Global {
            return self.typed_none(n, e, 0);
        }
        if e.renounces {
            let n = n.renounce_global();
            return self.typed_anon_at_most(n, e, 0);
        }
        for acts in &e.none {
            self.acts(&mut n, acts);
        }
        match (e.anon.is_empty(), e.then.clone()) {
            (false, _) => n.upgrade_anon_then(move |a| self.typed_anon(a, e, 0)),
            (true, None) => n.commit(),
            (true, Some(then)) => n.commit_then(move |n| self.sub_event(n, *then)),
        }
    }
}
