//! What a process uses, seen from outside.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process that is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pid: Pid,
    clock: ClockId,
}

/// Memory in octets (proc(5), `smaps_rollup`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: u64,
    /// Resident, shared pages divided among those who share them.
    pub(crate) pss: u64,
}

impl Watched {
    /// Watches a process of this user, or any as root.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new(pid: i32) -> Result<Self> {
        let pid = Pid::from_raw(pid);
        let clock = clock_getcpuclockid(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self { pid, clock })
    }

    /// Its id.
    #[must_use]
    pub(crate) const fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// CPU time of all its threads so far, in user space and in the kernel, to the nanosecond
    /// (clock_getcpuclockid(3)).
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock).with_context(|| format!("process {}", self.pid))?.into())
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Ok(Memory { rss: field(&text, "Rss:")?, pss: field(&text, "Pss:")? })
    }
}

/// CPU time of the calling thread.
///
/// # Errors
/// When the system has no such clock.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// CPU time of a thread, taken piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stopwatch {
    total: Duration,
    pieces: u32,
}

impl Stopwatch {
    /// Another piece, between two calls of [`own_cpu`].
    pub(crate) fn add(&mut self, piece: Duration) {
        self.total += piece;
        self.pieces += 1;
    }

    /// The sum, less what looking at the clock has cost: it is a system call.
    ///
    /// # Errors
    /// Those of [`own_cpu`].
    pub(crate) fn without_clock(&self) -> Result<Duration> {
        const LOOKS: u32 = 10_000;
        let mut empty = Duration::ZERO;
        for _ in 0..LOOKS {
            let start = own_cpu()?;
            empty += own_cpu()? - start;
        }
        Ok(self.total.saturating_sub(empty / LOOKS * self.pieces))
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no such field")?;
    Ok(kib.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = Watched::new(std::process::id().cast_signed()).unwrap();
        let before = own.cpu().unwrap();
        let memory = own.memory().unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0);
        assert!(own.cpu().unwrap() > before);
    }
}
