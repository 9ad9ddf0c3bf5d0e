//! What travels between machines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ike::wire::{ExchangeType, Header};

use crate::clock::Time;
use crate::node::NodeId;

/// A datagram on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Who seems to have sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What is in it.
    pub content: Content,
}

/// What is in a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// An IKE message, without the non-ESP marker.
    Ike(Arc<[u8]>),
    /// The octet 0xff of RFC 3948 section 2.3.
    Keepalive,
    /// ESP in UDP.
    EspInUdp(Vec<u8>),
    /// ESP in TCP.
    EspInTcp(Vec<u8>),
    /// IP protocol 50. The ports of the addresses mean nothing.
    PlainEsp(Vec<u8>),
}

/// A datagram that was sent, as it left its sender's NAT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// By whom.
    pub by: NodeId,
    /// What.
    pub datagram: Datagram,
}

/// A datagram that will arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// How long from now.
    pub after: Duration,
    /// What.
    pub datagram: Datagram,
}

impl Datagram {
    /// The IKE message, if it is one.
    #[must_use]
    pub fn ike(&self) -> Option<&Arc<[u8]>> {
        match &self.content {
            Content::Ike(octets) => Some(octets),
            Content::Keepalive
            | Content::EspInUdp(_)
            | Content::EspInTcp(_)
            | Content::PlainEsp(_) => None,
        }
    }

    /// The header of the IKE message, if it is one and has a good one.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        Header::parse(self.ike()?).ok().map(|(header, _)| header)
    }

    /// The same way, with another IKE message.
    #[must_use]
    pub fn with_ike(&self, octets: &[u8]) -> Self {
        Self { content: Content::Ike(octets.into()), ..*self }
    }

    /// Sent back to where it came from.
    #[must_use]
    pub fn reflected(&self) -> Self {
        Self { from: self.to, to: self.from, content: self.content.clone() }
    }
}

impl Sent {
    /// The IKE exchange that it belongs to.
    #[must_use]
    pub fn exchange(&self) -> Option<ExchangeType> {
        self.datagram.header().map(|header| header.exchange)
    }
}
