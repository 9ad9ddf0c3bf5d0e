//! Packets that wait for a child of their group.

use std::collections::VecDeque;

use crate::packet::Flow;

/// Packets that one group keeps at most.
pub const MAX_PACKETS: usize = 256;
/// Octets that one group keeps at most.
pub const MAX_OCTETS: usize = 512 * 1024;

/// The bounded queue of a held group. The oldest packet gives way: the newer
/// one is more likely to be wanted still.
#[derive(Default)]
pub struct Waiting {
    packets: VecDeque<(Flow, Box<[u8]>)>,
    octets: usize,
    acquire: bool,
}

/// What became of a packet that was to wait.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Queued {
    /// Packets that gave way to it.
    pub dropped: u64,
    /// Whether a child must be asked for now.
    pub acquire: bool,
}

impl Waiting {
    /// Sets whether the next packet asks for a child. If packets wait already,
    /// this is what the oldest of them asks for one for.
    pub fn arm(&mut self, acquire: bool) -> Option<Flow> {
        let due = self.packets.front().map(|(flow, _)| *flow).filter(|_| acquire);
        self.acquire = acquire && due.is_none();
        due
    }

    /// Keeps a packet of this flow.
    pub fn push(&mut self, flow: Flow, packet: &[u8]) -> Queued {
        if packet.len() > MAX_OCTETS {
            return Queued { dropped: 1, acquire: false };
        }
        let mut dropped = 0;
        while self.packets.len() >= MAX_PACKETS || self.octets + packet.len() > MAX_OCTETS {
            let Some((_, oldest)) = self.packets.pop_front() else { break };
            self.octets = self.octets.saturating_sub(oldest.len());
            dropped += 1;
        }
        self.octets += packet.len();
        self.packets.push_back((flow, packet.into()));
        Queued { dropped, acquire: std::mem::take(&mut self.acquire) }
    }

    /// Takes all packets, oldest first.
    pub fn take(&mut self) -> impl ExactSizeIterator<Item = Box<[u8]>> + use<> {
        self.octets = 0;
        std::mem::take(&mut self.packets).into_iter().map(|(_, packet)| packet)
    }

    /// How many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(port: u16) -> Flow {
        let host = std::net::IpAddr::from([10, 0, 0, 1]);
        Flow { source: host, destination: host, protocol: 17, ports: Some((port, port)) }
    }

    #[test]
    fn the_first_packet_asks_for_a_child_and_no_other() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.arm(true), None);
        assert!(waiting.push(flow(1), b"one").acquire);
        assert!(!waiting.push(flow(2), b"two").acquire);
    }

    #[test]
    fn a_hold_that_finds_packets_asks_at_once_and_only_then() {
        let mut waiting = Waiting::default();
        waiting.arm(false);
        assert!(!waiting.push(flow(1), b"one").acquire);
        assert!(!waiting.push(flow(2), b"two").acquire);
        assert_eq!(waiting.arm(true), Some(flow(1)));
        assert!(!waiting.push(flow(3), b"three").acquire);
    }

    #[test]
    fn the_oldest_packet_gives_way() {
        let mut waiting = Waiting::default();
        for n in 0..MAX_PACKETS + 2 {
            waiting.push(flow(1), &n.to_be_bytes());
        }
        let kept: Vec<_> = waiting.take().collect();
        assert_eq!(kept.len(), MAX_PACKETS);
        assert_eq!(*kept[0], 2usize.to_be_bytes());
    }

    #[test]
    fn what_could_never_fit_drops_nothing_else() {
        let mut waiting = Waiting::default();
        waiting.push(flow(1), b"kept");
        let queued = waiting.push(flow(1), &vec![0; MAX_OCTETS + 1]);
        assert_eq!((queued.dropped, waiting.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn both_bounds_hold_and_nothing_is_lost_uncounted(sizes in prop::collection::vec(1usize..70_000, 1..400)) {
            let mut waiting = Waiting::default();
            let mut dropped = 0;
            for size in &sizes {
                dropped += waiting.push(flow(1), &vec![0; *size]).dropped;
                prop_assert!(waiting.packets.len() <= MAX_PACKETS && waiting.octets <= MAX_OCTETS);
                prop_assert_eq!(waiting.octets, waiting.packets.iter().map(|(_, p)| p.len()).sum::<usize>());
            }
            prop_assert_eq!(waiting.take().len() as u64 + dropped, sizes.len() as u64);
        }
    }
}
