//! NAT detection (RFC 7296 section 2.23), in the first exchange of every SA,
//! resumed or not (B13).

use std::net::SocketAddr;

use crypto::{Provider, nat_detection_hash};
use esp::spec::Encapsulation;

use crate::config::Connection;
use crate::context::Context;
use crate::event::{Path, Port};
use crate::exchange::transport::Ends;
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
    /// Its two ends, see [`Ends::of`].
    pub(crate) fn ends(&self, cx: &Context) -> Option<Ends> {
        Ends::of(cx, (self.path.local, self.path.remote), self.nat)
    }

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
        // Who may move goes to the port that crosses NATs at once, if both can
        // (RFC 4555 section 3.3).
        let floats =
            encapsulation == Encapsulation::Udp || (connection.mobike && nat != Nat::NotSupported);
        let path = if floats { float(cx, connection, path) } else { path };
        Self { path, nat, encapsulation }
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

/// Appends both notifies.
pub(crate) fn announce(
    builder: &mut MessageBuilder,
    provider: &mut Provider,
    spis: Spis,
    path: &Path,
    pretend: bool,
) {
    Hashes::new(provider, spis, path, pretend).push(builder);
}

/// What both notifies of a message hold.
pub(crate) struct Hashes {
    source: [u8; HASH_LEN],
    destination: [u8; HASH_LEN],
}

/// Octets of a hash of an address.
pub(crate) const HASH_LEN: usize = 20;

impl Hashes {
    /// Of a message that goes by `path`. Who pretends a NAT gives a random value
    /// as the hash of its address, that matches nothing.
    pub(crate) fn new(provider: &mut Provider, spis: Spis, path: &Path, pretend: bool) -> Self {
        let source = if pretend { provider.array() } else { hash(spis, path.local) };
        Self { source, destination: hash(spis, path.remote) }
    }

    /// Appends them.
    pub(crate) fn push<State>(&self, builder: &mut MessageBuilder<State>) {
        builder
            .notify(NotifyType::NAT_DETECTION_SOURCE_IP, &self.source)
            .notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &self.destination);
    }
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
    pub(crate) const fn encapsulation(self, pretended: bool) -> Encapsulation {
        match self {
            Self::NotSupported => Encapsulation::Plain,
            Self::Detected { .. } => Encapsulation::Udp,
            // The peer sees the NAT that we pretend.
            Self::None if pretended => Encapsulation::Udp,
            Self::None => Encapsulation::Plain,
        }
    }
}

/// The way of an initiator's next message: between the ports for encapsulation
/// (RFC 7296 section 2.23).
const fn float(cx: &Context, connection: &Connection, path: Path) -> Path {
    match path.port {
        Port::NatTraversal | Port::Tcp(_) => path,
        Port::Ike => Path {
            local: SocketAddr::new(path.local.ip(), cx.nat_port),
            remote: SocketAddr::new(path.remote.ip(), connection.remote_nat_port),
            port: Port::NatTraversal,
        },
    }
}

fn hash(spis: Spis, address: SocketAddr) -> [u8; HASH_LEN] {
    nat_detection_hash(spis.initiator.0, spis.responder.0, address)
}
