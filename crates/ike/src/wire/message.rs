//! A message and the chain of its payloads (RFC 7296 sections 3.1 and 3.2).

use arrayvec::ArrayVec;

use super::config::ConfigPayload;
use super::delete::Delete;
use super::eap::Eap;
use super::encrypted::{Encrypted, EncryptedFragment};
use super::error::ParseError;
use super::header::Header;
use super::identity::{Auth, Cert, CertRequest, Id};
use super::key_exchange::Ke;
use super::limits;
use super::notify::Notify;
use super::notify_type::NotifyType;
use super::payload::{Payload, Raw};
use super::registry::PayloadType;
use super::sa::SaPayload;
use super::ts::TsPayload;

/// A datagram, parsed as far as it is not sealed.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The payloads; the last may be [`Payload::Encrypted`] or
    /// [`Payload::EncryptedFragment`].
    pub payloads: Payloads<'a>,
}

impl<'a> Message<'a> {
    /// A datagram without the non-ESP marker.
    ///
    /// # Errors
    /// The first fault met.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = Header::parse(datagram)?;
        let payloads = parse_chain(header.next, body, Place::Message)?;
        Ok(Self { header, payloads })
    }
}

/// The payloads inside an Encrypted payload, opened. `first` is the type that
/// the Encrypted payload gave.
///
/// # Errors
/// The first fault met; an Encrypted payload is one.
pub fn parse_payloads(first: PayloadType, plaintext: &[u8]) -> Result<Payloads<'_>, ParseError> {
    parse_chain(first, plaintext, Place::Inside)
}

/// The payloads of a message in order: known ones at most once each, but for
/// those that may repeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payloads<'a>(ArrayVec<Payload<'a>, { limits::PAYLOADS }>);

/// The one payload of a kind, or all of a kind that may repeat.
macro_rules! accessors {
    ($( $(#[$doc:meta])* $name:ident: $variant:ident -> $type:ty; )*) => { $(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> Option<$type> {
            self.iter().find_map(|payload| match payload {
                Payload::$variant(inner) => Some(*inner),
                _ => None,
            })
        }
    )* };
    (each $( $(#[$doc:meta])* $name:ident: $variant:ident -> $type:ty; )*) => { $(
        $(#[$doc])*
        pub fn $name(&self) -> impl Iterator<Item = $type> {
            self.iter().filter_map(|payload| match payload {
                Payload::$variant(inner) => Some(*inner),
                _ => None,
            })
        }
    )* };
}

impl<'a> Payloads<'a> {
    /// All payloads, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Payload<'a>> {
        self.0.iter()
    }

    /// How many payloads there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, as in a liveness check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first notify of a type.
    #[must_use]
    pub fn notify(&self, kind: NotifyType) -> Option<Notify<'a>> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The first notify that reports an error.
    #[must_use]
    pub fn error(&self) -> Option<Notify<'a>> {
        self.notifies().find(|notify| notify.kind.is_error())
    }

    accessors! {
        /// The Security Association payload.
        sa: Sa -> SaPayload<'a>;
        /// The Key Exchange payload.
        ke: KeyExchange -> Ke<'a>;
        /// The initiator's identity.
        id_i: IdInitiator -> Id<'a>;
        /// The responder's identity.
        id_r: IdResponder -> Id<'a>;
        /// The Authentication payload.
        auth: Auth -> Auth<'a>;
        /// The nonce.
        nonce: Nonce -> &'a [u8];
        /// The traffic at the initiator's end.
        ts_i: TsInitiator -> TsPayload<'a>;
        /// The traffic at the responder's end.
        ts_r: TsResponder -> TsPayload<'a>;
        /// The Configuration payload.
        config: Config -> ConfigPayload<'a>;
        /// The EAP message.
        eap: Eap -> Eap<'a>;
        /// The Encrypted payload.
        encrypted: Encrypted -> Encrypted<'a>;
        /// The fragment of an Encrypted payload.
        fragment: EncryptedFragment -> EncryptedFragment<'a>;
    }

    accessors! { each
        /// Every notify, in order.
        notifies: Notify -> Notify<'a>;
        /// Every certificate, in order: the first is of the key that signed.
        certs: Cert -> Cert<'a>;
        /// Every certificate request, in order.
        cert_requests: CertRequest -> CertRequest<'a>;
        /// Every Delete payload, in order.
        deletes: Delete -> Delete<'a>;
        /// Every vendor ID, in order.
        vendor_ids: VendorId -> &'a [u8];
    }
}

impl<'s, 'a> IntoIterator for &'s Payloads<'a> {
    type Item = &'s Payload<'a>;
    type IntoIter = std::slice::Iter<'s, Payload<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where a chain stands: it decides whether Encrypted payloads are allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After the IKE header.
    Message,
    /// Inside an Encrypted payload.
    Inside,
}

fn parse_chain(
    first: PayloadType,
    octets: &[u8],
    place: Place,
) -> Result<Payloads<'_>, ParseError> {
    let mut payloads = ArrayVec::new();
    let mut seen = Seen::default();
    let (mut kind, mut rest) = (first, octets);
    while kind != PayloadType::NONE {
        let (raw, after) = Raw::split(kind, rest)?;
        let body_at = Header::LEN + octets.len() - after.len() - raw.body.len();
        let payload = match kind {
            PayloadType::SK | PayloadType::SKF => sealed(&raw, place, body_at, after)?,
            _ => Payload::parse(&raw)?,
        };
        seen.admit(&payload)?;
        let last = matches!(payload, Payload::Encrypted(_) | Payload::EncryptedFragment(_));
        payloads.try_push(payload).map_err(|_| ParseError::TooManyPayloads)?;
        (kind, rest) = (if last { PayloadType::NONE } else { raw.next }, after);
    }
    if rest.is_empty() { Ok(Payloads(payloads)) } else { Err(ParseError::TrailingOctets) }
}

/// An Encrypted payload or a fragment of one: the last of a message, and never
/// nested (RFC 7296 section 3.14).
fn sealed<'a>(
    raw: &Raw<'a>,
    place: Place,
    body_at: usize,
    after: &[u8],
) -> Result<Payload<'a>, ParseError> {
    if place == Place::Inside {
        return Err(ParseError::NestedEncrypted(raw.kind));
    }
    if !after.is_empty() {
        return Err(ParseError::AfterEncrypted(raw.kind));
    }
    if raw.kind == PayloadType::SK {
        return Ok(Payload::Encrypted(Encrypted::parse(raw, body_at)));
    }
    EncryptedFragment::parse(raw, body_at).map(Payload::EncryptedFragment)
}

/// The payload types met so far, of those that must not repeat.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn admit(&mut self, payload: &Payload<'_>) -> Result<(), ParseError> {
        if payload.may_repeat() {
            return Ok(());
        }
        let kind = payload.kind();
        let bit = 1u64.checked_shl(u32::from(kind.0)).unwrap_or(0);
        if self.0 & bit != 0 {
            return Err(ParseError::DuplicatePayload(kind));
        }
        self.0 |= bit;
        Ok(())
    }
}
