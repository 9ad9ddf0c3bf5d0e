//! The clocks of one machine in the world's time.

use std::time::{Duration, SystemTime};

use ike::time::{Instant, Now};

/// Time since the world began.
pub type Time = Duration;

/// The wall clock of every machine when the world begins: 2027-01-15.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

/// The two clocks of a machine.
#[derive(Clone, Debug)]
pub struct Clock {
    /// How long the machine ran before the world began.
    uptime: Duration,
    /// What the wall clock shows at the beginning of the world, after all jumps.
    wall: SystemTime,
}

impl Clock {
    /// A clock that is right, on a machine that runs for `uptime`.
    #[must_use]
    pub fn new(uptime: Duration) -> Self {
        Self { uptime, wall: SystemTime::UNIX_EPOCH + BEGINNING }
    }

    /// What both clocks show.
    #[must_use]
    pub fn at(&self, time: Time) -> Now {
        let nanos = u64::try_from((self.uptime + time).as_nanos()).unwrap();
        Now { instant: Instant::from_nanos(nanos), wall: self.wall + time }
    }

    /// When the first clock shows `instant`; the world's beginning if that was before.
    #[must_use]
    pub fn when(&self, instant: Instant) -> Time {
        Duration::from_nanos(instant.as_nanos()).saturating_sub(self.uptime)
    }

    /// Somebody sets the wall clock.
    pub fn jump_forward(&mut self, by: Duration) {
        self.wall += by;
    }

    /// Somebody sets the wall clock.
    pub fn jump_back(&mut self, by: Duration) {
        self.wall -= by;
    }
}
