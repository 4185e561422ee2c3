//! The progress of experiments: the part that is done, the time that is left, and Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dapple::clock;

use signal_hook::consts::SIGINT;

/// The progress of one or more experiments. On a terminal it is one line on the standard error,
/// which is written again and again; otherwise it is a line for each new part.
pub(super) struct Progress {
    began: Instant,
    /// The seconds that all steps are expected to take.
    all: f64,
    /// The seconds that the finished steps were expected to take.
    over: f64,
    /// The seconds that the current step is expected to take.
    current: f64,
    is_terminal: bool,
    /// The part that was shown last.
    part: String,
    stop: Arc<AtomicBool>,
}

/// The reason why an experiment ended early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The user has pressed Ctrl-C.
    Stopped,
    /// Something failed, with this message.
    Failed(String),
}

impl From<String> for Ended {
    fn from(message: String) -> Ended {
        Ended::Failed(message)
    }
}

impl Progress {
    /// Begins an experiment whose steps are expected to take `seconds` altogether. From now on the
    /// first Ctrl-C ends the experiment at its next step, and the second one ends the process.
    ///
    /// # Errors
    ///
    /// Returns a message if the system refuses a handler for the signal.
    pub(super) fn begin(seconds: f64) -> Result<Progress, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let register = || -> io::Result<()> {
            let status = 128 + SIGINT;
            signal_hook::flag::register_conditional_shutdown(SIGINT, status, Arc::clone(&stop))?;
            signal_hook::flag::register(SIGINT, Arc::clone(&stop))?;
            Ok(())
        };
        register().map_err(|e| format!("cannot handle Ctrl-C: {e}"))?;
        Ok(Progress::with(seconds, stop))
    }

    fn with(seconds: f64, stop: Arc<AtomicBool>) -> Progress {
        Progress {
            began: clock::now(),
            all: seconds,
            over: 0.0,
            current: 0.0,
            is_terminal: io::stderr().is_terminal(),
            part: String::new(),
            stop,
        }
    }

    /// Begins the next step, which is expected to take `seconds`. That should be a few seconds,
    /// because Ctrl-C takes effect at the end of a step. `part` names what the step belongs to.
    ///
    /// # Errors
    ///
    /// Returns [`Ended::Stopped`] if Ctrl-C was pressed.
    pub(super) fn step(&mut self, part: &str, seconds: f64) -> Result<(), Ended> {
        self.over += self.current;
        self.current = seconds;
        if self.stop.load(Ordering::Relaxed) {
            return Err(Ended::Stopped);
        }
        self.show(part);
        Ok(())
    }

    /// Returns the time that is left if the pace stays the same. The expected duration counts like
    /// 5 % of the work, so it matters only at the start.
    pub(super) fn left(&self) -> Duration {
        let expected = 0.05 * self.all;
        let passed = (clock::now() - self.began).as_secs_f64();
        let pace = (passed + expected) / (self.over + expected).max(f64::MIN_POSITIVE);
        Duration::from_secs_f64((self.all - self.over).max(0.0) * pace)
    }

    fn show(&mut self, part: &str) {
        const WIDTH: usize = 30;
        let share = (self.over / self.all.max(f64::MIN_POSITIVE)).min(1.0);
        let (percent, left) = (100.0 * share, told(self.left()));
        let line = if self.is_terminal {
            let full = (share * WIDTH as f64) as usize;
            let bar = "#".repeat(full) + &".".repeat(WIDTH - full);
            format!("\r\x1b[K[{bar}] {percent:3.0} %  {left} left  {part}")
        } else if self.part != part {
            format!("{percent:3.0} %  {left} left  {part}\n")
        } else {
            return;
        };
        part.clone_into(&mut self.part);
        // The output may be closed.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Erases the line.
    pub(super) fn ends(&self) {
        if self.is_terminal {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// Formats a time, to the second.
pub(super) fn told(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{}:{:02} min", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_pace_until_now() {
        let mut progress = Progress::with(60.0, Arc::default());
        assert_eq!(progress.left().as_secs(), 60, "nothing is known yet");
        progress.step("one", 30.0).unwrap();
        progress.step("two", 30.0).unwrap();
        progress.began = clock::now() - Duration::from_secs(63);
        let left = progress.left().as_secs_f64();
        assert!((59.9..61.0).contains(&left), "{left}: thirty seconds took about sixty");
        assert_eq!(told(Duration::from_secs(59)), "59 s");
        assert_eq!(told(Duration::from_secs(184)), "3:04 min");
    }

    #[test]
    fn a_step_does_not_begin_after_the_signal() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut progress = Progress::with(1.0, Arc::clone(&stop));
        assert_eq!(progress.step("one", 1.0), Ok(()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(progress.step("two", 1.0), Err(Ended::Stopped));
    }
}
