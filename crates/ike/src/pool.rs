//! Pools of inner addresses, and who holds which (RFC 7296 section 2.19).
//!
//! A lease ties an address to an identity and outlives the SA that holds it:
//! whoever comes back gets the same address, as long as the pool is not full.
//! Then the address that was idle for longest changes hands. What comes of a
//! request depends on nothing but the requests before it.

mod pools;
mod shelf;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::event::SaId;
use crate::identity::Id;
use crate::inner::{Addresses, Network};

pub(crate) use pools::Pools;
use shelf::{Entry, Shelf, Wish};

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// All addresses of both families.
    pub const EVERYTHING: [Self; 2] = [
        Self {
            first: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            last: IpAddr::V4(Ipv4Addr::from_bits(u32::MAX)),
        },
        Self {
            first: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        },
    ];

    /// The range; `None` if it is empty or of two families.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let is_good = first.is_ipv4() == last.is_ipv4() && first <= last;
        is_good.then_some(Self { first, last })
    }

    /// The first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The last one.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }
}

/// What a pool is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// Its name, unique in a configuration.
    pub name: Arc<str>,
    /// Its addresses; no two ranges overlap.
    pub ranges: Vec<AddressRange>,
    /// Addresses that only one identity gets, inside or outside of the ranges.
    pub fixed: Vec<(Id, IpAddr)>,
    /// What its clients are told besides.
    pub network: Network,
}

/// Which SAs of an identity yield their addresses to a new one of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Yields<'a> {
    /// None: they live on.
    None,
    /// All: the new one replaces them.
    All,
    /// This one: it was resumed.
    One(SaId),
    /// These, if the very address is asked for: their machine sets up another
    /// beside them, which is to take their place.
    Wished(&'a [SaId]),
}

/// Who wants addresses.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// The authenticated identity.
    pub owner: &'a Id,
    /// The SA that will hold them.
    pub holder: SaId,
    /// The families that it asks for, and which addresses it would like.
    pub wanted: Addresses,
    /// Which other SAs of the identity give theirs up.
    pub yields: Yields<'a>,
}

/// A lease as it is kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The pool.
    pub pool: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub owner: Id,
    /// Greater than that of every lease which was given or given back before.
    pub order: u64,
}

/// A change of the leases, to be kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseChange {
    /// This lease is new, or has taken the place of another on its address.
    Put(Lease),
    /// The address is nobody's any more.
    Drop {
        /// The pool.
        pool: Arc<str>,
        /// The address.
        address: IpAddr,
    },
}

/// A pool and its leases.
pub struct Pool {
    name: Arc<str>,
    network: Network,
    v4: Shelf,
    v6: Shelf,
    /// [`Lease::order`] of the last change.
    order: u64,
}

impl Pool {
    /// A pool without leases.
    #[must_use]
    pub fn new(config: &PoolConfig) -> Self {
        let of = |is_v4| Shelf::new(config, is_v4);
        let (name, network) = (Arc::clone(&config.name), config.network.clone());
        Self { name, network, v4: of(true), v6: of(false), order: 0 }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its clients are told besides their addresses.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Takes up a lease of an earlier life; nobody holds it. One that does not
    /// fit the configuration any more is not taken.
    pub fn restore(&mut self, lease: &Lease) {
        self.order = self.order.max(lease.order);
        self.shelf(lease.address).restore(lease);
    }

    /// Takes over the leases of this pool as it was configured before, with
    /// who holds them. Those that do not fit any more are not taken.
    pub(crate) fn take_over(&mut self, former: &Self) {
        self.order = self.order.max(former.order);
        self.v4.take_over(&former.v4);
        self.v6.take_over(&former.v6);
    }

    /// An address of each family that is wanted and that the pool has; none
    /// when it is exhausted.
    pub fn assign(
        &mut self,
        applicant: Applicant<'_>,
        changes: &mut Vec<LeaseChange>,
    ) -> Addresses {
        let mut given = Addresses::NONE;
        for address in applicant.wanted.iter() {
            let entry = self.entry();
            let wish = Wish { applicant, address };
            let address = self.shelf(address).assign(wish, &entry, changes);
            address.into_iter().for_each(|address| given.set(address));
        }
        given
    }

    /// The SA gives up what it holds; the leases stay. Addresses that another
    /// SA has taken over are not its any more.
    pub fn release(&mut self, holder: SaId, addresses: Addresses, changes: &mut Vec<LeaseChange>) {
        for address in addresses.iter() {
            let entry = self.entry();
            self.shelf(address).release(holder, address, &entry, changes);
        }
    }

    /// The SA has a new name, by which it holds what it held before.
    pub fn pass_on(&mut self, from: SaId, to: SaId, addresses: Addresses) {
        for address in addresses.iter() {
            self.shelf(address).pass_on(from, to, address);
        }
    }

    /// How many addresses are held by SAs.
    #[must_use]
    pub fn held(&self) -> usize {
        self.v4.held() + self.v6.held()
    }

    /// How many leases there are, held or idle.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn entry(&mut self) -> Entry {
        self.order += 1;
        Entry { pool: Arc::clone(&self.name), order: self.order }
    }

    const fn shelf(&mut self, address: IpAddr) -> &mut Shelf {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

#[cfg(test)]
mod tests;
