//! Who is here: the established SAs of each pair of identities, ours and a peer's.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use crate::identity::Id;
use crate::wire::IkeSpi;

/// Who has an SA with each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) ours: &'a Id,
    pub(crate) peer: &'a Id,
}

/// Stands for a pair, so that finding the SAs of one does not compare those of
/// many. Two may have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PairHash(u64);

impl PairHash {
    pub(crate) fn of(pair: Pair<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        pair.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Where an SA is filed: its pair, and the address of the peer.
pub(crate) type Place = (PairHash, SocketAddr);

/// The established SAs by pair. The table keeps it; every SA may look at it.
#[derive(Default)]
pub(crate) struct Peers {
    sas: BTreeMap<(PairHash, IkeSpi), SocketAddr>,
}

impl Peers {
    /// The SAs of a pair with the peer's addresses, and maybe some of another
    /// pair with the same hash.
    pub(crate) fn sas_of(&self, pair: Pair<'_>) -> impl Iterator<Item = (IkeSpi, SocketAddr)> {
        let hash = PairHash::of(pair);
        let alike = self.sas.range((hash, IkeSpi::ZERO)..);
        alike
            .take_while(move |((other, _), _)| *other == hash)
            .map(|(&(_, spi), &address)| (spi, address))
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.sas.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.sas.len()
    }

    /// Files an SA under `new` instead of `old`.
    pub(crate) fn move_to(&mut self, spi: IkeSpi, old: Option<Place>, new: Option<Place>) {
        if let Some((pair, _)) = old {
            self.sas.remove(&(pair, spi));
        }
        if let Some((pair, address)) = new {
            self.sas.insert((pair, spi), address);
        }
    }
}
