//! The table of children that commands change and packet threads read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use esp::packet::Flow;
use esp::plane::{Fault, Hold};
use esp::policy::Policies;
use esp::spec::{ChildId, GroupId};

use super::child::Child;

#[derive(Default)]
pub(super) struct Tables(RwLock<Lookup>);

/// What a batch of packets is looked up in.
#[derive(Default)]
pub(super) struct Lookup {
    /// By inbound SPI.
    pub(super) inbound: BTreeMap<u32, Arc<Child>>,
    pub(super) policies: Policies<Arc<Child>>,
}

impl Tables {
    /// For one batch. Do not hold it across a system call: commands wait for it.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Lookup> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lookup> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inbound first: once a packet can be sent its answer can be opened.
    /// Returns the packets that waited for the child.
    pub(super) fn install(&self, child: &Arc<Child>) -> Result<Vec<Box<[u8]>>, Fault> {
        let spi = child.inbound.spi().get();
        let mut lookup = self.write();
        match lookup.inbound.entry(spi) {
            Entry::Occupied(_) => return Err(Fault::SpiInUse),
            Entry::Vacant(place) => place.insert(Arc::clone(child)),
        };
        let selectors = Arc::clone(child.selectors());
        let installed =
            lookup.policies.install(child.id(), child.group(), selectors, Arc::clone(child));
        if installed.is_err() {
            lookup.inbound.remove(&spi);
        } else if child.standby() {
            lookup.policies.stand_by(child.id())?;
        }
        installed
    }

    pub(super) fn prefer(&self, id: ChildId) -> Result<(), Fault> {
        self.write().policies.prefer(id)
    }

    pub(super) fn remove(&self, id: ChildId) -> Result<(), Fault> {
        let child = {
            let mut lookup = self.write();
            let child = lookup.policies.remove(id)?;
            lookup.inbound.remove(&child.inbound.spi().get());
            child
        };
        // Its keys are wiped outside the lock.
        drop(child);
        Ok(())
    }

    pub(super) fn hold(&self, hold: Hold) -> Result<Option<Flow>, Fault> {
        self.write().policies.hold(hold)
    }

    pub(super) fn discard(&self, group: GroupId) -> Result<u64, Fault> {
        self.write().policies.discard(group)
    }

    pub(super) fn release(&self, group: GroupId) -> Result<u64, Fault> {
        self.write().policies.release(group)
    }
}
