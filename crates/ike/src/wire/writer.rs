//! Emits messages: payloads are appended to one buffer, next-payload types and
//! lengths are filled in on the way.

use std::marker::PhantomData;

use esp::spec::Selector;

use super::config::ConfigAttribute;
use super::delete::Delete;
use super::encrypted::EncryptedFragment;
use super::header::Header;
use super::identity::emit_id;
use super::limits;
use super::notify::Notify;
use super::notify_type::NotifyType;
use super::payload::{Payload, Raw};
use super::registry::{AuthMethod, CertEncoding, ConfigType, IdType, PayloadType, Protocol};
use super::sa::{KEY_LENGTH, MORE_TRANSFORMS, Proposal};
use super::transform::{KeMethod, Transform};
use super::ts::TrafficSelector;

/// A length field has no room for what was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message too long for its length fields")]
pub struct TooLong;

/// A builder whose payloads go out in the clear.
pub enum Clear {}

/// A builder whose payloads go into an Encrypted payload.
pub enum Protected {}

/// A proposal to send.
#[derive(Clone, Copy, Debug)]
pub struct NewProposal<'a> {
    /// 1 and ascending in a request; in a response, that of the chosen one.
    pub number: u8,
    /// What the SA is for.
    pub protocol: Protocol,
    /// Our SPI: 4 octets for AH and ESP; for IKE 8, or none in an initial exchange.
    pub spi: &'a [u8],
    /// The transforms, the preferred of each type first.
    pub transforms: &'a [Transform],
}

/// Builds one message in a buffer that can be used again.
///
/// ```
/// use ike::wire::{ExchangeType, Flags, Header, IkeSpi, Message, MessageBuilder};
///
/// let spis = (IkeSpi([1; 8]), IkeSpi::ZERO);
/// let flags = Flags { initiator: true, response: false };
/// let header = Header::new(spis, ExchangeType::SA_INIT, flags, 0);
/// let mut builder = MessageBuilder::new(Vec::new(), header);
/// builder.nonce(&[7; 32]);
/// let datagram = builder.finish()?;
/// assert_eq!(Message::parse(&datagram)?.payloads.nonce(), Some(&[7; 32][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What does not fit a length field is reported by the finishing call. The
/// values themselves are the caller's affair: a nonce of three octets is
/// emitted as it is told.
pub struct MessageBuilder<State = Clear> {
    out: Vec<u8>,
    /// Where the type of the next payload has to be written.
    next_at: usize,
    /// Where the payload that will be sealed begins, if there is one.
    sealed_at: usize,
    /// Where the payloads inside it begin.
    inner_at: usize,
    too_long: bool,
    state: PhantomData<State>,
}

/// Where the header has its Next Payload and Length fields.
const HEADER_NEXT_AT: usize = 16;
const HEADER_LENGTH_AT: usize = 24;

impl MessageBuilder<Clear> {
    /// Begins a message. `buffer` is emptied; its room is used again.
    #[must_use]
    pub fn new(mut buffer: Vec<u8>, header: Header) -> Self {
        buffer.clear();
        header.emit(&mut buffer);
        Self {
            out: buffer,
            next_at: HEADER_NEXT_AT,
            sealed_at: 0,
            inner_at: 0,
            too_long: false,
            state: PhantomData,
        }
    }

    /// The message, its length filled in.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish(mut self) -> Result<Vec<u8>, TooLong> {
        let length = self.out.len();
        self.patch_message_length(length);
        if self.too_long { Err(TooLong) } else { Ok(self.out) }
    }

    /// Begins an Encrypted payload: what is appended from here on goes into it.
    #[must_use]
    pub fn begin_encrypted(self) -> MessageBuilder<Protected> {
        self.begin_sealed(PayloadType::SK, &[])
    }

    /// Begins an Encrypted Fragment payload, to be finished with the part of
    /// the plaintext that it carries ([`MessageBuilder::finish_with_chain`]).
    #[must_use]
    pub fn begin_fragment(self, number: u16, total: u16) -> MessageBuilder<Protected> {
        let [a, b] = number.to_be_bytes();
        let [c, d] = total.to_be_bytes();
        let numbers: [u8; EncryptedFragment::NUMBERS_LEN] = [a, b, c, d];
        self.begin_sealed(PayloadType::SKF, &numbers)
    }

    fn begin_sealed(mut self, kind: PayloadType, numbers: &[u8]) -> MessageBuilder<Protected> {
        let sealed_at = self.begin_payload(kind);
        self.out.extend_from_slice(numbers);
        MessageBuilder {
            inner_at: self.out.len(),
            out: self.out,
            next_at: self.next_at,
            sealed_at,
            too_long: self.too_long,
            state: PhantomData,
        }
    }
}

