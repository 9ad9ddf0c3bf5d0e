//! What the builder writes: reserved fields, chains, lengths, and its refusals.

use std::net::IpAddr;

use esp::spec::Selector;
use ike::wire::{
    Auth, AuthMethod, CertEncoding, ConfigAttribute, ConfigAttributeType, ConfigType, Encr, Esn,
    ExchangeType, Flags, Header, IdType, IkeSpi, KeMethod, Message, MessageBuilder, NewProposal,
    Notify, NotifyType, PayloadType, Protocol, TooLong, TrafficSelector, Transform, id_body,
    parse_payloads,
};

fn header(exchange: ExchangeType) -> Header {
    let flags = Flags { initiator: true, response: false };
    Header::new((IkeSpi([0xaa; 8]), IkeSpi([0xbb; 8])), exchange, flags, 5)
}

fn builder() -> MessageBuilder {
    MessageBuilder::new(Vec::new(), header(ExchangeType::INFORMATIONAL))
}

#[test]
fn an_empty_message_is_a_header() {
    let message = builder().finish().unwrap();
    let mut expected = vec![0xaa; 8];
    expected.extend([0xbb; 8]);
    expected.extend([0, 0x20, 37, 0x08, 0, 0, 0, 5, 0, 0, 0, 28]);
    assert_eq!(message, expected);
}

#[test]
fn a_received_header_can_head_an_answer_of_other_payloads() {
    let received = Header { next: PayloadType::SK, length: 999, ..header(ExchangeType::AUTH) };
    let message = MessageBuilder::new(Vec::new(), received).finish().unwrap();
    assert!(Message::parse(&message).unwrap().payloads.is_empty());
}

#[test]
fn a_proposal_is_laid_out_as_in_figures_7_and_8() {
    let mut m = builder();
    let transforms = [
        Transform::encr(Encr::AES_GCM_16, Some(256)),
        Transform::encr(Encr::CHACHA20_POLY1305, None),
        Transform::esn(Esn::NO_ESN),
    ];
    let (number, protocol, spi) = (1, Protocol::ESP, &[1, 2, 3, 4][..]);
    m.sa(&[NewProposal { number, protocol, spi, transforms: &transforms }]);
    let message = m.finish().unwrap();
    let expected: [&[u8]; 6] = [
        &[0, 0, 0, 44],
        &[0, 0, 0, 40, 1, 3, 4, 3],
        &[1, 2, 3, 4],
        &[3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0],
        &[3, 0, 0, 8, 1, 0, 0, 28],
        &[0, 0, 0, 8, 5, 0, 0, 0],
    ];
    assert_eq!(message[Header::LEN..], expected.concat());
    assert_eq!(message[16], PayloadType::SA.0);
}

#[test]
fn the_encrypted_header_has_its_final_lengths_before_sealing() {
    let mut m = builder();
    m.vendor(b"outer");
    let mut m = m.begin_encrypted();
    m.delete_ike().notify(NotifyType::TICKET_REQUEST, &[]);
    // Pretend that sealing adds an IV, a pad length octet and a tag.
    let (message, header_len) = m.finish_encrypted(|plaintext| 8 + plaintext + 1 + 16).unwrap();
    assert_eq!(header_len, Header::LEN + 9 + 4);
    let final_len = message.len() + 25;
    assert_eq!(message[24..28], u32::try_from(final_len).unwrap().to_be_bytes());
    let sk = &message[header_len - 4..header_len];
    let sk_len = u16::try_from(final_len - header_len + 4).unwrap().to_be_bytes();
    assert_eq!(sk, [&[PayloadType::DELETE.0, 0], &sk_len[..]].concat());
    let inside = parse_payloads(PayloadType::DELETE, &message[header_len..]).unwrap();
    assert_eq!((inside.len(), inside.notifies().count()), (2, 1));
}

#[test]
fn an_empty_encrypted_payload_is_a_liveness_check() {
    let (message, header_len) = builder().begin_encrypted().finish_encrypted(|n| n).unwrap();
    assert_eq!(header_len, message.len());
    let sealed = Message::parse(&message).unwrap().payloads.encrypted().unwrap();
    assert_eq!(sealed.first_inner, PayloadType::NONE);
    assert!(parse_payloads(sealed.first_inner, sealed.body).unwrap().is_empty());
}

