//! The addresses of one family in a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{AddressRange, Applicant, Lease, LeaseChange, PoolConfig, Yields};
use crate::event::SaId;
use crate::identity::Id;
use crate::inner::is_host;

/// A pool remembers no more leases of a family than this, however many
/// addresses it has.
pub(super) const MAX_LEASES: usize = 1 << 20;

/// Somebody who wants an address; an unspecified one stands for any.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) applicant: Applicant<'a>,
    pub(super) address: IpAddr,
}

/// How a change is entered.
pub(super) struct Entry {
    pub(super) pool: Arc<str>,
    pub(super) order: u64,
}

impl Entry {
    fn put(&self, address: IpAddr, owner: Id) -> LeaseChange {
        let Self { ref pool, order } = *self;
        LeaseChange::Put(Lease { pool: Arc::clone(pool), address, owner, order })
    }
}

pub(super) struct Shelf {
    ranges: Vec<AddressRange>,
    fixed: BTreeMap<IpAddr, Id>,
    leases: BTreeMap<IpAddr, Held>,
    owned: BTreeSet<(Id, IpAddr)>,
    /// Leases that nobody holds and another may get, those first that became idle first.
    idle: BTreeSet<(u64, IpAddr)>,
    /// Nobody was given an address from here on, unless by wish.
    untouched: Option<IpAddr>,
    /// Addresses before that which are nobody's again.
    returned: BTreeSet<IpAddr>,
}

/// A lease and who holds it.
#[derive(Clone)]
struct Held {
    owner: Id,
    holder: Option<SaId>,
    order: u64,
}

