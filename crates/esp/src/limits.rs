//! How much a child may carry before its keys must be new.

use crate::plane::Limit;

/// An amount of traffic in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Octets of inner packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

impl Volume {
    /// More than can be.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, packets: u64::MAX };

    const fn reaches(self, limit: Self) -> bool {
        self.bytes >= limit.bytes || self.packets >= limit.packets
    }
}

/// How much a child may carry, in each direction. The end of its sequence
/// numbers is a limit of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Here it should be replaced.
    pub soft: Volume,
    /// Here it is over.
    pub hard: Volume,
}

impl Limits {
    /// No limits but the sequence numbers'.
    pub const NONE: Self = Self { soft: Volume::UNLIMITED, hard: Volume::UNLIMITED };

    /// The limit that is met between two counts of one direction. Each limit is
    /// met once, however the traffic is cut into counts.
    #[must_use]
    pub const fn met(&self, before: Volume, after: Volume) -> Option<Limit> {
        if !before.reaches(self.hard) && after.reaches(self.hard) {
            Some(Limit::Hard)
        } else if !before.reaches(self.soft) && after.reaches(self.soft) {
            Some(Limit::Soft)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn volume(bytes: u64, packets: u64) -> Volume {
        Volume { bytes, packets }
    }

    #[test]
    fn each_limit_is_met_once_by_whichever_measure_comes_first() {
        let limits = Limits { soft: volume(1000, 10), hard: volume(1500, 15) };
        let counts = [(900, 1), (999, 9), (1000, 9), (1400, 12), (1400, 15), (9000, 90)];
        let mut before = volume(0, 0);
        let met = counts.map(|(bytes, packets)| {
            let after = volume(bytes, packets);
            limits.met(std::mem::replace(&mut before, after), after)
        });
        assert_eq!(met, [None, None, Some(Limit::Soft), None, Some(Limit::Hard), None]);
        assert_eq!(limits.met(volume(0, 0), volume(0, 99)), Some(Limit::Hard));
    }

    #[test]
    fn what_has_no_limits_meets_none() {
        let much = volume(u64::MAX - 1, u64::MAX - 1);
        assert_eq!(Limits::NONE.met(volume(0, 0), much), None);
    }
}
