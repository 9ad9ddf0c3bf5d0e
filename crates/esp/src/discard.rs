//! Why a packet was dropped, and how often.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a packet of the data plane was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Discard {
    /// Shorter than an ESP packet can be (RFC 4303 section 2).
    #[error("too short")]
    TooShort,
    /// No child has this SPI.
    #[error("unknown SPI")]
    UnknownSpi,
    /// The sequence number was seen before or is left of the window (RFC 4303 section 3.4.3).
    #[error("replayed")]
    Replayed,
    /// The integrity check failed.
    #[error("not authentic")]
    NotAuthentic,
    /// Authentic, but its padding is wrong (RFC 4303 section 2.4).
    #[error("bad padding")]
    BadPadding,
    /// A dummy packet (RFC 4303 section 2.6): dropped as its sender wishes.
    #[error("dummy packet")]
    Dummy,
    /// Authentic, but what it carries is no IP packet of its Next Header.
    #[error("next header not supported")]
    BadNextHeader,
    /// The inner packet contradicts itself.
    #[error("bad inner packet")]
    BadInner,
    /// The inner packet is outside the selectors of its child (RFC 4301 section 5.2).
    #[error("outside the traffic selectors")]
    SelectorMismatch,
    /// An outgoing packet that no child or held group selects.
    #[error("no policy")]
    NoPolicy,
    /// An outgoing packet of link scope: it has no business in a tunnel.
    #[error("link scope")]
    LinkScope,
    /// A packet that waited for a child and gave way to a newer one, or was
    /// forgotten with its group.
    #[error("waited in vain")]
    WaitedInVain,
    /// The child has used all of its sequence numbers (RFC 4303 section 3.3.3).
    #[error("sequence numbers exhausted")]
    Exhausted,
    /// Larger than the plane can carry.
    #[error("too big")]
    TooBig,
    /// The system did not take the sealed packet.
    #[error("not sent")]
    NotSent,
    /// The system did not take the opened packet.
    #[error("not delivered")]
    NotDelivered,
}

impl Discard {
    /// Every reason, in the order of the packet path.
    pub const ALL: [Self; 16] = [
        Self::TooShort,
        Self::UnknownSpi,
        Self::Replayed,
        Self::NotAuthentic,
        Self::BadPadding,
        Self::Dummy,
        Self::BadNextHeader,
        Self::BadInner,
        Self::SelectorMismatch,
        Self::NoPolicy,
        Self::LinkScope,
        Self::WaitedInVain,
        Self::Exhausted,
        Self::TooBig,
        Self::NotSent,
        Self::NotDelivered,
    ];

    /// A stable name for status output and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::UnknownSpi => "unknown_spi",
            Self::Replayed => "replayed",
            Self::NotAuthentic => "not_authentic",
            Self::BadPadding => "bad_padding",
            Self::Dummy => "dummy",
            Self::BadNextHeader => "bad_next_header",
            Self::BadInner => "bad_inner",
            Self::SelectorMismatch => "selector_mismatch",
            Self::NoPolicy => "no_policy",
            Self::LinkScope => "link_scope",
            Self::WaitedInVain => "waited_in_vain",
            Self::Exhausted => "exhausted",
            Self::TooBig => "too_big",
            Self::NotSent => "not_sent",
            Self::NotDelivered => "not_delivered",
        }
    }
}

/// Dropped packets by reason. Shared by the threads of a plane.
#[derive(Default, Debug)]
pub struct Discards([AtomicU64; Discard::ALL.len()]);

impl Discards {
    /// Counts one packet.
    pub fn count(&self, reason: Discard) {
        self.count_many(reason, 1);
    }

    /// Counts `packets` packets.
    pub fn count_many(&self, reason: Discard, packets: u64) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// How many packets were dropped for this reason.
    #[must_use]
    pub fn of(&self, reason: Discard) -> u64 {
        self.0.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// All reasons with their counts, zeros included.
    pub fn snapshot(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let discards = Discards::default();
        for (n, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            discards.count_many(reason, n as u64 + 1);
        }
        for (n, (reason, count)) in discards.snapshot().enumerate() {
            assert_eq!(count, n as u64 + 1, "{}", reason.name());
        }
    }
}
