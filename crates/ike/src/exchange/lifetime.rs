//! AUTH_LIFETIME: how long until the initiator should prove itself again
//! (RFC 4478 section 3).

use std::time::{Duration, SystemTime};

use crate::time::Now;
use crate::wire::{MessageBuilder, NotifyType, Payloads, Protected};

/// Until when the responder wants another proof, if it says so.
pub(crate) fn wanted(payloads: &Payloads<'_>, now: Now) -> Option<SystemTime> {
    let seconds = payloads.notify(NotifyType::AUTH_LIFETIME)?.data_u32()?;
    now.wall.checked_add(Duration::from_secs(u64::from(seconds)))
}

/// Says so.
pub(crate) fn push(builder: &mut MessageBuilder<Protected>, left: Duration) {
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
    builder.notify(NotifyType::AUTH_LIFETIME, &seconds.to_be_bytes());
}
