//! What the network does to datagrams during a round.

use std::time::Duration;

use sim::world::Meddler;
use sim::{Chance, Link, NodeId, Sent};

use crate::case::{Mild, Storm};

/// Weather that everything survives, for IKE; packets meet none.
pub(crate) fn mild(weather: Mild) -> Meddler {
    let Mild { seed, mut losses, duplication, jitter } = weather;
    let mut chance = Chance::new(seed);
    let link = link(0, duplication, 0, jitter);
    Box::new(move |sent: &Sent| {
        if losses > 0 && chance.happens(250) {
            losses -= 1;
            return Vec::new();
        }
        link.carry(&mut chance, &sent.datagram)
    })
}

/// Weather that only some survive.
pub(crate) fn storm(weather: Storm, client: NodeId) -> Meddler {
    let Storm { seed, losses, duplication, corruption, jitter } = weather;
    let mut chance = Chance::new(seed);
    let links = losses.map(|loss| link(loss, duplication, corruption, jitter));
    Box::new(move |sent: &Sent| {
        let link = if sent.by == client { &links[0] } else { &links[1] };
        link.carry(&mut chance, &sent.datagram)
    })
}

fn link(loss: u32, duplication: u32, corruption: u32, jitter: u16) -> Link {
    let jitter = Duration::from_millis(jitter.into());
    Link { loss, duplication, corruption, jitter, ..Link::default() }
}
