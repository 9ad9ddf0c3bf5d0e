//! Whose a world is, and whether that process still lives.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

const PREFIX: &str = "cygnet-interop";

/// Who owns a world. The start time tells a process from a later one with the same id.
#[derive(PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    started: u64,
}

impl Owner {
    pub(crate) fn this_process() -> Result<Self> {
        Self::of(std::process::id()).context("no /proc entry of this process")
    }

    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Field 22; the second is a name in parentheses that may hold spaces (proc(5)).
        let (_, rest) = stat.rsplit_once(')')?;
        let started = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// The owner of the world with this name, or of a part of it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut fields = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-');
        Some(Self { pid: fields.next()?.parse().ok()?, started: fields.next()?.parse().ok()? })
    }

    pub(crate) fn next_name(&self) -> String {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}-{}-{}-{world}", self.pid, self.started)
    }

    pub(crate) fn is_dead(&self) -> bool {
        Self::of(self.pid).as_ref() != Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owner_is_told_from_a_later_process_with_its_id() {
        let own = Owner::this_process().unwrap();
        let name = own.next_name();
        assert!(!Owner::parse(&format!("{name}-peer")).unwrap().is_dead());
        let earlier = Owner { started: own.started - 1, ..own };
        assert!(earlier.is_dead());
        assert!(Owner::parse("cygnet-interop.cpu0").is_none());
        assert!(Owner::parse("another-1-1-0").is_none());
    }
}
