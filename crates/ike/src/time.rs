//! Time as the core sees it: an argument, never asked for.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A point on a clock that never goes back and **does count while the machine
/// sleeps** (Linux `CLOCK_BOOTTIME`), in nanoseconds.
///
/// [`std::time::Instant`] stands still during sleep on Linux: after a night
/// in a bag, a liveness check or a lease would still seem fresh.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// A point `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The present moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For intervals: timers, retransmission, liveness.
    pub instant: Instant,
    /// For what outlives the process: a ticket's expiry. May jump.
    pub wall: SystemTime,
}

impl Now {
    /// Whole seconds of the wall clock since 1970; 0 before that.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        unix_seconds(self.wall)
    }
}

/// Whole seconds since 1970; 0 before that.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
