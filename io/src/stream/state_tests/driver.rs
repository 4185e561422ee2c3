//! The driver of the connection, and the passing of time.

use super::*;

impl World {
    fn begin_event(&mut self) {
        self.is_queued = false;
        let edges = std::mem::take(&mut self.edges);
        let wrong = self.wrong;
        self.state.edge(Readiness {
            readable: edges.readable,
            writable: edges.writable && wrong != Wrong::WritableIsNotSeen,
            closed: edges.closed && wrong != Wrong::EndsAreNotAnnounced,
            failed: edges.failed && wrong != Wrong::ResetsAreNotSeen,
            urgent: edges.urgent && wrong != Wrong::MarksAreNotSeen,
        });
        if wrong == Wrong::FailsBeforeItReads
            && let State::Open(Open { from_peer: from_peer @ FromPeer::Failing, .. }) =
                &mut self.state
        {
            *from_peer = FromPeer::Failed;
        }
        self.runs = Some(Budget::EVENT);
        self.log.was_useful = edges != Readiness::default();
    }

    fn step(&mut self) -> Found {
        let load = self.load();
        let Some(budget) = &mut self.runs else { return Ok(()) };
        let next = self.state.next(load, &options(), budget);
        let is_closing = matches!(next, Next::Close(_));
        must(!self.log.was_aborted || is_closing, "what was aborted closes at once")?;
        match next {
            Next::Read => self.read(),
            Next::Write if self.wrong == Wrong::NewOutputIsNotWritten => {
                self.runs = None;
                self.rest();
            }
            Next::Write => self.write(),
            Next::Call(Call::Room) if self.wrong == Wrong::RoomIsNotTold => {}
            Next::Call(Call::End) if self.wrong == Wrong::EndIsNotTold => {}
            Next::Call(Call::Drain) if self.wrong == Wrong::DrainIsNotTold => {}
            Next::Call(call) => {
                let is_unread = self.socket.received.front() == Some(&Item::Byte);
                // A spent budget ends the reading, so that endless input does not delay a drain.
                let is_spent =
                    self.runs.as_ref().is_some_and(|left| left.reads == 0 || left.calls == 0);
                let has_read =
                    !is_unread || !self.takes() || is_spent || self.log.before_drain == 0;
                must(call != Call::Drain || has_read, "what has arrived is read before a drain")?;
                self.call(call);
            }
            Next::ShutDown => self.shut(),
            Next::AskError => {
                must(self.socket.is_reset, "it asks for an error when there is one")?;
                self.state.fail(Why::Io);
            }
            Next::Yield | Next::Wait => {
                self.runs = None;
                self.rest();
                if next == Next::Yield && self.wrong != Wrong::DoesNotComeAgain {
                    self.is_queued = true;
                    self.log.useless = match self.log.was_useful {
                        true => 0,
                        false => self.log.useless + 1,
                    };
                    must(self.log.useless < 2, "events follow each other for something")?;
                }
            }
            Next::Close(why) => {
                self.runs = None;
                self.close(why)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self) {
        if self.input > 0 && !self.log.is_paused && self.log.waits.is_none() {
            self.log.incomplete.get_or_insert(self.log.active);
        }
        let limit = self.state.limit(self.load(), &options());
        let Some((until, _)) = limit else { return };
        let is_armed = self.timer.is_some_and(|armed| armed <= until);
        let may_arm = !self.was_armed || self.wrong != Wrong::TimerIsArmedOnce;
        if !is_armed && may_arm {
            (self.timer, self.was_armed) = (Some(until), true);
        }
    }

    fn come_from_outside(&mut self, what: Outside) {
        match what {
            Outside::Nothing => {}
            Outside::Drain => {
                let received = self.socket.received.iter();
                self.log.before_drain = received.filter(|item| **item == Item::Byte).count();
                self.log.is_told_to_drain = self.state.is_open();
                let before = self.state.clone();
                self.state.drain();
                if let (Wrong::DrainsBeforeItReads, State::Open(was), State::Open(is)) =
                    (self.wrong, before, &mut self.state)
                {
                    is.from_peer = was.from_peer;
                }
            }
            Outside::Close => self.end(Why::Closed),
            Outside::ShutDown => self.shut_down_write(),
            Outside::Pause => self.pause(),
            Outside::Send => self.send(),
            Outside::Abort => self.abort(),
        }
    }

    fn abort(&mut self) {
        (self.log.was_aborted, self.log.was_closed) = (true, true);
        self.log.promised -= std::mem::take(&mut self.output);
        match self.wrong {
            Wrong::AbortIsNoMoreThanAClose => self.state.end(Why::Closed),
            _ => self.state.abort(),
        }
    }

    fn resume(&mut self) {
        if self.wrong != Wrong::ResumeIsForgotten {
            let (now, before) = (self.now(), self.state.clone());
            self.state.resume(now);
            if let (Wrong::ResumeKeepsTheClocks, State::Open(was), State::Open(is)) =
                (self.wrong, before, &mut self.state)
            {
                (is.active, is.frame) = (was.active, was.frame);
            }
            (self.log.active, self.log.incomplete) = (self.second, None);
        }
        (self.log.wants_back, self.log.is_paused) = (true, false);
    }

    /// Returns the worlds after each thing that may happen next, except that time passes.
    pub(super) fn nexts(&self) -> Result<Vec<World>, String> {
        let mut nexts = Vec::new();
        let mut also = |change: &mut dyn FnMut(&mut World) -> Found| {
            let mut world = self.clone();
            change(&mut world)?;
            nexts.push(world);
            Ok::<(), String>(())
        };
        if let Some(act) = self.script.front() {
            also(&mut |world| {
                world.script.pop_front();
                world.act(*act);
                Ok(())
            })?;
        }
        if self.runs.is_some() {
            also(&mut World::step)?;
            return Ok(nexts);
        }
        if self.socket.is_gone {
            return Ok(nexts);
        }
        if self.is_queued {
            also(&mut |world| {
                world.begin_event();
                Ok(())
            })?;
        }
        if self.outside != Outside::Nothing {
            also(&mut |world| {
                let what = std::mem::replace(&mut world.outside, Outside::Nothing);
                world.come_from_outside(what);
                (world.runs, world.log.was_useful) = (Some(Budget::EVENT), true);
                Ok(())
            })?;
        }
        if self.log.is_paused && self.resumes > 0 {
            also(&mut |world| {
                world.resumes -= 1;
                world.resume();
                (world.runs, world.log.was_useful) = (Some(Budget::EVENT), true);
                Ok(())
            })?;
        }
        if self.timer.is_some_and(|until| until <= self.now()) {
            also(&mut |world| {
                world.fire();
                Ok(())
            })?;
        }
        Ok(nexts)
    }

    fn fire(&mut self) {
        self.timer = None;
        let (load, now) = (self.load(), self.now());
        self.state.check_limit(load, &options(), now);
        (self.runs, self.log.was_useful) = (Some(Budget::EVENT), true);
    }

    /// Lets time pass up to the timer.
    pub(super) fn let_time_pass(&self) -> Option<World> {
        let until = self.timer.filter(|_| !self.socket.is_gone)?;
        let mut world = self.clone();
        while world.now() < until {
            world.second += 1;
        }
        Some(world)
    }
}
