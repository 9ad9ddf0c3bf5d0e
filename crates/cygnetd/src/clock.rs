//! The machine's clocks. Nothing else in the daemon asks for the time.
#![expect(clippy::disallowed_methods, reason = "this is where time comes from")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use ike::time::{Instant, Now};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// The present moment. The first clock counts while the machine sleeps.
#[must_use]
pub fn now() -> Now {
    let since_boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(since_boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(since_boot.tv_nsec).unwrap_or(0);
    let instant = Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos));
    Now { instant, wall: SystemTime::now() }
}

/// Becomes readable at a moment of [`now`]'s first clock, also when the machine
/// was asleep at that moment: then when it wakes.
pub struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Sets it to a moment, or to none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set(&self, at: Option<Instant>) -> io::Result<()> {
        // Zero would switch the timer off; no moment that matters is that early.
        let nanos = at.map_or(0, |at| at.as_nanos().max(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Takes the readiness back.
    pub fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
