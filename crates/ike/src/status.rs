//! What an endpoint tells of itself when asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use esp::spec::{ChildId, Mode, Selector, Spi};

use crate::event::{Role, SaId, SetUp};
use crate::fault::Discard;
use crate::inner::{Addresses, Assignment};
use crate::time::Instant;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing: no SA, no session.
    Down,
    /// A set-up is under way.
    Connecting,
    /// An SA stands.
    Up,
    /// A session sleeps.
    Suspended,
    /// An SA is being ended.
    Ending,
}

/// A connection, with one SA or session of it.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub stage: Stage,
    /// Its SA, if there is one. A gateway's connection is listed once an SA.
    pub sa: Option<SaStatus>,
    /// The ticket that is held, for a suspended session or a living SA.
    pub ticket: Option<TicketStatus>,
    /// What the gateway has given us, for a suspended session or a living SA.
    pub assigned: Option<Arc<Assignment>>,
}

/// An IKE SA.
#[derive(Clone, Debug)]
pub struct SaStatus {
    /// Our SPI.
    pub id: SaId,
    /// Who began.
    pub role: Role,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Who we are.
    pub local_id: String,
    /// The authenticated peer; none before that.
    pub remote_id: Option<String>,
    /// The IKE suite in strongSwan's spelling; none before it is agreed.
    pub suite: Option<String>,
    /// The PPK_ID of the PPK that its keys rest on (RFC 8784).
    pub ppk: Option<Arc<str>>,
    /// How it came up; none while it has not.
    pub set_up: Option<SetUp>,
    /// Since when it is up.
    pub since: Option<Instant>,
    /// When it is to be replaced.
    pub rekey_at: Option<Instant>,
    /// The inner addresses that the responder gave the initiator.
    pub inner: Addresses,
    /// Its children.
    pub children: Vec<ChildStatus>,
}

/// A child.
#[derive(Clone, Debug)]
pub struct ChildStatus {
    /// Its configured name.
    pub name: Arc<str>,
    /// What the plane calls it: the key to its traffic counters.
    pub id: ChildId,
    /// ESP suite.
    pub suite: String,
    /// What its packets hold.
    pub mode: Mode,
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer.
    pub spi_out: Spi,
    /// ESP in UDP rather than protocol 50.
    pub udp: bool,
    /// ESP in TCP (RFC 9329), and IKE with it.
    pub tcp: bool,
    /// Our side of the traffic.
    pub local_ts: Vec<Selector>,
    /// The peer's.
    pub remote_ts: Vec<Selector>,
    /// When it is to be replaced.
    pub rekey_at: Option<Instant>,
}

/// A ticket that we hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketStatus {
    /// Its octets.
    pub len: usize,
    /// When its lifetime ends.
    pub expires: SystemTime,
}

/// What an endpoint has counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Datagrams dropped, by [`Discard::ALL`]'s order.
    pub discarded: [u64; Discard::ALL.len()],
    /// Full exchanges completed.
    pub full: u64,
    /// Resumptions completed.
    pub resumed: u64,
    /// Set-ups that failed.
    pub failed: u64,
    /// Tickets handed out.
    pub tickets_issued: u64,
    /// Tickets refused.
    pub tickets_refused: u64,
    /// Cookies asked for.
    pub cookies: u64,
    /// Requests sent again.
    pub retransmissions: u64,
}

impl Counters {
    /// How often datagrams were dropped for this reason.
    #[must_use]
    pub fn discarded(&self, why: Discard) -> u64 {
        let index = Discard::ALL.iter().position(|&d| d == why);
        index.and_then(|i| self.discarded.get(i)).copied().unwrap_or(0)
    }

    pub(crate) fn discard(&mut self, why: Discard) {
        let index = Discard::ALL.iter().position(|&d| d == why);
        if let Some(count) = index.and_then(|i| self.discarded.get_mut(i)) {
            *count += 1;
        }
    }
}

/// An endpoint at a moment.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// Every configured connection, at least once.
    pub connections: Vec<ConnectionStatus>,
    /// Half-open SAs of strangers.
    pub half_open: usize,
    /// What was counted.
    pub counters: Counters,
}

/// How much an endpoint holds: all zero once everything has ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Holdings {
    /// IKE SAs in any stage.
    pub sas: usize,
    /// Timers and other entries by which they are found.
    pub table: usize,
    /// Inbound SPIs of ESP that are given out.
    pub spis: usize,
    /// Children that the plane was told of.
    pub children: usize,
    /// Children that the plane has not reported about.
    pub installing: usize,
    /// Suspended sessions.
    pub sessions: usize,
    /// Connections that were given inner addresses, and addresses given to peers.
    pub addresses: usize,
}

/// A remaining life for display: zero when over.
#[must_use]
pub fn remaining(expires: SystemTime, now: SystemTime) -> Duration {
    expires.duration_since(now).unwrap_or_default()
}
