//! Connections that are kept up: whatever ends them but a command, they come
//! back by themselves.

use std::time::Duration;

use super::Endpoint;
use crate::context::Context;
use crate::time::{Instant, Now};

/// The first wait is shorter than this, and each that follows a failure than
/// twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// How a connection is kept up.
#[derive(Default)]
pub(super) struct Keeping {
    /// No command has ended it since.
    is_wanted: bool,
    /// Attempts that have failed since it was up.
    failures: u32,
    back_at: Option<Instant>,
}

impl Keeping {
    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// All of the wait is chance: peers that lost the same gateway must not
    /// come back together, however long they have waited.
    fn wait(&self, cx: &mut Context) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        let chance = u32::from_be_bytes(cx.provider.array());
        let nanos = (longest.as_nanos() * u128::from(chance)) >> u32::BITS;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Endpoint {
    /// Brings a connection up, and again whenever it has ended or failed, until
    /// a command ends it or puts it to sleep.
    pub fn keep_up(&mut self, now: Now, name: &str) {
        let Some(index) = self.line_of(name) else { return };
        if let Some(line) = self.lines.get_mut(index) {
            line.keeping = Some(Keeping::default());
        }
        self.up(now, index, Vec::new());
    }

    /// A command has ended a kept connection, or wants it again.
    pub(super) fn want(&mut self, index: usize, is_wanted: bool) {
        if let Some(keeping) = self.lines.get_mut(index).and_then(|line| line.keeping.as_mut()) {
            keeping.is_wanted = is_wanted;
            keeping.back_at = None;
        }
    }

    /// A kept connection has ended, or an attempt has failed: when to try again.
    pub(super) fn plan_return(&mut self, now: Now, index: usize, has_failed: bool) {
        let Some(line) = self.lines.get_mut(index).filter(|line| line.sa.is_none()) else { return };
        if let Some(keeping) = line.keeping.as_mut().filter(|keeping| keeping.is_wanted) {
            keeping.failures = if has_failed { keeping.failures.saturating_add(1) } else { 0 };
            keeping.back_at = Some(now.instant + keeping.wait(&mut self.cx));
        }
    }

    pub(super) fn return_if_due(&mut self, now: Now, index: usize) {
        let keeping = self.lines.get_mut(index).and_then(|line| line.keeping.as_mut());
        let due = keeping.and_then(|it| it.back_at.take_if(|at| *at <= now.instant));
        if due.is_some() {
            self.up(now, index, Vec::new());
        }
    }

    /// What a kept connection failed by may be over: it tries again now.
    pub(super) fn return_at_once(&mut self, now: Now, index: usize) {
        if let Some(line) = self.lines.get_mut(index)
            && let Some(keeping) = line.keeping.as_mut().filter(|keeping| keeping.is_wanted)
        {
            keeping.failures = 0;
            if line.sa.is_none() {
                self.up(now, index, Vec::new());
            }
        }
    }

    /// The network is another one: what failed on the one before may succeed now.
    pub(super) fn return_soon(&mut self, now: Now, index: usize) {
        let keeping = self.lines.get_mut(index).and_then(|line| line.keeping.as_mut());
        let Some(keeping) = keeping.filter(|keeping| keeping.back_at.is_some()) else { return };
        keeping.failures = 0;
        keeping.back_at = Some(now.instant + keeping.wait(&mut self.cx));
    }

    /// When the next kept connection is to come back.
    pub(super) fn next_return(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.keeping.as_ref()?.back_at).min()
    }

    /// From now on nothing comes back.
    pub(super) fn keep_nothing(&mut self) {
        for line in &mut self.lines {
            line.keeping = None;
        }
    }
}
