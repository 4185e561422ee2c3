//! Events that are async tasks, some of which are cancelled.
use std::sync::{Arc, Mutex};

use dapple::*;

use crate::program::*;
use crate::run::{Shared, Token};

/// The handle of an event that is an async task; `None` until the poster has stored it.
#[derive(Clone, Default)]
pub struct Me(pub Arc<Mutex<Option<Task>>>);

pub type Task = JoinHandle<Result<(), dapple::JoinError>>;

impl Me {
    pub fn cancel(self, h: &Handle) {
        h.post_uncolored(move |cx| {
            let task = self.0.lock().unwrap().take();
            match task {
                Some(task) => task.abort(),
                None => self.cancel(&cx.handle()),
            }
        });
    }
}

impl Shared {
    /// Runs the event as an async task.
    pub async fn in_task(
        self,
        mut n: NoneCx<State>,
        mut e: Event,
        me: Me,
    ) -> Result<(), dapple::JoinError> {
        loop {
            let Event { none, global, alone, anon, then, form, renounces, .. } = e;
            for acts in &none {
                self.acts_in_task(&mut n, acts, form, &me).await;
            }
            let in_global = self.clone();
            let mut a = match (global.is_empty(), alone.into_iter().next()) {
                (false, None) => {
                    let section = move |g: &mut InGlobal<State>| {
                        global.iter().for_each(|acts| in_global.acts(g, acts));
                    };
                    n.global(section).await?.1
                }
                (false, Some(alone)) => {
                    let at_once = self.clone();
                    let before = move |g: &mut InGlobal<State>| {
                        global.iter().for_each(|acts| in_global.acts(g, acts));
                    };
                    let alone = move |g: &mut InGlobal<State>, ()| {
                        at_once.effect(g.ticket().number(), AT_ONCE);
                        at_once.acts(g, &alone);
                    };
                    n.global_exclusive(before, alone).await?.1
                }
                (true, _) if !anon.is_empty() && renounces => n.renounce_global().anon().await?,
                (true, _) if !anon.is_empty() => n.anon().await?,
                (true, _) => match then {
                    None => return n.commit().await,
                    Some(then) => {
                        (n, e) = (n.commit_next().await?, *then);
                        continue;
                    }
                },
            };
            for acts in &anon {
                self.acts_in_task(&mut a, acts, form, &me).await;
            }
            match then {
                None => return a.commit().await,
                Some(then) => (n, e) = (a.commit_next().await?, *then),
            }
        }
    }

    /// Runs the acts of a step. A panic may become a cancellation instead, which costs the same.
    pub async fn acts_in_task(
        &self,
        token: &mut (impl Token + Send),
        acts: &[Act],
        form: u8,
        me: &Me,
    ) {
        for act in acts {
            if form & 8 != 0 {
                dapple::yield_now().await;
            }
            match act {
                Act::Panic if form & 4 != 0 => {
                    me.clone().cancel(&self.domain.runtime());
                    std::future::pending::<()>().await;
                }
                act => self.acts(token, std::slice::from_ref(act)),
            }
        }
    }
}
