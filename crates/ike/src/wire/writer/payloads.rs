//! What each payload holds, appended field by field.

use esp::spec::Selector;

use super::super::config::ConfigAttribute;
use super::super::delete::Delete;
use super::super::identity::emit_id;
use super::super::notify::Notify;
use super::super::notify_type::NotifyType;
use super::super::payload::Payload;
use super::super::registry::{AuthMethod, CertEncoding, ConfigType, IdType, PayloadType, Protocol};
use super::super::sa::{KEY_LENGTH, MORE_TRANSFORMS, Proposal};
use super::super::transform::{KeMethod, Transform};
use super::super::ts::TrafficSelector;
use super::{MessageBuilder, NewProposal};

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

    /// The initiator's identity; AUTH covers [`crate::wire::id_body`] of it.
    pub fn id_i(&mut self, kind: IdType, data: &[u8]) -> &mut Self {
        self.payload_of(PayloadType::ID_I, |m| emit_id(&mut m.out, kind, data))
    }

    /// The responder's identity; AUTH covers [`crate::wire::id_body`] of it.
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
}

/// What a received proposal would be if it were ours, but for its transforms.
fn again<'a>(proposal: &Proposal<'a>) -> NewProposal<'a> {
    let Proposal { number, protocol, spi, .. } = *proposal;
    NewProposal { number, protocol, spi, transforms: &[] }
}
