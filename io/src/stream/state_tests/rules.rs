//! The checks of states in which only time can pass, and of closing.

use super::socket::SOCKET;
use super::*;

impl World {
    /// Checks that the connection may close for this reason, and closes it. If bytes were received
    /// and not read, the system resets the connection, and discards what the peer has not taken.
    pub(super) fn close(&mut self, why: Why) -> Found {
        let log = &self.log;
        let is_unread = self.socket.received.contains(&Item::Byte);
        let in_time =
            log.lingers.is_none_or(|since| self.second < since + 1) && log.lingered < LINGER_BYTES;
        let is_by_itself = matches!(why, Why::Closed | Why::Peer | Why::Io);
        if is_by_itself && !log.was_closed && !log.has_written_in_vain {
            must(!log.has_ended || log.was_told_of_end, "an end that was read is told")?;
            must(why == Why::Io || !log.is_paused, "who is paused is not over by itself")?;
            must(
                !log.wants_back || log.is_paused,
                "a protocol that wants to be called again is called before it is over",
            )?;
            let takes = self.takes() && !log.has_ended;
            must(!is_unread || !takes, "what came before an error is delivered")?;
        }
        let kept = log.arrived + self.socket.sent + self.output;
        must(kept == log.promised || self.socket.is_reset, "all that was sent leaves, once")?;
        match why {
            Why::Closed | Why::Peer => {
                must(self.output == 0 || self.socket.is_reset, "what was promised is written")?;
                let is_lost = is_unread && self.socket.sent > 0 && in_time;
                let may_be_lost = self.socket.is_reset || log.was_aborted;
                must(!is_lost || may_be_lost, "what was written last arrives")?;
            }
            Why::Io => must(self.socket.is_reset, "an error is one of the system's")?,
            Why::InputLimit => {
                must(self.input > 3 || log.was_too_long, "the input was too long")?;
            }
            Why::IdleTimeout => must(
                self.input == 0 && self.output == 0 && self.second >= log.active + 4,
                "it was idle",
            )?,
            Why::FrameTimeout => must(
                log.incomplete.is_some_and(|since| self.second >= since + 3),
                "a message took too long",
            )?,
            Why::WriteTimeout => must(
                log.waits.is_some_and(|since| self.second >= since + 2),
                "the peer took nothing for too long",
            )?,
            Why::Protocol(_) | Why::Panicked => return Err("nobody did that".to_owned()),
        }
        (self.socket.is_gone, self.is_queued, self.timer) = (true, false, None);
        Ok(())
    }

    /// Checks a state in which only time can pass.
    pub(super) fn check_at_rest(&self) -> Found {
        let (log, socket) = (&self.log, &self.socket);
        if socket.is_gone {
            return Ok(());
        }
        must(!socket.is_reset, "a connection whose peer has reset it is over")?;
        let has_more = !socket.received.iter().all(|item| *item == Item::Mark);
        let has_end = log.has_ended && socket.received.front() == Some(&Item::End);
        let is_full = socket.sent == SOCKET;
        must(self.output == 0 || is_full, "output waits for a socket that is full")?;
        let mut state = self.state.clone();
        let limit = state.limit(self.load(), &options());
        match &self.state {
            State::Open(_) => {
                must(!has_more || has_end || !self.takes(), "what has arrived is delivered")?;
                must(!log.has_ended || log.was_told_of_end, "the end is told")?;
                let has_room = self.load().has_room(&options());
                must(!log.is_scarce || !has_room, "a protocol that waits for room is told of it")?;
                must(
                    !log.wants_back || log.is_paused,
                    "a protocol that wants to be called again is called",
                )?;
                must(!log.is_told_to_drain || log.was_told_to_drain, "a drain is told")?;
                let is_done = !log.wants_shut || self.output > 0 || socket.is_shut;
                must(is_done, "our side ends when it is to")?;
                must(!(has_end && socket.is_shut), "it is over when both sides have ended")?;
                let until = match (log.waits, log.is_paused, log.incomplete) {
                    (Some(since), _, _) => Some(since + 2),
                    (None, true, _) => None,
                    (None, false, Some(since)) => Some(since + 3),
                    (None, false, None) => Some(log.active + 4),
                };
                must(limit.map(|l| l.0) == until.map(instant), "a limit counts from its start")?;
            }
            State::Closing { .. } => must(self.output > 0, "who has written all goes on")?,
            State::Lingering { .. } => {
                must(!log.has_ended, "no connection lingers after the end")?;
                must(!has_more, "what still comes is read")?;
            }
            State::Closed(_) => {
                return Err("a closed connection has released its socket".to_owned());
            }
        }
        let is_armed = limit.is_none_or(|(until, _)| self.timer.is_some_and(|at| at <= until));
        must(is_armed, "a timer is armed for what is waited for")
    }
}
