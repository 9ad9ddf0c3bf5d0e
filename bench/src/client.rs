//! What the simulated clients and gateways of a measurement are told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crypto::{Provider, Psk};
use esp::plane::Capabilities;
use esp::spec::{Mode, Selector};
use ike::Endpoint;
use ike::config::{
    Auth, ChildConfig, ChildLifetime, Childless, Children, Config, Connection, Fragmentation,
    Lifetime, Limits, PpkUse, PreShared, PreSharedKey, Redirect, Resumption, Retransmission, Shard,
    TcpUse, Unique,
};
use ike::identity::IdPattern;
use ike::inner::Addresses;

use crate::clock;

/// The IKE suite of all exchanges, in the spelling of strongSwan and cygnet.
pub(crate) const IKE: &str = "aes256gcm16-prfsha256-x25519";
/// The ESP suite of all exchanges.
pub(crate) const ESP: &str = "aes256gcm16";
/// Who every gateway is.
pub(crate) const GATEWAY_ID: &str = "gateway.bench.example";
/// What every client shares with every gateway.
pub(crate) const SECRET: &str = "correct horse battery staple";
/// The network behind every gateway.
pub(crate) const BEHIND_GATEWAY: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 92, 0, 0), 16);
/// The inner addresses of the clients.
pub(crate) const INNER: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 64, 0, 0), 12);
/// The outer addresses of the clients.
pub(crate) const OUTER: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 12);
/// Where every gateway is.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Addresses below this offset in a network are not given to clients: some systems take the
/// first one for a broadcast.
const FIRST: u32 = 256;

/// One of the simulated clients, each of which has an outer and an inner address and an
/// identity of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number(pub u32);

impl Number {
    /// Its outer address.
    #[must_use]
    pub(crate) fn outer(self) -> Ipv4Addr {
        (u32::from(OUTER.0) + FIRST + self.0).into()
    }

    /// The client with this outer address.
    #[must_use]
    pub(crate) fn with_outer(address: Ipv4Addr) -> Option<Self> {
        u32::from(address).checked_sub(u32::from(OUTER.0) + FIRST).map(Self)
    }

    /// Its inner address.
    #[must_use]
    pub(crate) fn inner(self) -> Ipv4Addr {
        (u32::from(INNER.0) + FIRST + self.0).into()
    }

    /// The name of its connection.
    #[must_use]
    pub(crate) fn name(self) -> Arc<str> {
        format!("client-{:05}", self.0).into()
    }

    /// Its connection to the gateway.
    ///
    /// # Errors
    /// When one of the names above is misspelled.
    pub(crate) fn connection(self) -> Result<Connection> {
        let own = Selector::subnet(self.inner().into(), 32);
        let behind = Selector::subnet(BEHIND_GATEWAY.0.into(), BEHIND_GATEWAY.1);
        Ok(Connection {
            name: self.name(),
            local_addrs: vec![self.outer().into()],
            remote_addrs: vec![IpAddr::from(GATEWAY).into()],
            remote_ranges: Vec::new(),
            local_id: format!("{}.bench.example", self.name()).parse()?,
            remote_id: IdPattern::Exact(GATEWAY_ID.parse()?),
            ..connection(vec![own], vec![behind])?
        })
    }
}

/// A gateway in this process, which serves every client.
///
/// # Errors
/// When one of the names above is misspelled.
pub(crate) fn gateway() -> Result<Endpoint> {
    let own = Selector::subnet(BEHIND_GATEWAY.0.into(), BEHIND_GATEWAY.1);
    let clients = Selector::subnet(INNER.0.into(), INNER.1);
    Ok(endpoint(vec![Arc::new(connection(vec![own], vec![clients])?)]))
}

/// An endpoint with these connections.
#[must_use]
pub(crate) fn endpoint(connections: Vec<Arc<Connection>>) -> Endpoint {
    let config = Config {
        connections,
        pools: Vec::new(),
        retransmission: Retransmission::default(),
        limits: Limits::default(),
        shard: Shard::default(),
        ticket_key_rotation: Duration::from_secs(24 * 3600),
        crash_key: None,
        port: 500,
        nat_port: 4500,
    };
    let capabilities = Capabilities { plain_esp: false, transport: false };
    Endpoint::new(config, Provider::system(), capabilities, clock::now())
}

/// The gateway's connection, and what those of the clients have in common with it.
fn connection(local_ts: Vec<Selector>, remote_ts: Vec<Selector>) -> Result<Connection> {
    let secret = Psk::new(SECRET.as_bytes())?;
    let keys = vec![PreSharedKey { owners: Vec::new(), secret }];
    Ok(Connection {
        name: "clients".into(),
        local_addrs: vec![IpAddr::V4(GATEWAY)],
        remote_addrs: Vec::new(),
        remote_ranges: Vec::new(),
        remote_port: 500,
        remote_nat_port: 4500,
        tcp: TcpUse::Never,
        remote_tcp_port: 4500,
        local_id: GATEWAY_ID.parse()?,
        remote_id: IdPattern::Any,
        auth: Auth::pre_shared(Arc::new(PreShared { keys })),
        ppk: PpkUse::default(),
        proposals: vec![IKE.parse().ok().context("IKE proposal")?],
        children: Children::one(ChildConfig {
            name: "net".into(),
            mode: Mode::Tunnel,
            local_ts,
            remote_ts,
            proposals: vec![ESP.parse().ok().context("ESP proposal")?],
            dynamic: false,
            lifetime: ChildLifetime::endless(),
        }),
        childless: Childless::default(),
        force_encapsulation: true,
        fragmentation: Fragmentation::default(),
        mobike: true,
        unique: Unique::No,
        max_sas: None,
        // The clients are many and this process is one: nobody asks after them.
        liveness: None,
        lifetime: Lifetime::endless(),
        reauth: Lifetime::endless(),
        resumption: Resumption::default(),
        vips: Addresses::NONE,
        pools: Vec::new(),
        redirect: Redirect::default(),
    })
}
