//! How long keys are used: until when they should be replaced, and when they
//! are over (RFC 7296 section 2.8).

use std::time::Duration;

use esp::limits::{Limits, Volume};

use crate::context::Context;
use crate::time::Instant;

/// The life of keys by one measure: time, octets or packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime<T> {
    /// They are replaced here. `None`: not by this measure.
    pub rekey: Option<T>,
    /// Or earlier by up to this much, by chance: SAs that began together must
    /// not be replaced together, and of two ends one should come first.
    pub spread: T,
    /// They are over here, replaced or not. `None`: not by this measure.
    pub life: Option<T>,
}

impl<T: Default> Lifetime<T> {
    /// No limit by this measure.
    #[must_use]
    pub fn endless() -> Self {
        Self { rekey: None, spread: T::default(), life: None }
    }
}

impl Lifetime<Duration> {
    /// Replaced after `rekey`, over a tenth later, with that tenth as spread.
    #[must_use]
    pub fn of(rekey: Duration) -> Self {
        let tenth = rekey / 10;
        Self { rekey: Some(rekey), spread: tenth, life: Some(rekey + tenth) }
    }

    /// For keys that are used from now on.
    pub(crate) fn begin(&self, cx: &mut Context, now: Instant) -> Deadlines {
        self.since(cx, now, Duration::ZERO)
    }

    /// For what is so old already.
    pub(crate) fn since(&self, cx: &mut Context, now: Instant, age: Duration) -> Deadlines {
        let spread = u64::try_from(self.spread.as_nanos()).unwrap_or(u64::MAX);
        let early = |cx: &mut Context| Duration::from_nanos(cx.up_to(spread));
        let left = |time: Duration| now + time.saturating_sub(age);
        let rekey_at = self.rekey.map(|rekey| left(rekey.saturating_sub(early(cx))));
        Deadlines { rekey_at, ends_at: self.life.map(left) }
    }
}

impl Lifetime<u64> {
    /// The soft limit and the hard one.
    fn begin(&self, cx: &mut Context) -> (u64, u64) {
        let soft = self.rekey.map(|rekey| rekey.saturating_sub(cx.up_to(self.spread)));
        (soft.unwrap_or(u64::MAX), self.life.unwrap_or(u64::MAX))
    }
}

/// The life of the keys of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildLifetime {
    /// Since its installation.
    pub time: Lifetime<Duration>,
    /// Octets of inner packets, in either direction.
    pub bytes: Lifetime<u64>,
    /// Packets, in either direction.
    pub packets: Lifetime<u64>,
}

impl ChildLifetime {
    /// No limits but the sequence numbers'.
    #[must_use]
    pub fn endless() -> Self {
        let (time, bytes, packets) =
            (Lifetime::endless(), Lifetime::endless(), Lifetime::endless());
        Self { time, bytes, packets }
    }

    /// For a child that is to be installed.
    pub(crate) fn limits(&self, cx: &mut Context) -> Limits {
        let (soft_bytes, hard_bytes) = self.bytes.begin(cx);
        let (soft_packets, hard_packets) = self.packets.begin(cx);
        Limits {
            soft: Volume { bytes: soft_bytes, packets: soft_packets },
            hard: Volume { bytes: hard_bytes, packets: hard_packets },
        }
    }
}

/// When keys should be replaced, and when they are over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Deadlines {
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) ends_at: Option<Instant>,
}

impl Deadlines {
    /// The earlier of both.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.rekey_at, self.ends_at].into_iter().flatten().min()
    }

    /// Whether it is time for new keys; only once.
    pub(crate) fn take_rekey(&mut self, now: Instant) -> bool {
        self.rekey_at.take_if(|due| *due <= now).is_some()
    }

    /// Whether they are over; only once.
    pub(crate) fn take_end(&mut self, now: Instant) -> bool {
        self.ends_at.take_if(|due| *due <= now).is_some()
    }
}
