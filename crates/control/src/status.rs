//! What a daemon tells of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zlink::introspect::CustomType;

use crate::event::{How, Role};

/// The most connections that a reply to `Status` lists; [`Status::omitted`]
/// counts the rest. Ask for one by its name to see it nevertheless.
pub const MAX_LISTED: usize = 10_000;

/// The reply to `Status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Configured connections; one with several peers once a peer.
    pub connections: Vec<Connection>,
    /// How many more there are than are listed.
    pub omitted: u64,
    /// IKE datagrams dropped since the start, by reason; only reasons that occurred.
    pub drops: BTreeMap<String, u64>,
    /// Packets dropped by the data plane since its start, by reason; only reasons that occurred.
    pub plane_drops: BTreeMap<String, u64>,
    /// What was counted since the start.
    pub counters: Counters,
}

/// What was counted since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, CustomType)]
pub struct Counters {
    /// SAs set up by a full exchange.
    pub full: u64,
    /// SAs set up by resumption.
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
    /// Public-key operations: key generations and agreements.
    pub public_key_operations: u64,
    /// Half-open SAs at this moment.
    pub half_open: u64,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum State {
    /// Nothing: no SA, no session.
    Down,
    /// A set-up is under way.
    Connecting,
    /// Packets flow.
    Up,
    /// A session sleeps.
    Suspended,
    /// The SA is being ended.
    Ending,
}

/// A connection, with one SA or session of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, CustomType)]
pub struct Connection {
    /// Its configured name.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Our SPI of its IKE SA, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sa: Option<String>,
    /// Who began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Our address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The peer's address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    /// The authenticated peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The IKE suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The name (PPK_ID) of the post-quantum pre-shared key that its keys rest on,
    /// since this set-up or that of the session which it has resumed (RFC 8784).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppk: Option<String>,
    /// How it came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<How>,
    /// Request-response pairs of the set-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<u32>,
    /// From the first datagram to the installed child, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// How long it has been up, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<f64>,
    /// In how many seconds its keys are to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in: Option<f64>,
    /// The ticket that we hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// The inner addresses that the gateway gave: to us, or we to the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<String>,
    /// The name servers that the gateway gave us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// The domains that these are to be asked for; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// Its children.
    pub children: Vec<Child>,
}

/// A ticket that we hold, for a suspended session or a living SA.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, CustomType)]
pub struct Ticket {
    /// Its length in octets.
    pub bytes: u64,
    /// How long it is still good, in seconds; 0 when it is over.
    pub remaining_seconds: f64,
}

/// A child: what carries packets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, CustomType)]
pub struct Child {
    /// Its configured name.
    pub name: String,
    /// The ESP suite.
    pub suite: String,
    /// What its packets hold: `tunnel` or `transport`.
    pub mode: String,
    /// The SPI of packets to us, in hexadecimal.
    pub spi_in: String,
    /// The SPI of packets to the peer, in hexadecimal.
    pub spi_out: String,
    /// ESP in UDP rather than IP protocol 50.
    pub udp: bool,
    /// ESP in TCP (RFC 9329), and IKE with it.
    pub tcp: bool,
    /// Our side of the traffic.
    pub local_ts: Vec<String>,
    /// The peer's side of the traffic.
    pub remote_ts: Vec<String>,
    /// Inner octets received.
    pub bytes_in: u64,
    /// Inner packets received.
    pub packets_in: u64,
    /// Inner octets sent.
    pub bytes_out: u64,
    /// Inner packets sent.
    pub packets_out: u64,
    /// In how many seconds its keys are to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in: Option<f64>,
}
