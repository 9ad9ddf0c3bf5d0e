//! What every SA of an endpoint shares: randomness, outputs, counters, tickets
//! and sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Provider;
use esp::plane;
use esp::spec::{ChildId, GroupId, Spi};

use crate::config::{ChildIndex, Children, Connection, Limits, Retransmission, Shard};
use crate::crash::CrashTokens;
use crate::event::{Event, Output, Path, RequestId, Transmit};
use crate::exchange::child::Child;
use crate::exchange::mobike::{MAX_ADDRESSES, is_reachable};
use crate::fault::{Discard, Refusal};
use crate::inner::Assignment;
use crate::lookups::Lookups;
use crate::peers::Peers;
use crate::pool::Pools;
use crate::redirect::Redirects;
use crate::sa::fragments::Datagrams;
use crate::session::{SessionStore, TicketIssuer};
use crate::status::Counters;
use crate::streams::Streams;
use crate::time::Instant;
use crate::wire::IkeSpi;

pub(crate) struct Context {
    pub(crate) provider: Provider,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// Why the datagram that came last was dropped, if it was.
    pub(crate) dropped: Option<Discard>,
    /// Who is here.
    pub(crate) peers: Peers,
    pub(crate) sessions: SessionStore,
    pub(crate) issuer: TicketIssuer,
    pub(crate) crash_tokens: CrashTokens,
    pub(crate) spis: SpiPool,
    pub(crate) streams: Streams,
    pub(crate) lookups: Lookups,
    pub(crate) retransmission: Retransmission,
    pub(crate) limits: Limits,
    pub(crate) capabilities: plane::Capabilities,
    /// Our port for UDP encapsulation.
    pub(crate) nat_port: u16,
    /// The machine's addresses, as far as they are known.
    pub(crate) addresses: Vec<IpAddr>,
    /// A responder takes the first that fits.
    pub(crate) connections: Arc<[Arc<Connection>]>,
    /// Where inner addresses come from.
    pub(crate) pools: Pools,
    /// Where peers are sent.
    pub(crate) redirects: Redirects,
    /// What our connections were given, by name.
    pub(crate) assigned: BTreeMap<Arc<str>, Arc<Assignment>>,
    /// How many SAs peers have begun, by connection.
    pub(crate) served: BTreeMap<Arc<str>, usize>,
    /// Which SA a child belongs to.
    pub(crate) owners: BTreeMap<ChildId, IkeSpi>,
    /// Which child a command of the plane installs.
    pub(crate) installing: BTreeMap<plane::CommandId, ChildId>,
    shard: Shard,
    names: Names,
    of_strangers: Quota,
}

/// The groups of a line, one for each child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups(GroupId);

impl Groups {
    /// That of a child.
    pub(crate) const fn of(self, which: ChildIndex) -> GroupId {
        let Self(first) = self;
        GroupId(first.0 + which.0 as u64)
    }

    /// The child that this is the group of, if it is one of them.
    pub(crate) fn which(self, group: GroupId) -> Option<ChildIndex> {
        let Self(first) = self;
        let index = u8::try_from(group.0.checked_sub(first.0)?).ok()?;
        (usize::from(index) < Children::MOST).then_some(ChildIndex(index))
    }
}

/// Events that strangers cause are told at this rate a second. All of them are counted.
const EVENTS_OF_STRANGERS: u32 = 10;

/// How much was told since a second began.
#[derive(Default)]
struct Quota {
    since: Instant,
    told: u32,
}

/// The last of each kind of name that was given.
#[derive(Default)]
struct Names {
    command: u64,
    child: u64,
    group: u64,
}

