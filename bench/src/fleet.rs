//! The load: many initiators in this process, each an endpoint of its own, over UDP.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use esp::plane::PlaneEvent;
use ike::Endpoint;
use ike::event::{Command, Event, How, Output, RequestId, Transmit};

use crate::client::{self, Number};
use crate::clock;
use crate::sockets::Sockets;

/// When an exchange takes longer, something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the clients leave the machine to the gateway after a burst.
const PAUSE: Duration = Duration::from_millis(1);

/// The clients of one gateway.
pub(crate) struct Fleet {
    sockets: Sockets,
    clients: Vec<Endpoint>,
    /// Who has begun and when.
    under_way: BTreeMap<u32, Duration>,
    /// What they have to say.
    outbox: Vec<Transmit>,
    /// How they should come up, if they should.
    how: Option<How>,
    outcome: Outcome,
}

/// How a run of exchanges went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// From the command to the installed child, one a client.
    pub(crate) took: Vec<Duration>,
    /// Requests that were sent again.
    pub(crate) retransmissions: u64,
    /// Octets of the last ticket.
    pub(crate) ticket: Option<usize>,
}

impl Outcome {
    /// Takes in another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.retransmissions += other.retransmissions;
        self.ticket = other.ticket.or(self.ticket);
    }

    /// The time that this share of all exchanges did not exceed.
    #[must_use]
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl Fleet {
    /// `count` clients that have not begun.
    ///
    /// # Errors
    /// When a client's configuration is wrong.
    pub(crate) fn new(sockets: Sockets, count: u32) -> Result<Self> {
        let client = |n| Ok(client::endpoint(vec![Arc::new(Number(n).connection()?)]));
        let clients = (0..count).map(client).collect::<Result<_>>()?;
        let (under_way, outbox, outcome) = (BTreeMap::new(), Vec::new(), Outcome::default());
        Ok(Self { sockets, clients, under_way, outbox, how: None, outcome })
    }

    /// Brings these clients up, by full exchanges, `at_once` at a time.
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) fn up(&mut self, clients: Range<u32>, at_once: usize) -> Result<Outcome> {
        self.run(clients, at_once, Command::Up, Some(How::Full))
    }

    /// Puts these clients to sleep, which the gateway does not notice, and brings them back.
    ///
    /// # Errors
    /// When one has no session, or does not come back by it.
    pub(crate) fn resume(&mut self, clients: Range<u32>, at_once: usize) -> Result<Outcome> {
        self.run(clients.clone(), at_once, Command::Suspend, None)?;
        self.run(clients, at_once, Command::Resume, Some(How::Resumed))
    }

    /// Ends these clients' SAs.
    ///
    /// # Errors
    /// When one has none.
    pub(crate) fn down(&mut self, clients: Range<u32>, at_once: usize) -> Result<Outcome> {
        self.run(clients, at_once, Command::Down, None)
    }

    /// Gives these clients a command and waits for its end. `how` is how they should come up,
    /// if they should.
    fn run(
        &mut self,
        mut clients: Range<u32>,
        at_once: usize,
        command: fn(Arc<str>) -> Command,
        how: Option<How>,
    ) -> Result<Outcome> {
        self.outcome = Outcome::default();
        self.how = how;
        loop {
            while self.under_way.len() < at_once
                && let Some(n) = clients.next()
            {
                self.under_way.insert(n, clock::elapsed());
                self.command(n, command(Number(n).name()))?;
            }
            if self.under_way.is_empty() {
                self.send()?;
                return Ok(std::mem::take(&mut self.outcome));
            }
            // Never waiting in the socket: waking this process would be charged to the gateway that
            // answers, as no client in another machine is.
            self.receive()?;
            self.keep_time()?;
            // In one burst, as clients come back that have lost the same gateway.
            if self.outbox.len() >= self.under_way.len() {
                self.send()?;
            }
            if at_once > 1 {
                yield_machine();
            }
        }
    }

    fn command(&mut self, n: u32, command: Command) -> Result<()> {
        self.client(n)?.handle_command(clock::now(), RequestId(0), command);
        self.drain(n)
    }

    fn client(&mut self, n: u32) -> Result<&mut Endpoint> {
        self.clients.get_mut(n as usize).with_context(|| format!("there is no client {n}"))
    }

    fn receive(&mut self) -> Result<()> {
        while let Some(mut received) = self.sockets.receive()? {
            let IpAddr::V4(local) = received.path.local.ip() else { continue };
            let Some(Number(n)) = Number::with_outer(local) else { continue };
            let client = self.client(n)?;
            client.handle_datagram(clock::now(), received.path, &mut received.octets);
            self.drain(n)?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        for transmit in self.outbox.drain(..) {
            self.sockets.send(transmit.path, &transmit.datagram)?;
        }
        Ok(())
    }

    fn keep_time(&mut self) -> Result<()> {
        let now = clock::now();
        for (n, began) in self.under_way.clone() {
            if clock::elapsed() > began + PATIENCE {
                bail!("client {n} is not done after {PATIENCE:?}");
            }
            let client = self.client(n)?;
            if client.poll_timeout(now).is_some_and(|(due, _)| due <= now.instant) {
                client.handle_timeout(now, |_| None);
                self.outcome.retransmissions += 1;
                self.drain(n)?;
            }
        }
        Ok(())
    }

    /// Does what a client wants done.
    fn drain(&mut self, n: u32) -> Result<()> {
        while let Some(output) = self.client(n)?.poll_output() {
            match output {
                Output::Transmit(transmit) => self.outbox.push(transmit),
                Output::Plane(id, _) => {
                    let done = PlaneEvent::Completed(id, Ok(()));
                    self.client(n)?.handle_plane(clock::now(), done);
                }
                Output::Reply(_, result) => {
                    result.map_err(|refusal| anyhow!("client {n}: {refusal}"))?;
                    let began = self.under_way.remove(&n).context("it had not begun")?;
                    self.outcome.took.push(clock::elapsed() - began);
                }
                Output::Event(event) => self.hear(n, &event)?,
                Output::Keepalive(_)
                | Output::Stream(..)
                | Output::Lookup(..)
                | Output::Inner(..)
                | Output::Lease(_) => {}
            }
        }
        Ok(())
    }

    fn hear(&mut self, n: u32, event: &Event) -> Result<()> {
        match event {
            Event::Up { set_up, .. } if Some(set_up.how) != self.how => {
                bail!("client {n} came up by {:?} instead of {:?}", set_up.how, self.how)
            }
            Event::TicketGranted { len, .. } => self.outcome.ticket = Some(*len),
            _ => {}
        }
        Ok(())
    }
}

/// Leaves both processors to the gateway for a while: what is measured is its work, not how the
/// two share a core.
#[expect(clippy::disallowed_methods, reason = "nothing is waited for")]
fn yield_machine() {
    std::thread::sleep(PAUSE);
}
