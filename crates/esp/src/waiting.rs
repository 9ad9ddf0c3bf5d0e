//! Packets that wait for a child of their group.

use std::collections::VecDeque;

/// Packets that one group keeps at most.
pub const MAX_PACKETS: usize = 256;
/// Octets that one group keeps at most.
pub const MAX_OCTETS: usize = 512 * 1024;

/// The bounded queue of a held group. The oldest packet gives way: the newer
/// one is more likely to be wanted still.
#[derive(Default)]
pub struct Waiting {
    packets: VecDeque<Box<[u8]>>,
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
    /// Sets whether the next packet asks for a child. `true` if one waits already.
    pub fn arm(&mut self, acquire: bool) -> bool {
        let is_due = acquire && !self.packets.is_empty();
        self.acquire = acquire && !is_due;
        is_due
    }

    /// Keeps a packet.
    pub fn push(&mut self, packet: &[u8]) -> Queued {
        if packet.len() > MAX_OCTETS {
            return Queued { dropped: 1, acquire: false };
        }
        let mut dropped = 0;
        while self.packets.len() >= MAX_PACKETS || self.octets + packet.len() > MAX_OCTETS {
            let Some(oldest) = self.packets.pop_front() else { break };
            self.octets = self.octets.saturating_sub(oldest.len());
            dropped += 1;
        }
        self.octets += packet.len();
        self.packets.push_back(packet.into());
        Queued { dropped, acquire: std::mem::take(&mut self.acquire) }
    }

    /// Takes all packets, oldest first.
    pub fn take(&mut self) -> VecDeque<Box<[u8]>> {
        self.octets = 0;
        std::mem::take(&mut self.packets)
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

    #[test]
    fn the_first_packet_asks_for_a_child_and_no_other() {
        let mut waiting = Waiting::default();
        assert!(!waiting.arm(true));
        assert!(waiting.push(b"one").acquire);
        assert!(!waiting.push(b"two").acquire);
    }

    #[test]
    fn a_hold_that_finds_packets_asks_at_once_and_only_then() {
        let mut waiting = Waiting::default();
        waiting.arm(false);
        assert!(!waiting.push(b"one").acquire);
        assert!(waiting.arm(true));
        assert!(!waiting.push(b"two").acquire);
    }

    #[test]
    fn the_oldest_packet_gives_way() {
        let mut waiting = Waiting::default();
        for n in 0..MAX_PACKETS + 2 {
            waiting.push(&n.to_be_bytes());
        }
        let kept = waiting.take();
        assert_eq!(kept.len(), MAX_PACKETS);
        assert_eq!(*kept[0], 2usize.to_be_bytes());
    }

    #[test]
    fn what_could_never_fit_drops_nothing_else() {
        let mut waiting = Waiting::default();
        waiting.push(b"kept");
        let queued = waiting.push(&vec![0; MAX_OCTETS + 1]);
        assert_eq!((queued.dropped, waiting.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn both_bounds_hold_and_nothing_is_lost_uncounted(sizes in prop::collection::vec(1usize..70_000, 1..400)) {
            let mut waiting = Waiting::default();
            let mut dropped = 0;
            for size in &sizes {
                dropped += waiting.push(&vec![0; *size]).dropped;
                prop_assert!(waiting.packets.len() <= MAX_PACKETS && waiting.octets <= MAX_OCTETS);
                prop_assert_eq!(waiting.octets, waiting.packets.iter().map(|p| p.len()).sum::<usize>());
            }
            prop_assert_eq!(waiting.take().len() as u64 + dropped, sizes.len() as u64);
        }
    }
}
