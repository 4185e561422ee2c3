//! CPU time of other processes, from `/proc`, as a server under load has used it.

use std::fs;
use std::io;

/// What `/proc/PID/stat` tells of a process, as far as it matters here.
struct Process {
    pid: libc::pid_t,
    parent: libc::pid_t,
    /// Its own time, in ticks.
    own: u64,
    /// That of children that have ended, in ticks.
    ended: u64,
}

impl Process {
    fn read(pid: libc::pid_t) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may have some in it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            ended: number(13)? + number(14)?,
        })
    }

    /// All its threads' time so far, in nanoseconds.
    fn nanos(&self, tick: u64) -> u64 {
        own_nanos(self.pid).unwrap_or(self.own * tick) + self.ended * tick
    }
}

/// The CPU clock of a process, which counts what its threads used that have ended, too, and is
/// finer than the ticks of 10 ms in `/proc`; both count the same.
fn own_nanos(pid: libc::pid_t) -> Option<u64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointers are to values of ours.
    let ok = unsafe {
        libc::clock_getcpuclockid(pid, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    ok.then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CPU time of `pids` and all that descends from them so far, in nanoseconds. It only grows as long
/// as those who end are waited for by their parents.
///
/// # Errors
///
/// When one of `pids` is no process.
pub fn nanos_of(pids: &[libc::pid_t]) -> io::Result<u64> {
    // SAFETY: only a number is passed.
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