impl MessageBuilder<Protected> {
    /// The message ready to be sealed, and where the payloads to seal begin in
    /// it. The lengths in front of that are final: they count the
    /// `sealed_body_len(n)` octets that sealing makes of `n` octets of payloads.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish_encrypted(
        mut self,
        sealed_body_len: impl FnOnce(usize) -> usize,
    ) -> Result<(Vec<u8>, usize), TooLong> {
        let plaintext = self.out.len() - self.inner_at;
        let end = self.inner_at.saturating_add(sealed_body_len(plaintext));
        self.patch_payload_length(self.sealed_at, end - self.sealed_at);
        self.patch_message_length(end);
        if self.too_long { Err(TooLong) } else { Ok((self.out, self.inner_at)) }
    }

    /// As [`Self::finish_encrypted`], after `chain`: payloads already encoded,
    /// of which the first is of type `first`. Fragments are made of such parts,
    /// all but the first with [`PayloadType::NONE`] (RFC 7383 section 2.5).
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish_with_chain(
        mut self,
        first: PayloadType,
        chain: &[u8],
        sealed_body_len: impl FnOnce(usize) -> usize,
    ) -> Result<(Vec<u8>, usize), TooLong> {
        self.patch(self.next_at, &[first.0]);
        self.out.extend_from_slice(chain);
        self.finish_encrypted(sealed_body_len)
    }
}

/// Payloads, appended in the order of the calls.
impl<State> MessageBuilder<State> {
    /// A Security Association payload of these proposals.
    pub fn sa(&mut self, proposals: &[NewProposal<'_>]) -> &mut Self {
        let last = proposals.len().saturating_sub(1);
        self.payload_of(PayloadType::SA, |m| {
            for (place, proposal) in proposals.iter().enumerate() {
                let transforms = proposal.transforms.iter().copied();
                m.proposal(proposal, transforms, place < last);
            }
        })
    }

    /// A Key Exchange payload.
    pub fn ke(&mut self, group: KeMethod, public: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::KE, |m| {
            m.out.extend_from_slice(&group.0.to_be_bytes());
            m.out.extend_from_slice(&[0, 0]);
            m.out.extend_from_slice(public);
        })
    }

