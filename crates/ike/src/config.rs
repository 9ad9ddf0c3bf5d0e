//! What an endpoint is told to do. Values that cannot be wrong: whoever reads a
//! file has already refused what does not make sense.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{CookieKey, Ppk, Psk};
use esp::spec::{Mode, Selector};
use pki::{Credential, Trust};

use crate::event::Path;
use crate::identity::{Id, IdPattern};
use crate::inner::{Addresses, Domain};
use crate::pool::{AddressRange, PoolConfig};
use crate::proposal::{EspProposal, IkeProposal};
use crate::redirect::Gateway;
use crate::sa::fragments::room;
use crate::session::AuthMethod;

pub use crate::lifetime::{ChildLifetime, Lifetime};

/// All that an endpoint is told.
pub struct Config {
    /// The connections. A responder takes the first whose addresses and
    /// identities fit, and whose secret or trust the peer's proof convinces.
    pub connections: Vec<Arc<Connection>>,
    /// The pools from which clients get inner addresses.
    pub pools: Vec<PoolConfig>,
    /// How often an unanswered request is sent again.
    pub retransmission: Retransmission,
    /// What a stranger may cost.
    pub limits: Limits,
    /// Which SPIs this endpoint chooses.
    pub shard: Shard,
    /// How long a ticket key seals; it then opens for as long again. Not
    /// shorter than any ticket's lifetime (RFC 5723 section 6.2).
    pub ticket_key_rotation: Duration,
    /// Makes tokens by which a peer learns at once that we have lost its SA
    /// (RFC 6290): the same after every restart. `None`: there are none.
    pub crash_key: Option<CookieKey>,
    /// Our IKE port: 500, or what was configured.
    pub port: u16,
    /// Our port for UDP-encapsulated IKE and ESP: 4500, or what was configured.
    pub nat_port: u16,
}

/// A connection: how to reach, recognise and serve one kind of peer.
#[derive(PartialEq)]
pub struct Connection {
    /// Its name, unique in a [`Config`].
    pub name: Arc<str>,
    /// Our addresses; empty means any. An initiator uses the first of the family.
    pub local_addrs: Vec<IpAddr>,
    /// Where the peer is; an initiator begins with the first, and goes on to the
    /// next where that does not answer. By a name in it, a peer may come from anywhere.
    pub remote_addrs: Vec<Host>,
    /// Where else a peer may come from. If this and `remote_addrs` are empty:
    /// anywhere, for a pure responder.
    pub remote_ranges: Vec<AddressRange>,
    /// The peer's IKE port.
    pub remote_port: u16,
    /// The peer's port for UDP encapsulation.
    pub remote_nat_port: u16,
    /// Whether TCP may take the place of UDP (RFC 9329).
    pub tcp: TcpUse,
    /// The peer's TCP port.
    pub remote_tcp_port: u16,
    /// Who we are.
    pub local_id: Id,
    /// Who the peer may be.
    pub remote_id: IdPattern,
    /// How both sides prove it in a full exchange.
    pub auth: Auth,
    /// Keys against quantum computers that are mixed in.
    pub ppk: PpkUse,
    /// IKE suites, the best first. Never empty.
    pub proposals: Vec<IkeProposal>,
    /// What children its SAs have.
    pub children: Children,
    /// Whether SAs come up without a child at first.
    pub childless: Childless,
    /// Make both ends believe in a NAT, so that ESP travels in UDP.
    pub force_encapsulation: bool,
    /// Whether long messages go out in fragments.
    pub fragmentation: Fragmentation,
    /// Let SAs move to other addresses, with a peer that can, too (RFC 4555).
    pub mobike: bool,
    /// What becomes of the other SAs of a peer that sets one up with us.
    pub unique: Unique,
    /// How many SAs peers may have set up with us by this connection; `None`: as
    /// many as there are.
    pub max_sas: Option<usize>,
    /// Ask the peer for a sign of life after this much silence; `None`: never.
    pub liveness: Option<Duration>,
    /// How long the keys of the IKE SA are used.
    pub lifetime: Lifetime<Duration>,
    /// How long a full authentication is good; a resumption is none. The
    /// initiator repeats it in time, the responder tells it so and ends the SA
    /// otherwise (RFC 4478).
    pub reauth: Lifetime<Duration>,
    /// Session resumption.
    pub resumption: Resumption,
    /// The inner addresses that an initiator asks for, and cannot do without;
    /// an unspecified one stands for any of its family.
    pub vips: Addresses,
    /// The pools from which a responder gives inner addresses.
    pub pools: Vec<Arc<str>>,
    /// Redirects.
    pub redirect: Redirect,
}

