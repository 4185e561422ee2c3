//! The transitions of a world: posts, steps, requests, deferred actions.

use super::{Live, Origin, Phase, World};
use crate::check::State;
use crate::check::event::{Action, Event, How, Made};
use crate::check::scenario::{Listed, Scenario};
use crate::check::script::Step;
use crate::check::steps::Steps;
use crate::check::story::Line;
use crate::check::violation::{Broken, Checked, Rule};
use crate::{Abandoned, Context, Ticket};

impl<S: State, O: Steps> World<S, O> {
    pub(super) fn post_next(&mut self, scenario: &Scenario<S>, line: &mut Line) -> Checked {
        let origin = Origin::Listed(self.posted);
        let event = scenario.listed[self.posted];
        self.posted += 1;
        self.post(scenario, origin, event, line)
    }

    fn post(
        &mut self,
        scenario: &Scenario<S>,
        origin: Origin,
        Listed { script, repairs }: Listed,
        line: &mut Line,
    ) -> Checked {
        let (name, steps) = &scenario.scripts[script];
        let may = if repairs { Context::Global } else { steps.declares(0) };
        let ticket = match repairs {
            true => self.order.take_ticket_to_repair(),
            false => self.order.take_ticket(may),
        };
        line.say(|| format!("post {name:?}"));
        line.say(|| format!("it gets ticket {ticket}"));
        self.log.tickets.push((origin, script));
        self.log.saw.push(Vec::new());
        self.watch.took(ticket, may, repairs)?;
        self.live.push(Live {
            ticket,
            script,
            next: 0,
            context: Context::None,
            phase: Phase::Between,
            version: None,
            deferred: Vec::new(),
            safe: 0,
            posts: 0,
            kept: Vec::new(),
        });
        Ok(())
    }

    pub(super) fn go(
        &mut self,
        scenario: &Scenario<S>,
        ticket: Ticket,
        line: &mut Line,
    ) -> Checked {
        let i = self.index(ticket)?;
        let live = &self.live[i];
        let (name, steps) = &scenario.scripts[live.script];
        let number = live.next + 1;
        line.say(|| format!("{ticket} {name:?}:"));
        match (live.phase, steps.steps.get(live.next)) {
            (Phase::Between, None) => self.end_event(i, None, line),
            (Phase::Between, Some(step)) => {
                line.say(|| format!("step {number} ({step:?})"));
                self.begin(i, scenario, step, line)
            }
            (Phase::Inside, Some(step)) => {
                line.say(|| format!("step {number} ({step:?})"));
                self.run(i, scenario, step, line)
            }
            (Phase::Gone, _) => self.abandon(i, scenario, line),
            (Phase::Commits, _) => self.commit(i, scenario, line),
            (Phase::Waits | Phase::Inside, _) => {
                unreachable!("an event that waits has no choice, and an event inside has a step")
            }
        }
    }

    /// Asks for what the step needs, or runs the step if the event is already in the right context.
    fn begin(
        &mut self,
        i: usize,
        scenario: &Scenario<S>,
        step: &Step<S>,
        line: &mut Line,
    ) -> Checked {
        let Live { ticket, context, .. } = self.live[i];
        match step {
            Step::In(to, _) if *to == context => return self.run(i, scenario, step, line),
            Step::In(to, _) if context == Context::None => return self.want(i, *to, line),
            Step::Alone(_) if context == Context::None => {
                return self.want(i, Context::Global, line);
            }
            Step::In(Context::Anon, _) => {
                line.say(|| "downgrades to anon".into());
                self.publish()?;
                self.order.downgrade(ticket);
                self.watch.downgrades(ticket, self.versions.written());
                let version = self.versions.pin();
                let live = &mut self.live[i];
                (live.context, live.phase) = (Context::Anon, Phase::Inside);
                (live.version, live.safe) = (Some(version), live.deferred.len());
            }
            Step::In(to, _) => {
                let what = format!("it cannot go from {context} to {to}");
                return Err(Broken::by(Rule::I2, ticket, what));
            }
            Step::Alone(_) if context == Context::Global => {
                line.say(|| "waits to be alone".into());
                self.order.alone(ticket);
                self.watch.waits_to_be_alone(ticket);
                self.live[i].phase = Phase::Waits;
            }
            Step::Alone(_) => {
                return Err(Broken::by(Rule::I9, ticket, "it cannot be alone in anon"));
            }
            Step::Renounce(highest) => {
                line.say(|| format!("renounces what is above {highest}"));
                let may = self.watch.may(ticket);
                if context != Context::None || *highest > may {
                    let what = format!("it cannot renounce to {highest}: it is in {context}");
                    let what = format!("{what}, and its highest declared context is {may}");
                    return Err(Broken::by(Rule::I4, ticket, what));
                }
                self.order.renounce(ticket, *highest);
                self.watch.renounces(ticket, *highest);
                self.live[i].next += 1;
            }
            Step::Commit if scenario.commits_once => {
                return Err(Broken::by(Rule::CommitsOnce, ticket, "it goes on after its commit"));
            }
            Step::Commit => {
                let next = self.live[i].next + 1;
                self.live[i].next = next;
                let declares = scenario.scripts[self.live[i].script].1.declares(next);
                return self.end_event(i, Some(declares), line);
            }
        }
        Ok(())
    }

