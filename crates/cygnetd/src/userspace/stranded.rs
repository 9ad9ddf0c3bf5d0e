//! Packets that could not leave: their way is gone, or none leads to the peer.
//! They are sealed already, and wait for their child to move.

use std::collections::{BTreeMap, VecDeque};

use esp::discard::Discard;
use esp::segments::Segments;
use esp::spec::{ChildId, Encapsulation, OuterPath};

use super::Shared;

/// As many packets and octets wait at the most; the oldest give way.
const PACKETS: usize = 256;
const OCTETS: usize = 512 * 1024;

/// One send that has failed.
struct Stranded {
    child: ChildId,
    octets: Box<[u8]>,
    segment: usize,
    count: usize,
    ecn: u8,
}

/// What waits, in the order in which it was sealed.
#[derive(Default)]
pub(super) struct Strand {
    sends: VecDeque<Stranded>,
    packets: usize,
    octets: usize,
}

impl Strand {
    /// Sends by `path`, behind what waits of the same child: a peer does not
    /// take packets that come much later than those sealed after them.
    pub(super) fn send(
        &mut self,
        shared: &Shared,
        (child, path): (ChildId, &OuterPath),
        segments: &Segments,
    ) {
        let (octets, segment, ecn) = (segments.octets(), segments.segment_size(), segments.ecn());
        let is_clear = self.sends.is_empty() || self.flush(shared, child, path);
        if is_clear && let Ok(lost) = shared.net.send_esp(path, octets, segment, ecn, &shared.stop)
        {
            return shared.discards.count_many(Discard::NotSent, lost as u64);
        }
        let count = segments.count();
        if let Encapsulation::Tcp(_) = path.encapsulation {
            // What a connection does not take is lost, so that nobody waits for it.
            return shared.discards.count_many(Discard::NotSent, count as u64);
        }
        self.packets += count;
        self.octets += octets.len();
        self.sends.push_back(Stranded { child, octets: octets.into(), segment, count, ecn });
        while self.packets > PACKETS || self.octets > OCTETS {
            let Some(oldest) = self.sends.pop_front() else { break };
            self.forget(shared, &oldest);
        }
    }

    /// A child may have another way now: what waits of it goes by that.
    pub(super) fn retry(&mut self, shared: &Shared) {
        if self.sends.is_empty() {
            return;
        }
        let ways: BTreeMap<_, _> = {
            let lookup = shared.tables.read();
            lookup.inbound.values().map(|child| (child.id(), child.path())).collect()
        };
        let (living, gone): (VecDeque<_>, VecDeque<_>) =
            self.sends.drain(..).partition(|send| ways.contains_key(&send.child));
        self.sends = living;
        gone.iter().for_each(|send| self.forget(shared, send));
        for (child, path) in ways {
            self.flush(shared, child, &path);
        }
    }

    /// Sends what waits of a child; whether nothing of it waits any more.
    fn flush(&mut self, shared: &Shared, child: ChildId, path: &OuterPath) -> bool {
        while let Some(at) = self.sends.iter().position(|send| send.child == child) {
            let Some(Stranded { octets, segment, count, ecn, .. }) = self.sends.get(at) else {
                break;
            };
            match shared.net.send_esp(path, octets, *segment, *ecn, &shared.stop) {
                Ok(lost) => shared.discards.count_many(Discard::NotSent, lost as u64),
                Err(_) => return false,
            }
            self.packets -= count;
            self.octets -= octets.len();
            self.sends.remove(at);
        }
        true
    }

    fn forget(&mut self, shared: &Shared, send: &Stranded) {
        self.packets -= send.count;
        self.octets -= send.octets.len();
        shared.discards.count_many(Discard::NotSent, send.count as u64);
    }
}