/// Where a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// At this address.
    Address(IpAddr),
    /// At the addresses of this name, which are looked up for each attempt.
    Name(Domain),
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// Redirects to other gateways (RFC 5685).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Redirect {
    /// An initiator goes where a gateway sends it. Whoever is there must still
    /// prove to be `remote_id`.
    pub follow: bool,
    /// Where gateways are that are named, and not by their address.
    pub names: Vec<(Arc<str>, IpAddr)>,
    /// Where a responder sends those that can be redirected.
    pub to: Option<Gateway>,
}

/// Whether IKE and ESP may travel in TCP (RFC 9329).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TcpUse {
    /// An initiator tries UDP first, and TCP where UDP is not answered; a
    /// responder takes both.
    #[default]
    Auto,
    /// UDP only.
    Never,
    /// An initiator uses TCP only; a responder takes both.
    Always,
}

/// How many SAs there may be between an identity of ours and one of a peer. What
/// a resumption replaces is the SA that it resumes, in any case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unique {
    /// As many as there are; but a peer that says that it has no other ends
    /// those that it has forgotten (RFC 7296 section 2.4, INITIAL_CONTACT).
    #[default]
    No,
    /// As many as there are, whatever the peer says.
    Never,
    /// One: the last, however it came about. Those that other machines have begun
    /// are ended, and these are told so.
    Replace,
    /// One: the first. Others are refused, except to the machine that has it, by
    /// its address, and to whoever says that it has no other.
    Keep,
}

/// IKE fragmentation (RFC 7383).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragmentation {
    /// With whom.
    pub mode: FragmentationMode,
    /// Octets of the largest IP datagram of a fragment, 576 or more.
    pub size: u16,
}

impl Default for Fragmentation {
    fn default() -> Self {
        Self { mode: FragmentationMode::Yes, size: 1280 }
    }
}

impl Fragmentation {
    /// Octets of the longest message in one piece, if longer ones go to a peer
    /// in fragments that said so or did not.
    pub(crate) const fn room(self, peer_knows: bool) -> Option<usize> {
        match self.mode {
            FragmentationMode::No => None,
            FragmentationMode::Yes if !peer_knows => None,
            FragmentationMode::Yes | FragmentationMode::Force => Some(room(self.size)),
        }
    }

    /// Whether the peer is told that we know fragments.
    pub(crate) fn is_announced(self) -> bool {
        self.mode != FragmentationMode::No
    }
}

/// With whom long messages are fragmented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FragmentationMode {
    /// With a peer that says that it knows fragments.
    Yes,
    /// With nobody.
    No,
    /// With every peer, also where RFC 7383 section 2.3 forbids it: for peers
    /// that understand fragments and do not say so.
    Force,
}

/// How both sides are authenticated in a full exchange: each in its own way
/// (RFC 7296 section 2.15).
#[derive(Clone, PartialEq)]
pub struct Auth {
    /// How we prove who we are.
    pub local: LocalAuth,
    /// How the peer must.
    pub remote: RemoteAuth,
}

/// How we prove who we are.
#[derive(Clone, PartialEq)]
pub enum LocalAuth {
    /// With a pre-shared key.
    PreShared(Arc<PreShared>),
    /// With a signature.
    PublicKey(Arc<Credential>),
}

/// How a peer must prove who it is.
#[derive(Clone, PartialEq)]
pub enum RemoteAuth {
    /// With a pre-shared key.
    PreShared(Arc<PreShared>),
    /// With a signature, by a key that is believed to be its own.
    PublicKey(Arc<Trust>),
}

impl Auth {
    /// Both sides with the same pre-shared keys.
    #[must_use]
    pub fn pre_shared(keys: Arc<PreShared>) -> Self {
        let (local, remote) = (Arc::clone(&keys), keys);
        Self { local: LocalAuth::PreShared(local), remote: RemoteAuth::PreShared(remote) }
    }
}

