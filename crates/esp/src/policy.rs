//! Which child carries an outgoing packet.
//!
//! The groups of a plane, each with its children and perhaps a hold. The most
//! specific remote prefix decides; within a group the newest child whose
//! selectors match wins. A group that holds while no child serves it claims
//! its packets, so that they neither leave through a less specific tunnel nor
//! in clear text.
//!
//! The type of a child is the plane's affair (`C`, cheap to clone).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::packet::Flow;
use crate::plane::{Fault, Hold, PlaneEvent};
use crate::range_index::RangeIndex;
use crate::spec::{ChildId, GroupId, Selector};
use crate::waiting::{Queued, Waiting};

/// The traffic selectors of a child or a hold: any local with any remote one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selectors {
    local: Side,
    remote: Side,
}

impl Selectors {
    /// Our side and the peer's side.
    #[must_use]
    pub fn new(local: Vec<Selector>, remote: Vec<Selector>) -> Self {
        Self { local: Side::new(local), remote: Side::new(remote) }
    }

    /// Whether an outgoing packet is selected.
    #[must_use]
    pub fn select(&self, flow: &Flow) -> bool {
        self.remote.contains(flow.destination, flow.protocol, flow.destination_port())
            && self.local.contains(flow.source, flow.protocol, flow.source_port())
    }

    /// Whether an incoming packet is one that its child may carry (RFC 4301 section 5.2).
    #[must_use]
    pub fn accept(&self, flow: &Flow) -> bool {
        self.remote.contains(flow.source, flow.protocol, flow.source_port())
            && self.local.contains(flow.destination, flow.protocol, flow.destination_port())
    }
}

/// Selectors by their first address, each with the last address of all up to it.
/// So those that do not overlap are found by halving, also where there are
/// hundreds.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Side(Box<[(Selector, IpAddr)]>);

impl Side {
    fn new(mut selectors: Vec<Selector>) -> Self {
        selectors.sort_unstable();
        let mut reach = None;
        let with_reach = selectors.into_iter().map(|selector| {
            let last = reach.map_or(selector.end(), |reach| selector.end().max(reach));
            reach = Some(last);
            (selector, last)
        });
        Self(with_reach.collect())
    }

    fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let begun = self.0.partition_point(|(selector, _)| selector.start() <= address);
        let begun = self.0.get(..begun).unwrap_or_default().iter().rev();
        begun
            .take_while(|(_, reach)| *reach >= address)
            .any(|(selector, _)| selector.contains(address, protocol, port))
    }

    fn iter(&self) -> impl Iterator<Item = &Selector> {
        self.0.iter().map(|(selector, _)| selector)
    }
}

/// What is to become of an outgoing packet.
pub enum Decision<'a, C> {
    /// This child carries it.
    Child(&'a C),
    /// It waits for a child: [`Held::wait`].
    Held(Held<'a>),
    /// It must be dropped.
    Unmatched,
}

/// A group without a child that holds its packets.
pub struct Held<'a> {
    group: GroupId,
    flow: Flow,
    waiting: &'a Mutex<Waiting>,
}

impl Held<'_> {
    /// The group.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// Keeps the packet that was looked up for the next child of the group.
    #[must_use]
    pub fn wait(&self, packet: &[u8]) -> Queued {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(self.flow, packet)
    }

    /// What asks for a child, if [`Queued::acquire`] says that one must be asked for.
    #[must_use]
    pub const fn acquire(&self) -> PlaneEvent {
        PlaneEvent::Acquire(self.group, self.flow)
    }
}

/// The policies of a plane.
pub struct Policies<C> {
    slots: Vec<Option<Group<C>>>,
    free: Vec<u32>,
    slot_of: BTreeMap<GroupId, u32>,
    group_of: BTreeMap<ChildId, GroupId>,
    index: RangeIndex,
}

struct Group<C> {
    id: GroupId,
    /// Whether it gives way to other groups with the same selectors.
    is_behind: bool,
    /// Oldest first.
    children: Vec<Member<C>>,
    hold: Option<Selectors>,
    waiting: Mutex<Waiting>,
}

