//! The behaviour of the protocols.

use super::*;

impl World {
    pub(super) fn send(&mut self) {
        if self.state.sends() {
            self.output += 1;
            self.log.promised += 1;
            self.log.is_scarce |= self.is_congested();
        }
    }

    fn consume(&mut self, n: usize) {
        if n > 0 {
            self.input -= n;
            self.state.consumed();
            self.log.incomplete = None;
        }
    }

    pub(super) fn end(&mut self, why: Why) {
        self.log.was_closed |= self.state.is_open();
        match self.wrong {
            Wrong::CloseDropsTheOutput => {
                self.output = 0;
                self.state.abort();
            }
            _ => self.state.end(why),
        }
    }

    pub(super) fn shut_down_write(&mut self) {
        self.log.wants_shut |= self.state.sends();
        if self.wrong != Wrong::OurSideStaysOpen {
            self.state.shut_down_write();
        }
    }

    pub(super) fn pause(&mut self) {
        self.log.is_paused = true;
        self.state.pause();
    }

    pub(super) fn push(&mut self) {
        while self.log.promised < 5 && self.state.sends() {
            if self.is_congested() {
                return;
            }
            self.send();
        }
        self.end(Why::Closed);
    }

    fn echo(&mut self) {
        while self.input > 0 && !self.is_congested() {
            self.consume(1);
            self.send();
        }
        if self.kind == Kind::Half && self.log.was_told_of_end && self.input == 0 {
            self.shut_down_write();
        }
    }

    fn take_late(&mut self) {
        if !self.log.was_told_of_end {
            return;
        }
        self.consume(self.input.min(1));
        match self.input {
            0 => self.end(Why::Closed),
            _ => self.come_back(),
        }
    }

    fn come_back(&mut self) {
        self.log.wants_back = self.state.is_open();
        if self.wrong != Wrong::DoesNotComeBack {
            self.state.come_back();
        }
    }

    fn on_data(&mut self) {
        match self.kind {
            Kind::Echo | Kind::Half => self.echo(),
            Kind::Sink | Kind::Pusher | Kind::Asks => self.consume(self.input),
            Kind::Lazy => {
                self.consume(self.input.min(1));
                if self.input > 0 {
                    self.come_back();
                }
            }
            Kind::Pauser => {
                self.consume(self.input);
                self.pause();
            }
            Kind::Late | Kind::Holds => self.take_late(),
            Kind::Threes => self.consume(self.input / 3 * 3),
            Kind::Leaver => {
                self.consume(self.input);
                self.send();
                self.end(Why::Closed);
            }
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        self.log.was_useful = true;
        match call {
            Call::Data => {
                self.log.wants_back = false;
                self.on_data();
            }
            Call::Room => {
                self.log.is_scarce = false;
                match self.kind {
                    Kind::Pusher => self.push(),
                    _ => self.on_data(),
                }
            }
            Call::End => {
                self.log.was_told_of_end = true;
                match self.kind {
                    Kind::Half => self.echo(),
                    Kind::Late => self.take_late(),
                    Kind::Holds => self.pause(),
                    _ => self.end(Why::Peer),
                }
            }
            Call::Drain => {
                self.log.was_told_to_drain = true;
                self.end(Why::Closed);
            }
        }
    }
}
