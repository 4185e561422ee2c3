//! How a world carries out what its order decides.

use super::{Live, Origin, Phase, World};
use crate::check::State;
use crate::check::scenario::Scenario;
use crate::check::script::Step;
use crate::check::steps::Steps;
use crate::check::story::Line;
use crate::check::violation::{Broken, Checked, Rule};
use crate::{Context, Next, Ticket};

impl<S: State, O: Steps> World<S, O> {
    pub(super) fn follow(
        &mut self,
        scenario: &Scenario<S>,
        next: Next<Ticket>,
        line: &mut Line,
    ) -> Checked {
        match next {
            Next::Run { ticket, context: Context::None, with } => {
                self.sub_event(ticket, with, line)
            }
            Next::Run { ticket, context, with } => {
                let i = self.index(ticket)?;
                self.goes_on_with(ticket, with)?;
                self.enter(i, scenario, context, line)
            }
            Next::Skip { ticket: Some(ticket), with } => {
                let i = self.index(ticket)?;
                self.goes_on_with(ticket, with)?;
                line.say(|| format!("-> {ticket} is covered by poison"));
                self.watch.is_skipped(ticket)?;
                self.live[i].phase = Phase::Gone;
                Ok(())
            }
            Next::Skip { ticket: None, with } => {
                line.say(|| format!("-> the sub-event of {with} is covered by poison"));
                self.parent = None;
                self.watch.skips_sub_event(with)
            }
            Next::Commit { ticket, covered } => {
                let i = self.index(ticket)?;
                let dropped = if covered { ", and drops what it deferred" } else { "" };
                line.say(|| format!("-> {ticket} commits{dropped}"));
                self.watch.commits(ticket, covered)?;
                let live = &mut self.live[i];
                live.phase = Phase::Commits;
                if covered {
                    live.deferred.clear();
                }
                Ok(())
            }
            Next::Room { .. } | Next::Moved => Ok(()),
        }
    }

    fn enter(
        &mut self,
        i: usize,
        scenario: &Scenario<S>,
        context: Context,
        line: &mut Line,
    ) -> Checked {
        let Live { ticket, script, next, context: before, .. } = self.live[i];
        if before == Context::Global {
            line.say(|| format!("-> {ticket} is alone"));
            self.watch.is_alone(ticket)?;
            self.live[i].phase = Phase::Inside;
            return Ok(());
        }
        line.say(|| format!("-> {ticket} enters {context}"));
        self.watch.enters(ticket, context)?;
        let version = (context == Context::Anon).then(|| self.versions.pin());
        let asks_again = matches!(scenario.scripts[script].1.steps.get(next), Some(Step::Alone(_)));
        let live = &mut self.live[i];
        (live.context, live.version) = (context, version);
        live.phase = if asks_again { Phase::Between } else { Phase::Inside };
        Ok(())
    }

    fn sub_event(&mut self, ticket: Ticket, parent: Ticket, line: &mut Line) -> Checked {
        line.say(|| format!("-> its sub-event gets ticket {ticket}"));
        self.watch.sub_event(ticket, parent)?;
        let before = self.parent.take().expect("the watch expects a sub-event");
        self.log.tickets.push((Origin::After(parent), before.script));
        self.log.saw.push(Vec::new());
        let (context, phase) = (Context::None, Phase::Between);
        let deferred = Vec::new();
        let live = Live { ticket, context, phase, deferred, safe: 0, posts: 0, ..before };
        self.live.push(live);
        Ok(())
    }

    pub(super) fn index(&self, ticket: Ticket) -> Checked<usize> {
        let place = self.live.binary_search_by_key(&ticket, |live| live.ticket);
        let what = || format!("ticket {ticket} is told to go on, but has no event");
        place.map_err(|_| Broken::new(Rule::Steps, what()))
    }

    fn goes_on_with(&self, ticket: Ticket, with: Ticket) -> Checked {
        if ticket == with {
            return Ok(());
        }
        let what = format!("it goes on with what ticket {with} gave");
        Err(Broken::by(Rule::Steps, ticket, what))
    }
}