impl LocalAuth {
    /// The kind of proof, as a session remembers it.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::PreShared(_) => AuthMethod::PreShared,
            Self::PublicKey(_) => AuthMethod::Signature,
        }
    }
}

impl RemoteAuth {
    /// The kind of proof, as a session remembers it.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::PreShared(_) => AuthMethod::PreShared,
            Self::PublicKey(_) => AuthMethod::Signature,
        }
    }
}

/// Pre-shared keys: the first whose owners include the peer is used.
#[derive(Default, PartialEq)]
pub struct PreShared {
    /// The keys.
    pub keys: Vec<PreSharedKey>,
}

/// A pre-shared key and the peers that it is shared with.
pub struct PreSharedKey {
    /// The peers; empty means every peer.
    pub owners: Vec<Id>,
    /// The secret.
    pub secret: Psk,
}

/// For the holder of both: in a time that tells only their lengths.
impl PartialEq for PreSharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.owners == other.owners && self.secret.is_same(&other.secret)
    }
}

impl PreShared {
    /// The key shared with `peer`: one that names it before one for everybody.
    #[must_use]
    pub fn with(&self, peer: &Id) -> Option<&Psk> {
        let named = self.keys.iter().find(|key| key.owners.contains(peer));
        named.map(|key| &key.secret).or_else(|| self.for_anybody())
    }

    /// The key that is shared with every peer.
    #[must_use]
    pub fn for_anybody(&self) -> Option<&Psk> {
        self.keys.iter().find(|key| key.owners.is_empty()).map(|key| &key.secret)
    }
}

/// A post-quantum pre-shared key and its name (RFC 8784 section 5.1).
pub struct NamedPpk {
    /// Its PPK_ID, without the type.
    pub id: Arc<str>,
    /// The key.
    pub key: Ppk,
}

/// As with [`PreSharedKey`].
impl PartialEq for NamedPpk {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.key.is_same(&other.key)
    }
}

/// Which post-quantum pre-shared keys a connection uses (RFC 8784).
#[derive(Clone, PartialEq, Default)]
pub struct PpkUse {
    /// The one that an initiator uses.
    pub own: Option<Arc<NamedPpk>>,
    /// Those that an initiator may use towards us.
    pub keys: Vec<Arc<NamedPpk>>,
    /// Whether there is no SA without one.
    pub required: bool,
}

/// Whether an SA is set up in full without a child, all of which are asked for
/// afterwards (RFC 6023).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Childless {
    /// If the initiator wants it so; as an initiator, no.
    #[default]
    Allow,
    /// The same, and as an initiator whenever the responder lets us.
    Prefer,
    /// In no other way; as an initiator, not at all if the responder does not let us.
    Force,
    /// No.
    Never,
}

/// The children of an SA.
#[derive(PartialEq)]
pub struct Children {
    /// It is made together with the SA.
    pub first: ChildConfig,
    /// Each of these is made after that, by an exchange of its own (RFC 7296
    /// section 1.3.1). [`Self::MOST`] at the most, with the first.
    pub further: Vec<ChildConfig>,
}

impl Children {
    /// How many there can be.
    pub const MOST: usize = 16;

    /// One and no other.
    #[must_use]
    pub const fn one(first: ChildConfig) -> Self {
        Self { first, further: Vec::new() }
    }

    /// All, with their names for this connection.
    pub fn iter(&self) -> impl Iterator<Item = (ChildIndex, &ChildConfig)> {
        let all = std::iter::once(&self.first).chain(&self.further);
        (0..=u8::MAX).map(ChildIndex).zip(all)
    }

    /// Whether there is one with this name.
    pub(crate) const fn contain(&self, which: ChildIndex) -> bool {
        (which.0 as usize) <= self.further.len()
    }

    /// The one with this name; the first, if there is none.
    pub(crate) fn get(&self, which: ChildIndex) -> &ChildConfig {
        let further = usize::from(which.0).checked_sub(1).and_then(|at| self.further.get(at));
        further.unwrap_or(&self.first)
    }
}

/// Which of the [`Children`] of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChildIndex(pub(crate) u8);

impl ChildIndex {
    /// [`Children::first`].
    pub(crate) const FIRST: Self = Self(0);
}