struct Member<C> {
    id: ChildId,
    selectors: std::sync::Arc<Selectors>,
    child: C,
}

impl<C> Default for Policies<C> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: BTreeMap::new(),
            group_of: BTreeMap::new(),
            index: RangeIndex::default(),
        }
    }
}

impl<C> Policies<C> {
    /// The child or hold that an outgoing packet belongs to.
    #[must_use]
    pub fn lookup(&self, flow: &Flow) -> Decision<'_, C> {
        self.index
            .covering(flow.destination)
            .filter_map(|slot| self.slots.get(slot as usize)?.as_ref())
            .find_map(|group| group.claim(flow))
            .unwrap_or(Decision::Unmatched)
    }

    /// Adds a child to its group, as the newest; the group may be new.
    /// Returns the packets that waited, to be looked up again.
    ///
    /// # Errors
    /// [`Fault::SpiInUse`] when the id is installed already.
    pub fn install(
        &mut self,
        id: ChildId,
        group: GroupId,
        selectors: std::sync::Arc<Selectors>,
        child: C,
    ) -> Result<Vec<Box<[u8]>>, Fault> {
        if self.group_of.contains_key(&id) {
            return Err(Fault::SpiInUse);
        }
        let slot = self.slot_or_new(group)?;
        let Some(Some(entry)) = self.slots.get_mut(slot as usize) else {
            return Err(Fault::Unknown);
        };
        for selector in selectors.remote.iter() {
            self.index.insert(selector, slot);
        }
        self.group_of.insert(id, group);
        entry.children.push(Member { id, selectors, child });
        let waiting = entry.waiting_mut().take().collect();
        self.put_behind(slot, false);
        Ok(waiting)
    }

    /// Makes a child the newest of its group, and of the groups with the same
    /// selectors if it had to stand by for those.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when it is not installed.
    pub fn prefer(&mut self, id: ChildId) -> Result<(), Fault> {
        let slot = self.reorder(id, |member, others| others.push(member))?;
        self.put_behind(slot, false);
        Ok(())
    }

    /// Lets a child give way to all others of its group, or if there are none to
    /// other groups with the same selectors, until [`Self::prefer`] or until it
    /// is the last.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when it is not installed.
    pub fn stand_by(&mut self, id: ChildId) -> Result<(), Fault> {
        let slot = self.reorder(id, |member, others| others.insert(0, member))?;
        let group = self.slots.get(slot as usize).and_then(Option::as_ref);
        if group.is_some_and(|group| group.children.len() == 1 && group.hold.is_none()) {
            self.put_behind(slot, true);
        }
        Ok(())
    }

    /// Whether a group gives way to others with the same selectors.
    fn put_behind(&mut self, slot: u32, is_behind: bool) {
        let Some(Some(group)) = self.slots.get_mut(slot as usize) else { return };
        if group.is_behind == is_behind {
            return;
        }
        group.is_behind = is_behind;
        let children = group.children.iter().map(|member| &*member.selectors);
        for selector in children.chain(&group.hold).flat_map(|all| all.remote.iter()) {
            self.index.reorder(selector, slot, !is_behind);
        }
    }

    fn reorder(
        &mut self,
        id: ChildId,
        put: impl FnOnce(Member<C>, &mut Vec<Member<C>>),
    ) -> Result<u32, Fault> {
        let group = *self.group_of.get(&id).ok_or(Fault::Unknown)?;
        let (slot, entry) = group_mut(&self.slot_of, &mut self.slots, group)?;
        let at = entry.children.iter().position(|m| m.id == id).ok_or(Fault::Unknown)?;
        let member = entry.children.remove(at);
        put(member, &mut entry.children);
        Ok(slot)
    }

    /// Takes a child out. A group that loses its last child and was never told
    /// to hold goes on holding what that child selected, without asking for
    /// another.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when it is not installed.
    pub fn remove(&mut self, id: ChildId) -> Result<C, Fault> {
        let group = self.group_of.remove(&id).ok_or(Fault::Unknown)?;
        let (slot, entry) = group_mut(&self.slot_of, &mut self.slots, group)?;
        let at = entry.children.iter().position(|m| m.id == id).ok_or(Fault::Unknown)?;
        let member = entry.children.remove(at);
        if entry.children.is_empty() && entry.hold.is_none() {
            // Its index entries stay, as those of the hold; but a child of
            // another group with the same selectors serves.
            entry.hold = Some(Selectors::clone(&member.selectors));
            self.put_behind(slot, true);
        } else {
            for selector in member.selectors.remote.iter() {
                self.index.remove(selector, slot);
            }
        }
        Ok(member.child)
    }

    /// Sets what a group holds; the group may be new. Packets that wait go on
    /// waiting. If one does and a child must be asked for now, this is its flow.
    ///
    /// # Errors
    /// [`Fault::Full`] when there are too many groups.
    pub fn hold(&mut self, hold: Hold) -> Result<Option<Flow>, Fault> {
        let Hold { group, local_ts, remote_ts, acquire } = hold;
        let selectors = Selectors::new(local_ts, remote_ts);
        let slot = self.slot_or_new(group)?;
        let Some(Some(entry)) = self.slots.get_mut(slot as usize) else {
            return Err(Fault::Unknown);
        };
        for selector in selectors.remote.iter() {
            self.index.insert(selector, slot);
        }
        if let Some(former) = entry.hold.replace(selectors) {
            for selector in former.remote.iter() {
                self.index.remove(selector, slot);
            }
        }
        Ok(entry.waiting_mut().arm(acquire))
    }

    /// Drops the packets that wait for a group, and asks for a child at the next
    /// one if it was to ask. Returns how many there were.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when there is no such group.
    pub fn discard(&mut self, group: GroupId) -> Result<u64, Fault> {
        let (_, entry) = group_mut(&self.slot_of, &mut self.slots, group)?;
        Ok(entry.waiting_mut().take().len() as u64)
    }

    /// Forgets a group. Returns how many packets waited in vain.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when there is no such group, or it still has children.
    pub fn release(&mut self, group: GroupId) -> Result<u64, Fault> {
        let (slot, entry) = group_mut(&self.slot_of, &mut self.slots, group)?;
        if !entry.children.is_empty() {
            return Err(Fault::Unknown);
        }
        let waited = entry.waiting_mut().take().len() as u64;
        for selector in entry.hold.take().iter().flat_map(|hold| hold.remote.iter()) {
            self.index.remove(selector, slot);
        }
        self.slot_of.remove(&group);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = None;
        }
        self.free.push(slot);
        Ok(waited)
    }

    fn slot_or_new(&mut self, group: GroupId) -> Result<u32, Fault> {
        if let Some(slot) = self.slot_of.get(&group) {
            return Ok(*slot);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).map_err(|_| Fault::Full)?
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Group::new(group));
        }
        self.slot_of.insert(group, slot);
        Ok(slot)
    }
}

