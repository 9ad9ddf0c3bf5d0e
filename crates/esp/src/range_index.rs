//! From an address to the groups whose remote selectors cover it, most
//! specific prefix first.
//!
//! One map for each prefix length in use. A range that is not a prefix is cut
//! into prefixes, so that no list of odd ranges is ever scanned.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::spec::{Prefix, Selector};

/// A group and how often its selectors name this prefix.
struct Entry {
    slot: u32,
    rank: u8,
    references: u32,
}

/// The maps of one address family, longest prefix first.
#[derive(Default)]
struct Family(Vec<(u8, BTreeMap<u128, Vec<Entry>>)>);

/// Groups by the prefixes of their remote selectors.
#[derive(Default)]
pub(crate) struct RangeIndex {
    v4: Family,
    v6: Family,
}

impl RangeIndex {
    /// Adds the prefixes of `selector` for the group in `slot`.
    pub(crate) fn insert(&mut self, selector: &Selector, slot: u32) {
        let rank = rank(selector);
        for prefix in selector.prefixes() {
            self.family_mut(prefix.address).insert(prefix, slot, rank);
        }
    }

    /// Takes back one [`RangeIndex::insert`] of the same selector and slot.
    pub(crate) fn remove(&mut self, selector: &Selector, slot: u32) {
        let rank = rank(selector);
        for prefix in selector.prefixes() {
            self.family_mut(prefix.address).remove(prefix, slot, rank);
        }
    }

    /// Puts a slot before or behind all others of its prefixes that are as narrow.
    pub(crate) fn reorder(&mut self, selector: &Selector, slot: u32, is_first: bool) {
        let rank = rank(selector);
        for prefix in selector.prefixes() {
            self.family_mut(prefix.address).reorder(prefix, (slot, rank), is_first);
        }
    }

    /// The slots that cover an address: longest prefix first, within a prefix
    /// those with protocol or ports first, then the newest.
    pub(crate) fn covering(&self, address: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let (bits, width) = bits_of(address);
        family
            .0
            .iter()
            .filter_map(move |(len, map)| map.get(&masked(bits, width, *len)))
            .flatten()
            .map(|entry| entry.slot)
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Family {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

impl Family {
    fn insert(&mut self, prefix: Prefix, slot: u32, rank: u8) {
        let bucket = self.map_of(prefix.len).entry(bits_of(prefix.address).0).or_default();
        if let Some(entry) = bucket.iter_mut().find(|e| e.slot == slot && e.rank == rank) {
            entry.references += 1;
            return;
        }
        let at = bucket.partition_point(|entry| entry.rank > rank);
        bucket.insert(at, Entry { slot, rank, references: 1 });
    }

    fn reorder(&mut self, prefix: Prefix, (slot, rank): (u32, u8), is_first: bool) {
        let Some(bucket) = self.map_of(prefix.len).get_mut(&bits_of(prefix.address).0) else {
            return;
        };
        let at = bucket.iter().position(|entry| entry.slot == slot && entry.rank == rank);
        if let Some(entry) = at.map(|at| bucket.remove(at)) {
            let is_before = |other: &Entry| other.rank > rank || (!is_first && other.rank == rank);
            bucket.insert(bucket.partition_point(is_before), entry);
        }
    }

    fn map_of(&mut self, len: u8) -> &mut BTreeMap<u128, Vec<Entry>> {
        let at = self.0.partition_point(|(other, _)| *other > len);
        if self.0.get(at).is_none_or(|(other, _)| *other != len) {
            self.0.insert(at, (len, BTreeMap::new()));
        }
        // The index is in bounds: the line above made it so.
        #[allow(clippy::indexing_slicing)]
        &mut self.0[at].1
    }

    fn remove(&mut self, prefix: Prefix, slot: u32, rank: u8) {
        let Some(at) = self.0.iter().position(|(len, _)| *len == prefix.len) else { return };
        let Some((_, map)) = self.0.get_mut(at) else { return };
        let key = bits_of(prefix.address).0;
        if let Some(bucket) = map.get_mut(&key) {
            release(bucket, slot, rank);
            if bucket.is_empty() {
                map.remove(&key);
            }
        }
        if map.is_empty() {
            self.0.remove(at);
        }
    }
}

fn release(bucket: &mut Vec<Entry>, slot: u32, rank: u8) {
    let Some(at) = bucket.iter().position(|e| e.slot == slot && e.rank == rank) else { return };
    if let Some(entry) = bucket.get_mut(at) {
        entry.references -= 1;
        if entry.references == 0 {
            bucket.remove(at);
        }
    }
}

/// How narrow a selector is besides its addresses.
fn rank(selector: &Selector) -> u8 {
    u8::from(selector.protocol() != 0) + u8::from(selector.ports() != (0, u16::MAX))
}

fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
        IpAddr::V6(a) => (u128::from(a), 128),
    }
}

fn masked(bits: u128, width: u32, len: u8) -> u128 {
    let host_bits = width - u32::from(len).min(width);
    bits & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}