    fn want(&mut self, i: usize, to: Context, line: &mut Line) -> Checked {
        line.say(|| format!("wants {to}"));
        let ticket = self.live[i].ticket;
        let may = self.watch.may(ticket);
        if to > may {
            let what = format!("it wants {to}, but its highest declared context is {may}");
            return Err(Broken::by(Rule::I4, ticket, what));
        }
        self.order.want(ticket, to);
        self.watch.wants(ticket, to);
        self.live[i].phase = Phase::Waits;
        Ok(())
    }

    fn run(
        &mut self,
        i: usize,
        scenario: &Scenario<S>,
        step: &Step<S>,
        line: &mut Line,
    ) -> Checked {
        let Live { ticket, context, version, .. } = self.live[i];
        let (closure, alone) = match step {
            Step::In(_, closure) => (closure, false),
            Step::Alone(closure) => (closure, true),
            _ => unreachable!("only closures are run"),
        };
        let mut state = match (context, version) {
            (Context::None, _) => None,
            (_, Some(version)) => Some(self.versions.get(version).clone()),
            (_, None) => Some(self.versions.written().clone()),
        };
        let kept = &mut self.live[i].kept;
        let made = Event::run(closure, (context, alone), state.as_mut(), kept);
        line.made(&made, state.as_ref());
        if let How::Broke(rule, what) = made.how {
            return Err(Broken::by(rule, ticket, what));
        }
        if let Some(state) = state.filter(|_| made.wrote) {
            let freed = self.versions.write(state, scenario.mode, scenario.transactional);
            self.free(freed)?;
        }
        self.keep(i, scenario, made);
        Ok(())
    }

    /// Records what a step did besides changing the state.
    fn keep(&mut self, i: usize, scenario: &Scenario<S>, made: Made) {
        let live = &mut self.live[i];
        let log = &mut self.log;
        log.saw[live.ticket.number() as usize - 1].extend(made.saw);
        log.effects.extend(made.acted.into_iter().map(|effect| (live.ticket, effect)));
        live.deferred.extend(made.deferred);
        live.next += 1;
        live.phase = Phase::Between;
        if made.ends {
            live.next = scenario.scripts[live.script].1.steps.len();
        }
        if let How::Panicked = made.how {
            let stays = if live.context == Context::Anon { live.safe } else { 0 };
            live.deferred.truncate(stays);
            live.phase = Phase::Gone;
        }
    }

    fn end_event(&mut self, i: usize, then: Option<Context>, line: &mut Line) -> Checked {
        line.say(|| "has ended".into());
        let ticket = self.live[i].ticket;
        self.let_go(i)?;
        self.order.commit(ticket, then);
        self.watch.ends(ticket, self.versions.written(), then);
        self.live[i].phase = Phase::Waits;
        Ok(())
    }

    fn abandon(&mut self, i: usize, scenario: &Scenario<S>, line: &mut Line) -> Checked {
        let Live { ticket, context, .. } = self.live[i];
        let abandoned = self.order.abandon(ticket, scenario.transactional);
        self.watch.abandoned(ticket, abandoned, scenario.transactional)?;
        let poisons = abandoned == Abandoned::Poisons;
        line.say(|| if poisons { "poisons the domain" } else { "is abandoned" }.into());
        if context == Context::Global && !poisons {
            self.versions.restore();
        }
        self.let_go(i)?;
        self.watch.panicked(ticket, self.versions.written(), poisons);
        self.live[i].phase = Phase::Waits;
        Ok(())
    }

    /// Runs one deferred action, or ends the commit.
    fn commit(&mut self, i: usize, scenario: &Scenario<S>, line: &mut Line) -> Checked {
        let live = &mut self.live[i];
        let ticket = live.ticket;
        if live.deferred.is_empty() {
            self.order.committed();
            if self.watch.committed() {
                line.say(|| "has committed".into());
                self.parent = Some(self.live.remove(i));
            } else {
                line.say(|| "has done what it deferred".into());
                live.phase = Phase::Waits;
            }
            return Ok(());
        }
        match live.deferred.remove(0) {
            Action::Effect(effect) => {
                line.say(|| format!("does {effect:?}"));
                self.log.effects.push((ticket, effect));
                Ok(())
            }
            Action::Post(name) => {
                let origin = Origin::PostedBy(ticket, live.posts);
                live.posts += 1;
                let Some(script) = scenario.find_handler(&name) else {
                    let what = format!("no handler is called {name:?}");
                    return Err(Broken::by(Rule::Scenario, ticket, what));
                };
                self.post(scenario, origin, Listed { script, repairs: false }, line)
            }
        }
    }
}
