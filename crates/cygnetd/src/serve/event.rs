//! Events in the control interface's words.

use std::time::SystemTime;

use control::{Event, What};

/// The same event for a monitor. Both sides have one serialised form
/// (a test walks through all of them), so the way leads through it.
pub(super) fn tell(time: SystemTime, event: &ike::event::Event) -> Event {
    let value = serde_json::to_value(event);
    let what = value.and_then(serde_json::from_value).unwrap_or_else(|error| {
        tracing::error!("an event has no words in the control interface: {error}");
        What::Unknown
    });
    Event { time: seconds(time), what }
}

/// That events are missing before the one at `time`.
pub(super) fn lost(time: SystemTime, count: u64) -> Event {
    Event { time: seconds(time), what: What::Lost { count } }
}

/// That a monitor is told everything from now on.
#[expect(clippy::disallowed_methods, reason = "the daemon has a clock; the core has none")]
pub(super) fn listening() -> Event {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Event { time: seconds(SystemTime::now()), what: What::Listening { version } }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
