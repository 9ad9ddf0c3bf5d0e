//! Who is here: the established SAs of each pair of identities, ours and a peer's.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use crate::identity::Id;
use crate::inner::Addresses;
use crate::wire::{IkeSpi, Payloads};

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

/// What can be seen of an SA without the SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Here {
    /// Where the peer is.
    pub(crate) address: SocketAddr,
    /// What the peer wanted of it.
    pub(crate) wish: Wish,
}

/// What a peer that begins an SA wants of it. Who wants the same again, from the
/// same address, and knows the inner addresses, is the machine that has the SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    /// Stands for the traffic that it asked for.
    pub(crate) traffic: u64,
    /// The inner addresses: those that it asks for, then those that it was given.
    pub(crate) inner: Addresses,
}

impl Wish {
    /// Of a request that asks for these inner addresses.
    pub(crate) fn of(payloads: &Payloads<'_>, inner: Addresses) -> Self {
        let mut hasher = DefaultHasher::new();
        for side in [payloads.ts_i(), payloads.ts_r()].into_iter().flatten() {
            side.selectors().for_each(|selector| selector.hash(&mut hasher));
        }
        Self { traffic: hasher.finish(), inner }
    }
}

/// Where an SA is filed, and what is to be seen there.
pub(crate) type Place = (PairHash, Here);

/// The established SAs by pair. The table keeps it; every SA may look at it.
#[derive(Default)]
pub(crate) struct Peers {
    sas: BTreeMap<(PairHash, IkeSpi), Here>,
}

impl Peers {
    /// The SAs of a pair, and maybe some of another pair with the same hash.
    pub(crate) fn sas_of(&self, pair: Pair<'_>) -> impl Iterator<Item = (IkeSpi, Here)> {
        let hash = PairHash::of(pair);
        let alike = self.sas.range((hash, IkeSpi::ZERO)..);
        alike
            .take_while(move |((other, _), _)| *other == hash)
            .map(|(&(_, spi), &here)| (spi, here))
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
        if let Some((pair, here)) = new {
            self.sas.insert((pair, spi), here);
        }
    }
}
