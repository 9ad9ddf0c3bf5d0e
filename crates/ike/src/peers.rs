//! Who is here: the established SAs of each peer.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::identity::Id;
use crate::wire::IkeSpi;

/// Stands for an identity, so that finding the SAs of one does not compare those
/// of many. Two may have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerHash(u64);

impl PeerHash {
    pub(crate) fn of(peer: &Id) -> Self {
        let mut hasher = DefaultHasher::new();
        peer.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The established SAs by peer. The table keeps it; every SA may look at it.
#[derive(Default)]
pub(crate) struct Peers {
    sas: BTreeSet<(PeerHash, IkeSpi)>,
}

impl Peers {
    /// The SAs of a peer, and maybe some of another with the same hash.
    pub(crate) fn sas_of(&self, peer: &Id) -> impl Iterator<Item = IkeSpi> {
        let hash = PeerHash::of(peer);
        let alike = self.sas.range((hash, IkeSpi::ZERO)..);
        alike.take_while(move |(other, _)| *other == hash).map(|&(_, spi)| spi)
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.sas.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.sas.len()
    }

    /// Files an SA under `new` instead of `old`.
    pub(crate) fn move_to(&mut self, spi: IkeSpi, old: Option<PeerHash>, new: Option<PeerHash>) {
        if let Some(peer) = old {
            self.sas.remove(&(peer, spi));
        }
        if let Some(peer) = new {
            self.sas.insert((peer, spi));
        }
    }
}
