//! What must hold at every moment, whatever happens. The ledger remembers over
//! restarts of both sides.

use std::collections::{BTreeMap, BTreeSet};

use ike::event::{Event, How};
use ike::status::{Holdings, Stage};
use ike::wire::{ExchangeType, Header, Message, NotifyType};
use sim::{Content, NodeId, Pair, Sent};

/// What every inner packet of a run carries.
pub(crate) const INNER: &[u8] = b"to be seen by nobody on the way";

/// Part of both identities.
const IDENTITY: &[u8] = b".example";

/// One that is used for one direction of one child.
type Key = Vec<u8>;

/// All that both sides have used so far.
#[derive(Default)]
pub(crate) struct Ledger {
    events_read: [usize; 2],
    datagrams_read: usize,
    packets_read: usize,
    ike_spis: BTreeSet<(NodeId, u64)>,
    esp_spis: BTreeSet<(NodeId, u32)>,
    sealing: BTreeMap<Key, (NodeId, u32)>,
    opening: BTreeMap<Key, (NodeId, u32)>,
    /// The last sequence number of each SPI that a side has sent with.
    sequences: BTreeMap<(NodeId, u32), u32>,
    /// Tickets by the SPI of the client's attempt, and of the gateway's answer.
    shown: BTreeMap<u64, Vec<u8>>,
    answered: BTreeMap<u64, u64>,
    /// Tickets that have brought a session back, as each side sees it.
    spent: [BTreeSet<Vec<u8>>; 2],
}

impl Ledger {
    /// Looks at all that is new.
    pub(crate) fn look(&mut self, pair: &mut Pair) {
        self.read_datagrams(pair);
        for (index, id) in [pair.client, pair.gateway].into_iter().enumerate() {
            self.read_installations(pair, id);
            self.read_events(pair, index, id);
            check_bounds(&pair.world.node(id).endpoint.holdings());
        }
        self.read_packets(pair);
        check_claim(pair);
    }

    /// Forgets what was read in the world, but nothing of what it meant.
    pub(crate) fn turn_page(&mut self, pair: &mut Pair) {
        self.look(pair);
        pair.forget_past();
        (self.events_read, self.datagrams_read, self.packets_read) = ([0; 2], 0, 0);
    }

    /// No SPI twice; every key seals on one side and opens on the other, for
    /// one child.
    fn read_installations(&mut self, pair: &mut Pair, id: NodeId) {
        for it in pair.world.node_mut(id).plane.take_installations() {
            let (spi_in, spi_out) = (it.spi_in.get(), it.spi_out.get());
            assert!(self.esp_spis.insert((id, spi_in)), "{id:?} uses SPI {spi_in:x} again");
            assert_ne!(it.key_in, it.key_out, "one key for both directions");
            let peer = other(pair, id);
            use_key(&mut self.opening, &self.sealing, it.key_in, (id, spi_in), peer);
            use_key(&mut self.sealing, &self.opening, it.key_out, (id, spi_out), peer);
        }
    }

    fn read_events(&mut self, pair: &Pair, index: usize, id: NodeId) {
        let events = &pair.world.node(id).events;
        for (_, event) in &events[self.events_read[index]..] {
            let (Event::Up { sa, .. } | Event::Rekeyed { successor: sa, .. }) = event else {
                continue;
            };
            assert!(self.ike_spis.insert((id, sa.0)), "{id:?} uses IKE SPI {sa} again");
            if let Event::Up { set_up, .. } = event
                && set_up.how == How::Resumed
            {
                self.spend(index, sa.0);
            }
        }
        self.events_read[index] = events.len();
    }

    /// A ticket makes one SA.
    fn spend(&mut self, index: usize, spi: u64) {
        let attempt = if index == 0 { spi } else { self.answered[&spi] };
        let ticket = self.shown[&attempt].clone();
        assert!(self.spent[index].insert(ticket), "a ticket has made two SAs");
    }