    /// A Nonce payload.
    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.opaque(PayloadType::NONCE, nonce)
    }

    /// The initiator's identity; AUTH covers [`super::id_body`] of it.
    pub fn id_i(&mut self, kind: IdType, data: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::ID_I, |m| emit_id(&mut m.out, kind, data))
    }

    /// The responder's identity; AUTH covers [`super::id_body`] of it.
    pub fn id_r(&mut self, kind: IdType, data: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::ID_R, |m| emit_id(&mut m.out, kind, data))
    }

    /// A Certificate payload.
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::CERT, |m| {
            m.out.push(encoding.0);
            m.out.extend_from_slice(data);
        })
    }

    /// A Certificate Request payload.
    pub fn cert_request(&mut self, encoding: CertEncoding, authorities: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::CERTREQ, |m| {
            m.out.push(encoding.0);
            m.out.extend_from_slice(authorities);
        })
    }

    /// An Authentication payload.
    pub fn auth(&mut self, method: AuthMethod, data: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::AUTH, |m| {
            m.out.extend_from_slice(&[method.0, 0, 0, 0]);
            m.out.extend_from_slice(data);
        })
    }

    /// A notify about no particular SA.
    pub fn notify(&mut self, kind: NotifyType, data: &[u8]) -> &mut Self {
        self.notify_about(&Notify::new(kind, data))
    }

    /// A notify, about an SA if it has an SPI.
    pub fn notify_about(&mut self, notify: &Notify<'_>) -> &mut Self {
        self.payload_of(PayloadType::NOTIFY, |m| {
            let spi_size = m.narrow(notify.spi.len());
            m.out.extend_from_slice(&[notify.protocol.0, spi_size]);
            m.out.extend_from_slice(&notify.kind.0.to_be_bytes());
            m.out.extend_from_slice(notify.spi);
            m.out.extend_from_slice(notify.data);
        })
    }

    /// A Delete payload for the IKE SA itself.
    pub fn delete_ike(&mut self) -> &mut Self {
        self.opaque(PayloadType::DELETE, &[Protocol::IKE.0, 0, 0, 0])
    }

    /// A Delete payload for children, by the SPIs of packets that we receive.
    pub fn delete_children(
        &mut self,
        protocol: Protocol,
        spis: impl ExactSizeIterator<Item = u32>,
    ) -> &mut Self {
        self.payload_of(PayloadType::DELETE, |m| {
            let count = m.narrow16(spis.len());
            m.out.extend_from_slice(&[protocol.0, 4]);
            m.out.extend_from_slice(&count.to_be_bytes());
            for spi in spis {
                m.out.extend_from_slice(&spi.to_be_bytes());
            }
        })
    }

    /// A Vendor ID payload.
    pub fn vendor(&mut self, id: &[u8]) -> &mut Self {
        self.opaque(PayloadType::VENDOR_ID, id)
    }

    /// The traffic at the initiator's end.
    pub fn ts_i(&mut self, selectors: &[Selector]) -> &mut Self {
        self.ts(PayloadType::TS_I, selectors.iter().copied().map(TrafficSelector::Range))
    }

    /// The traffic at the responder's end.
    pub fn ts_r(&mut self, selectors: &[Selector]) -> &mut Self {
        self.ts(PayloadType::TS_R, selectors.iter().copied().map(TrafficSelector::Range))
    }

    /// A Configuration payload.
    pub fn config<'v>(
        &mut self,
        kind: ConfigType,
        attributes: impl IntoIterator<Item = ConfigAttribute<'v>>,
    ) -> &mut Self {
        self.payload_of(PayloadType::CP, |m| {
            m.out.extend_from_slice(&[kind.0, 0, 0, 0]);
            for attribute in attributes {
                let length = m.narrow16(attribute.value.len());
                m.out.extend_from_slice(&attribute.kind.0.to_be_bytes());
                m.out.extend_from_slice(&length.to_be_bytes());
                m.out.extend_from_slice(attribute.value);
            }
        })
    }

    /// An EAP payload with a whole EAP message.
    pub fn eap(&mut self, message: &[u8]) -> &mut Self {
        self.opaque(PayloadType::EAP, message)
    }

    /// Any payload but the Encrypted ones, which are built and sealed; those
    /// are passed over.
    pub fn payload(&mut self, payload: &Payload<'_>) -> &mut Self {
        match *payload {
            Payload::Sa(sa) => self.payload_of(PayloadType::SA, |m| {
                let mut proposals = sa.proposals().peekable();
                while let Some(proposal) = proposals.next() {
                    let (new, transforms) = (again(&proposal), proposal.transforms());
                    m.proposal(&new, transforms, proposals.peek().is_some());
                }
            }),
            Payload::KeyExchange(ke) => self.ke(ke.group, ke.data),
            Payload::IdInitiator(id) => self.id_i(id.kind, id.data),
            Payload::IdResponder(id) => self.id_r(id.kind, id.data),
            Payload::Cert(cert) => self.cert(cert.encoding, cert.data),
            Payload::CertRequest(r) => self.cert_request(r.encoding, r.authorities),
            Payload::Auth(auth) => self.auth(auth.method, auth.data),
            Payload::Nonce(nonce) => self.nonce(nonce),
            Payload::Notify(notify) => self.notify_about(&notify),
            Payload::Delete(Delete::IkeSa) => self.delete_ike(),
            Payload::Delete(Delete::Children { protocol, spis }) => {
                self.delete_children(protocol, spis.iter())
            }
            Payload::VendorId(id) => self.vendor(id),
            Payload::TsInitiator(ts) => self.ts(PayloadType::TS_I, ts.iter()),
            Payload::TsResponder(ts) => self.ts(PayloadType::TS_R, ts.iter()),
            Payload::Config(config) => self.config(config.kind, config.attributes()),
            Payload::Eap(eap) => self.eap(eap.message),
            Payload::Unknown { kind, body } => self.opaque(kind, body),
            Payload::Encrypted(_) | Payload::EncryptedFragment(_) => self,
        }
    }

    fn ts<'v>(
        &mut self,
        kind: PayloadType,
        selectors: impl Iterator<Item = TrafficSelector<'v>>,
    ) -> &mut Self {
        self.payload_of(kind, |m| {
            let count_at = m.out.len();
            m.out.extend_from_slice(&[0; 4]);
            let mut count = 0;
            for selector in selectors {
                selector.emit(&mut m.out);
                count += 1;
            }
            let count = m.narrow(count);
            m.patch(count_at, &[count]);
        })
    }

    fn proposal(
        &mut self,
        proposal: &NewProposal<'_>,
        transforms: impl Iterator<Item = Transform>,
        more: bool,
    ) {
        let start = self.out.len();
        let last = if more { Proposal::MORE } else { 0 };
        let spi_size = self.narrow(proposal.spi.len());
        let NewProposal { number, protocol, .. } = *proposal;
        self.out.extend_from_slice(&[last, 0, 0, 0, number, protocol.0, spi_size, 0]);
        self.out.extend_from_slice(proposal.spi);
        let count = self.transforms(transforms);
        self.patch(start + 7, &[count]);
        self.patch_length(start + 2, self.out.len() - start);
    }

    fn transforms(&mut self, transforms: impl Iterator<Item = Transform>) -> u8 {
        let mut count = 0;
        let mut transforms = transforms.peekable();
        while let Some(transform) = transforms.next() {
            self.transform(transform, transforms.peek().is_some());
            count += 1;
        }
        self.narrow(count)
    }

    fn transform(&mut self, transform: Transform, more: bool) {
        let start = self.out.len();
        let last = if more { MORE_TRANSFORMS } else { 0 };
        self.out.extend_from_slice(&[last, 0, 0, 0, transform.kind.0, 0]);
        self.out.extend_from_slice(&transform.id.to_be_bytes());
        if let Some(bits) = transform.key_length {
            self.out.extend_from_slice(&KEY_LENGTH.to_be_bytes());
            self.out.extend_from_slice(&bits.to_be_bytes());
        }
        self.patch_length(start + 2, self.out.len() - start);
    }

    fn opaque(&mut self, kind: PayloadType, body: &[u8]) -> &mut Self {
        self.payload_of(kind, |m| m.out.extend_from_slice(body))
    }

    /// One payload: `body` appends what follows the generic header.
    fn payload_of(&mut self, kind: PayloadType, body: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.begin_payload(kind);
        body(self);
        let length = self.out.len() - start;
        self.patch_payload_length(start, length);
        self
    }

    /// Links a payload into the chain and appends its generic header.
    fn begin_payload(&mut self, kind: PayloadType) -> usize {
        let start = self.out.len();
        self.patch(self.next_at, &[kind.0]);
        self.out.extend_from_slice(&[0; Raw::HEADER_LEN]);
        self.next_at = start;
        start
    }

    fn patch_payload_length(&mut self, start: usize, length: usize) {
        self.patch_length(start + 2, length);
    }

    fn patch_message_length(&mut self, length: usize) {
        self.too_long |= length > limits::MESSAGE;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.patch(HEADER_LENGTH_AT, &length.to_be_bytes());
    }

    fn patch_length(&mut self, at: usize, length: usize) {
        let length = self.narrow16(length);
        self.patch(at, &length.to_be_bytes());
    }

    fn patch(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    }

    /// A value for a field of one octet; remembers when it does not fit.
    fn narrow(&mut self, value: usize) -> u8 {
        u8::try_from(value).unwrap_or_else(|_| {
            self.too_long = true;
            u8::MAX
        })
    }

    /// A value for a field of two octets; remembers when it does not fit.
    fn narrow16(&mut self, value: usize) -> u16 {
        u16::try_from(value).unwrap_or_else(|_| {
            self.too_long = true;
            u16::MAX
        })
    }
}

/// What a received proposal would be if it were ours, but for its transforms.
fn again<'a>(proposal: &Proposal<'a>) -> NewProposal<'a> {
    let Proposal { number, protocol, spi, .. } = *proposal;
    NewProposal { number, protocol, spi, transforms: &[] }
}
