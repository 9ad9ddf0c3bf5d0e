//! Sealing and opening the messages of one IKE SA, and the proof that a
//! message is authentic.

use std::sync::Arc;

use crypto::{IkeKeys, MessageKey, Provider, SkD, SkP};

use crate::event::Role;
use crate::fault::{Discard, PeerFault};
use crate::wire::{
    ExchangeType, Flags, Header, IkeSpi, Message, MessageBuilder, NotifyType, ParseError, Payloads,
    Protected, parse_payloads,
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
    pub(crate) fn new(role: Role, spis: Spis, keys: IkeKeys) -> Self {
        let IkeKeys { sk_d, initiator, responder, sk_pi, sk_pr } = keys;
        let (ours, theirs, our_p, their_p) = match role {
            Role::Initiator => (initiator, responder, sk_pi, sk_pr),
            Role::Responder => (responder, initiator, sk_pr, sk_pi),
        };
        Self { protection: Protection { role, spis, ours, theirs }, sk_d, our_p, their_p }
    }
}

/// The payloads of a message that only the holder of the SA's keys can have
/// sent. Nothing else makes one.
pub(crate) struct Authentic<'d> {
    payloads: Payloads<'d>,
}

impl<'d> Authentic<'d> {
    pub(crate) const fn payloads(&self) -> &Payloads<'d> {
        &self.payloads
    }
}

/// Why a protected message gave no payloads.
pub(crate) enum OpenFault {
    /// Anybody may have sent it.
    Discard(Discard),
    /// The peer sent it, and it is wrong.
    Peer(PeerFault),
}

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

    /// A request of ours, sealed.
    pub(crate) fn request(
        &mut self,
        provider: &mut Provider,
        exchange: ExchangeType,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Arc<[u8]>, Unsendable> {
        self.seal(provider, exchange, id, false, fill)
    }

    /// A response of ours, sealed.
    pub(crate) fn response(
        &mut self,
        provider: &mut Provider,
        exchange: ExchangeType,
        id: u32,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Arc<[u8]>, Unsendable> {
        self.seal(provider, exchange, id, true, fill)
    }

    fn seal(
        &mut self,
        provider: &mut Provider,
        exchange: ExchangeType,
        id: u32,
        response: bool,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<Arc<[u8]>, Unsendable> {
        let flags = Flags { initiator: self.role == Role::Initiator, response };
        let spis = (self.spis.initiator, self.spis.responder);
        let header = Header::new(spis, exchange, flags, id);
        let mut builder = MessageBuilder::new(Vec::with_capacity(ROOM), header).begin_encrypted();
        fill(&mut builder);
        let sealed_len = |len| self.ours.sealed_len(len);
        let (mut message, inner_at) =
            builder.finish_encrypted(sealed_len).map_err(|_| Unsendable)?;
        self.ours.seal(provider, &mut message, inner_at).map_err(|_| Unsendable)?;
        Ok(message.into())
    }

    /// The payloads of a protected message, decrypted in place. The datagram
    /// must be addressed to this SA's SPIs.
    pub(crate) fn open<'d>(
        &self,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Result<Authentic<'d>, OpenFault> {
        if (header.spi_i, header.spi_r) != (self.spis.initiator, self.spis.responder) {
            return Err(OpenFault::Discard(Discard::UnknownSpi));
        }
        let (first, body_at) = sealed_part(datagram).map_err(OpenFault::Discard)?;
        let plain = self
            .theirs
            .open(datagram, body_at)
            .map_err(|_| OpenFault::Discard(Discard::NotAuthentic))?;
        let inner = datagram.get(plain).unwrap_or_default();
        let payloads =
            parse_payloads(first, inner).map_err(|error| OpenFault::Peer(fault_of(&error)))?;
        Ok(Authentic { payloads })
    }
}

/// What is inside the Encrypted payload, and where it begins.
fn sealed_part(datagram: &[u8]) -> Result<(crate::wire::PayloadType, usize), Discard> {
    let message = Message::parse(datagram).map_err(|_| Discard::BadPayload)?;
    let sealed = message.payloads.encrypted().ok_or(Discard::MissingPayload)?;
    Ok((sealed.first_inner, sealed.header_len))
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
        }
    }
}
