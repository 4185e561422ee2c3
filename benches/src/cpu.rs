//! CPU time of other processes, read from `/proc` and their CPU clocks.

use std::fs;
use std::io;

/// The fields of `/proc/PID/stat` that are needed here.
struct Process {
    pid: libc::pid_t,
    parent: libc::pid_t,
    /// The CPU time of the process itself, in ticks.
    own: u64,
    /// The CPU time of children that have ended and were waited for, in ticks.
    ended: u64,
}

impl Process {
    fn read(pid: libc::pid_t) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself contain parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            ended: number(13)? + number(14)?,
        })
    }

    /// Returns the CPU time so far, in nanoseconds, including that of children that were waited
    /// for. `tick` is the length of a tick in nanoseconds.
    fn nanos(&self, tick: u64) -> u64 {
        own_nanos(self.pid).unwrap_or(self.own * tick) + self.ended * tick
    }
}

/// Reads the CPU clock of a process, in nanoseconds.
///
/// The clock includes threads that have ended, like the figures in `/proc`, and is finer than their
/// ticks of 10 ms.
fn own_nanos(pid: libc::pid_t) -> Option<u64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock` and `time` are live and of the types that the calls write.
    let ok = unsafe {
        libc::clock_getcpuclockid(pid, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    ok.then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Returns the CPU time so far of `pids` and all their descendants, in nanoseconds.
///
/// The value only grows, provided that parents wait for their children that end.
///
/// # Errors
///
/// Returns an error if one of `pids` does not exist, or if `/proc` cannot be read.
pub fn nanos_of(pids: &[libc::pid_t]) -> io::Result<u64> {
    // SAFETY: `sysconf` takes only a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let tick = 1_000_000_000 / u64::try_from(per_second).unwrap_or(100).max(1);
    let mut rest: Vec<Process> = fs::read_dir("/proc")?
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect();
    if let Some(pid) = pids.iter().find(|pid| !rest.iter().any(|p| p.pid == **pid)) {
        return Err(io::Error::other(format!("there is no process {pid}")));
    }
    let mut known = pids.to_vec();
    let mut nanos = 0;
    loop {
        let (these, others): (Vec<Process>, Vec<Process>) =
            rest.into_iter().partition(|p| known.contains(&p.pid) || known.contains(&p.parent));
        if these.is_empty() {
            return Ok(nanos);
        }
        known.extend(these.iter().map(|p| p.pid));
        nanos += these.iter().map(|p| p.nanos(tick)).sum::<u64>();
        rest = others;
    }
}
