//! What the endpoints of a scene are told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crypto::{CookieKey, Ppk, Provider, Psk};
use esp::plane::Capabilities;
use esp::spec::{Mode, Selector};
use ike::Endpoint;
use ike::config::{
    Auth, ChildConfig, ChildLifetime, Childless, Children, Config, Connection, Fragmentation, Host,
    Lifetime, Limits, NamedPpk, PpkUse, PreShared, PreSharedKey, Redirect, Resumption,
    Retransmission, Shard, TcpUse, Unique,
};
use ike::identity::{Id, IdPattern};
use ike::pool::{AddressRange, PoolConfig};
use ike::time::Now;

use crate::certificates::Certified;

/// The configuration of one side, as text where that reads best.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The connection's name.
    pub name: &'static str,
    /// Who it is.
    pub local_id: String,
    /// Whom it expects; empty: anybody.
    pub remote_id: &'static str,
    /// Secrets and their owner; an empty owner: everybody.
    pub secrets: Vec<(&'static str, &'static str)>,
    /// How both sides prove themselves, if not by secrets.
    pub certified: Option<Certified>,
    /// PPKs: their ids and keys.
    pub ppks: Vec<(&'static str, &'static str)>,
    /// The one that a client uses; a gateway lets clients use any of its own.
    pub ppk_id: Option<&'static str>,
    /// Whether there must be one.
    pub ppk_required: bool,
    /// IKE proposals.
    pub ike: Vec<&'static str>,
    /// ESP proposals.
    pub esp: Vec<&'static str>,
    /// Our side of the traffic.
    pub local_ts: Vec<String>,
    /// The peer's.
    pub remote_ts: Vec<&'static str>,
    /// Our addresses; empty: any.
    pub local_addrs: Vec<IpAddr>,
    /// Where the peer is, if it can be asked.
    pub remote: Option<IpAddr>,
    /// Where else, after that: addresses and names.
    pub remotes: Vec<&'static str>,
    /// Where a peer may come from; empty: anywhere.
    pub remote_ranges: Vec<AddressRange>,
    /// Pretend a NAT.
    pub force_encapsulation: bool,
    /// Whether TCP takes the place of UDP.
    pub tcp: TcpUse,
    /// Fragments.
    pub fragmentation: Fragmentation,
    /// MOBIKE.
    pub mobike: bool,
    /// What becomes of the other SAs of a peer that sets one up.
    pub unique: Unique,
    /// How many SAs peers may have.
    pub max_sas: Option<usize>,
    /// Ask for a sign of life.
    pub liveness: Option<Duration>,
    /// How long the keys of an IKE SA are used.
    pub lifetime: Lifetime<Duration>,
    /// How long a full authentication is good.
    pub reauth: Lifetime<Duration>,
    /// And those of a child.
    pub child_lifetime: ChildLifetime,
    /// Resumption.
    pub resumption: Resumption,
    /// Retransmission.
    pub retransmission: Retransmission,
    /// Limits.
    pub limits: Limits,
    /// How long a ticket key seals.
    pub rotation: Duration,
    /// Whether the plane can carry plain ESP.
    pub plain_esp: bool,
    /// Whether it can do transport mode.
    pub transport: bool,
    /// What the packets of the first child hold.
    pub mode: Mode,
    /// What tokens of crash detection are made with: kept over a restart.
    pub crash_secret: Option<[u8; 32]>,
    /// The initiator's side of the traffic is what it was given.
    pub dynamic: bool,
    /// What a client asks for.
    pub vips: Vec<&'static str>,
    /// Where a gateway takes it from.
    pub pools: Vec<PoolConfig>,
    /// Redirects.
    pub redirect: Redirect,
    /// Whether SAs come up without a child at first.
    pub childless: Childless,
    /// Further children.
    pub further: Vec<FurtherChild>,
    /// Further connections, after this one. Of these profiles only what makes a
    /// connection counts, and their pools.
    pub more: Vec<Profile>,
}

