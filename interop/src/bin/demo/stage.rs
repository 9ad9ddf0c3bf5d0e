//! The two daemons, the wire between them, and what can be claimed of them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use control::{Connection, How, State};
use interop::{Cygnet, Namespace};

use crate::configuration::{self, CLIENT_CONNECTION, GATEWAY_CONNECTION};
use crate::evidence::{Evidence, Ike, PING_PATTERN, first_sent, is_dialogue, is_set_up, sequence};
use crate::ground::{CLIENT_INSIDE, GATEWAY_INSIDE, Ground, Place};
use crate::summary::SetUp;
use crate::timeline::Timeline;
use crate::transfer::Transfer;

/// So much of the transfer is proof that it goes on.
const PROGRESS: u64 = 1 << 20;

/// Who plays, and who watches.
pub(crate) struct Stage<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) timeline: &'a mut Timeline,
    pub(crate) evidence: Evidence,
    pub(crate) client: Cygnet,
    pub(crate) gateway: Cygnet,
}

impl<'a> Stage<'a> {
    /// Both links are recorded before the daemons start.
    pub(crate) fn set(ground: &'a Ground, timeline: &'a mut Timeline) -> Result<Self> {
        let evidence = Evidence::start(ground)?;
        let gateway = start(&ground.gateway, GATEWAY_CONNECTION, &configuration::gateway())?;
        let client = start(&ground.client, CLIENT_CONNECTION, &configuration::client("manual"))?;
        timeline.show("both", "cygnetd runs; the links of client and gateway are recorded");
        Ok(Self { ground, timeline, evidence, client, gateway })
    }

    /// Runs a command that sets the client up, and asks both daemons how it went.
    pub(crate) fn set_up(
        &mut self,
        what: &str,
        command: impl Fn(&Cygnet) -> Result<()>,
    ) -> Result<SetUp> {
        let operations = |daemon: &Cygnet| {
            Ok::<_, anyhow::Error>(daemon.status()?.counters.public_key_operations)
        };
        let (client, gateway) = (operations(&self.client)?, operations(&self.gateway)?);
        self.timeline.show("client", what);
        command(&self.client)?;
        let connection = self.client.connection()?;
        self.timeline.show("client", status_line(&connection));
        Ok(SetUp::new(
            &connection,
            operations(&self.client)? - client,
            operations(&self.gateway)? - gateway,
        ))
    }

    pub(crate) fn claim_set_up(&mut self, it: &SetUp, how: How, round_trips: u32) -> Result<()> {
        let (kind, operations) = match how {
            How::Full => ("full exchange", it.client_operations > 0 && it.gateway_operations > 0),
            How::Resumed => ("resumption", (it.client_operations, it.gateway_operations) == (0, 0)),
        };
        self.timeline.claim(
            &format!("cygnet status: a {kind} in {round_trips} round trips"),
            (it.how, it.round_trips) == (Some(how), round_trips),
            it,
        )?;
        let claim = match how {
            How::Full => "public-key operations on both sides",
            How::Resumed => "no public-key operation on either side",
        };
        let seen = format!("client {}, gateway {}", it.client_operations, it.gateway_operations);
        self.timeline.claim(claim, operations, seen)?;
        self.timeline.claim("the client holds a ticket", it.ticket > 0, octets(it.ticket))
    }

    /// Where the gateway sees the client: behind the router, by the address of that place.
    pub(crate) fn claim_mapping(&mut self, place: &Place) -> Result<()> {
        let connection = self.gateway.connection()?;
        let remote = connection.remote.unwrap_or_default();
        let is_there = remote.starts_with(&format!("{}:", place.outside));
        self.timeline.claim("the gateway sees the NAT's address of that place", is_there, remote)
    }

    /// The transfer has gone on since it was at octet `before`.
    pub(crate) fn claim_progress(
        &mut self,
        transfer: &Transfer,
        before: u64,
        claim: &str,
    ) -> Result<()> {
        transfer.wait_for(before + PROGRESS)?;
        let now = transfer.received();
        let seen = format_args!("from octet {before} to {now}, {}", transfer.ends());
        self.timeline.claim(claim, now > before, seen)
    }

    /// The exchanges that set SAs up since a moment are these. Returns their messages.
    pub(crate) fn claim_dialogue(&mut self, since: Duration, exchanges: &[u8]) -> Result<Vec<Ike>> {
        let last = exchanges.last().copied();
        let mut messages = self.evidence.wait_for_ike(since, "the last answer", |messages| {
            messages.iter().any(|it| it.response && Some(it.exchange) == last)
        })?;
        messages.retain(is_set_up);
        let messages = first_sent(messages);
        let claim = format!("{} round trips on the wire", exchanges.len());
        let holds = is_dialogue(&messages, exchanges);
        self.timeline.claim(&claim, holds, sequence(&messages))?;
        Ok(messages)
    }

    /// The first three pings are answered: none is lost. More may be sent while they are waited
    /// for.
    pub(crate) fn ping(&mut self) -> Result<()> {
        let command =
            format!("-n -c 3 -i 0.05 -w 10 -p {PING_PATTERN} -I {CLIENT_INSIDE} {GATEWAY_INSIDE}");
        let said = self.ground.client.run("ping", &command)?;
        let answers: Vec<_> = said.lines().filter(|line| line.contains("icmp_seq=")).collect();
        let is_answered = |number: u8| {
            let number = format!("icmp_seq={number} ");
            answers.iter().any(|line| line.contains(&number))
        };
        let rest = |line: &str| line.split_once("icmp_seq=").map(|(_, rest)| rest.to_owned());
        let seen: Vec<_> = answers.iter().filter_map(|line| rest(line)).collect();
        let seen = format!("sequence numbers {}", seen.join("; "));
        self.timeline.claim("pings go through the tunnel", (1..=3).all(is_answered), seen)
    }

    pub(crate) fn show_place(&self, place: &Place) {
        let Place { name, client, router, outside } = place;
        let line = format!("is at {name}: {client}, behind {router}, which is {outside} outside");
        self.timeline.show("client", line);
    }
}

fn start(namespace: &Namespace, connection: &str, config: &str) -> Result<Cygnet> {
    Cygnet::start_with(namespace, connection, config)
        .with_context(|| format!("cygnetd in {}", namespace.name()))
}

/// A ticket's length.
pub(crate) fn octets(count: u64) -> String {
    format!("{count} octets")
}

/// A connection as `cygnet status` has it, in a line.
pub(crate) fn status_line(connection: &Connection) -> String {
    let Connection { name, state, suite, children, .. } = connection;
    let word = match state {
        State::Down => "down",
        State::Connecting => "connecting",
        State::Up => "up",
        State::Suspended => "suspended",
        State::Ending => "ending",
    };
    let mut line = format!("{name} is {word}");
    for detail in suite.iter().chain(children.iter().map(|child| &child.suite)) {
        line += &format!(", {detail}");
    }
    line
}
