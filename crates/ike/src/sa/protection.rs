//! Sealing and opening the messages of one IKE SA, and the proof that a
//! message is authentic.

use std::ops::Range;
use std::sync::Arc;

use crypto::{IkeKeys, MessageKey, Provider, SkD, SkP};
use zeroize::Zeroizing;

use crate::event::{Path, Role};
use crate::fault::{Discard, PeerFault};
use crate::sa::datagram::Datagram;
use crate::sa::fragments::{Datagrams, HEAD_LEN, Head, Reassembly, numbers};
use crate::wire::{
    ExchangeType, Flags, Header, IkeSpi, Message, MessageBuilder, NotifyType, ParseError,
    PayloadType, Payloads, Protected, parse_payloads,
};

/// Both SPIs of an IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spis {
    pub(crate) initiator: IkeSpi,
    pub(crate) responder: IkeSpi,
}

impl Spis {
    pub(crate) const fn ours(self, role: Role) -> IkeSpi {
        match role {
            Role::Initiator => self.initiator,
            Role::Responder => self.responder,
        }
    }
}

/// The two message keys of an SA, and who uses which.
pub(crate) struct Protection {
    role: Role,
    spis: Spis,
    ours: MessageKey,
    theirs: MessageKey,
    /// Octets above which a message goes out in fragments, where it does not go
    /// by TCP; `None` if the peer does not know them.
    room: Option<usize>,
    /// Of the peer's request and of its response.
    reassembly: [Option<Box<Reassembly>>; 2],
}

/// The keys of an SA that is being authenticated.
pub(crate) struct Keys {
    pub(crate) protection: Protection,
    pub(crate) sk_d: SkD,
    /// For our proof.
    pub(crate) our_p: SkP,
    /// For the peer's.
    pub(crate) their_p: SkP,
}

impl Keys {
    /// `room` is how long a message may be that goes out in one datagram, if
    /// longer ones may be fragmented.
    pub(crate) fn new(role: Role, spis: Spis, keys: IkeKeys, room: Option<usize>) -> Self {
        let IkeKeys { sk_d, initiator, responder, sk_pi, sk_pr } = keys;
        let (ours, theirs, our_p, their_p) = match role {
            Role::Initiator => (initiator, responder, sk_pi, sk_pr),
            Role::Responder => (responder, initiator, sk_pr, sk_pi),
        };
        let reassembly = Default::default();
        let protection = Protection { role, spis, ours, theirs, room, reassembly };
        Self { protection, sk_d, our_p, their_p }
    }
}

/// The payloads of a message that only the holder of the SA's keys can have
/// sent. Nothing else makes one.
pub(crate) struct Authentic<'d> {
    payloads: Payloads<'d>,
    head: Head,
    plain: &'d [u8],
}

impl<'d> Authentic<'d> {
    pub(crate) const fn payloads(&self) -> &Payloads<'d> {
        &self.payloads
    }

    /// The message as AUTH covers it. `None` if it has payloads outside the
    /// Encrypted payload, as none of ours has.
    pub(crate) fn covered(&self) -> Option<Box<[u8]>> {
        Some(covered(&self.head.octets?, self.plain))
    }
}

/// Why a protected message gave no payloads.
pub(crate) enum OpenFault {
    /// Anybody may have sent it.
    Discard(Discard),
    /// The peer sent it, and it is wrong.
    Peer(PeerFault),
}

/// The exchange of a message, its id, and whether it is a response.
type Which = (ExchangeType, u32, bool);

/// Octets that hold most messages of ours.
const ROOM: usize = 512;

/// A message could not be built: a key at its end, or a length out of range.
/// The SA cannot go on.
#[derive(Debug)]
pub(crate) struct Unsendable;

impl Protection {
    /// Our SPI, by which the endpoint finds the SA.
    pub(crate) const fn our_spi(&self) -> IkeSpi {
        self.spis.ours(self.role)
    }

    /// Both SPIs.
    pub(crate) const fn spis(&self) -> Spis {
        self.spis
    }

