//! Every message of a session between two libreswan 5.2: set-up in fragments,
//! suspension, IKE_SESSION_RESUME, IKE_AUTH and rekeys.

use ike::wire::{
    AuthMethod, Encr, ExchangeType, Header, IdType, IkeSpi, KeMethod, Message, MessageBuilder,
    NotifyType, Payload, PayloadType, Payloads, Prf, Protocol, Transform, TransformType,
    parse_payloads,
};
use serde_json::Value;

struct Capture(Value);

impl Capture {
    fn load() -> Self {
        let text = include_str!("../data/libreswan-5.2-resume.json");
        Self(serde_json::from_str(text).unwrap())
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        from_hex(self.0[name].as_str().unwrap())
    }

    /// The payloads inside an IKE_AUTH message. The capture has them with the
    /// padding, which is the Pad Length octet alone (RFC 5282 section 3).
    fn inside(&self, name: &str) -> Vec<u8> {
        let mut plain = self.octets(&format!("{name}_plain"));
        assert_eq!(plain.pop(), Some(0));
        plain
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let all = self.0["all_messages"].as_array().unwrap();
        all.iter().map(|message| from_hex(message["raw"].as_str().unwrap())).collect()
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn emit(message: &Message<'_>) -> Vec<u8> {
    let mut builder = MessageBuilder::new(Vec::new(), message.header);
    for payload in &message.payloads {
        builder.payload(payload);
    }
    match message.payloads.iter().last() {
        Some(Payload::Encrypted(sealed)) => {
            let builder = builder.begin_encrypted();
            builder.finish_with_chain(sealed.first_inner, sealed.body, |n| n).unwrap().0
        }
        Some(Payload::EncryptedFragment(part)) => {
            let builder = builder.begin_fragment(part.number, part.total);
            builder.finish_with_chain(part.first_inner, part.body, |n| n).unwrap().0
        }
        _ => builder.finish().unwrap(),
    }
}

fn emit_inside(payloads: &Payloads<'_>, header: Header) -> (PayloadType, Vec<u8>) {
    let mut builder = MessageBuilder::new(Vec::new(), header).begin_encrypted();
    for payload in payloads {
        builder.payload(payload);
    }
    let (message, header_len) = builder.finish_encrypted(|n| n).unwrap();
    let first = Message::parse(&message).unwrap().payloads.encrypted().unwrap().first_inner;
    (first, message[header_len..].to_vec())
}

#[test]
fn every_message_comes_back_byte_for_byte() {
    let messages = Capture::load().messages();
    assert_eq!(messages.len(), 26);
    for raw in &messages {
        let message = Message::parse(raw).unwrap();
        assert_eq!(&emit(&message), raw, "{message:?}");
    }
}

#[test]
fn what_is_inside_ike_auth_comes_back_byte_for_byte() {
    let capture = Capture::load();
    for name in ["ike_auth_request", "ike_auth_response"] {
        let raw = capture.octets(name);
        let plain = capture.inside(name);
        let message = Message::parse(&raw).unwrap();
        let sealed = message.payloads.encrypted().unwrap();
        let inside = parse_payloads(sealed.first_inner, &plain).unwrap();
        assert_eq!(emit_inside(&inside, message.header), (sealed.first_inner, plain.clone()));
    }
}

#[test]
fn ike_sa_init_offers_what_libreswan_offers() {
    let raw = Capture::load().messages().swap_remove(0);
    let Message { header, payloads } = Message::parse(&raw).unwrap();
    assert_eq!(header.exchange, ExchangeType::SA_INIT);
    assert!(header.flags.initiator && !header.flags.response);
    assert!(header.spi_r.is_zero());

    let proposals: Vec<_> = payloads.sa().unwrap().offered().unwrap().collect();
    assert!(proposals.iter().all(|p| p.protocol == Protocol::IKE && p.spi.is_empty()));
    let ciphers: Vec<_> = proposals[0].of_type(TransformType::ENCR).collect();
    assert_eq!(ciphers, [Transform::encr(Encr::AES_GCM_16, Some(256))]);
    let prfs: Vec<_> = proposals[0].of_type(TransformType::PRF).collect();
    assert_eq!(prfs[0], Transform::prf(Prf::HMAC_SHA2_512));

    assert_eq!(payloads.nonce().unwrap().len(), 32);
    let fragmentation = payloads.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
    assert!(fragmentation.unwrap().data.is_empty());
    let source = payloads.notify(NotifyType::NAT_DETECTION_SOURCE_IP).unwrap();
    assert_eq!(source.data.len(), 20);
}

#[test]
fn the_response_accepts_one_proposal_and_its_group() {
    let raw = Capture::load().messages().swap_remove(1);
    let payloads = Message::parse(&raw).unwrap().payloads;
    let accepted = payloads.sa().unwrap().accepted().unwrap();
    let chosen: Vec<_> = accepted.transforms().map(|t| t.to_string()).collect();
    assert_eq!(chosen, ["ENCR=AES_GCM_16_256", "PRF=HMAC_SHA2_512", "KE=P256"]);
    let ke = payloads.ke().unwrap();
    assert_eq!((ke.group, ke.data.len()), (KeMethod::P256, 64));
}

#[test]
fn a_resumption_presents_the_ticket_in_the_clear() {
    let capture = Capture::load();
    let request = capture.octets("resume_request");
    let Message { header, payloads } = Message::parse(&request).unwrap();
    assert_eq!(header.exchange, ExchangeType::SESSION_RESUME);
    assert_eq!(header.spi_i, IkeSpi::from_wire(&capture.octets("spii")).unwrap());
    assert_eq!(payloads.nonce(), Some(capture.octets("ni").as_slice()));
    let ticket = payloads.notify(NotifyType::TICKET_OPAQUE).unwrap();
    assert_eq!((ticket.protocol, ticket.spi), (Protocol::NONE, &[][..]));
    assert_eq!(ticket.data, capture.octets("ticket"));

    let response = capture.octets("resume_response");
    let Message { header, payloads } = Message::parse(&response).unwrap();
    assert!(header.flags.response && !header.flags.initiator);
    assert_eq!(header.recipient_spi(), IkeSpi::from_wire(&capture.octets("spii")).unwrap());
    assert_eq!(payloads.nonce(), Some(capture.octets("nr").as_slice()));
}

#[test]
fn ike_auth_after_it_names_both_ends_and_brings_the_next_ticket() {
    let capture = Capture::load();
    let plain = capture.inside("ike_auth_request");
    let inside = parse_payloads(PayloadType::ID_I, &plain).unwrap();
    let (west, east) = (inside.id_i().unwrap(), inside.id_r().unwrap());
    assert_eq!((west.kind, west.data), (IdType::FQDN, &b"west"[..]));
    assert_eq!((east.kind, east.data), (IdType::FQDN, &b"east"[..]));
    assert_eq!(inside.auth().unwrap().method, AuthMethod::SHARED_KEY_MIC);
    assert!(inside.notify(NotifyType::TICKET_REQUEST).is_some());
    let esp = inside.sa().unwrap().offered().unwrap().next().unwrap();
    assert_eq!((esp.protocol, esp.spi.len()), (Protocol::ESP, 4));
    assert_eq!(inside.ts_i().unwrap().selectors().count(), 1);

    let raw = capture.octets("ike_auth_response");
    let first = Message::parse(&raw).unwrap().payloads.encrypted().unwrap().first_inner;
    let plain = capture.inside("ike_auth_response");
    let inside = parse_payloads(first, &plain).unwrap();
    let grant = inside.notify(NotifyType::TICKET_LT_OPAQUE).unwrap();
    let (lifetime, ticket) = grant.ticket_with_lifetime().unwrap();
    assert_eq!((lifetime, ticket.len()), (3600, 856));
}

#[test]
fn the_sealed_part_begins_after_both_headers() {
    for raw in &Capture::load().messages() {
        let message = Message::parse(raw).unwrap();
        if let Some(sealed) = message.payloads.encrypted() {
            assert_eq!(sealed.header_len, Header::LEN + 4);
            assert_eq!(&raw[sealed.header_len..], sealed.body);
        }
        if let Some(part) = message.payloads.fragment() {
            assert_eq!(part.header_len, Header::LEN + 8);
            assert_eq!(&raw[part.header_len..], part.body);
            assert_eq!(part.total, 3);
        }
    }
}