fn group_mut<'a, C>(
    slot_of: &BTreeMap<GroupId, u32>,
    slots: &'a mut [Option<Group<C>>],
    group: GroupId,
) -> Result<(u32, &'a mut Group<C>), Fault> {
    let slot = *slot_of.get(&group).ok_or(Fault::Unknown)?;
    let entry = slots.get_mut(slot as usize).and_then(Option::as_mut).ok_or(Fault::Unknown)?;
    Ok((slot, entry))
}

impl<C> Group<C> {
    fn new(id: GroupId) -> Self {
        Self { id, is_behind: false, children: Vec::new(), hold: None, waiting: Mutex::default() }
    }

    /// What the group does with a packet, if it is its affair.
    fn claim(&self, flow: &Flow) -> Option<Decision<'_, C>> {
        let newest = self.children.iter().rev().find(|member| member.selectors.select(flow));
        if let Some(member) = newest {
            return Some(Decision::Child(&member.child));
        }
        let is_held = self.children.is_empty()
            && self.hold.as_ref().is_some_and(|selectors| selectors.select(flow));
        is_held.then_some(Decision::Held(Held {
            group: self.id,
            flow: *flow,
            waiting: &self.waiting,
        }))
    }

    fn waiting_mut(&mut self) -> &mut Waiting {
        self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
