//! Where an endpoint keeps its SAs: by our SPI, by the stranger who asked, by
//! peer, and by when they want to be woken. The index by peer is kept in step
//! here, but is the caller's: the SAs look at it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use esp::spec::StreamId;

use crate::peers::{Pair, PairHash, Peers, Place};
use crate::sa::{IkeSa, Why};
use crate::time::Instant;
use crate::wire::IkeSpi;

/// Who asked for an SA: its SPI and its address. The port may change when a
/// NAT is found.
pub(crate) type Asker = (IkeSpi, IpAddr);

#[derive(Default)]
pub(crate) struct Table {
    entries: BySpi<Entry>,
    due: BTreeSet<(Instant, Why, IkeSpi)>,
    askers: BTreeSet<(Asker, IkeSpi)>,
    half_open: BTreeMap<Source, usize>,
    half_open_total: usize,
    streams: BTreeSet<(StreamId, IkeSpi)>,
    /// Streams that an SA has come to or has gone from.
    unsettled: Vec<StreamId>,
}

/// Values by SPIs that we have drawn at random ourselves, so that they are their
/// own hash: nobody else can choose them to collide. Its order means nothing.
#[expect(clippy::disallowed_types, reason = "whoever walks through it sorts")]
type BySpi<V> = std::collections::HashMap<IkeSpi, V, BuildHasherDefault<OwnHash>>;

/// See [`BySpi`].
#[derive(Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    /// Not for SPIs, which are numbers.
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    /// The lowest bits of an SPI may name a shard; a table goes by the lowest.
    fn finish(&self) -> u64 {
        self.0.rotate_right(16)
    }
}

/// Where a stranger is, as far as limits go: an IPv4 address, or the /64 of an
/// IPv6 one, all of whose addresses one host can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        let network = match address {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        };
        Self(network)
    }
}

struct Entry {
    /// `None` while it is on its way through a change.
    sa: Option<IkeSa>,
    asker: Option<Asker>,
    marks: Marks,
}

/// Under what an SA is to be found, besides its SPI.
#[derive(Clone, Copy, Default, PartialEq)]
struct Marks {
    due: Option<(Instant, Why)>,
    /// Where the stranger is, as long as it is one.
    half_open: Option<Source>,
    place: Option<Place>,
    streams: [Option<StreamId>; 2],
}

