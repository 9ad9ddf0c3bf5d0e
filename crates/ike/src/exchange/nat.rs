//! NAT detection (RFC 7296 section 2.23), in the first exchange of every SA,
//! resumed or not (B13).

use std::net::SocketAddr;

use crypto::{Provider, nat_detection_hash};
use esp::spec::Encapsulation;

use crate::config::Connection;
use crate::context::Context;
use crate::event::{Path, Port};
use crate::sa::protection::Spis;
use crate::wire::{MessageBuilder, NotifyType, Payloads};

/// What the notifies of the peer tell about the way between us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nat {
    /// The peer sent no NAT detection: it does no UDP encapsulation.
    NotSupported,
    /// Somebody rewrites addresses, or one side pretends so.
    Detected {
        /// Our own address is rewritten: we keep the mapping alive.
        ours: bool,
    },
    /// Nobody does.
    None,
}

/// Appends both notifies. With `pretend`, or while our own address is not
/// known, the source is a random value that matches nothing, so that the peer
/// sees a NAT and encapsulates.
pub(crate) fn announce(
    builder: &mut MessageBuilder,
    provider: &mut Provider,
    spis: Spis,
    path: &Path,
    pretend: bool,
) {
    let source = if pretend || path.local.ip().is_unspecified() {
        provider.array()
    } else {
        hash(spis, path.local)
    };
    builder
        .notify(NotifyType::NAT_DETECTION_SOURCE_IP, &source)
        .notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &hash(spis, path.remote));
}

impl Nat {
    /// Compares the peer's notifies with where its datagram came from.
    pub(crate) fn detect(payloads: &Payloads<'_>, spis: Spis, path: &Path) -> Self {
        let claims = |kind| payloads.notifies().filter(move |n| n.kind == kind);
        let sources = || claims(NotifyType::NAT_DETECTION_SOURCE_IP);
        let Some(destination) = payloads.notify(NotifyType::NAT_DETECTION_DESTINATION_IP) else {
            return Self::NotSupported;
        };
        if sources().next().is_none() {
            return Self::NotSupported;
        }
        // A peer with several addresses names each as a possible source.
        let seen = hash(spis, path.remote);
        let theirs = !sources().any(|source| source.data == seen);
        let ours = destination.data != hash(spis, path.local);
        if ours || theirs { Self::Detected { ours } } else { Self::None }
    }

    /// How ESP will travel. A peer that sent no NAT detection gets plain ESP:
    /// it would drop anything else (seen with libreswan after a resume).
    pub(crate) fn encapsulation(self, connection: &Connection, cx: &Context) -> Encapsulation {
        let wanted = connection.force_encapsulation || !cx.capabilities.plain_esp;
        match self {
            Self::NotSupported => Encapsulation::Plain,
            Self::Detected { .. } => Encapsulation::Udp,
            Self::None if wanted => Encapsulation::Udp,
            Self::None => Encapsulation::Plain,
        }
    }
}

/// The way of an initiator's next message: with encapsulation, between the
/// ports for it (RFC 7296 section 2.23).
pub(crate) fn float(
    path: Path,
    encapsulation: Encapsulation,
    connection: &Connection,
    cx: &Context,
) -> Path {
    match (encapsulation, path.port) {
        (Encapsulation::Plain, _) | (Encapsulation::Udp, Port::NatTraversal) => path,
        (Encapsulation::Udp, Port::Ike) => Path {
            local: SocketAddr::new(path.local.ip(), cx.nat_port),
            remote: SocketAddr::new(path.remote.ip(), connection.remote_nat_port),
            port: Port::NatTraversal,
        },
    }
}

fn hash(spis: Spis, address: SocketAddr) -> [u8; 20] {
    nat_detection_hash(spis.initiator.0, spis.responder.0, address)
}
