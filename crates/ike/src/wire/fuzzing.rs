//! What the fuzz targets run on each input, and the tests on their corpora.
//!
//! Each function parses hostile octets, looks at everything that was parsed,
//! emits it again and asserts that nothing was lost. Not for use elsewhere.

use std::fmt::{self, Write};
use std::hint::black_box;

use super::encrypted::{Encrypted, EncryptedFragment};
use super::header::{Flags, Header, IkeSpi};
use super::message::{Message, Payloads, parse_payloads};
use super::payload::{Payload, Raw};
use super::registry::{ExchangeType, PayloadType};
use super::ts::TrafficSelector;
use super::writer::{MessageBuilder, TooLong};

/// A whole datagram.
pub fn message(octets: &[u8]) {
    match Message::parse(octets) {
        Ok(message) => check_message(&message),
        Err(error) => look_at(&(error, error.reason(), error.complaint())),
    }
}

/// The body of a Security Association payload.
pub fn sa(body: &[u8]) {
    one_payload(PayloadType::SA, body);
}

/// The body of a Traffic Selector payload.
pub fn ts(body: &[u8]) {
    one_payload(PayloadType::TS_I, body);
}

/// The body of a Configuration payload.
pub fn config(body: &[u8]) {
    one_payload(PayloadType::CP, body);
}

/// An octet that chooses the payload, then the body of a Notify, Delete or
/// Vendor ID payload.
pub fn notify_delete(octets: &[u8]) {
    one_of(&[PayloadType::NOTIFY, PayloadType::DELETE, PayloadType::VENDOR_ID], octets);
}

/// An octet that chooses the payload, then the body of one of those that
/// IKE_SA_INIT and IKE_AUTH prove an identity with.
pub fn identity_auth(octets: &[u8]) {
    let kinds = [
        PayloadType::ID_I,
        PayloadType::ID_R,
        PayloadType::CERT,
        PayloadType::CERTREQ,
        PayloadType::AUTH,
        PayloadType::EAP,
        PayloadType::KE,
        PayloadType::NONCE,
    ];
    one_of(&kinds, octets);
}

/// The type of the first payload, then the payloads of a message. What is
/// sealed in it is taken as if opened: it is the chain inside.
pub fn encrypted(octets: &[u8]) {
    let Some((&first, chain)) = octets.split_first() else { return };
    // The fuzzer need not guess the length of the message.
    let Ok(datagram) = with_first_payload(PayloadType(first), chain) else { return };
    let Ok(parsed) = Message::parse(&datagram) else { return };
    check_message(&parsed);
    if let Some(Encrypted { first_inner, body, .. }) = parsed.payloads.encrypted() {
        inner_chain(first_inner, body);
    }
    if let Some(EncryptedFragment { first_inner, body, .. }) = parsed.payloads.fragment() {
        inner_chain(first_inner, body);
    }
}

fn one_of(kinds: &[PayloadType], octets: &[u8]) {
    let Some((&choice, body)) = octets.split_first() else { return };
    let Some(&kind) = kinds.get(usize::from(choice) % kinds.len()) else { return };
    one_payload(kind, body);
}

fn one_payload(kind: PayloadType, body: &[u8]) {
    let raw = Raw { kind, next: PayloadType::NONE, critical: false, body };
    match Payload::parse(&raw) {
        Ok(payload) => check_payload(&payload),
        Err(error) => look_at(&(error, error.reason(), error.complaint())),
    }
}

fn check_payload(payload: &Payload<'_>) {
    look_into(payload);
    let mut builder = MessageBuilder::new(Vec::new(), a_header());
    builder.payload(payload);
    let Ok(datagram) = builder.finish() else { return };
    let again = Message::parse(&datagram).map(|message| message.payloads);
    let same = again.as_ref().is_ok_and(|again| again.iter().eq([payload]));
    assert!(same || is_lossy(payload), "{payload:?} came back as {again:?}");
}

fn check_message(message: &Message<'_>) {
    look_at_all(&message.payloads);
    let Ok(once) = emit(message) else { return };
    let again = Message::parse(&once);
    let Ok(again) = again else { unreachable!("{message:?} came back as {again:?}") };
    let (before, after) = (&message.header, &again.header);
    assert_eq!((before.spi_i, before.spi_r), (after.spi_i, after.spi_r));
    assert_eq!((before.exchange, before.flags), (after.exchange, after.flags));
    assert_eq!((before.next, before.message_id), (after.next, after.message_id));
    assert_same(&message.payloads, &again.payloads);
    assert_eq!(emit(&again).as_ref(), Ok(&once), "emitting is not stable");
}

fn inner_chain(first: PayloadType, plaintext: &[u8]) {
    let Ok(payloads) = parse_payloads(first, plaintext) else { return };
    look_at_all(&payloads);
    let mut builder = MessageBuilder::new(Vec::new(), a_header()).begin_encrypted();
    for payload in &payloads {
        builder.payload(payload);
    }
    let Ok((datagram, header_len)) = builder.finish_encrypted(|plain| plain) else { return };
    let sealed = Message::parse(&datagram).ok().and_then(|m| m.payloads.encrypted());
    let Some(sealed) = sealed else { unreachable!("no Encrypted payload in what was built") };
    assert_eq!(sealed.header_len, header_len);
    let again = parse_payloads(sealed.first_inner, sealed.body);
    let Ok(again) = again else { unreachable!("{payloads:?} came back as {again:?}") };
    assert_same(&payloads, &again);
}

