//! Any payload, and the generic header in front of each (RFC 7296 section 3.2).

use super::config::ConfigPayload;
use super::delete::Delete;
use super::eap::Eap;
use super::encrypted::{Encrypted, EncryptedFragment};
use super::error::ParseError;
use super::identity::{Auth, Cert, CertRequest, Id};
use super::key_exchange::{self, Ke};
use super::notify::Notify;
use super::reader::Reader;
use super::registry::PayloadType;
use super::sa::SaPayload;
use super::ts::TsPayload;

/// One payload of a message, borrowed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Proposals, offered or accepted.
    Sa(SaPayload<'a>),
    /// A public key exchange value.
    KeyExchange(Ke<'a>),
    /// The initiator's identity.
    IdInitiator(Id<'a>),
    /// The responder's identity.
    IdResponder(Id<'a>),
    /// A certificate or what stands for it.
    Cert(Cert<'a>),
    /// Which certificates are wanted.
    CertRequest(CertRequest<'a>),
    /// The proof of identity.
    Auth(Auth<'a>),
    /// A nonce, its length checked.
    Nonce(&'a [u8]),
    /// An error or a status.
    Notify(Notify<'a>),
    /// SAs that are gone.
    Delete(Delete<'a>),
    /// An implementation's mark.
    VendorId(&'a [u8]),
    /// Traffic at the initiator's end.
    TsInitiator(TsPayload<'a>),
    /// Traffic at the responder's end.
    TsResponder(TsPayload<'a>),
    /// Configuration asked for or given.
    Config(ConfigPayload<'a>),
    /// An EAP message.
    Eap(Eap<'a>),
    /// The sealed rest of the message.
    Encrypted(Encrypted<'a>),
    /// A sealed part of the rest of a larger message.
    EncryptedFragment(EncryptedFragment<'a>),
    /// A payload that is not understood and may be skipped.
    Unknown {
        /// Its type.
        kind: PayloadType,
        /// What follows its generic header.
        body: &'a [u8],
    },
}

impl<'a> Payload<'a> {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::KeyExchange(_) => PayloadType::KE,
            Self::IdInitiator(_) => PayloadType::ID_I,
            Self::IdResponder(_) => PayloadType::ID_R,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertRequest(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsInitiator(_) => PayloadType::TS_I,
            Self::TsResponder(_) => PayloadType::TS_R,
            Self::Config(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Encrypted(_) => PayloadType::SK,
            Self::EncryptedFragment(_) => PayloadType::SKF,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Whether several may stand in one message. Of the others a second one
    /// would leave it open which is meant.
    pub(super) const fn may_repeat(&self) -> bool {
        match self {
            Self::Cert(_)
            | Self::CertRequest(_)
            | Self::Notify(_)
            | Self::Delete(_)
            | Self::VendorId(_)
            | Self::Unknown { .. } => true,
            Self::Sa(_)
            | Self::KeyExchange(_)
            | Self::IdInitiator(_)
            | Self::IdResponder(_)
            | Self::Auth(_)
            | Self::Nonce(_)
            | Self::TsInitiator(_)
            | Self::TsResponder(_)
            | Self::Config(_)
            | Self::Eap(_)
            | Self::Encrypted(_)
            | Self::EncryptedFragment(_) => false,
        }
    }

    /// The body of one payload other than SK and SKF, which are the message's
    /// affair.
    pub(super) fn parse(raw: &Raw<'a>) -> Result<Self, ParseError> {
        let (kind, body) = (raw.kind, raw.body);
        Ok(match kind {
            PayloadType::SA => Self::Sa(SaPayload::parse(body)?),
            PayloadType::KE => Self::KeyExchange(Ke::parse(body)?),
            PayloadType::ID_I => Self::IdInitiator(Id::parse(kind, body)?),
            PayloadType::ID_R => Self::IdResponder(Id::parse(kind, body)?),
            PayloadType::CERT => Self::Cert(Cert::parse(body)?),
            PayloadType::CERTREQ => Self::CertRequest(CertRequest::parse(body)?),
            PayloadType::AUTH => Self::Auth(Auth::parse(body)?),
            PayloadType::NONCE => Self::Nonce(key_exchange::parse_nonce(body)?),
            PayloadType::NOTIFY => Self::Notify(Notify::parse(body)?),
            PayloadType::DELETE => Self::Delete(Delete::parse(body)?),
            PayloadType::VENDOR_ID => Self::VendorId(body),
            PayloadType::TS_I => Self::TsInitiator(TsPayload::parse(kind, body)?),
            PayloadType::TS_R => Self::TsResponder(TsPayload::parse(kind, body)?),
            PayloadType::CP => Self::Config(ConfigPayload::parse(body)?),
            PayloadType::EAP => Self::Eap(Eap::parse(body)?),
            kind if raw.critical => return Err(ParseError::UnsupportedCritical(kind)),
            kind => Self::Unknown { kind, body },
        })
    }
}

/// A payload behind its generic header, not yet looked into.
pub(super) struct Raw<'a> {
    pub(super) kind: PayloadType,
    pub(super) next: PayloadType,
    pub(super) critical: bool,
    pub(super) body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Octets of the generic header.
    pub(super) const HEADER_LEN: usize = 4;
    const CRITICAL: u8 = 0x80;

    /// Splits one payload off `rest` and returns it with what follows.
    pub(super) fn split(kind: PayloadType, rest: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let mut reader = Reader::new(kind, rest);
        let next = PayloadType(reader.u8()?);
        let critical = reader.u8()? & Self::CRITICAL != 0;
        let length = usize::from(reader.u16()?);
        let body_len = length.checked_sub(Self::HEADER_LEN).ok_or(ParseError::BadLength(kind))?;
        let (body, rest) =
            reader.rest().split_at_checked(body_len).ok_or(ParseError::BadLength(kind))?;
        Ok((Self { kind, next, critical, body }, rest))
    }
}

/// `Debug` with the lengths of opaque fields instead of their octets: some
/// hold passwords (EAP) or tickets, and none is readable.
macro_rules! debug_lengths {
    ($type:ident { $($shown:ident),* } lengths { $($opaque:ident),* }) => {
        impl std::fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))
                    $( .field(stringify!($shown), &self.$shown) )*
                    $( .field(stringify!($opaque), &format_args!("{} octets", self.$opaque.len())) )*
                    .finish()
            }
        }
    };
}
pub(super) use debug_lengths;