    fn read_datagrams(&mut self, pair: &Pair) {
        let read = std::mem::replace(&mut self.datagrams_read, pair.world.trace.len());
        for sent in &pair.world.trace[read..] {
            let Some(octets) = sent.datagram.ike() else { continue };
            assert!(!holds(octets, IDENTITY), "an identity in clear");
            assert!(!holds(octets, INNER), "an inner packet in an IKE message");
            if sent.exchange() == Some(ExchangeType::SESSION_RESUME) {
                self.read_resume(octets);
            }
        }
    }

    fn read_resume(&mut self, octets: &[u8]) {
        let message = Message::parse(octets).unwrap();
        let Header { spi_i, spi_r, flags, .. } = message.header;
        let attempt = u64::from_be_bytes(spi_i.0);
        if flags.response {
            self.answered.insert(u64::from_be_bytes(spi_r.0), attempt);
        } else if let Some(ticket) = message.payloads.notify(NotifyType::TICKET_OPAQUE) {
            let ticket = ticket.data.to_vec();
            let is_used = self.spent[0].contains(&ticket) && !self.shown.contains_key(&attempt);
            assert!(!is_used, "a used ticket is shown again");
            self.shown.insert(attempt, ticket);
        }
    }

    /// ESP with the SPI of a child, and no sequence number, hence no nonce, twice.
    fn read_packets(&mut self, pair: &Pair) {
        let read = std::mem::replace(&mut self.packets_read, pair.world.packets.len());
        for Sent { by, datagram, .. } in &pair.world.packets[read..] {
            let (Content::EspInUdp(esp) | Content::PlainEsp(esp) | Content::EspInTcp(esp)) =
                &datagram.content
            else {
                panic!("{datagram:?} is no ESP");
            };
            assert!(!holds(esp, INNER), "an inner packet in clear");
            let word = |at: usize| u32::from_be_bytes(esp[at..at + 4].try_into().unwrap());
            let (spi, sequence) = (word(0), word(4));
            assert!(self.sealing.values().any(|&it| it == (*by, spi)), "no child has {spi:x}");
            let last = self.sequences.insert((*by, spi), sequence);
            assert!(last < Some(sequence), "{sequence} of {spi:x} twice");
        }
    }
}

fn other(pair: &Pair, id: NodeId) -> NodeId {
    if id == pair.client { pair.gateway } else { pair.client }
}

/// One side uses a key one way, and only the other side the other way.
fn use_key(
    here: &mut BTreeMap<Key, (NodeId, u32)>,
    there: &BTreeMap<Key, (NodeId, u32)>,
    key: Key,
    user: (NodeId, u32),
    peer: NodeId,
) {
    if let Some(counterpart) = there.get(&key) {
        assert_eq!(*counterpart, (peer, user.1), "a key in both directions");
    }
    assert!(here.insert(key, user).is_none(), "a key for two children");
}

/// What a client and a gateway with one connection between them may need at once.
fn check_bounds(held: &Holdings) {
    let bound = Holdings {
        sas: 16,
        table: 48,
        // While a client proves again who it is, there are two SAs with children.
        spis: 16,
        children: 8,
        installing: 8,
        sessions: 1,
        addresses: 4,
    };
    let counts = |it: &Holdings| {
        [it.sas, it.table, it.spis, it.children, it.installing, it.sessions, it.addresses]
    };
    let is_within = std::iter::zip(counts(held), counts(&bound)).all(|(held, bound)| held <= bound);
    assert!(is_within, "{held:?}");
}

/// Packets of a connection that is anything but down find a policy.
fn check_claim(pair: &Pair) {
    let is_wanted = !matches!(pair.status().stage, Stage::Down | Stage::Ending);
    let groups = pair.world.node(pair.client).plane.groups().len();
    assert!(groups <= 1 && (groups == 1 || !is_wanted), "{groups} {:?}", pair.status());
}

fn holds(octets: &[u8], text: &[u8]) -> bool {
    octets.windows(text.len()).any(|window| window == text)
}
