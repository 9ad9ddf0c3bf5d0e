//! Exchanges with a gateway over UDP: what they cost it, how long they take, what stays.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result};
use interop::{Namespace, World, story};

use crate::fleet::{Fleet, Outcome};
use crate::gateway::{Gateway, ground};
use crate::sockets::Sockets;
use crate::usage::Memory;

/// How many exchanges are under way at a time when the gateway is busy.
const BUSY: usize = 50;

/// How many exchanges make a round. The cost of an exchange is that of the median round: what the
/// machine's other guests take away for a while does not count.
const ROUND: u32 = 500;

/// Exchanges before anything is measured: what is only made once is there then.
const WARM_UP: u32 = 200;

/// How many exchanges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// For CPU and memory, [`BUSY`] at a time.
    pub(crate) busy: u32,
    /// For the time that one takes, one after the other.
    pub(crate) single: u32,
    /// How many SAs the gateway has at the most while exchanges are measured, if that matters.
    pub(crate) crowd: Option<u32>,
}

/// What one kind of exchange costs.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// How many were measured.
    pub(crate) count: usize,
    /// CPU time of the gateway's process for one, when many are under way: the median of rounds.
    pub(crate) cpu: Duration,
    /// CPU time of the gateway's process for one, when it is the only one.
    pub(crate) cpu_alone: Duration,
    /// How long one takes when it is the only one: half of them.
    pub(crate) median: Duration,
    /// The same: 99 of 100.
    pub(crate) p99: Duration,
    /// Requests that were sent again.
    pub(crate) retransmissions: u64,
}

/// What was found about a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// Full exchanges.
    pub(crate) full: Cost,
    /// Resumptions, with a gateway that has them.
    pub(crate) resume: Option<Cost>,
    /// Octets for each established SA with its child.
    pub(crate) sa: PerSa,
    /// Octets of a ticket.
    pub(crate) ticket: Option<usize>,
}

/// Octets that the process has grown by for each SA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerSa {
    /// Resident.
    pub(crate) rss: f64,
    /// Resident, shared pages divided.
    pub(crate) pss: f64,
}

/// Measures cygnetd.
///
/// # Errors
/// When it, or an exchange with it, fails.
pub(crate) fn cygnetd(plan: Plan) -> Result<Findings> {
    measure(plan, Gateway::cygnetd, true)
}

/// Measures charon.
///
/// # Errors
/// When it, or an exchange with it, fails.
pub(crate) fn charon(plan: Plan) -> Result<Findings> {
    measure(plan, Gateway::charon, false)
}

fn measure(
    plan: Plan,
    start: fn(&Namespace) -> Result<Gateway>,
    resumes: bool,
) -> Result<Findings> {
    let mut findings = None;
    story(|world: &World| {
        let (clients, gateway) = ground(world)?;
        let sockets = Sockets::open(&clients)?;
        let fleet = Fleet::new(sockets, WARM_UP + plan.busy + plan.single)?;
        let run = Run { fleet, gateway: start(&gateway)?, plan };
        findings = Some(run.all(resumes)?);
        Ok(())
    })?;
    findings.context("nothing was measured")
}

struct Run {
    fleet: Fleet,
    gateway: Gateway,
    plan: Plan,
}

/// Exchanges, and the gateway's CPU time for one of them, by rounds.
#[derive(Default)]
struct Timed {
    outcome: Outcome,
    rounds: Vec<Duration>,
}

impl Timed {
    fn add(&mut self, other: Self) {
        self.outcome.add(other.outcome);
        self.rounds.extend(other.rounds);
    }

    fn cpu(&self) -> Duration {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable();
        rounds.get(rounds.len() / 2).copied().unwrap_or_default()
    }
}

type Exchanges = fn(&mut Fleet, Range<u32>, usize) -> Result<Outcome>;

impl Run {
    fn all(mut self, resumes: bool) -> Result<Findings> {
        let single = WARM_UP..WARM_UP + self.plan.single;
        let busy = single.end..single.end + self.plan.busy;
        self.fleet.up(0..WARM_UP, BUSY)?;
        let alone = self.set_up(single.clone(), 1)?;
        let before = self.gateway.watched.memory()?;
        let full = self.set_up(busy.clone(), BUSY)?;
        if self.plan.crowd.is_some() {
            self.fleet.up(busy.clone(), BUSY)?;
        }
        let after = self.gateway.watched.memory()?;
        let resume = if resumes {
            let alone = self.timed(Fleet::resume, single, 1)?;
            Some(cost(&self.timed(Fleet::resume, busy, BUSY)?, &alone))
        } else {
            None
        };
        Ok(Findings {
            ticket: full.outcome.ticket,
            full: cost(&full, &alone),
            resume,
            sa: per_sa(before, after, self.plan.busy),
        })
    }

    /// Full exchanges. With a limit to the crowd, the clients leave again as they reach it.
    fn set_up(&mut self, clients: Range<u32>, at_once: usize) -> Result<Timed> {
        let Some(crowd) = self.plan.crowd else {
            return self.timed(Fleet::up, clients, at_once);
        };
        let mut all = Timed::default();
        for group in rounds(clients, crowd) {
            all.add(self.timed(Fleet::up, group.clone(), at_once)?);
            self.fleet.down(group, BUSY)?;
        }
        Ok(all)
    }

    fn timed(&mut self, run: Exchanges, clients: Range<u32>, at_once: usize) -> Result<Timed> {
        let mut all = Timed::default();
        for round in rounds(clients, ROUND) {
            let before = self.gateway.watched.cpu()?;
            let outcome = run(&mut self.fleet, round.clone(), at_once)?;
            let spent = self.gateway.watched.cpu()? - before;
            let each = spent / round.end.saturating_sub(round.start).max(1);
            all.add(Timed { outcome, rounds: vec![each] });
        }
        Ok(all)
    }
}

/// The clients, `len` at a time.
fn rounds(clients: Range<u32>, len: u32) -> impl Iterator<Item = Range<u32>> {
    let end = clients.end;
    clients.step_by(len as usize).map(move |first| first..end.min(first + len))
}

fn cost(busy: &Timed, alone: &Timed) -> Cost {
    Cost {
        count: busy.outcome.took.len(),
        cpu: busy.cpu(),
        cpu_alone: alone.cpu(),
        median: alone.outcome.quantile(0.5),
        p99: alone.outcome.quantile(0.99),
        retransmissions: busy.outcome.retransmissions + alone.outcome.retransmissions,
    }
}

fn per_sa(before: Memory, after: Memory, count: u32) -> PerSa {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / f64::from(count);
    PerSa { rss: each(before.rss, after.rss), pss: each(before.pss, after.pss) }
}