/// A child besides the first.
#[derive(Clone, Debug)]
pub struct FurtherChild {
    /// Its name.
    pub name: &'static str,
    /// Our side of its traffic.
    pub local_ts: Vec<String>,
    /// The peer's.
    pub remote_ts: Vec<&'static str>,
    /// Somebody at the gateway's end of it.
    pub server: Ipv4Addr,
    /// What its packets hold.
    pub mode: Mode,
}

impl FurtherChild {
    /// Between the net of a client and 10.N.0.0/16, as the client sees it.
    #[must_use]
    pub fn of_client(name: &'static str, remote: &'static str, server: Ipv4Addr) -> Self {
        let (local_ts, remote_ts) = (vec!["10.1.0.0/16".into()], vec![remote]);
        Self { name, local_ts, remote_ts, server, mode: Mode::Tunnel }
    }

    /// In transport mode, between the hosts, as each of them sees it.
    #[must_use]
    pub fn of_hosts(name: &'static str) -> Self {
        let (local_ts, remote_ts) = (vec!["0.0.0.0/0".into()], vec!["0.0.0.0/0"]);
        let server = Ipv4Addr::UNSPECIFIED;
        Self { name, local_ts, remote_ts, server, mode: Mode::Transport }
    }

    /// The same, as the gateway sees it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let local_ts = self.remote_ts.iter().map(ToString::to_string).collect();
        Self { local_ts, remote_ts: vec!["10.1.0.0/16"], ..self.clone() }
    }

    fn between(&self) -> (&[String], &[&str], Mode) {
        (&self.local_ts, &self.remote_ts, self.mode)
    }
}

/// The address of every gateway.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

impl Profile {
    /// A gateway that serves anybody with the secret.
    #[must_use]
    pub fn gateway() -> Self {
        Self {
            name: "clients",
            local_id: "gateway.example".into(),
            remote_id: "",
            secrets: vec![("", "secret")],
            certified: None,
            ppks: Vec::new(),
            ppk_id: None,
            ppk_required: false,
            ike: vec!["aes256gcm16-prfsha384-x25519"],
            esp: vec!["aes256gcm16"],
            local_ts: vec!["10.2.0.0/16".into()],
            remote_ts: vec!["10.1.0.0/16"],
            local_addrs: Vec::new(),
            remote: None,
            remotes: Vec::new(),
            remote_ranges: Vec::new(),
            force_encapsulation: false,
            tcp: TcpUse::Never,
            fragmentation: Fragmentation::default(),
            mobike: true,
            unique: Unique::No,
            max_sas: None,
            liveness: None,
            lifetime: Lifetime::endless(),
            reauth: Lifetime::endless(),
            child_lifetime: ChildLifetime::endless(),
            resumption: Resumption::default(),
            retransmission: Retransmission::default(),
            limits: Limits::default(),
            rotation: Duration::from_secs(24 * 3600),
            plain_esp: true,
            transport: true,
            mode: Mode::Tunnel,
            crash_secret: Some([9; 32]),
            dynamic: false,
            vips: Vec::new(),
            pools: Vec::new(),
            redirect: Redirect { follow: true, ..Redirect::default() },
            childless: Childless::default(),
            further: Vec::new(),
            more: Vec::new(),
        }
    }

    /// A client of that gateway.
    #[must_use]
    pub fn client() -> Self {
        Self {
            name: "home",
            local_id: "client.example".into(),
            remote_id: "gateway.example",
            local_ts: vec!["10.1.0.2/32".into()],
            remote_ts: vec!["10.2.0.0/16"],
            remote: Some(GATEWAY),
            ..Self::gateway()
        }
    }

    /// An endpoint of this profile.
    #[must_use]
    pub fn endpoint(&self, seed: u64, now: Now) -> Endpoint {
        let provider = Provider::seeded(seed);
        Endpoint::new(self.config(), provider, self.capabilities(), now)
    }

