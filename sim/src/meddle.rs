//! Whoever sits on the way and meddles with IKE datagrams.

use std::time::Duration;

use crate::wire::{Arrival, Sent};
use crate::world::Meddler;

/// How long a datagram takes that nobody meddles with.
pub const DELAY: Duration = Duration::from_millis(10);

/// What arrives of a datagram that nobody meddles with.
#[must_use]
pub fn untouched(sent: &Sent) -> Vec<Arrival> {
    vec![arrival(DELAY, sent)]
}

/// The datagram, in some time.
#[must_use]
pub fn arrival(after: Duration, sent: &Sent) -> Arrival {
    Arrival { after, datagram: sent.datagram.clone() }
}

/// Leaves all datagrams alone but the `n`th from now on, counted from 0.
pub fn nth(n: usize, mut meddle: impl FnMut(&Sent) -> Vec<Arrival> + 'static) -> Meddler {
    let mut seen = 0;
    Box::new(move |sent| {
        seen += 1;
        if seen == n + 1 { meddle(sent) } else { untouched(sent) }
    })
}