impl Marks {
    fn of(sa: &IkeSa, asker: Option<Asker>) -> Self {
        let is_half_open = matches!(sa, IkeSa::HalfOpen(_));
        Self {
            due: sa.due(),
            half_open: asker.filter(|_| is_half_open).map(|(_, address)| Source::of(address)),
            place: sa.established().map(|sa| (PairHash::of(sa.pair()), sa.here())),
            streams: sa.streams(),
        }
    }
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, spi: IkeSpi) -> bool {
        self.entries.contains_key(&spi)
    }

    pub(crate) fn get(&self, spi: IkeSpi) -> Option<&IkeSa> {
        self.entries.get(&spi)?.sa.as_ref()
    }

    /// All of them, by SPI.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IkeSpi, &IkeSa)> {
        let sas = self.entries.iter();
        let mut all: Vec<_> = sas.filter_map(|(&spi, e)| Some((spi, e.sa.as_ref()?))).collect();
        all.sort_unstable_by_key(|(spi, _)| *spi);
        all.into_iter()
    }

    /// The SAs that a stranger has asked for before: one, unless somebody
    /// alters what it sends.
    pub(crate) fn asked_by(&self, asker: Asker) -> Vec<IkeSpi> {
        let first = (asker, IkeSpi::ZERO);
        let own = self.askers.range(first..).take_while(|(other, _)| *other == asker);
        own.map(|&(_, spi)| spi).collect()
    }

    pub(crate) const fn half_open(&self) -> usize {
        self.half_open_total
    }

    /// The half-open SAs of strangers at this address, or beside it.
    pub(crate) fn half_open_from(&self, address: IpAddr) -> usize {
        self.half_open.get(&Source::of(address)).copied().unwrap_or(0)
    }

    /// The SAs of a pair of identities.
    pub(crate) fn of_pair(&self, peers: &Peers, pair: Pair<'_>) -> Vec<IkeSpi> {
        let is_own = |spi: &IkeSpi| self.pair_of(*spi) == Some(pair);
        peers.sas_of(pair).map(|(spi, _)| spi).filter(is_own).collect()
    }

    /// Whom an established SA joins.
    pub(crate) fn pair_of(&self, spi: IkeSpi) -> Option<Pair<'_>> {
        Some(self.get(spi)?.established()?.pair())
    }

    /// Entries of everything that helps to find an SA.
    pub(crate) fn index_entries(&self) -> usize {
        self.due.len() + self.askers.len() + self.half_open.len() + self.streams.len()
    }

    /// The SAs that use a TCP connection.
    pub(crate) fn of_stream(&self, stream: StreamId) -> Vec<IkeSpi> {
        let first = (stream, IkeSpi::ZERO);
        let own = self.streams.range(first..).take_while(|(other, _)| *other == stream);
        own.map(|&(_, spi)| spi).collect()
    }

    /// A TCP connection whose use may have begun or ended, and whether one of
    /// the SAs uses it now.
    pub(crate) fn next_unsettled(&mut self) -> Option<(StreamId, bool)> {
        let stream = self.unsettled.pop()?;
        let next = self.streams.range((stream, IkeSpi::ZERO)..).next();
        Some((stream, next.is_some_and(|(other, _)| *other == stream)))
    }

    /// The next SA to wake, and why.
    pub(crate) fn next_due(&self) -> Option<(Instant, Why, IkeSpi)> {
        self.due.first().copied()
    }

    pub(crate) fn insert(
        &mut self,
        peers: &mut Peers,
        spi: IkeSpi,
        sa: IkeSa,
        asker: Option<Asker>,
    ) {
        if let Some(asker) = asker {
            self.askers.insert((asker, spi));
        }
        self.entries.insert(spi, Entry { sa: None, asker, marks: Marks::default() });
        self.put(peers, spi, Some(sa));
    }

    /// Takes an SA out for a change; [`Self::put`] must end it.
    pub(crate) fn take(&mut self, spi: IkeSpi) -> Option<IkeSa> {
        self.entries.get_mut(&spi)?.sa.take()
    }

    /// Brings an SA back after a change, or lets go of one that is gone.
    pub(crate) fn put(&mut self, peers: &mut Peers, spi: IkeSpi, sa: Option<IkeSa>) {
        let Some(entry) = self.entries.get_mut(&spi) else { return };
        let Some(sa) = sa else {
            return self.remove(peers, spi);
        };
        let marks = Marks::of(&sa, entry.asker);
        entry.sa = Some(sa);
        if marks != entry.marks {
            let former = std::mem::replace(&mut entry.marks, marks);
            self.mark(peers, spi, former, marks);
        }
    }

    fn remove(&mut self, peers: &mut Peers, spi: IkeSpi) {
        let Some(Entry { asker, marks, .. }) = self.entries.remove(&spi) else { return };
        self.mark(peers, spi, marks, Marks::default());
        if let Some(asker) = asker {
            self.askers.remove(&(asker, spi));
        }
    }

    /// Files an SA under `new` instead of `old`, where they differ.
    fn mark(&mut self, peers: &mut Peers, spi: IkeSpi, old: Marks, new: Marks) {
        if old.due != new.due {
            if let Some((at, why)) = old.due {
                self.due.remove(&(at, why, spi));
            }
            if let Some((at, why)) = new.due {
                self.due.insert((at, why, spi));
            }
        }
        if old.half_open != new.half_open {
            if let Some(source) = old.half_open {
                self.count_half_open(source, false);
            }
            if let Some(source) = new.half_open {
                self.count_half_open(source, true);
            }
        }
        if old.place != new.place {
            peers.move_to(spi, old.place, new.place);
        }
        if old.streams != new.streams {
            for stream in old.streams.into_iter().flatten() {
                self.streams.remove(&(stream, spi));
            }
            for stream in new.streams.into_iter().flatten() {
                self.streams.insert((stream, spi));
            }
            self.unsettled.extend([old.streams, new.streams].into_iter().flatten().flatten());
        }
    }

    fn count_half_open(&mut self, source: Source, more: bool) {
        let count = self.half_open.entry(source).or_default();
        if more {
            *count += 1;
            self.half_open_total += 1;
        } else {
            *count = count.saturating_sub(1);
            self.half_open_total = self.half_open_total.saturating_sub(1);
        }
        if *count == 0 {
            self.half_open.remove(&source);
        }
    }
}
