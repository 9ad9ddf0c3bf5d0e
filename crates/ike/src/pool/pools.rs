//! All pools of an endpoint.

use std::sync::Arc;

use super::{Applicant, Lease, LeaseChange, Pool, PoolConfig};
use crate::event::SaId;
use crate::inner::{Addresses, Assignment, Network};

#[derive(Default)]
pub(crate) struct Pools(Vec<Pool>);

impl Pools {
    pub(crate) fn new(configs: &[PoolConfig]) -> Self {
        Self(configs.iter().map(Pool::new).collect())
    }

    /// Goes on with other pools. What is leased stays so, as far as it fits.
    pub(crate) fn reconfigure(&mut self, configs: &[PoolConfig]) {
        let before = std::mem::take(&mut self.0);
        for config in configs {
            let mut pool = Pool::new(config);
            if let Some(former) = before.iter().find(|pool| *pool.name() == config.name) {
                pool.take_over(former);
            }
            self.0.push(pool);
        }
    }

    pub(crate) fn restore(&mut self, lease: &Lease) {
        if let Some(pool) = self.0.iter_mut().find(|pool| *pool.name() == lease.pool) {
            pool.restore(lease);
        }
    }

    /// Addresses from the pools with these names, each family from the first
    /// that has one. `None` if there is none at all.
    pub(crate) fn assign(
        &mut self,
        names: &[Arc<str>],
        applicant: Applicant<'_>,
        changes: &mut Vec<LeaseChange>,
    ) -> Option<Assignment> {
        let mut all = Assignment::default();
        for pool in self.named(names) {
            let wanted = missing(applicant.wanted, all.addresses);
            let given = pool.assign(Applicant { wanted, ..applicant }, changes);
            if !given.is_empty() {
                given.iter().for_each(|address| all.addresses.set(address));
                join(&mut all.network, pool.network());
            }
        }
        (!all.addresses.is_empty()).then_some(all)
    }

    pub(crate) fn release(
        &mut self,
        names: &[Arc<str>],
        holder: SaId,
        addresses: Addresses,
        changes: &mut Vec<LeaseChange>,
    ) {
        for pool in self.named(names) {
            pool.release(holder, addresses, changes);
        }
    }

    pub(crate) fn pass_on(
        &mut self,
        names: &[Arc<str>],
        (from, to): (SaId, SaId),
        addresses: Addresses,
    ) {
        for pool in self.named(names) {
            pool.pass_on(from, to, addresses);
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.0.iter().map(Pool::held).sum()
    }

    fn named(&mut self, names: &[Arc<str>]) -> impl Iterator<Item = &mut Pool> {
        self.0.iter_mut().filter(move |pool| names.contains(pool.name()))
    }
}

fn missing(wanted: Addresses, given: Addresses) -> Addresses {
    Addresses {
        v4: wanted.v4.filter(|_| given.v4.is_none()),
        v6: wanted.v6.filter(|_| given.v6.is_none()),
    }
}

fn join(all: &mut Network, more: &Network) {
    fn add<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
        for item in more {
            if !all.contains(item) && all.len() < Network::MAX_ITEMS {
                all.push(item.clone());
            }
        }
    }
    add(&mut all.dns, &more.dns);
    add(&mut all.domains, &more.domains);
    add(&mut all.subnets, &more.subnets);
}
