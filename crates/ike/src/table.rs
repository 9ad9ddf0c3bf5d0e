//! Where an endpoint keeps its SAs: by our SPI, by the stranger who asked, by
//! peer, and by when they want to be woken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::identity::Id;
use crate::sa::{IkeSa, Why};
use crate::time::Instant;
use crate::wire::IkeSpi;

/// Who asked for an SA: its SPI and its address. The port may change when a
/// NAT is found.
pub(crate) type Asker = (IkeSpi, IpAddr);

#[derive(Default)]
pub(crate) struct Table {
    entries: BTreeMap<IkeSpi, Entry>,
    due: BTreeSet<(Instant, Why, IkeSpi)>,
    askers: BTreeSet<(Asker, IkeSpi)>,
    half_open: BTreeMap<IpAddr, usize>,
    half_open_total: usize,
    peers: BTreeSet<(Id, IkeSpi)>,
}

struct Entry {
    sa: IkeSa,
    due: Option<(Instant, Why)>,
    asker: Option<Asker>,
}

/// An SA on its way through a change; [`Table::put`] brings it back.
pub(crate) struct Taken {
    asker: Option<Asker>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, spi: IkeSpi) -> bool {
        self.entries.contains_key(&spi)
    }

    pub(crate) fn get(&self, spi: IkeSpi) -> Option<&IkeSa> {
        self.entries.get(&spi).map(|entry| &entry.sa)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IkeSpi, &IkeSa)> {
        self.entries.iter().map(|(&spi, entry)| (spi, &entry.sa))
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

    pub(crate) fn half_open_from(&self, source: IpAddr) -> usize {
        self.half_open.get(&source).copied().unwrap_or(0)
    }

    /// The SAs of a peer.
    pub(crate) fn of_peer(&self, peer: &Id) -> Vec<IkeSpi> {
        let first = (peer.clone(), IkeSpi::ZERO);
        let own = self.peers.range(first..).take_while(|(id, _)| id == peer);
        own.map(|&(_, spi)| spi).collect()
    }

    /// Entries of everything that helps to find an SA.
    pub(crate) fn index_entries(&self) -> usize {
        self.due.len() + self.askers.len() + self.half_open.len() + self.peers.len()
    }

    /// Whether there is an authenticated peer.
    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// The next SA to wake, and why.
    pub(crate) fn next_due(&self) -> Option<(Instant, Why, IkeSpi)> {
        self.due.first().copied()
    }

    pub(crate) fn insert(&mut self, spi: IkeSpi, sa: IkeSa, asker: Option<Asker>) {
        if let Some(asker) = asker {
            self.askers.insert((asker, spi));
        }
        self.put(spi, Some(sa), Taken { asker });
    }

    pub(crate) fn take(&mut self, spi: IkeSpi) -> Option<(IkeSa, Taken)> {
        let Entry { sa, due, asker } = self.entries.remove(&spi)?;
        if let Some((at, why)) = due {
            self.due.remove(&(at, why, spi));
        }
        if let IkeSa::HalfOpen(_) = sa
            && let Some((_, source)) = asker
        {
            self.count_half_open(source, false);
        }
        if let Some(peer) = sa.peer() {
            self.peers.remove(&(peer.clone(), spi));
        }
        Some((sa, Taken { asker }))
    }

    /// Brings an SA back after a change, or lets go of one that is gone.
    pub(crate) fn put(&mut self, spi: IkeSpi, sa: Option<IkeSa>, Taken { asker }: Taken) {
        let Some(sa) = sa else {
            if let Some(asker) = asker {
                self.askers.remove(&(asker, spi));
            }
            return;
        };
        let due = sa.due();
        if let Some((at, why)) = due {
            self.due.insert((at, why, spi));
        }
        if let IkeSa::HalfOpen(_) = sa
            && let Some((_, source)) = asker
        {
            self.count_half_open(source, true);
        }
        if let Some(peer) = sa.peer() {
            self.peers.insert((peer.clone(), spi));
        }
        self.entries.insert(spi, Entry { sa, due, asker });
    }

    fn count_half_open(&mut self, source: IpAddr, more: bool) {
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
