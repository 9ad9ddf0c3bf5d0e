//! What happens to a datagram on its way.

use std::time::Duration;

use crate::chance::Chance;
use crate::wire::{Arrival, Content, Datagram};

/// The way between all machines.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The least time that a datagram takes.
    pub delay: Duration,
    /// How much longer it may take: more than the delay reorders.
    pub jitter: Duration,
    /// How many in a thousand are lost.
    pub loss: u32,
    /// How many in a thousand arrive twice.
    pub duplication: u32,
    /// How many in a thousand have a bit altered.
    pub corruption: u32,
}

impl Default for Link {
    /// Nothing happens, in 10 milliseconds.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            corruption: 0,
        }
    }
}

impl Link {
    /// What arrives of a datagram.
    pub fn carry(&self, chance: &mut Chance, datagram: &Datagram) -> Vec<Arrival> {
        let copies = 1 + usize::from(chance.happens(self.duplication));
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            if chance.happens(self.loss) {
                continue;
            }
            let mut datagram = datagram.clone();
            if chance.happens(self.corruption) {
                corrupt(chance, &mut datagram);
            }
            arrivals.push(Arrival { after: self.delay + chance.up_to(self.jitter), datagram });
        }
        arrivals
    }
}

fn corrupt(chance: &mut Chance, datagram: &mut Datagram) {
    match &mut datagram.content {
        Content::Ike(octets) => {
            let mut altered = octets.to_vec();
            flip(chance, &mut altered);
            *octets = altered.into();
        }
        Content::EspInUdp(octets) | Content::EspInTcp(octets) | Content::PlainEsp(octets) => {
            flip(chance, octets);
        }
        Content::Keepalive => {}
    }
}

fn flip(chance: &mut Chance, octets: &mut [u8]) {
    if !octets.is_empty() {
        let at = chance.below(octets.len());
        octets[at] ^= 1 << chance.below(8);
    }
}