    /// A request of ours, sealed, for this way.
    pub(crate) fn request(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        exchange: ExchangeType,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Datagrams, Unsendable> {
        self.seal(provider, path, (exchange, id, false), fill)
    }

    /// An IKE_INTERMEDIATE request of ours, sealed, and as AUTH covers it.
    pub(crate) fn covered_request(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<(Datagrams, Box<[u8]>), Unsendable> {
        self.seal_covered(provider, path, (ExchangeType::INTERMEDIATE, id, false), fill)
    }

    /// An IKE_INTERMEDIATE response of ours, sealed, and as AUTH covers it.
    pub(crate) fn covered_response(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<(Datagrams, Box<[u8]>), Unsendable> {
        self.seal_covered(provider, path, (ExchangeType::INTERMEDIATE, id, true), fill)
    }

    /// Octets of a message above which it goes out in fragments.
    pub(crate) const fn room(&self) -> Option<usize> {
        self.room
    }

    /// A response of ours, sealed, for this way.
    pub(crate) fn response(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        exchange: ExchangeType,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Datagrams, Unsendable> {
        self.seal(provider, path, (exchange, id, true), fill)
    }

    fn seal(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        which: Which,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Datagrams, Unsendable> {
        let (header, message) = self.build(which, fill)?;
        self.seal_built(provider, path, header, message)
    }

    fn seal_covered(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        which: Which,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<(Datagrams, Box<[u8]>), Unsendable> {
        let (header, message) = self.build(which, fill)?;
        let (head, plain) = message.split_first_chunk::<HEAD_LEN>().ok_or(Unsendable)?;
        let covered = covered(head, plain);
        Ok((self.seal_built(provider, path, header, message)?, covered))
    }

    /// A message before it is sealed.
    fn build(
        &self,
        (exchange, id, response): Which,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<(Header, Vec<u8>), Unsendable> {
        let flags = Flags { initiator: self.role == Role::Initiator, response };
        let spis = (self.spis.initiator, self.spis.responder);
        let header = Header::new(spis, exchange, flags, id);
        let mut builder = MessageBuilder::new(Vec::with_capacity(ROOM), header).begin_encrypted();
        fill(&mut builder);
        let sealed_len = |len| self.ours.sealed_len(len);
        let (message, _) = builder.finish_encrypted(sealed_len).map_err(|_| Unsendable)?;
        Ok((header, message))
    }

    /// Nothing is fragmented over TCP (RFC 9329 section 7.5).
    fn seal_built(
        &mut self,
        provider: &mut Provider,
        path: &Path,
        header: Header,
        mut message: Vec<u8>,
    ) -> Result<Datagrams, Unsendable> {
        let plain_len = message.len().checked_sub(HEAD_LEN).ok_or(Unsendable)?;
        let len = HEAD_LEN + self.ours.sealed_len(plain_len);
        if let Some(room) = self.room.filter(|&room| len > room && path.stream().is_none()) {
            return self.fragments(provider, header, &Zeroizing::new(message), room);
        }
        self.ours.seal(provider, &mut message, HEAD_LEN).map_err(|_| Unsendable)?;
        Ok(Arc::<[u8]>::from(message).into())
    }

    /// The same message in parts that have room each (RFC 7383 section 2.5).
    fn fragments(
        &mut self,
        provider: &mut Provider,
        header: Header,
        message: &[u8],
        room: usize,
    ) -> Result<Datagrams, Unsendable> {
        let (head, plain) = message.split_first_chunk::<HEAD_LEN>().ok_or(Unsendable)?;
        let [.., first, _, _, _] = *head;
        let parts = plain.chunks(self.part_len(room));
        let total = u16::try_from(parts.len()).map_err(|_| Unsendable)?;
        let sealed = (1..=total).zip(parts).map(|(number, part)| {
            let first = if number == 1 { PayloadType(first) } else { PayloadType::NONE };
            let builder =
                MessageBuilder::new(Vec::with_capacity(room), header).begin_fragment(number, total);
            let sealed_len = |len| self.ours.sealed_len(len);
            let (mut message, inner_at) =
                builder.finish_with_chain(first, part, sealed_len).map_err(|_| Unsendable)?;
            self.ours.seal(provider, &mut message, inner_at).map_err(|_| Unsendable)?;
            Ok(message.into())
        });
        Datagrams::of(sealed.collect::<Result<_, _>>()?).ok_or(Unsendable)
    }

    /// Octets of plaintext that one fragment has room for: at least one.
    fn part_len(&self, room: usize) -> usize {
        let around = HEAD_LEN + FRAGMENT_NUMBERS_LEN;
        let most = room.saturating_sub(around + self.ours.sealed_len(0)).max(1);
        let fits = |len: &usize| around + self.ours.sealed_len(*len) <= room;
        (1..=most).rev().find(fits).unwrap_or(1)
    }

    /// The payloads of a protected message, decrypted in place. The datagram
    /// must be addressed to this SA's SPIs.
    /// Of a fragment only the last that was missing gives a message.
    pub(crate) fn open<'d>(
        &mut self,
        datagram: &'d mut Datagram<'_>,
    ) -> Result<Authentic<'d>, OpenFault> {
        let part = self.part(datagram).map_err(OpenFault::Discard)?;
        let (head, plain) = match part.numbers {
            None => {
                let plain = self.decrypt(&part, datagram).map_err(OpenFault::Discard)?;
                (part.head, datagram.get(plain).unwrap_or_default())
            }
            Some(numbers) => {
                let head = self.gather(datagram, &part, numbers);
                (head.map_err(OpenFault::Discard)?, datagram.whole())
            }
        };
        let payloads =
            parse_payloads(head.first, plain).map_err(|error| OpenFault::Peer(fault_of(&error)))?;
        Ok(Authentic { payloads, head, plain })
    }

    /// Whether the peer sent this datagram, which is a message or the first
    /// fragment of one. Nothing is kept of it.
    pub(crate) fn verify_first(&self, datagram: &mut Datagram<'_>) -> Result<(), Discard> {
        let part = self.part(datagram)?;
        if part.numbers.is_some_and(|(number, _)| number != 1) {
            return Err(Discard::Fragment);
        }
        self.decrypt(&part, datagram).map(drop)
    }

    fn part(&self, datagram: &Datagram<'_>) -> Result<Part, Discard> {
        let Header { spi_i, spi_r, .. } = datagram.header;
        if (spi_i, spi_r) != (self.spis.initiator, self.spis.responder) {
            return Err(Discard::UnknownSpi);
        }
        let part = Part::of(datagram)?;
        if part.numbers.is_some() && self.room.is_none() {
            return Err(Discard::Fragment);
        }
        Ok(part)
    }

    fn decrypt(&self, part: &Part, datagram: &mut Datagram<'_>) -> Result<Range<usize>, Discard> {
        self.theirs.open(datagram.octets_mut(), part.body_at).map_err(|_| Discard::NotAuthentic)
    }

    /// Keeps a fragment. If it was the last one missing, the message is in
    /// `datagram` then.
    fn gather(
        &mut self,
        datagram: &mut Datagram<'_>,
        part: &Part,
        numbers: (u16, u16),
    ) -> Result<Head, Discard> {
        let (header, now) = (datagram.header, datagram.at);
        let side = usize::from(header.flags.response);
        let slot = self.reassembly.get(side).and_then(|slot| slot.as_deref());
        Reassembly::check(slot, &header, now, numbers)?;
        let plain = self.decrypt(part, datagram)?;
        let slot = self.reassembly.get_mut(side).ok_or(Discard::Fragment)?;
        let plain = datagram.get(plain).unwrap_or_default();
        let whole = Reassembly::keep(slot, &header, now, numbers, (part.head, plain))?;
        datagram.complete(whole.octets);
        Ok(whole.head)
    }
}

/// A message as it was before it was sealed and maybe fragmented, with lengths
/// that count neither IV nor padding nor ICV (RFC 9242 section 3.3.2).
fn covered(head: &[u8; HEAD_LEN], plain: &[u8]) -> Box<[u8]> {
    let mut octets = [head.as_slice(), plain].concat();
    // A message has at most 65535 octets.
    let [low, lower] = u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes();
    let inner = u16::try_from(plain.len() + 4).unwrap_or(u16::MAX).to_be_bytes();
    for (at, value) in
        [(16, &[PayloadType::SK.0][..]), (24, &[0, 0, low, lower]), (HEAD_LEN - 2, &inner)]
    {
        if let Some(field) = octets.get_mut(at..at + value.len()) {
            field.copy_from_slice(value);
        }
    }
    octets.into()
}

/// Octets of Fragment Number and Total Fragments.
const FRAGMENT_NUMBERS_LEN: usize = 4;

/// The sealed part of a datagram.
struct Part {
    head: Head,
    /// Number and total, of a fragment.
    numbers: Option<(u16, u16)>,
    body_at: usize,
}

impl Part {
    fn of(datagram: &[u8]) -> Result<Self, Discard> {
        let message = Message::parse(datagram).map_err(|_| Discard::BadPayload)?;
        let payloads = &message.payloads;
        let (first, numbers, body_at) = match (payloads.encrypted(), payloads.fragment()) {
            (Some(sealed), _) => (sealed.first_inner, None, sealed.header_len),
            (None, Some(part)) => (part.first_inner, Some(numbers(&part)), part.header_len),
            (None, None) => return Err(Discard::MissingPayload),
        };
        let is_alone = payloads.len() == 1;
        let octets = datagram.first_chunk().filter(|_| is_alone).copied();
        Ok(Self { head: Head { first, octets }, numbers, body_at })
    }
}

fn fault_of(error: &ParseError) -> PeerFault {
    match error.complaint() {
        Some(complaint) if complaint.kind == NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => {
            PeerFault::UnsupportedCriticalPayload(complaint.data.unwrap_or_default())
        }
        _ => PeerFault::InvalidSyntax,
    }
}

impl PeerFault {
    /// Its notify: type and data.
    pub(crate) fn notify(self) -> (NotifyType, Option<u8>) {
        match self {
            Self::InvalidSyntax => (NotifyType::INVALID_SYNTAX, None),
            Self::UnsupportedCriticalPayload(kind) => {
                (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, Some(kind))
            }
            Self::AuthenticationFailed => (NotifyType::AUTHENTICATION_FAILED, None),
            Self::UnexpectedNat => (NotifyType::UNEXPECTED_NAT_DETECTED, None),
        }
    }
}