#[test]
fn fragments_put_together_are_the_payloads() {
    let mut m = builder().begin_encrypted();
    m.vendor(&[7; 300]).vendor(&[8; 300]);
    let (whole, header_len) = m.finish_encrypted(|n| n).unwrap();
    let chunks: Vec<_> = whole[header_len..].chunks(250).collect();
    let total = u16::try_from(chunks.len()).unwrap();

    let mut plaintext = Vec::new();
    for (number, chunk) in (1..).zip(&chunks) {
        let first = if number == 1 { PayloadType::VENDOR_ID } else { PayloadType::NONE };
        let m = builder().begin_fragment(number, total);
        let (fragment, header_len) = m.finish_with_chain(first, chunk, |n| n).unwrap();
        let parsed = Message::parse(&fragment).unwrap().payloads.fragment().unwrap();
        assert_eq!((parsed.number, parsed.total), (number, total));
        assert_eq!((parsed.first_inner, parsed.header_len), (first, header_len));
        plaintext.extend_from_slice(parsed.body);
    }
    assert_eq!(plaintext, whole[header_len..]);
}

#[test]
fn a_buffer_is_used_again() {
    let mut first = builder();
    first.vendor(&[1; 1000]);
    let buffer = first.finish().unwrap();
    let place = buffer.as_ptr();
    let second = MessageBuilder::new(buffer, header(ExchangeType::AUTH)).finish().unwrap();
    assert_eq!((second.len(), second.as_ptr()), (Header::LEN, place));
}

#[test]
fn what_fits_no_length_field_is_refused() {
    let mut payload = builder();
    payload.vendor(&vec![0; 65_532]);
    assert_eq!(payload.finish(), Err(TooLong));

    let mut message = builder();
    message.vendor(&[0; 40_000]).vendor(&[0; 40_000]);
    assert_eq!(message.finish(), Err(TooLong));

    let mut spi = builder();
    let (protocol, data) = (Protocol::ESP, &[][..]);
    spi.notify_about(&Notify { protocol, spi: &[0; 256], kind: NotifyType::REKEY_SA, data });
    assert_eq!(spi.finish(), Err(TooLong));

    let mut selectors = builder();
    selectors.ts_i(&[Selector::subnet(IpAddr::from([10, 0, 0, 0]), 8); 256]);
    assert_eq!(selectors.finish(), Err(TooLong));

    let mut transforms = builder();
    let many = [Transform::ke(KeMethod::P256); 256];
    let (number, protocol, spi) = (1, Protocol::IKE, &[][..]);
    transforms.sa(&[NewProposal { number, protocol, spi, transforms: &many }]);
    assert_eq!(transforms.finish(), Err(TooLong));

    let sealed = builder().begin_encrypted().finish_encrypted(|_| usize::MAX);
    assert_eq!(sealed, Err(TooLong));
}

#[test]
fn an_identity_is_covered_by_auth_as_it_was_sent() {
    let mut m = builder();
    m.id_i(IdType::FQDN, b"client.example");
    let message = m.finish().unwrap();
    let id = Message::parse(&message).unwrap().payloads.id_i().unwrap();
    assert_eq!(id.body, id_body(IdType::FQDN, b"client.example"));

    // Reserved octets that a peer sets are covered too.
    let chain = [0, 0, 0, 10, 2, 9, 9, 9, b'a', b'b'];
    let id = parse_payloads(PayloadType::ID_I, &chain).unwrap().id_i().unwrap();
    assert_eq!((id.data, id.body), (&b"ab"[..], &chain[4..]));
}

#[test]
fn a_digital_signature_names_its_algorithm() {
    let of = |method, data| Auth { method, data }.digital_signature();
    let data = [2, 0x30, 0, 9, 9, 9];
    let parts = Some((&[0x30, 0][..], &[9, 9, 9][..]));
    assert_eq!(of(AuthMethod::DIGITAL_SIGNATURE, &data), parts);
    assert_eq!(of(AuthMethod::SHARED_KEY_MIC, &data), None);
    assert_eq!(of(AuthMethod::DIGITAL_SIGNATURE, &[7, 0x30]), None);
    assert_eq!(of(AuthMethod::DIGITAL_SIGNATURE, &[]), None);
}

#[test]
fn certificate_requests_list_their_authorities() {
    let mut m = builder();
    m.cert_request(CertEncoding::X509_SIGNATURE, &[[1; 20], [2; 20]].concat());
    let message = m.finish().unwrap();
    let payloads = Message::parse(&message).unwrap().payloads;
    let request = payloads.cert_requests().next().unwrap();
    assert!(request.hashes().eq(&[[1; 20], [2; 20]]));
}

#[test]
fn a_ticket_needs_its_lifetime_and_itself() {
    let of = |data| Notify::new(NotifyType::TICKET_LT_OPAQUE, data).ticket_with_lifetime();
    assert_eq!(of(&[0, 0, 14, 16, 9, 9]), Some((3600, &[9, 9][..])));
    assert_eq!(of(&[0, 0, 14, 16]), None);
    assert_eq!(of(&[0, 0, 14]), None);
}