/// What a child is to be.
#[derive(PartialEq)]
pub struct ChildConfig {
    /// Its name.
    pub name: Arc<str>,
    /// What its packets hold. A child in transport mode is made in no other, and
    /// is for traffic between the two ends of the SA alone, which do not move:
    /// not for a connection with `mobike` (RFC 4555 section 1.2).
    pub mode: Mode,
    /// Our side of the traffic. Never empty.
    pub local_ts: Vec<Selector>,
    /// The peer's side. Never empty.
    pub remote_ts: Vec<Selector>,
    /// ESP suites, the best first. Never empty.
    pub proposals: Vec<EspProposal>,
    /// The initiator's side is narrowed to the inner addresses that it was
    /// given (RFC 7296 section 2.19). Not in transport mode.
    pub dynamic: bool,
    /// How long its keys are used.
    pub lifetime: ChildLifetime,
}

impl ChildConfig {
    /// Our side of the traffic as an initiator that has these addresses.
    fn side_with(&self, inner: Addresses) -> Vec<Selector> {
        if self.dynamic && !inner.is_empty() {
            narrowed(&self.local_ts, inner)
        } else {
            self.local_ts.clone()
        }
    }
}

/// What of `side` is traffic of these machines.
pub(crate) fn narrowed_to(side: &[Selector], machines: &[IpAddr]) -> Vec<Selector> {
    let all = |address: &IpAddr| Selector::subnet(*address, u8::MAX);
    let of = |machine: Selector| side.iter().filter_map(move |s| s.intersection(&machine));
    machines.iter().map(all).flat_map(of).collect()
}

/// What of `side` is traffic of these addresses.
pub(crate) fn narrowed(side: &[Selector], inner: Addresses) -> Vec<Selector> {
    let within = |address: Selector| side.iter().filter_map(move |s| s.intersection(&address));
    inner.selectors().flat_map(within).collect()
}

/// Session resumption of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resumption {
    /// Ask for tickets, or hand them out.
    pub enabled: bool,
    /// What brings a suspended session back.
    pub trigger: ResumeTrigger,
    /// Which form of AUTH to use after a resume.
    pub auth: ResumeAuth,
    /// How long a ticket that we hand out is good: RFC 5723 section 6.2 asks
    /// for a finite time, [`Resumption::MAX_LIFETIME`] at the most.
    pub lifetime: Duration,
    /// How long after the last full authentication a session may still be
    /// resumed, however often its tickets were renewed.
    pub max_age: Duration,
}

impl Resumption {
    /// The longest lifetime of a ticket: a protection key must outlive it.
    pub const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl Default for Resumption {
    fn default() -> Self {
        Self {
            enabled: true,
            trigger: ResumeTrigger::Manual,
            auth: ResumeAuth::Auto,
            lifetime: Duration::from_secs(24 * 3600),
            max_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What brings a suspended session back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumeTrigger {
    /// A command.
    Manual,
    /// A command, or a packet that wants to leave.
    OnTraffic,
}

/// The `resume_auth` setting: which octets AUTH covers after a resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumeAuth {
    /// RFC 5723 first; libreswan's form once, after a protected refusal.
    Auto,
    /// Only the form of RFC 5723 section 4.3.3.
    Rfc5723,
    /// Only the short form of libreswan 5.2 to 5.4, which leaves out nonce and identity.
    Libreswan,
}

/// Retransmission: exponential back-off with jitter (RFC 7296 section 2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retransmission {
    /// From the first transmission to the second.
    pub initial: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// Transmissions of a request in all.
    pub tries: u32,
    /// Transmissions of `IKE_SESSION_RESUME`, and of `IKE_AUTH` after it,
    /// before a full exchange is tried.
    pub resume_tries: u32,
}

impl Retransmission {
    /// How long so many transmissions are waited for in all.
    pub(crate) fn patience(&self, tries: u32) -> Duration {
        let wait = |n: u32| self.initial.saturating_mul(1 << n.min(16)).min(self.max);
        (0..tries).map(wait).sum()
    }
}

impl Default for Retransmission {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(20),
            tries: 7,
            resume_tries: 4,
        }
    }
}