fn assert_same(before: &Payloads<'_>, after: &Payloads<'_>) {
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after) {
        assert!(before == after || is_lossy(before), "{before:?} came back as {after:?}");
    }
}

/// Transform attributes that IKEv2 does not define are not emitted.
fn is_lossy(payload: &Payload<'_>) -> bool {
    let Payload::Sa(sa) = payload else { return false };
    sa.proposals().any(|p| p.transforms().any(|t| t.foreign_attributes))
}

fn emit(message: &Message<'_>) -> Result<Vec<u8>, TooLong> {
    let mut builder = MessageBuilder::new(Vec::new(), message.header);
    for payload in &message.payloads {
        builder.payload(payload);
    }
    let finished = if let Some(sealed) = message.payloads.encrypted() {
        let builder = builder.begin_encrypted();
        builder.finish_with_chain(sealed.first_inner, sealed.body, |n| n)?
    } else if let Some(part) = message.payloads.fragment() {
        let builder = builder.begin_fragment(part.number, part.total);
        builder.finish_with_chain(part.first_inner, part.body, |n| n)?
    } else {
        return builder.finish();
    };
    let (datagram, header_len) = finished;
    let parsed = Message::parse(&datagram).map(|message| message.payloads);
    let found = parsed.ok().and_then(|payloads| {
        let whole = payloads.encrypted().map(|sealed| sealed.header_len);
        whole.or(payloads.fragment().map(|part| part.header_len))
    });
    assert_eq!(found, Some(header_len));
    Ok(datagram)
}

fn with_first_payload(first: PayloadType, chain: &[u8]) -> Result<Vec<u8>, TooLong> {
    let length = u32::try_from(Header::LEN + chain.len()).map_err(|_| TooLong)?;
    let mut datagram = Vec::with_capacity(Header::LEN + chain.len());
    Header { next: first, length, ..a_header() }.emit(&mut datagram);
    datagram.extend_from_slice(chain);
    Ok(datagram)
}

fn a_header() -> Header {
    let spis = (IkeSpi([1; 8]), IkeSpi([2; 8]));
    let flags = Flags { initiator: true, response: false };
    Header::new(spis, ExchangeType::INFORMATIONAL, flags, 1)
}

/// Everything that can be asked of a chain.
fn look_at_all(payloads: &Payloads<'_>) {
    look_at(&(payloads.sa(), payloads.ke(), payloads.nonce(), payloads.auth()));
    look_at(&(payloads.id_i(), payloads.id_r(), payloads.ts_i(), payloads.ts_r()));
    look_at(&(payloads.config(), payloads.eap(), payloads.error(), payloads.is_empty()));
    let repeated = payloads.notifies().count()
        + payloads.certs().count()
        + payloads.cert_requests().count()
        + payloads.deletes().count()
        + payloads.vendor_ids().count();
    assert!(repeated <= payloads.len());
    for notify in payloads.notifies() {
        assert_eq!(payloads.notify(notify.kind).map(|n| n.kind), Some(notify.kind));
    }
    payloads.iter().for_each(look_into);
}

/// Everything that can be asked of a payload.
fn look_into(payload: &Payload<'_>) {
    look_at(payload);
    match payload {
        Payload::Sa(sa) => {
            look_at(&(sa.offered().map(Iterator::count), sa.accepted()));
        }
        Payload::CertRequest(request) => {
            assert!(request.hashes().count() <= request.authorities.len() / 20);
        }
        Payload::Auth(auth) => {
            if let Some((algorithm, signature)) = auth.digital_signature() {
                assert_eq!(1 + algorithm.len() + signature.len(), auth.data.len());
            }
        }
        Payload::Notify(notify) => {
            look_at(&(notify.esp_spi(), notify.wanted_group(), notify.data_u8()));
            look_at(&(notify.data_u32(), notify.ticket_with_lifetime(), notify.address()));
            assert_eq!(notify.hash_algorithms().count(), notify.data.len() / 2);
            if let Some((gateway, nonce)) = notify.gateway() {
                assert_eq!(gateway.emit(nonce), notify.data);
            }
        }
        Payload::TsInitiator(ts) | Payload::TsResponder(ts) => {
            let understood = |s: &TrafficSelector<'_>| matches!(s, TrafficSelector::Range(_));
            assert_eq!(ts.selectors().count(), ts.iter().filter(understood).count());
        }
        Payload::Config(config) => {
            for attribute in config.attributes() {
                look_at(&(attribute.address(), attribute.ipv6_prefix(), attribute.ipv4_subnet()));
            }
        }
        Payload::KeyExchange(_)
        | Payload::IdInitiator(_)
        | Payload::IdResponder(_)
        | Payload::Cert(_)
        | Payload::Nonce(_)
        | Payload::Delete(_)
        | Payload::VendorId(_)
        | Payload::Eap(_)
        | Payload::Encrypted(_)
        | Payload::EncryptedFragment(_)
        | Payload::Unknown { .. } => {}
    }
}

/// Formats a value and forgets it: `Debug` walks through all of it.
fn look_at(value: &impl fmt::Debug) {
    let mut count = Count(0);
    assert!(write!(count, "{value:?}").is_ok());
    black_box(count.0);
}

struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
