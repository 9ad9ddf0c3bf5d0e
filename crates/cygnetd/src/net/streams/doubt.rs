//! Whether what comes by a connection makes sense (RFC 9329 section 6.1).

use std::time::Duration;

use ike::time::Instant;

/// A connection has brought nothing else for so long when it is closed. What
/// was sent to a child before its peer knew that it is gone, or after a rekey,
/// is on the way for less.
const LONG: Duration = Duration::from_secs(10);

/// And it has brought so many: few packets need not mean anything, and the
/// silence between them nothing at all.
const MANY: u32 = 64;

/// What has come at once: messages and packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Heard {
    /// Those that a peer must have sent.
    pub good: u32,
    /// Those that cannot be parsed, that are for no child, or are not authentic.
    pub senseless: u32,
}

/// What has come by a connection since it brought something good.
#[derive(Default)]
pub(super) struct Doubt {
    senseless: u32,
    since: Option<Instant>,
}

impl Doubt {
    /// Whether it is enough.
    pub(super) fn add(&mut self, heard: Heard, now: Instant) -> bool {
        if heard.good > 0 {
            *self = Self::default();
        } else if heard.senseless > 0 {
            self.senseless = self.senseless.saturating_add(heard.senseless);
            let since = *self.since.get_or_insert(now);
            return self.senseless >= MANY && now.since(since) >= LONG;
        }
        false
    }
}
