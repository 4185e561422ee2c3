//! The atomic queue takes the same steps, with the same results, as the step functions of
//! `dapple-colors` (C1, C2).
use std::collections::HashMap;

use dapple_colors::{Mailbox, Reserved};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Post,
    TakePlace,
    LinkOne(usize),
    Keep,
    Begin,
    Finish,
    Yield,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Post),
        2 => Just(Step::TakePlace),
        2 => any::<usize>().prop_map(Step::LinkOne),
        3 => Just(Step::Keep),
        2 => Just(Step::Begin),
        4 => Just(Step::Finish),
        1 => Just(Step::Yield),
    ];
    prop::collection::vec(step, 1..200)
}

struct Pair {
    model: Mailbox<usize>,
    queue: Queue,
    /// The link at index *n* stands for event number *n*.
    links: Vec<NonNull<Link>>,
    numbers: HashMap<NonNull<Link>, usize>,
    /// Posts that have taken their place and have not linked.
    open: Vec<(Reserved, NonNull<Link>, NonNull<Link>)>,
    /// The link whose event the holder runs.
    running: Option<NonNull<Link>>,
    queued: bool,
    spent: bool,
}

impl Pair {
    fn fresh(&mut self) -> NonNull<Link> {
        let link = NonNull::from(Box::leak(Box::new(Link::new())));
        self.numbers.insert(link, self.links.len());
        self.links.push(link);
        link
    }

    fn take_place(&mut self) -> Result<(), TestCaseError> {
        let link = self.fresh();
        let (place, posted) = self.model.take_place(self.numbers[&link]);
        // SAFETY: the link is fresh, so nothing else owns it.
        match unsafe { self.queue.take_place(link) } {
            None => {
                prop_assert_eq!(posted, Posted::BecameRunnable);
                self.queued = true;
            }
            Some(prev) => {
                prop_assert_eq!(posted, Posted::Behind);
                self.open.push((place, prev, link));
            }
        }
        Ok(())
    }

    fn link(&mut self, i: usize) {
        let (place, prev, link) = self.open.remove(i);
        self.model.link(place, self.numbers[&link]);
        // SAFETY: the queue returned `prev` for `link`, and it is used once.
        unsafe { self.queue.link(prev, link) };
    }

    fn same(
        &mut self,
        model: Finished<usize>,
        queue: Finished<NonNull<Link>>,
    ) -> Result<(), TestCaseError> {
        let numbered = match queue {
            Finished::Next(link) => Finished::Next(self.numbers[&link]),
            Finished::Idle => Finished::Idle,
            Finished::Gap => Finished::Gap,
        };
        prop_assert_eq!(model, numbered);
        self.running = None;
        self.spent = false;
        match queue {
            Finished::Next(link) => {
                self.running = Some(link);
            }
            Finished::Idle => {}
            Finished::Gap => (self.queued, self.spent) = (true, true),
        }
        Ok(())
    }

    /// Goes on to the own list, or to the link behind the head, after an event has ended.
    fn pass(&mut self, model: Finished<usize>) -> Result<(), TestCaseError> {
        self.spent = true;
        if let Some(own) = self.queue.own() {
            prop_assert_eq!(model, Finished::Next(self.numbers[&own]));
            self.running = Some(own);
            return Ok(());
        }
        // SAFETY: the test holds the color, this is its head, and the own list is empty.
        let finished = unsafe { self.queue.finish(self.queue.head()) };
        self.same(model, finished)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::TakePlace => self.take_place()?,
            Step::Post => {
                let open = self.open.len();
                self.take_place()?;
                if self.open.len() > open {
                    self.link(open);
                }
            }
            Step::LinkOne(i) if !self.open.is_empty() => self.link(i % self.open.len()),
            Step::Begin if self.queued => {
                self.queued = false;
                let model = self.model.begin();
                let head = self.queue.head();
                if self.spent {
                    self.pass(model)?;
                } else {
                    prop_assert_eq!(model, Finished::Next(self.numbers[&head]));
                    self.running = Some(head);
                }
            }
            Step::Keep if self.running.is_some() => {
                let link = self.fresh();
                // SAFETY: the link is fresh, and the test holds the color.
                let kept = unsafe { self.queue.keep(link, std::ptr::null()) };
                prop_assert_eq!(self.model.keep(self.numbers[&link]), kept);
            }
            Step::Finish => {
                if let Some(link) = self.running.take() {
                    let model = self.model.finish();
                    if self.queue.own() == Some(link) {
                        // SAFETY: the test holds the color, and `link` is what `own` returned.
                        unsafe { self.queue.drop_own(link) };
                    }
                    self.pass(model)?;
                }
            }
            Step::Yield => {
                if self.running.take().is_some() {
                    self.model.yield_turn();
                    self.queued = true;
                }
            }
            Step::LinkOne(_) | Step::Begin | Step::Keep => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn c1_c2_the_queue_decides_as_the_step_functions(steps in steps()) {
        let mut pair = Pair {
            model: Mailbox::new(),
            queue: Queue::new(),
            links: Vec::new(),
            numbers: HashMap::new(),
            open: Vec::new(),
            running: None,
            queued: false,
            spent: false,
        };
        let result = steps.into_iter().try_for_each(|step| pair.step(step));
        for link in pair.links {
            // SAFETY: each link was leaked once, and the queue is no longer used.
            drop(unsafe { Box::from_raw(link.as_ptr()) });
        }
        result?;
    }
}
