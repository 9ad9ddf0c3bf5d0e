//! Signs of life: when the peer was last heard, and when it is asked
//! (RFC 7296 section 2.4).
//!
//! An authentic packet is as good as an authentic message. The plane counts
//! packets anyway; its counters are looked at a few times in the interval, so
//! that no packet costs a look at a clock.

use std::time::Duration;

use super::Established;
use crate::sa::Meter;
use crate::time::Instant;

/// How often the counters are looked at in the time after which a silent peer
/// is asked.
const LOOKS: u32 = 3;

/// What is known of the peer's life.
pub(super) struct Watch {
    /// The last sign of life that we know of.
    heard: Instant,
    /// When the counters were looked at.
    looked: Instant,
    /// What they said.
    seen: Packets,
}

/// The packets of all children that are installed.
#[derive(Clone, Copy, Default)]
struct Packets {
    received: u64,
    sent: u64,
}

impl Watch {
    pub(super) const fn begin(now: Instant) -> Self {
        Self { heard: now, looked: now, seen: Packets { received: 0, sent: 0 } }
    }

    /// An authentic message has come.
    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    fn due(&self, interval: Duration) -> Instant {
        (self.looked + interval / LOOKS).min(self.heard + interval)
    }

    /// Whether the peer should be asked: it was silent for too long, or it was
    /// sent packets and has sent nothing since the last look. That may be what
    /// is usual between the two, or the way to it may have become a black hole.
    fn look(&mut self, now: Instant, packets: Packets, interval: Duration) -> bool {
        // Children come and go: what counts is that the sums are not the same.
        let receives = packets.received != self.seen.received;
        let sends = packets.sent != self.seen.sent;
        (self.looked, self.seen) = (now, packets);
        if receives {
            self.heard = now;
        }
        let silence = now.since(self.heard);
        silence >= interval || (sends && silence >= interval / LOOKS)
    }
}

impl Established {
    pub(super) fn liveness_due(&self) -> Option<Instant> {
        let interval = self.base.connection.liveness?;
        self.base.channel.window.is_idle().then(|| self.watch.due(interval))
    }

    pub(super) fn look_if_due(&mut self, now: Instant, meter: Meter<'_>) {
        let Some(interval) = self.base.connection.liveness else { return };
        if self.liveness_due().is_none_or(|due| due > now) {
            return;
        }
        let packets = self.packets(meter);
        if self.watch.look(now, packets, interval) {
            let check = self.liveness_check();
            self.base.channel.window.push(check);
        }
    }

    fn packets(&self, meter: Meter<'_>) -> Packets {
        let children = self.children.iter().filter_map(|sa| meter(sa.child.id));
        children.fold(Packets::default(), |sum, of| Packets {
            received: sum.received.wrapping_add(of.packets_in),
            sent: sum.sent.wrapping_add(of.packets_out),
        })
    }
}
