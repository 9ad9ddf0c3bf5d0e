//! TCP connections: octets arrive in their order or not at all, in whatever
//! pieces, and connections break.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use esp::spec::StreamId;
use esp::stream::Decoder;

use crate::chance::Chance;
use crate::clock::Time;
use crate::node::NodeId;

/// All connections of a world, and what happens to them.
#[derive(Default)]
pub struct Tcp {
    /// Nobody gets through to open one.
    pub blocked: bool,
    /// After so many more octets the connection that carries the last of them
    /// breaks; what comes later is lost.
    pub breaks_after: Option<usize>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    opened: u64,
}

/// A connection.
pub(crate) struct Connection {
    /// Who has opened it, and who has accepted it.
    pub(crate) ends: [End; 2],
    pub(crate) state: State,
}

/// What a connection is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing yet: what is sent is lost.
    Opening,
    /// Every octet arrives.
    Open,
    /// Octets are missing, and none will come any more.
    Torn,
}

/// One end.
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) id: StreamId,
    /// Its own address, and where it sees the other end.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) decoder: Decoder,
    /// When the last octets come that are on the way to it.
    pub(crate) busy_until: Time,
}

/// What is on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    /// The end is told that the connection is open.
    Opened,
    /// Octets for it.
    Octets(Vec<u8>),
    /// It is told that the connection is closed.
    Closed,
}

impl Tcp {
    /// How many connections are open or being opened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The next number of a connection, which names its accepted end.
    pub(crate) fn next(&mut self) -> u64 {
        self.opened += 1;
        self.opened
    }

    /// The connection that a machine calls so, and which end it has.
    pub(crate) fn find(&self, node: NodeId, id: StreamId) -> Option<(u64, usize)> {
        self.connections.iter().find_map(|(&number, connection)| {
            let end = connection.ends.iter().position(|end| end.node == node && end.id == id)?;
            Some((number, end))
        })
    }

    /// What of these octets the network still carries; whether it breaks then.
    pub(crate) fn spend<'o>(&mut self, octets: &'o [u8]) -> (&'o [u8], bool) {
        let Some(left) = &mut self.breaks_after else { return (octets, false) };
        let carried = octets.len().min(*left);
        *left -= carried;
        let breaks = *left == 0;
        if breaks {
            self.breaks_after = None;
        }
        (&octets[..carried], breaks)
    }
}

/// The octets in a few pieces, as a network may cut them.
pub(crate) fn cut(chance: &mut Chance, mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while !octets.is_empty() {
        let len = if chance.happens(500) { octets.len() } else { 1 + chance.below(octets.len()) };
        let (piece, rest) = octets.split_at(len);
        pieces.push(piece.to_vec());
        octets = rest;
    }
    pieces
}
