//! One child with both halves, as the packet threads use it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use esp::inbound::Inbound;
use esp::limits::{Limits, Volume};
use esp::outbound::Outbound;
use esp::plane::{PlaneEvent, Traffic};
use esp::policy::Selectors;
use esp::spec::{ChildId, ChildSpec, Encapsulation, GroupId, OuterPath};

pub(super) struct Child {
    id: ChildId,
    group: GroupId,
    standby: bool,
    selectors: Arc<Selectors>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    path: RwLock<OuterPath>,
    /// The other way that was reported last.
    reported: Mutex<Option<OuterPath>>,
    is_exhausted: AtomicBool,
    limits: Limits,
    received: Counter,
    sent: Counter,
}

/// Packets and octets of one direction.
#[derive(Default)]
struct Counter {
    packets: AtomicU64,
    octets: AtomicU64,
}

impl Counter {
    /// The count before and after.
    fn add(&self, packets: u64, octets: u64) -> (Volume, Volume) {
        let before = Volume {
            packets: self.packets.fetch_add(packets, Ordering::Relaxed),
            bytes: self.octets.fetch_add(octets, Ordering::Relaxed),
        };
        let after = Volume { packets: before.packets + packets, bytes: before.bytes + octets };
        (before, after)
    }
}

impl Child {
    pub(super) fn new(spec: ChildSpec) -> Self {
        let ChildSpec { id, group, standby, inbound, outbound, path, limits, .. } = spec;
        let ChildSpec { local_ts, remote_ts, .. } = spec;
        let selectors = Arc::new(Selectors::new(local_ts, remote_ts));
        Self {
            id,
            group,
            standby,
            inbound: Inbound::new(inbound, Arc::clone(&selectors)),
            outbound: Outbound::new(outbound),
            selectors,
            path: RwLock::new(path),
            reported: Mutex::new(None),
            is_exhausted: AtomicBool::new(false),
            limits,
            received: Counter::default(),
            sent: Counter::default(),
        }
    }

    pub(super) const fn id(&self) -> ChildId {
        self.id
    }

    pub(super) const fn group(&self) -> GroupId {
        self.group
    }

    /// Whether it begins behind the other children of its group.
    pub(super) const fn standby(&self) -> bool {
        self.standby
    }

    pub(super) const fn selectors(&self) -> &Arc<Selectors> {
        &self.selectors
    }

    pub(super) fn path(&self) -> OuterPath {
        *self.path.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn move_to(&self, path: OuterPath) {
        *self.path.write().unwrap_or_else(PoisonError::into_inner) = path;
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether an authentic packet, the newest so far, shows a source that was
    /// not reported yet, or another TCP connection. Only UDP encapsulation
    /// crosses a NAT.
    pub(super) fn has_moved(&self, way: &OuterPath) -> bool {
        use Encapsulation::{Plain, Tcp, Udp};
        let path = self.path();
        // Flow label and scope are not part of an address that a NAT changes.
        let end = |address: SocketAddr| (address.ip(), address.port());
        let is_new = match (way.encapsulation, path.encapsulation) {
            (Udp, Udp) => end(way.remote) != end(path.remote),
            (Tcp(came), Tcp(known)) => came != known,
            (Udp | Tcp(_) | Plain, _) => false,
        };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_worth_telling = is_new && *reported != Some(*way);
        *reported = is_new.then_some(*way);
        is_worth_telling
    }

    /// `true` the first time.
    pub(super) fn exhaust(&self) -> bool {
        !self.is_exhausted.swap(true, Ordering::Relaxed)
    }

    /// Counts what has come, and says so if that was as much as it may be.
    pub(super) fn count_received(&self, packets: u64, octets: u64) -> Option<PlaneEvent> {
        self.met(self.received.add(packets, octets))
    }

    /// Counts what has gone, and says so if that was as much as it may be.
    pub(super) fn count_sent(&self, packets: u64, octets: u64) -> Option<PlaneEvent> {
        self.met(self.sent.add(packets, octets))
    }

    /// One thread counts each direction, so each limit is met once.
    fn met(&self, (before, after): (Volume, Volume)) -> Option<PlaneEvent> {
        self.limits.met(before, after).map(|limit| PlaneEvent::Expired(self.id, limit))
    }

    pub(super) fn traffic(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            bytes_in: of(&self.received.octets),
            packets_in: of(&self.received.packets),
            bytes_out: of(&self.sent.octets),
            packets_out: of(&self.sent.packets),
        }
    }
}