/// What a stranger may cost us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Half-open SAs above which a cookie is asked for (RFC 7296 section 2.6).
    pub cookie_threshold: usize,
    /// Half-open SAs in all.
    pub half_open: usize,
    /// Half-open SAs of one source address.
    pub half_open_per_source: usize,
    /// How long a half-open SA waits for `IKE_AUTH`.
    pub half_open_timeout: Duration,
    /// SAs in all.
    pub sas: usize,
    /// Established SAs of one authenticated identity.
    pub sas_per_identity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cookie_threshold: 64,
            half_open: 8192,
            half_open_per_source: 64,
            half_open_timeout: Duration::from_secs(30),
            sas: 1 << 20,
            sas_per_identity: 1024,
        }
    }
}

/// Which of several endpoints this is. The low bits of every SPI that it
/// chooses are its index, so that a datagram can be handed to the right one
/// without a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shard {
    index: u8,
    bits: u8,
}

impl Shard {
    /// Shard `index` of `1 << bits`, or `None` if there is no such shard or
    /// more than 256 were asked for.
    #[must_use]
    pub const fn new(index: u8, bits: u8) -> Option<Self> {
        if bits > 8 || (index as u16) >= (1 << bits) { None } else { Some(Self { index, bits }) }
    }

    /// `random` with the shard's index in its low bits.
    #[must_use]
    pub const fn mark(self, random: u64) -> u64 {
        let mask = (1u64 << self.bits) - 1;
        (random & !mask) | self.index as u64
    }
}

/// How old a full authentication may be.
impl Connection {
    /// From this age on, its session is not resumed any more: nobody may get
    /// round another full authentication in this way.
    #[must_use]
    pub fn oldest_resumable(&self) -> Duration {
        let max_age = self.resumption.max_age;
        self.reauth.life.map_or(max_age, |life| life.min(max_age))
    }
}

/// What a child is for before it is known between which addresses.
impl Connection {
    /// The traffic that must not leave in clear text, ours and the peer's.
    pub(crate) fn held(&self, child: &ChildConfig, inner: Addresses) -> [Vec<Selector>; 2] {
        let ChildConfig { local_ts, remote_ts, .. } = child;
        match child.mode {
            Mode::Tunnel => [child.side_with(inner), remote_ts.clone()],
            Mode::Transport if self.local_addrs.is_empty() => {
                [local_ts.clone(), narrowed_to(remote_ts, &self.peers())]
            }
            Mode::Transport => {
                [narrowed_to(local_ts, &self.local_addrs), narrowed_to(remote_ts, &self.peers())]
            }
        }
    }
}

/// Outside addresses.
impl Connection {
    /// Those of the peer that are configured.
    fn peers(&self) -> Vec<IpAddr> {
        let address = |host: &Host| match host {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        };
        self.remote_addrs.iter().filter_map(address).collect()
    }

    /// Whether we have an address from which a datagram can go there.
    pub(crate) fn may_send_to(&self, remote: IpAddr) -> bool {
        self.local_addrs.is_empty()
            || self.local_addrs.iter().any(|local| local.is_ipv4() == remote.is_ipv4())
    }

    /// Whether what comes by this path may belong to this connection.
    #[must_use]
    pub fn serves(&self, path: &Path) -> bool {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        let by_this_transport = path.stream().is_none() || self.tcp != TcpUse::Never;
        let is_ours = self.local_addrs.is_empty() || self.local_addrs.contains(&local);
        let has_name = self.remote_addrs.iter().any(|host| matches!(host, Host::Name(_)));
        let says_nothing = self.remote_addrs.is_empty() && self.remote_ranges.is_empty();
        let from_anywhere = has_name || says_nothing;
        by_this_transport
            && is_ours
            && (from_anywhere
                || self.remote_addrs.contains(&Host::Address(remote))
                || self.remote_ranges.iter().any(|range| range.contains(remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_marks_the_low_bits_and_no_others() {
        assert_eq!(Shard::default().mark(0x0123_4567_89ab_cdef), 0x0123_4567_89ab_cdef);
        let third = Shard::new(3, 2).unwrap();
        assert_eq!(third.mark(0), 3);
        assert_eq!(third.mark(u64::MAX), u64::MAX);
        assert_eq!(Shard::new(255, 8).unwrap().mark(0xff00), 0xffff);
    }

    #[test]
    fn there_are_no_more_shards_than_there_are() {
        assert_eq!(Shard::new(4, 2), None);
        assert_eq!(Shard::new(1, 0), None);
        assert_eq!(Shard::new(0, 9), None);
    }
}
