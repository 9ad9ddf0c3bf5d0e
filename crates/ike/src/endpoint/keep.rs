//! Connections that are kept up: whatever ends them but a command, they come
//! back by themselves.

use std::time::Duration;

use super::Endpoint;
use crate::context::Context;
use crate::fault::Failure;
use crate::sa::{IkeSa, Outcome};
use crate::time::{Instant, Now};

/// How waits grow: each is shorter than `first`, doubled with every failure
/// before it, and than `longest`.
struct Backoff {
    first: Duration,
    longest: Duration,
}

/// After a loss, or where nobody answers: it may be over at any time.
const LOST: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

/// After a refusal that stands until somebody changes something, at one of both
/// ends. Another attempt soon would only use up what many gateways count before
/// they lock an account: a handful of failures in a quarter of an hour.
const REFUSED: Backoff =
    Backoff { first: Duration::from_secs(150), longest: Duration::from_secs(3600) };

/// How long a connection rests after a failure, before traffic brings it up again.
const REST: Duration = Duration::from_secs(10);

/// And after a refusal; see [`REFUSED`].
const REST_REFUSED: Duration = Duration::from_secs(300);

/// How the last SA of a line, or the attempt at one, has ended.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    /// It was up.
    Served,
    /// It did not come up, perhaps because it was refused.
    Failed { is_refused: bool },
}

impl Ended {
    /// An attempt that has failed.
    pub(super) const fn failed(why: &Failure) -> Self {
        Self::Failed { is_refused: why.is_refusal() }
    }

    const fn is_refused(self) -> bool {
        matches!(self, Self::Failed { is_refused: true })
    }
}

/// Attempts that have failed one after the other, all of them in one way.
#[derive(Clone, Copy)]
pub(super) struct Failures {
    count: u32,
    are_refusals: bool,
}

impl Failures {
    pub(super) const NONE: Self = Self { count: 0, are_refusals: false };

    fn add(&mut self, ended: Ended) {
        let are_refusals = ended.is_refused();
        let before = if are_refusals == self.are_refusals { self.count } else { 0 };
        let count = match ended {
            Ended::Served => 0,
            Ended::Failed { .. } => before.saturating_add(1),
        };
        *self = Self { count, are_refusals };
    }

    /// All of the wait is chance: peers that lost the same gateway must not
    /// come back together, however long they have waited.
    fn wait(self, cx: &mut Context) -> Duration {
        let Backoff { first, longest } = if self.are_refusals { REFUSED } else { LOST };
        let longest = first.saturating_mul(1 << self.count.min(16)).min(longest);
        let chance = u32::from_be_bytes(cx.provider.array());
        let nanos = (longest.as_nanos() * u128::from(chance)) >> u32::BITS;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How a connection is kept up.
pub(super) struct Keeping {
    /// No command has ended it since.
    is_wanted: bool,
    /// Since it was up.
    failures: Failures,
    back_at: Option<Instant>,
}

impl Keeping {
    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }
}

impl Endpoint {
    /// Brings a connection up, and again whenever it has ended or failed, until
    /// a command ends it or puts it to sleep.
    pub fn keep_up(&mut self, now: Now, name: &str) {
        let Some(index) = self.line_of(name) else { return };
        if let Some(line) = self.lines.get_mut(index) {
            line.keeping =
                Some(Keeping { is_wanted: true, failures: Failures::NONE, back_at: None });
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

    /// An SA of a line has ended, or an attempt: when to try again. Packets
    /// would begin another attempt at once, so that after a failure they wait
    /// for a while, too.
    pub(super) fn plan_return(&mut self, now: Now, index: usize, ended: Ended) {
        let Some(line) = self.lines.get_mut(index).filter(|line| line.sa.is_none()) else { return };
        let mut rest = if ended.is_refused() { self.cx.jittered(REST_REFUSED) } else { REST };
        if let Some(keeping) = line.keeping.as_mut().filter(|keeping| keeping.is_wanted) {
            keeping.failures.add(ended);
            let wait = keeping.failures.wait(&mut self.cx);
            keeping.back_at = Some(now.instant + wait);
            rest = if ended.is_refused() { wait } else { rest };
        }
        if matches!(ended, Ended::Failed { .. }) && line.is_for_traffic() {
            line.rests_until = Some(now.instant + rest);
        }
    }

    /// Nothing has come of the SA that was to take the place of another, which
    /// goes on: when to try again.
    pub(super) fn plan_reauthentication(&mut self, now: Now, index: usize, ended: Ended) {
        let Some(line) = self.lines.get_mut(index).filter(|line| line.coming.is_none()) else {
            return;
        };
        let Some(serving) = line.sa else { return };
        line.reauthentication.add(ended);
        let at = now.instant + line.reauthentication.wait(&mut self.cx);
        self.change_established(now, serving, |mut sa, _| {
            sa.reauthenticate_at(at);
            Outcome::keep(IkeSa::Established(sa))
        });
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
            keeping.failures = Failures::NONE;
            if line.sa.is_none() {
                self.up(now, index, Vec::new());
            }
        }
    }

    /// Something has changed, and what failed before may succeed now.
    pub(super) fn return_soon(&mut self, now: Now, index: usize) {
        let Some(line) = self.lines.get_mut(index).filter(|line| line.sa.is_none()) else { return };
        line.rests_until = line.rests_until.map(|_| now.instant);
        if let Some(keeping) = line.keeping.as_mut().filter(|keeping| keeping.back_at.is_some()) {
            keeping.failures = Failures::NONE;
            keeping.back_at = Some(now.instant + keeping.failures.wait(&mut self.cx));
        }
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
