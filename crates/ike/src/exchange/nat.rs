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

/// The way of an SA, as its first exchange has found it.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    /// As long as the path is not a TCP connection, which carries ESP anyway
    /// (RFC 9329 section 6.5).
    pub(crate) encapsulation: Encapsulation,
}

impl Way {
    /// Of a responder, whose answer goes back by `path`.
    pub(crate) fn of_responder(
        cx: &Context,
        connection: &Connection,
        (payloads, spis): (&Payloads<'_>, Spis),
        path: Path,
    ) -> Self {
        let nat = Nat::detect(payloads, spis, &path);
        let encapsulation = nat.encapsulation(pretends(cx, connection, &path));
        Self { path, nat, encapsulation }
    }

    /// Of an initiator that has asked by one path and was answered by another:
    /// the answer shows our own address and what a NAT does, but not where the
    /// peer is, for anybody may have sent it.
    pub(crate) fn of_initiator(
        cx: &Context,
        connection: &Connection,
        (payloads, spis): (&Payloads<'_>, Spis),
        (asked, answered): (Path, Path),
    ) -> Self {
        let nat = Nat::detect(payloads, spis, &answered);
        let encapsulation = nat.encapsulation(pretends(cx, connection, &asked));
        let path = Path { local: answered.local, ..asked };
        Self { path: float(cx, connection, path, encapsulation), nat, encapsulation }
    }
}

/// Whether we make the peer believe in a NAT in front of us, so that it
/// encapsulates: because we are told to, because our plane carries nothing
/// else, or because we do not know our own address yet.
pub(crate) fn pretends(cx: &Context, connection: &Connection, path: &Path) -> bool {
    path.stream().is_none()
        && (connection.force_encapsulation
            || !cx.capabilities.plain_esp
            || path.local.ip().is_unspecified())
}

/// Appends both notifies. Who pretends a NAT gives a random value as the hash
/// of its address, that matches nothing.
pub(crate) fn announce(
    builder: &mut MessageBuilder,
    provider: &mut Provider,
    spis: Spis,
    path: &Path,
    pretend: bool,
) {
    let source = if pretend { provider.array() } else { hash(spis, path.local) };
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
    const fn encapsulation(self, pretended: bool) -> Encapsulation {
        match self {
            Self::NotSupported => Encapsulation::Plain,
            Self::Detected { .. } => Encapsulation::Udp,
            // The peer sees the NAT that we pretend.
            Self::None if pretended => Encapsulation::Udp,
            Self::None => Encapsulation::Plain,
        }
    }
}

/// The way of an initiator's next message: with encapsulation, between the
/// ports for it (RFC 7296 section 2.23).
const fn float(
    cx: &Context,
    connection: &Connection,
    path: Path,
    encapsulation: Encapsulation,
) -> Path {
    match (encapsulation, path.port) {
        (Encapsulation::Plain | Encapsulation::Tcp(_), _)
        | (Encapsulation::Udp, Port::NatTraversal | Port::Tcp(_)) => path,
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
