//! A box that rewrites addresses and ports (RFC 4787: endpoint-independent
//! mapping and filtering).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::Time;

/// A NAT.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Its outside address.
    pub public: IpAddr,
    /// How long an unused mapping lives.
    pub timeout: Duration,
    mappings: BTreeMap<SocketAddr, Mapping>,
    next_port: u16,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    port: u16,
    used: Time,
}

impl Nat {
    /// A NAT without mappings.
    #[must_use]
    pub const fn new(public: IpAddr, timeout: Duration) -> Self {
        Self { public, timeout, mappings: BTreeMap::new(), next_port: 40_000 }
    }

    /// What the source address of an outgoing datagram becomes.
    pub fn outbound(&mut self, inside: SocketAddr, now: Time) -> SocketAddr {
        let timeout = self.timeout;
        let next_port = &mut self.next_port;
        let mut fresh = || {
            *next_port += 1;
            Mapping { port: *next_port, used: now }
        };
        let mapping = self.mappings.entry(inside).or_insert_with(&mut fresh);
        if now > mapping.used + timeout {
            *mapping = fresh();
        }
        mapping.used = now;
        SocketAddr::new(self.public, mapping.port)
    }

    /// To whom an incoming datagram goes.
    #[must_use]
    pub fn inbound(&self, port: u16, now: Time) -> Option<SocketAddr> {
        let lives = |mapping: &Mapping| mapping.port == port && now <= mapping.used + self.timeout;
        self.mappings.iter().find(|(_, mapping)| lives(mapping)).map(|(&inside, _)| inside)
    }

    /// Forgets all mappings, as when it was switched off.
    pub fn restart(&mut self) {
        self.mappings.clear();
    }
}