impl Context {
    pub(crate) fn new(
        provider: Provider,
        (issuer, crash_tokens): (TicketIssuer, CrashTokens),
        (retransmission, limits, shard): (Retransmission, Limits, Shard),
        capabilities: plane::Capabilities,
        nat_port: u16,
        (connections, pools): (Arc<[Arc<Connection>]>, Pools),
    ) -> Self {
        Self {
            provider,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            dropped: None,
            peers: Peers::default(),
            sessions: SessionStore::default(),
            issuer,
            crash_tokens,
            spis: SpiPool::default(),
            streams: Streams::default(),
            lookups: Lookups::default(),
            retransmission,
            limits,
            capabilities,
            nat_port,
            addresses: Vec::new(),
            connections,
            pools,
            redirects: Redirects::default(),
            assigned: BTreeMap::new(),
            served: BTreeMap::new(),
            owners: BTreeMap::new(),
            installing: BTreeMap::new(),
            shard,
            names: Names::default(),
            of_strangers: Quota::default(),
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Tells what somebody has caused who may be anybody: whoever floods us
    /// must not fill a log as well.
    pub(crate) fn emit_of_stranger(&mut self, now: Instant, event: Event) {
        let quota = &mut self.of_strangers;
        if now.since(quota.since) >= Duration::from_secs(1) {
            *quota = Quota { since: now, told: 0 };
        }
        if quota.told < EVENTS_OF_STRANGERS {
            quota.told += 1;
            self.emit(event);
        }
    }

    pub(crate) fn transmit(&mut self, path: Path, datagram: &Arc<[u8]>) {
        let datagram = Arc::clone(datagram);
        self.outputs.push_back(Output::Transmit(Transmit { path, datagram }));
    }

    /// All parts of a message.
    pub(crate) fn transmit_all(&mut self, path: Path, message: &Datagrams) {
        message.iter().for_each(|datagram| self.transmit(path, datagram));
    }

    pub(crate) fn submit(&mut self, command: plane::Command) -> plane::CommandId {
        self.names.command += 1;
        let id = plane::CommandId(self.names.command);
        self.outputs.push_back(Output::Plane(id, command));
        id
    }

    pub(crate) fn reply(&mut self, waiting: Vec<RequestId>, result: Result<(), Refusal>) {
        let replies = waiting.into_iter().map(|id| Output::Reply(id, result.clone()));
        self.outputs.extend(replies);
    }

    pub(crate) fn discard(&mut self, why: Discard) {
        self.counters.discard(why);
        self.dropped = Some(why);
    }

    pub(crate) fn new_child(&mut self) -> ChildId {
        self.names.child += 1;
        ChildId(self.names.child)
    }

    pub(crate) fn new_group(&mut self) -> GroupId {
        self.names.group += 1;
        GroupId(self.names.group)
    }

    /// One for each child that a connection can have.
    pub(crate) fn new_groups(&mut self) -> Groups {
        let first = self.new_group();
        self.names.group = first.0 + Children::MOST as u64 - 1;
        Groups(first)
    }

    /// Those of the machine's addresses that a connection may use.
    pub(crate) fn own_addresses(&self, connection: &Connection) -> impl Iterator<Item = IpAddr> {
        let wanted = &connection.local_addrs;
        let may = move |own: &IpAddr| wanted.is_empty() || wanted.contains(own);
        self.addresses.iter().copied().filter(may)
    }

    /// Those that a peer is told of besides the one that `path` shows it.
    pub(crate) fn other_addresses(&self, connection: &Connection, path: &Path) -> Vec<IpAddr> {
        let used = path.local.ip();
        let own = self.own_addresses(connection).filter(is_reachable);
        let others = own.filter(|own| *own != used);
        others.take(MAX_ADDRESSES).collect()
    }

    /// A peer has begun an SA.
    pub(crate) fn begin_to_serve(&mut self, connection: &Arc<str>) {
        *self.served.entry(Arc::clone(connection)).or_default() += 1;
    }

    /// An SA that a peer has begun is over.
    pub(crate) fn end_to_serve(&mut self, connection: &Arc<str>) {
        if let Some(count) = self.served.get_mut(connection) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.served.remove(connection);
            }
        }
    }

    /// A child that is no longer installed, or never was.
    pub(crate) fn forget_child(&mut self, child: &Child) {
        self.owners.remove(&child.id);
        self.spis.free(child.spi_in);
    }

    /// An SPI for packets to us that no child of this endpoint uses.
    pub(crate) fn new_spi(&mut self) -> Spi {
        self.spis.allocate(&mut self.provider)
    }

    /// An SPI for an IKE SA. That another has it already is a chance of one in
    /// 2^56 for each that there is.
    pub(crate) fn random_ike_spi(&mut self) -> IkeSpi {
        let random = u64::from_be_bytes(self.provider.array());
        IkeSpi(self.shard.mark(random).to_be_bytes())
    }

    /// A number up to `most`, each with the same chance.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let chance = u64::from_be_bytes(self.provider.array());
        let scaled = ((u128::from(most) + 1) * u128::from(chance)) >> u64::BITS;
        u64::try_from(scaled).unwrap_or(most)
    }

    /// `wait`, between three quarters and all of it: peers that lost the same
    /// gateway must not come back in step.
    pub(crate) fn jittered(&mut self, wait: Duration) -> Duration {
        let [chance] = self.provider.array();
        wait - wait / 1024 * u32::from(chance)
    }
}

/// The inbound ESP SPIs of an endpoint.
#[derive(Default)]
pub(crate) struct SpiPool {
    used: BTreeSet<u32>,
}

impl SpiPool {
    fn allocate(&mut self, provider: &mut Provider) -> Spi {
        loop {
            let candidate = u32::from_be_bytes(provider.array());
            // With at most 2^20 SAs a second draw is rare and a third rarer.
            if let Some(spi) = Spi::new(candidate)
                && self.used.insert(candidate)
            {
                return spi;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }

    pub(crate) fn free(&mut self, spi: Spi) {
        self.used.remove(&spi.get());
    }
}
