//! Runs a program on the executor.
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};

use dapple::*;

use crate::dynamic::Place;
use crate::program::*;
use crate::tasks::Me;

/// The domain and the log that the events of a run share.
#[derive(Clone)]
pub struct Shared {
    pub domain: Domain<State>,
    pub log: Arc<Mutex<Outcome>>,
}

impl Shared {
    pub fn see(&self, ticket: u64, seen: State) {
        self.log.lock().unwrap().reads.entry(ticket).or_default().push(seen);
    }

    pub fn effect(&self, ticket: u64, k: u16) {
        self.log.lock().unwrap().effects.push((ticket, k));
    }

    pub fn action(&self, ticket: u64, act: &Act) -> impl FnOnce(&mut Cx) + Send + 'static {
        let (shared, act) = (self.clone(), act.clone());
        move |_| match act {
            Act::Defer(k) => shared.effect(ticket, u16::from(k)),
            Act::Post(event) => shared.post(*event),
            _ => unreachable!("only these are deferred"),
        }
    }
}

/// The operations of a token that acts need.
pub trait Token {
    fn number(&self) -> u64;
    fn keep(&mut self, action: impl FnOnce(&mut Cx) + Send + 'static);
    fn read(&self) -> State {
        unreachable!("in none nothing is read")
    }
    fn write(&mut self, _: u8) {
        unreachable!("only in global the state is written")
    }
}

macro_rules! token {
    ($token:ty $(, $r:ident)? { $($more:tt)* }) => {
        impl $(<$r: dapple::Rights>)? Token for $token {
            fn number(&self) -> u64 {
                self.ticket().number()
            }
            #[track_caller]
            fn keep(&mut self, action: impl FnOnce(&mut Cx) + Send + 'static) {
                self.defer(action);
            }
            $($more)*
        }
    };
}

macro_rules! reads {
    () => {
        fn read(&self) -> State {
            read(self.state())
        }
    };
}

macro_rules! writes {
    () => {
        fn write(&mut self, k: u8) {
            write(self.state_mut(), k);
        }
    };
}

token!(InNone<State> {});
token!(InAnon<State> { reads!(); });
token!(InGlobal<State> { reads!(); writes!(); });
token!(NoneCx<State, R>, R {});
token!(AnonCx<State> { reads!(); });
token!(GlobalCx<State> { reads!(); writes!(); });
token!(DynCx<State> {
    fn read(&self) -> State {
        read(self.state().unwrap())
    }
    fn write(&mut self, k: u8) {
        write(self.state_mut().unwrap(), k);
    }
});

impl Shared {
    pub fn acts(&self, token: &mut impl Token, acts: &[Act]) {
        let ticket = token.number();
        for act in acts {
            match act {
                Act::Write(k) => token.write(*k),
                Act::Read => self.see(ticket, token.read()),
                Act::Panic => resume_unwind(Box::new("a panic of the program")),
                deferred => token.keep(self.action(ticket, deferred)),
            }
        }
    }
}

impl Shared {
    pub fn post(&self, e: Event) {
        let (s, d) = (self.clone(), &self.domain);
        if e.repairs {
            return d.clear_poison(move |g| {
                s.acts(g, &e.global[0]);
            });
        }
        match (e.form % 4, e.highest()) {
            (0, Context::Global) if e.is_whole() => d.global(move |g| {
                s.acts(g, &e.global[0]);
            }),
            (0, Context::Anon) if e.is_whole() => d.anon(move |a| {
                s.acts(a, &e.anon[0]);
            }),
            (0, Context::None) if e.is_whole() => d.none(move |n| {
                s.acts(n, &e.none[0]);
            }),
            (1, Context::Global) => d.event(move |n| s.typed_none(n, e, 0)),
            (1, _) => d.event_anon(move |n| s.typed_anon_at_most(n, e, 0)),
            (3, _) if e.is_for_tasks() => {
                let me = Me::default();
                let mine = me.clone();
                let task = d.spawn(move |n| s.in_task(n, e, mine));
                *me.0.lock().unwrap() = Some(task);
            }
            (_, highest) => d.event_dyn(highest, move |t| s.dynamic(t, e, Place::None(0))),
        }
    }
}

pub fn on_the_executor(
    program: &[Event],
    workers: usize,
    snapshot: bool,
    transactional: bool,
) -> Outcome {
    let rt = Runtime::builder().workers(workers).pin_cores(false).build().unwrap();
    let (h, state) = (rt.handle(), State::default());
    let domain = match (snapshot, transactional) {
        (true, false) => Domain::snapshot(&h, state),
        (false, false) => Domain::read_write(&h, state),
        (true, true) => Domain::builder().transactional().snapshot(&h, state),
        (false, true) => Domain::builder().transactional().read_write(&h, state),
    };
    let shared = Shared { domain: domain.clone(), log: Arc::default() };
    // All events are posted at one commit, so that all have tickets before the first one runs.
    let (all, program) = (shared.clone(), program.to_vec());
    domain.none(move |n| n.defer(move |_| program.into_iter().for_each(|e| all.post(e))));
    rt.wait_idle();
    assert_eq!(domain.uncommitted(), 0, "the order has stopped");
    let log = Arc::clone(&shared.log);
    domain.clear_poison(move |g| log.lock().unwrap().state = *g.state());
    rt.wait_idle();
    std::mem::take(&mut *shared.log.lock().unwrap())
}