    /// What its plane can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        Capabilities { plain_esp: self.plain_esp, transport: self.transport }
    }

    /// As an endpoint wants it.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            connections: self.all().map(|profile| Arc::new(profile.connection())).collect(),
            pools: self.all().flat_map(|profile| profile.pools.clone()).collect(),
            retransmission: self.retransmission,
            limits: self.limits,
            shard: Shard::default(),
            ticket_key_rotation: self.rotation,
            crash_key: self.crash_secret.as_ref().map(CookieKey::from_secret),
            port: 500,
            nat_port: 4500,
        }
    }

    /// Whether it can begin.
    #[must_use]
    pub fn begins(&self) -> bool {
        !self.remote_addrs().is_empty()
    }

    fn remote_addrs(&self) -> Vec<Host> {
        let host = |text: &&str| match text.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(text.parse().unwrap()),
        };
        self.remote.map(Host::Address).into_iter().chain(self.remotes.iter().map(host)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.more)
    }

    /// Its first connection.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection {
            name: self.name.into(),
            local_addrs: self.local_addrs.clone(),
            remote_addrs: self.remote_addrs(),
            remote_ranges: self.remote_ranges.clone(),
            remote_port: 500,
            remote_nat_port: 4500,
            tcp: self.tcp,
            remote_tcp_port: 4500,
            local_id: self.local_id.parse().unwrap(),
            remote_id: match self.remote_id {
                "" => IdPattern::Any,
                id => id.parse().unwrap(),
            },
            auth: self.auth(),
            ppk: self.ppk(),
            proposals: self.ike.iter().map(|text| text.parse().unwrap()).collect(),
            children: Children {
                first: self.child("net", (&self.local_ts, &self.remote_ts, self.mode)),
                further: self.further.iter().map(|it| self.child(it.name, it.between())).collect(),
            },
            childless: self.childless,
            force_encapsulation: self.force_encapsulation,
            fragmentation: self.fragmentation,
            mobike: self.mobike,
            unique: self.unique,
            max_sas: self.max_sas,
            liveness: self.liveness,
            lifetime: self.lifetime,
            reauth: self.reauth,
            resumption: self.resumption,
            vips: self.vips.iter().map(|text| text.parse().unwrap()).collect(),
            pools: self.pools.iter().map(|pool| Arc::clone(&pool.name)).collect(),
            redirect: self.redirect.clone(),
        }
    }

    fn child(&self, name: &str, (local, remote, mode): (&[String], &[&str], Mode)) -> ChildConfig {
        ChildConfig {
            name: name.into(),
            mode,
            local_ts: local.iter().map(|text| subnet(text)).collect(),
            remote_ts: remote.iter().map(|text| subnet(text)).collect(),
            proposals: self.esp.iter().map(|text| text.parse().unwrap()).collect(),
            dynamic: self.dynamic,
            lifetime: self.child_lifetime,
        }
    }

    fn auth(&self) -> Auth {
        match &self.certified {
            Some(Certified(auth)) => auth.clone(),
            None => Auth::pre_shared(Arc::new(self.pre_shared())),
        }
    }

    fn ppk(&self) -> PpkUse {
        let key = |&(id, key): &(&str, &str)| {
            Arc::new(NamedPpk { id: id.into(), key: Ppk::new(key.as_bytes()).unwrap() })
        };
        let keys: Vec<_> = self.ppks.iter().map(key).collect();
        let own = self.ppk_id.map(|id| keys.iter().find(|key| *key.id == *id).unwrap().clone());
        PpkUse { own, keys, required: self.ppk_required }
    }

    /// Its secrets.
    #[must_use]
    pub fn pre_shared(&self) -> PreShared {
        let key = |&(owner, secret): &(&str, &str)| PreSharedKey {
            owners: Some(owner).filter(|o| !o.is_empty()).map(id).into_iter().collect(),
            secret: Psk::new(secret.as_bytes()).unwrap(),
        };
        PreShared { keys: self.secrets.iter().map(key).collect() }
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// A subnet in the usual spelling.
#[must_use]
pub fn subnet(text: &str) -> Selector {
    let (address, prefix) = text.split_once('/').unwrap();
    Selector::subnet(address.parse().unwrap(), prefix.parse().unwrap())
}