#[test]
fn the_data_of_notifies_has_the_length_of_its_meaning() {
    let about = Notify::new(NotifyType::INVALID_KE_PAYLOAD, &[0, 31]);
    assert_eq!(about.wanted_group(), Some(KeMethod::CURVE25519));
    assert_eq!((about.data_u8(), about.data_u32(), about.esp_spi()), (None, None, None));
    let (kind, data) = (NotifyType::REKEY_SA, &[][..]);
    let esp = Notify { protocol: Protocol::ESP, spi: &[1, 2, 3, 4], kind, data };
    assert_eq!(esp.esp_spi(), Some(0x0102_0304));
    assert_eq!(Notify { protocol: Protocol::AH, ..esp }.esp_spi(), None);
}

#[test]
fn opaque_ports_and_unknown_selectors_are_kept_apart_from_ranges() {
    let opaque = [7, 6, 0, 16, 0xff, 0xff, 0, 0, 10, 0, 0, 1, 10, 0, 0, 9];
    let unknown = [10, 0, 0, 6, b'x', b'y'];
    let any = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 0, 0, 255];
    let body = [&[3, 0, 0, 0][..], &opaque, &unknown, &any].concat();
    let length = u8::try_from(4 + body.len()).unwrap();
    let chain = [&[0, 0, 0, length][..], &body].concat();
    let ts = parse_payloads(PayloadType::TS_R, &chain).unwrap().ts_r().unwrap();
    let kinds: Vec<_> = ts.iter().collect();
    assert!(matches!(kinds[0], TrafficSelector::OpaquePorts { protocol: 6, .. }));
    assert!(matches!(kinds[1], TrafficSelector::Other { body: b"xy", .. }));
    let subnet = Selector::subnet(IpAddr::from([10, 0, 0, 0]), 24);
    assert!(ts.selectors().eq([subnet]));
}

#[test]
fn configuration_values_are_read_by_their_length() {
    let attribute = |value| ConfigAttribute { kind: ConfigAttributeType(1), value };
    assert_eq!(attribute(&[10, 0, 0, 5]).address(), Some(IpAddr::from([10, 0, 0, 5])));
    assert_eq!(attribute(&[0; 16]).address(), Some(IpAddr::from([0; 16])));
    assert_eq!(attribute(&[]).address(), None);
    let prefix = [[0; 16].as_slice(), &[64]].concat();
    assert_eq!(attribute(&prefix).ipv6_prefix(), Some(([0; 16].into(), 64)));
    let too_long = [[0; 16].as_slice(), &[129]].concat();
    assert_eq!(attribute(&too_long).ipv6_prefix(), None);
    let subnet = attribute(&[10, 0, 0, 0, 255, 0, 0, 0]).ipv4_subnet();
    assert_eq!(subnet, Some(([10, 0, 0, 0].into(), [255, 0, 0, 0].into())));
}

#[test]
fn no_debug_output_shows_what_is_opaque() {
    let mut m = builder();
    m.eap(&[2, 1, 0, 11, 1, b's', b'e', b'c', b'r', b'e', b't']);
    m.notify(NotifyType::TICKET_OPAQUE, b"secret");
    m.config(
        ConfigType::REPLY,
        [ConfigAttribute { kind: ConfigAttributeType(1), value: b"secret" }],
    );
    m.auth(AuthMethod::SHARED_KEY_MIC, b"secret");
    let message = m.finish().unwrap();
    let text = format!("{:?}", Message::parse(&message).unwrap());
    let octets = b"secret".map(|octet| octet.to_string()).join(", ");
    assert!(text.contains("6 octets"), "{text}");
    assert!(!text.contains("secret") && !text.contains(&octets), "{text}");
}

#[test]
fn numbers_are_shown_by_name_where_they_have_one() {
    assert_eq!(NotifyType::TICKET_NACK.to_string(), "TICKET_NACK");
    assert_eq!(NotifyType(50_000).to_string(), "50000");
    assert_eq!(ExchangeType::SESSION_RESUME.to_string(), "SESSION_RESUME");
    assert_eq!(IkeSpi([0, 1, 2, 3, 4, 5, 6, 0xff]).to_string(), "00010203040506ff");
    assert_eq!(Transform::ke(KeMethod::ML_KEM_768).to_string(), "KE=ML_KEM_768");
    assert!(NotifyType(8_192).is_private() && NotifyType(40_960).is_private());
    assert!(NotifyType::TS_UNACCEPTABLE.is_error() && !NotifyType::INITIAL_CONTACT.is_error());
}
