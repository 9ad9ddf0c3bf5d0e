//! The contract between negotiation and whatever carries packets.

use crate::limits::Volume;
use crate::packet::Flow;
use crate::spec::{ChildId, ChildSpec, GroupId, OuterPath, Selector};

/// Names one command, so that its completion can be told from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// What an endpoint asks of a plane. Every command is answered by one
/// [`PlaneEvent::Completed`], in any order.
pub enum Command {
    /// Install a child: inbound half first, then outbound, then policies;
    /// all of it or, after a fault, nothing.
    Install(Box<ChildSpec>),
    /// A child that stands by is now the newest of its group, and of those with
    /// the same selectors.
    Prefer(ChildId),
    /// Remove a child, both halves. Its group stays, held.
    Remove(ChildId),
    /// The peer of a child has another address now (RFC 7296 section 2.23). Of a
    /// child in transport mode only ports change.
    Move(ChildId, OuterPath),
    /// Keep packets of these selectors from leaving in clear text while no
    /// child serves the group. A bounded number waits and is sent through the
    /// next child. Replaces an earlier `Hold` of the group.
    Hold(Hold),
    /// Drop the packets that wait for a group. What it holds stays.
    Discard(GroupId),
    /// Forget the group and the packets that wait for it. Its children must
    /// have been removed before.
    Release(GroupId),
}

/// What a group without a child does with packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The group.
    pub group: GroupId,
    /// Sources of the packets.
    pub local_ts: Vec<Selector>,
    /// Destinations of the packets.
    pub remote_ts: Vec<Selector>,
    /// Whether the first packet that waits raises [`PlaneEvent::Acquire`].
    pub acquire: bool,
}

/// What a plane tells an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaneEvent {
    /// A command has been carried out, or has failed and left no trace.
    Completed(CommandId, Result<(), Fault>),
    /// This packet waits for a child of this group. Raised once per `Hold`.
    Acquire(GroupId, Flow),
    /// A child must be replaced soon, or is at its end.
    Expired(ChildId, Limit),
    /// An authentic packet of this child came from another outer source.
    MappingChanged(ChildId, std::net::SocketAddr),
    /// An authentic packet of this child came over another TCP connection
    /// (RFC 9329 section 6.1).
    StreamChanged(ChildId, OuterPath),
}

/// Which limit of a child was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Time to rekey; packets still flow.
    Soft,
    /// It has carried all that it may, or no sequence number is left and it is
    /// mute (RFC 4303 section 3.3.3).
    Hard,
}

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The inbound SPI is in use.
    #[error("SPI already installed")]
    SpiInUse,
    /// No such child or group.
    #[error("no such child")]
    Unknown,
    /// The plane cannot do this: address family, encapsulation, algorithm.
    #[error("not supported by this data plane")]
    Unsupported,
    /// The operating system said no.
    #[error("refused by the operating system (errno {0})")]
    Os(i32),
    /// A table or queue is full.
    #[error("out of capacity")]
    Full,
}

/// What a plane can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Whether ESP can travel as IP protocol 50. If not, a negotiation asks
    /// for UDP encapsulation always.
    pub plain_esp: bool,
    /// Whether it can do transport mode. If not, it is never asked to.
    pub transport: bool,
}

/// How much a child has carried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Inner bytes received and delivered.
    pub bytes_in: u64,
    /// Inner packets received and delivered.
    pub packets_in: u64,
    /// Inner bytes sent.
    pub bytes_out: u64,
    /// Inner packets sent.
    pub packets_out: u64,
}

impl Traffic {
    /// What it has received.
    #[must_use]
    pub const fn received(&self) -> Volume {
        Volume { bytes: self.bytes_in, packets: self.packets_in }
    }

    /// What it has sent.
    #[must_use]
    pub const fn sent(&self) -> Volume {
        Volume { bytes: self.bytes_out, packets: self.packets_out }
    }
}

/// Something that carries the packets of children.
pub trait Dataplane {
    /// Begins a command; its end is a [`PlaneEvent::Completed`] with the same id.
    fn submit(&mut self, id: CommandId, command: Command);
    /// The next event, if there is one.
    fn poll_event(&mut self) -> Option<PlaneEvent>;
    /// What this plane can do.
    fn capabilities(&self) -> Capabilities;
    /// What a child has carried so far; `None` if it is not installed.
    fn traffic(&self, child: ChildId) -> Option<Traffic>;
}