impl Shelf {
    pub(super) fn new(config: &PoolConfig, is_v4: bool) -> Self {
        let of = |range: &&AddressRange| range.first().is_ipv4() == is_v4;
        let mut ranges: Vec<_> = config.ranges.iter().filter(of).copied().collect();
        ranges.sort_by_key(AddressRange::first);
        let fixed = config.fixed.iter().filter(|(_, address)| address.is_ipv4() == is_v4);
        Self {
            untouched: ranges.first().map(AddressRange::first),
            ranges,
            fixed: fixed.map(|(id, address)| (*address, id.clone())).collect(),
            leases: BTreeMap::new(),
            owned: BTreeSet::new(),
            idle: BTreeSet::new(),
            returned: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn held(&self) -> usize {
        self.leases.values().filter(|lease| lease.holder.is_some()).count()
    }

    pub(super) fn restore(&mut self, lease: &Lease) {
        let Lease { address, ref owner, order, .. } = *lease;
        self.put_if_it_fits(address, Held { owner: owner.clone(), holder: None, order });
    }

    pub(super) fn take_over(&mut self, former: &Self) {
        for (&address, lease) in &former.leases {
            self.put_if_it_fits(address, lease.clone());
        }
    }

    fn put_if_it_fits(&mut self, address: IpAddr, lease: Held) {
        let fits = match self.fixed.get(&address) {
            Some(only) => *only == lease.owner,
            None => self.in_ranges(address),
        };
        if fits && !self.leases.contains_key(&address) && self.len() < MAX_LEASES {
            self.put(address, lease);
        }
    }

    /// The address that is the applicant's from now on.
    pub(super) fn assign(
        &mut self,
        wish: Wish<'_>,
        entry: &Entry,
        changes: &mut Vec<LeaseChange>,
    ) -> Option<IpAddr> {
        let Applicant { owner, holder, .. } = wish.applicant;
        let address = self.choose(wish)?;
        self.drop_others(owner, address, &entry.pool, changes);
        let (holder, order) = (Some(holder), entry.order);
        self.put(address, Held { owner: owner.clone(), holder, order });
        changes.push(entry.put(address, owner.clone()));
        Some(address)
    }

    fn choose(&mut self, wish: Wish<'_>) -> Option<IpAddr> {
        let applicant = wish.applicant;
        let mine = self.fixed.iter().find(|(_, owner)| *owner == applicant.owner);
        if let Some((&address, _)) = mine {
            return self.is_free_for(wish, address).then_some(address);
        }
        self.wished(wish)
            .or_else(|| self.earlier(wish))
            .or_else(|| self.untouched())
            .or_else(|| self.longest_idle())
    }

    /// The address that was wished for, if it is the applicant's or nobody's.
    fn wished(&self, wish: Wish<'_>) -> Option<IpAddr> {
        let address = wish.address;
        let is_new = !self.leases.contains_key(&address);
        let fits = self.is_open(address)
            && self.is_free_for(wish, address)
            && (!is_new || self.len() < MAX_LEASES);
        fits.then_some(address)
    }

    /// An address that the applicant had before.
    fn earlier(&self, wish: Wish<'_>) -> Option<IpAddr> {
        let all = self.owned_by(wish.applicant.owner);
        all.into_iter().find(|&address| self.is_open(address) && self.is_free_for(wish, address))
    }

    /// The next address that nobody has a lease of.
    fn untouched(&mut self) -> Option<IpAddr> {
        if self.len() >= MAX_LEASES {
            return None;
        }
        if let Some(&address) = self.returned.first() {
            return Some(address);
        }
        while let Some(address) = self.untouched {
            self.untouched = self.after(address);
            if self.is_open(address) && !self.leases.contains_key(&address) {
                return Some(address);
            }
        }
        None
    }

    fn longest_idle(&self) -> Option<IpAddr> {
        self.idle.first().map(|&(_, address)| address)
    }

    pub(super) fn release(
        &mut self,
        holder: SaId,
        address: IpAddr,
        entry: &Entry,
        changes: &mut Vec<LeaseChange>,
    ) {
        let held = self.leases.get(&address).filter(|lease| lease.holder == Some(holder));
        let Some(owner) = held.map(|lease| lease.owner.clone()) else { return };
        self.put(address, Held { owner: owner.clone(), holder: None, order: entry.order });
        changes.push(entry.put(address, owner));
    }

    /// What one SA holds another holds from now on.
    pub(super) fn pass_on(&mut self, from: SaId, to: SaId, address: IpAddr) {
        let lease = self.leases.get_mut(&address);
        if let Some(lease) = lease.filter(|lease| lease.holder == Some(from)) {
            lease.holder = Some(to);
        }
    }

    /// Whether nobody holds the address whose SA does not yield to the
    /// applicant, and it is nobody else's.
    fn is_free_for(&self, wish: Wish<'_>, address: IpAddr) -> bool {
        let Some(lease) = self.leases.get(&address) else { return true };
        let applicant = wish.applicant;
        let yields = match (lease.holder, applicant.yields) {
            (None, _) | (Some(_), Yields::All) => true,
            (Some(holder), Yields::One(old)) => holder == old,
            (Some(holder), Yields::Wished(all)) => wish.address == address && all.contains(&holder),
            (Some(_), Yields::None) => false,
        };
        lease.owner == *applicant.owner && yields
    }

    /// Whether the address can be given to anybody.
    fn is_open(&self, address: IpAddr) -> bool {
        self.in_ranges(address) && !self.fixed.contains_key(&address) && is_host(address)
    }

    fn in_ranges(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    fn owned_by(&self, owner: &Id) -> Vec<IpAddr> {
        let first = (owner.clone(), self.lowest());
        let all = self.owned.range(first..);
        all.take_while(|(id, _)| id == owner).map(|&(_, address)| address).collect()
    }

    fn lowest(&self) -> IpAddr {
        let is_v4 = self.ranges.first().is_none_or(|range| range.first().is_ipv4());
        if is_v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }
    }

    /// Whoever gets an address keeps no idle one besides: an identity that
    /// wishes for another one each time must not use up the pool.
    fn drop_others(
        &mut self,
        owner: &Id,
        address: IpAddr,
        pool: &Arc<str>,
        changes: &mut Vec<LeaseChange>,
    ) {
        let is_idle = |other: &IpAddr| self.leases.get(other).is_some_and(|l| l.holder.is_none());
        let others: Vec<_> = self.owned_by(owner).into_iter().filter(is_idle).collect();
        for other in others.into_iter().filter(|other| *other != address) {
            self.take(other);
            if self.untouched.is_none_or(|untouched| other < untouched) && self.is_open(other) {
                self.returned.insert(other);
            }
            changes.push(LeaseChange::Drop { pool: Arc::clone(pool), address: other });
        }
    }

    fn put(&mut self, address: IpAddr, lease: Held) {
        self.take(address);
        self.returned.remove(&address);
        self.owned.insert((lease.owner.clone(), address));
        if lease.holder.is_none() && !self.fixed.contains_key(&address) {
            self.idle.insert((lease.order, address));
        }
        self.leases.insert(address, lease);
    }

    fn take(&mut self, address: IpAddr) {
        if let Some(lease) = self.leases.remove(&address) {
            self.idle.remove(&(lease.order, address));
            self.owned.remove(&(lease.owner, address));
        }
    }

    /// The next address of the ranges.
    fn after(&self, address: IpAddr) -> Option<IpAddr> {
        let range = self.ranges.iter().find(|range| range.contains(address))?;
        if address < range.last() {
            return successor(address);
        }
        self.ranges.iter().map(AddressRange::first).find(|first| *first > address)
    }
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}
