//! Each fault of a datagram is told apart, and gets the answer it deserves.

use ike::wire::{
    Header, HeaderError, Message, NotifyType, ParseError, PayloadType, limits, parse_payloads,
};

/// A header of IKEv2, from an initiator, over `body`.
fn datagram(first: PayloadType, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![1; 8];
    octets.extend([0; 8]);
    octets.extend([first.0, 0x20, 34, 0x08, 0, 0, 0, 0]);
    octets.extend(u32::try_from(Header::LEN + body.len()).unwrap().to_be_bytes());
    octets.extend(body);
    octets
}

fn payload(next: PayloadType, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
    [&[next.0, 0, high, low], body].concat()
}

fn last(body: &[u8]) -> Vec<u8> {
    payload(PayloadType::NONE, body)
}

fn fault(octets: &[u8]) -> ParseError {
    Message::parse(octets).expect_err("a fault")
}

fn inner_fault(kind: PayloadType, body: &[u8]) -> ParseError {
    parse_payloads(kind, &last(body)).expect_err("a fault")
}

fn deserves(error: ParseError, kind: NotifyType) {
    assert_eq!(error.complaint().map(|complaint| complaint.kind), Some(kind));
}

// Header

#[test]
fn a_datagram_shorter_than_a_header_is_truncated_and_gets_no_answer() {
    let whole = datagram(PayloadType::NONE, &[]);
    for length in 0..Header::LEN {
        let error = fault(&whole[..length]);
        assert_eq!(error, ParseError::Header(HeaderError::Truncated));
        assert_eq!(error.complaint(), None);
    }
    assert!(Message::parse(&whole).unwrap().payloads.is_empty());
}

#[test]
fn a_later_version_is_told_ours() {
    let mut octets = datagram(PayloadType::NONE, &[]);
    octets[17] = 0x31;
    let error = fault(&octets);
    assert!(
        matches!(error, ParseError::Header(HeaderError::MajorVersion(h)) if h.version.major == 3)
    );
    let complaint = error.complaint().unwrap();
    assert_eq!(complaint.kind, NotifyType::INVALID_MAJOR_VERSION);
    assert_eq!(complaint.data(), [2]);
}

#[test]
fn an_earlier_version_gets_no_answer() {
    let mut octets = datagram(PayloadType::NONE, &[]);
    octets[17] = 0x10;
    let error = fault(&octets);
    assert_eq!((error.reason(), error.complaint()), ("major-version", None));
}

#[test]
fn a_later_minor_version_and_reserved_flags_are_ignored() {
    let mut octets = datagram(PayloadType::NONE, &[]);
    octets[17] = 0x2f;
    octets[19] = 0xff;
    let header = Message::parse(&octets).unwrap().header;
    assert!(header.flags.initiator && header.flags.response);
}

#[test]
fn the_length_field_must_be_the_length() {
    let mut octets = datagram(PayloadType::NONE, &[]);
    octets.push(0);
    let error = ParseError::Header(HeaderError::BadLength { claimed: 28, actual: 29 });
    assert_eq!(fault(&octets), error);
    assert_eq!(error.complaint(), None);
}

#[test]
fn an_initiator_without_an_spi_is_refused() {
    let mut octets = datagram(PayloadType::NONE, &[]);
    octets[..8].fill(0);
    assert_eq!(fault(&octets), ParseError::Header(HeaderError::ZeroInitiatorSpi));
}

// Chain

#[test]
fn an_announced_payload_that_is_missing_is_truncated() {
    let error = fault(&datagram(PayloadType::NONCE, &[]));
    assert_eq!(error, ParseError::Truncated(PayloadType::NONCE));
    deserves(error, NotifyType::INVALID_SYNTAX);
}

#[test]
fn a_payload_longer_than_the_message_is_of_bad_length() {
    let error = fault(&datagram(PayloadType::NONCE, &[0, 0, 0, 37, 1, 2, 3]));
    assert_eq!(error, ParseError::BadLength(PayloadType::NONCE));
}

#[test]
fn a_payload_shorter_than_its_own_header_is_of_bad_length() {
    let error = fault(&datagram(PayloadType::VENDOR_ID, &[43, 0, 0, 3]));
    assert_eq!(error, ParseError::BadLength(PayloadType::VENDOR_ID));
}

#[test]
fn octets_after_the_last_payload_are_refused() {
    let body = [last(b"vendor"), vec![0]].concat();
    assert_eq!(fault(&datagram(PayloadType::VENDOR_ID, &body)), ParseError::TrailingOctets);
    assert_eq!(fault(&datagram(PayloadType::NONE, &[0])), ParseError::TrailingOctets);
}

#[test]
fn an_overlong_chain_is_refused_and_the_longest_is_not() {
    let chain = |count: usize| {
        let mut body = payload(PayloadType::VENDOR_ID, &[]).repeat(count - 1);
        body.extend(last(&[]));
        datagram(PayloadType::VENDOR_ID, &body)
    };
    let longest = chain(limits::PAYLOADS);
    assert_eq!(Message::parse(&longest).unwrap().payloads.len(), limits::PAYLOADS);
    assert_eq!(fault(&chain(limits::PAYLOADS + 1)), ParseError::TooManyPayloads);
}

#[test]
fn a_second_payload_of_a_kind_that_does_not_repeat_is_refused() {
    let nonce = PayloadType::NONCE;
    let body = [payload(nonce, &[1; 16]), last(&[2; 16])].concat();
    let error = fault(&datagram(nonce, &body));
    assert_eq!(error, ParseError::DuplicatePayload(nonce));
    deserves(error, NotifyType::INVALID_SYNTAX);
}

#[test]
fn notifies_certificates_deletes_and_vendors_repeat() {
    let cases: [(PayloadType, &[u8]); 5] = [
        (PayloadType::NOTIFY, &[0, 0, 64, 0]),
        (PayloadType::CERT, &[4]),
        (PayloadType::CERTREQ, &[4]),
        (PayloadType::DELETE, &[1, 0, 0, 0]),
        (PayloadType::VENDOR_ID, &[]),
    ];
    for (kind, body) in cases {
        let chain = [payload(kind, body), last(body)].concat();
        assert_eq!(Message::parse(&datagram(kind, &chain)).unwrap().payloads.len(), 2);
    }
}

#[test]
fn an_unknown_critical_payload_is_named_in_the_answer() {
    let error = fault(&datagram(PayloadType(200), &[0, 0x80, 0, 4]));
    assert_eq!(error, ParseError::UnsupportedCritical(PayloadType(200)));
    let complaint = error.complaint().unwrap();
    assert_eq!(complaint.kind, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
    assert_eq!(complaint.data(), [200]);
}

#[test]
fn an_unknown_payload_is_skipped_and_so_is_the_critical_bit_of_known_ones() {
    let body = [&[43, 0x7f, 0, 6, 1, 2][..], &[0, 0xff, 0, 4]].concat();
    let octets = datagram(PayloadType(200), &body);
    let payloads = Message::parse(&octets).unwrap().payloads;
    assert_eq!(payloads.vendor_ids().count(), 1);
}

// Encrypted payloads

#[test]
fn nothing_may_follow_an_encrypted_payload() {
    for kind in [PayloadType::SK, PayloadType::SKF] {
        let body = [payload(PayloadType::NOTIFY, &[0, 1, 0, 1]), last(&[])].concat();
        assert_eq!(fault(&datagram(kind, &body)), ParseError::AfterEncrypted(kind));
    }
}

#[test]
fn encrypted_payloads_do_not_nest() {
    for kind in [PayloadType::SK, PayloadType::SKF] {
        assert_eq!(inner_fault(kind, &[0; 32]), ParseError::NestedEncrypted(kind));
    }
}

#[test]
fn fragments_are_counted_from_one_to_their_total() {
    for (number, total) in [(0, 0), (0, 2), (3, 2)] {
        let body = last(&[0, number, 0, total, 9, 9]);
        let (number, total) = (u16::from(number), u16::from(total));
        let error = fault(&datagram(PayloadType::SKF, &body));
        assert_eq!(error, ParseError::BadFragment { number, total });
    }
    let short = datagram(PayloadType::SKF, &last(&[0, 1, 0]));
    assert_eq!(fault(&short), ParseError::Truncated(PayloadType::SKF));
}

#[test]
fn only_the_first_fragment_says_what_is_inside() {
    for (number, inner) in [(1, PayloadType::ID_I), (2, PayloadType::NONE)] {
        let body = payload(PayloadType::ID_I, &[0, number, 0, 2]);
        let octets = datagram(PayloadType::SKF, &body);
        let fragment = Message::parse(&octets).unwrap().payloads.fragment().unwrap();
        assert_eq!(fragment.first_inner, inner);
    }
}

// Security Association

fn transform(more: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(8 + attributes.len()).unwrap();
    [&[more, 0, 0, length, 1, 0, 0, 20], attributes].concat()
}

fn proposal(more: u8, number: u8, spi: &[u8], count: u8, transforms: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(8 + spi.len() + transforms.len()).unwrap().to_be_bytes();
    let spi_size = u8::try_from(spi.len()).unwrap();
    [&[more, 0, high, low, number, 3, spi_size, count], spi, transforms].concat()
}

const SPI: [u8; 4] = [1, 2, 3, 4];
const KEY_LENGTH_256: [u8; 4] = [0x80, 14, 1, 0];

fn sa_fault(body: &[u8]) -> ParseError {
    inner_fault(PayloadType::SA, body)
}

#[test]
fn an_sa_payload_needs_a_proposal() {
    assert_eq!(sa_fault(&[]), ParseError::Empty(PayloadType::SA));
    assert_eq!(sa_fault(&[0, 0, 0]), ParseError::Truncated(PayloadType::SA));
}

#[test]
fn lengths_inside_an_sa_payload_must_nest() {
    let one = transform(0, &KEY_LENGTH_256);
    for length in [0, 7, 23, 25] {
        let mut body = proposal(0, 1, &SPI, 1, &one);
        body[3] = length;
        let error = sa_fault(&body);
        assert!(
            matches!(error, ParseError::BadLength(_) | ParseError::Truncated(_)),
            "{length}: {error}"
        );
    }
    for length in [0, 7, 13] {
        let mut body = proposal(0, 1, &SPI, 1, &one);
        body[15] = length;
        assert_eq!(sa_fault(&body), ParseError::BadLength(PayloadType::SA));
    }
    let long_spi = [0, 0, 0, 10, 1, 3, 4, 0, 9, 9];
    assert_eq!(sa_fault(&long_spi), ParseError::Truncated(PayloadType::SA));
}

#[test]
fn counts_and_chains_inside_an_sa_payload_must_agree() {
    let two = [transform(3, &[]), transform(0, &[])].concat();
    assert_eq!(sa_fault(&proposal(0, 1, &SPI, 1, &two)), ParseError::BadChain);
    let one = transform(0, &[]);
    let surplus = [&one[..], &one].concat();
    assert_eq!(sa_fault(&proposal(0, 1, &SPI, 1, &surplus)), ParseError::BadCount(PayloadType::SA));
    let missing = proposal(0, 1, &SPI, 2, &transform(3, &[]));
    assert_eq!(sa_fault(&missing), ParseError::Truncated(PayloadType::SA));
    assert_eq!(sa_fault(&proposal(0, 1, &SPI, 1, &transform(2, &[]))), ParseError::BadChain);
    assert_eq!(sa_fault(&proposal(2, 1, &SPI, 1, &one)), ParseError::BadChain);
    assert_eq!(sa_fault(&proposal(3, 1, &SPI, 1, &one)), ParseError::BadChain);
    let after_last = [proposal(0, 1, &SPI, 1, &one), proposal(0, 2, &SPI, 1, &one)].concat();
    assert_eq!(sa_fault(&after_last), ParseError::BadChain);
}

#[test]
fn proposals_are_numbered_without_gaps() {
    let one = transform(0, &[]);
    for second in [0, 1, 3] {
        let body = [proposal(2, 1, &SPI, 1, &one), proposal(0, second, &SPI, 1, &one)].concat();
        assert_eq!(sa_fault(&body), ParseError::BadProposalNumber(second));
    }
}

#[test]
fn an_offer_begins_with_one_and_a_choice_is_one() {
    let one = transform(0, &[]);
    let third = last(&proposal(0, 3, &SPI, 1, &one));
    let payloads = parse_payloads(PayloadType::SA, &third).unwrap();
    let sa = payloads.sa().unwrap();
    assert_eq!(sa.offered().err(), Some(ParseError::BadProposalNumber(3)));
    assert_eq!(sa.accepted().map(|p| p.number), Ok(3));

    let both = [proposal(2, 1, &SPI, 1, &one), proposal(0, 2, &SPI, 1, &one)].concat();
    let both = last(&both);
    let sa = parse_payloads(PayloadType::SA, &both).unwrap().sa().unwrap();
    assert_eq!(sa.offered().unwrap().count(), 2);
    assert_eq!(sa.accepted().err(), Some(ParseError::TooManyProposals));
}

#[test]
fn proposals_and_transforms_are_bounded() {
    let one = transform(0, &[]);
    let offer = |count: u8| {
        let proposals =
            (1..=count).map(|n| proposal(if n < count { 2 } else { 0 }, n, &SPI, 1, &one));
        last(&proposals.collect::<Vec<_>>().concat())
    };
    let most = u8::try_from(limits::PROPOSALS).unwrap();
    assert!(parse_payloads(PayloadType::SA, &offer(most)).is_ok());
    let surplus = offer(most + 1);
    assert_eq!(parse_payloads(PayloadType::SA, &surplus), Err(ParseError::TooManyProposals));

    let choice = |count: u8| {
        let mut transforms = transform(3, &[]).repeat(usize::from(count) - 1);
        transforms.extend(&one);
        last(&proposal(0, 1, &SPI, count, &transforms))
    };
    let most = u8::try_from(limits::TRANSFORMS).unwrap();
    assert!(parse_payloads(PayloadType::SA, &choice(most)).is_ok());
    let surplus = choice(most + 1);
    assert_eq!(parse_payloads(PayloadType::SA, &surplus), Err(ParseError::TooManyTransforms));
}

#[test]
fn an_spi_has_the_size_of_its_protocol() {
    let one = transform(0, &[]);
    let payload = PayloadType::SA;
    for (protocol, size) in [(1, 4), (2, 8), (3, 0), (3, 8)] {
        let mut body = proposal(0, 1, &vec![7; size], 1, &one);
        body[5] = protocol;
        let size = u8::try_from(size).unwrap();
        assert_eq!(sa_fault(&body), ParseError::BadSpiSize { payload, size });
    }
    for size in [0, 8] {
        let mut body = proposal(0, 1, &vec![7; size], 1, &one);
        body[5] = 1;
        assert!(parse_payloads(payload, &last(&body)).is_ok());
    }
}

#[test]
fn a_key_length_is_given_once() {
    let twice = transform(0, &KEY_LENGTH_256.repeat(2));
    assert_eq!(sa_fault(&proposal(0, 1, &SPI, 1, &twice)), ParseError::DuplicateAttribute);
}

#[test]
fn a_transform_with_a_foreign_attribute_equals_none_of_ours() {
    let cases: [&[u8]; 3] = [&[0x80, 99, 1, 0], &[0, 14, 0, 2, 1, 0], &[0, 99, 0, 0]];
    for foreign in cases {
        let attributes = [&KEY_LENGTH_256, foreign].concat();
        let body = last(&proposal(0, 1, &SPI, 1, &transform(0, &attributes)));
        let sa = parse_payloads(PayloadType::SA, &body).unwrap().sa().unwrap();
        let found = sa.accepted().unwrap().transforms().next().unwrap();
        assert_eq!(found.key_length, Some(256));
        assert!(found.foreign_attributes);
        assert_ne!(found, ike::wire::Transform { foreign_attributes: false, ..found });
    }
    let cut = transform(0, &[0, 99, 0, 9, 1]);
    let error = sa_fault(&proposal(0, 1, &SPI, 1, &cut));
    assert_eq!(error, ParseError::Truncated(PayloadType::SA));
}

// The other payloads

#[test]
fn a_nonce_has_16_to_256_octets() {
    for length in [0, 15, 257] {
        let error = inner_fault(PayloadType::NONCE, &vec![0; length]);
        assert_eq!(error, ParseError::BadNonceLength(length));
    }
    for length in [16, 256] {
        let chain = last(&vec![7; length]);
        let payloads = parse_payloads(PayloadType::NONCE, &chain).unwrap();
        assert_eq!(payloads.nonce().unwrap().len(), length);
    }
}

#[test]
fn payloads_have_their_fixed_fields() {
    let fixed = [
        (PayloadType::KE, 4),
        (PayloadType::ID_I, 4),
        (PayloadType::ID_R, 4),
        (PayloadType::CERT, 1),
        (PayloadType::CERTREQ, 1),
        (PayloadType::AUTH, 4),
        (PayloadType::NOTIFY, 4),
        (PayloadType::DELETE, 4),
        (PayloadType::TS_I, 4),
        (PayloadType::TS_R, 4),
        (PayloadType::CP, 4),
    ];
    for (kind, length) in fixed {
        for short in 0..length {
            assert_eq!(inner_fault(kind, &vec![0; short]), ParseError::Truncated(kind));
        }
    }
}

#[test]
fn an_address_identity_is_as_long_as_an_address() {
    let kind = PayloadType::ID_R;
    for (id_type, length) in [(1, 3), (1, 16), (5, 4), (5, 17)] {
        let mut body = vec![id_type, 0, 0, 0];
        body.extend(vec![9; length]);
        assert_eq!(inner_fault(kind, &body), ParseError::BadIdentification(kind));
    }
}

#[test]
fn a_notify_has_an_spi_of_a_size_that_exists() {
    let payload = PayloadType::NOTIFY;
    for size in [1, 3, 5, 16, 255] {
        let error = inner_fault(payload, &[3, size, 64, 0, 1, 2, 3, 4, 5]);
        assert_eq!(error, ParseError::BadSpiSize { payload, size });
    }
    let error = inner_fault(payload, &[3, 8, 64, 0, 1, 2, 3]);
    assert_eq!(error, ParseError::Truncated(payload));
}

#[test]
fn a_delete_names_a_protocol_and_as_many_spis_as_it_says() {
    let payload = PayloadType::DELETE;
    assert_eq!(inner_fault(payload, &[0, 0, 0, 0]), ParseError::BadProtocol(0));
    assert_eq!(
        inner_fault(payload, &[3, 8, 0, 1, 1, 2, 3, 4]),
        ParseError::BadSpiSize { payload, size: 8 }
    );
    assert_eq!(
        inner_fault(payload, &[1, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
        ParseError::BadSpiSize { payload, size: 8 }
    );
    let count = ParseError::BadCount(payload);
    assert_eq!(inner_fault(payload, &[3, 4, 0, 2, 1, 2, 3, 4]), count);
    assert_eq!(inner_fault(payload, &[3, 4, 0, 1, 1, 2, 3, 4, 5]), count);
    assert_eq!(inner_fault(payload, &[1, 0, 0, 0, 9]), count);
}

const RANGE: [u8; 16] = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 0, 0, 255];

fn ts_fault(count: u8, selectors: &[u8]) -> ParseError {
    inner_fault(PayloadType::TS_I, &[&[count, 0, 0, 0], selectors].concat())
}

#[test]
fn traffic_selectors_are_counted() {
    let ts = PayloadType::TS_I;
    assert_eq!(ts_fault(0, &[]), ParseError::Empty(ts));
    assert_eq!(ts_fault(1, &RANGE.repeat(2)), ParseError::BadCount(ts));
    assert_eq!(ts_fault(2, &RANGE), ParseError::Truncated(ts));
}

#[test]
fn a_traffic_selector_has_the_length_of_its_type() {
    for length in [0, 3, 15, 17] {
        let mut range = RANGE;
        range[3] = length;
        let error = ts_fault(1, &range);
        assert!(
            matches!(error, ParseError::BadLength(_) | ParseError::Truncated(_)),
            "{length}: {error}"
        );
    }
    let mut range = RANGE;
    range[0] = 8;
    assert_eq!(ts_fault(1, &range), ParseError::Truncated(PayloadType::TS_I));
}

#[test]
fn a_range_does_not_end_before_it_begins() {
    let bad = ParseError::BadRange(PayloadType::TS_I);
    let mut addresses = RANGE;
    addresses[8] = 11;
    assert_eq!(ts_fault(1, &addresses), bad);
    let mut ports = RANGE;
    ports[4..8].copy_from_slice(&[0, 2, 0, 1]);
    assert_eq!(ts_fault(1, &ports), bad);
    let mut opaque_ports = addresses;
    opaque_ports[4..8].copy_from_slice(&[0xff, 0xff, 0, 0]);
    assert_eq!(ts_fault(1, &opaque_ports), bad);
}

#[test]
fn configuration_attributes_fit_and_are_bounded() {
    let cp = PayloadType::CP;
    let cut = inner_fault(cp, &[1, 0, 0, 0, 0, 1, 0, 4, 10, 0, 0]);
    assert_eq!(cut, ParseError::Truncated(cp));
    let attributes = |count: usize| [vec![1, 0, 0, 0], [0, 3, 0, 0].repeat(count)].concat();
    let error = inner_fault(cp, &attributes(limits::CONFIG_ATTRIBUTES + 1));
    assert_eq!(error, ParseError::TooManyAttributes);
    let most = last(&attributes(limits::CONFIG_ATTRIBUTES));
    let payloads = parse_payloads(cp, &most).unwrap();
    assert_eq!(payloads.config().unwrap().attributes().count(), limits::CONFIG_ATTRIBUTES);
}

#[test]
fn an_eap_message_fills_its_payload() {
    let cases: [&[u8]; 5] = [
        &[],
        &[1, 0, 0],
        &[3, 0, 0, 5],
        &[3, 0, 0, 4, 0],
        // A request without a type.
        &[1, 0, 0, 4],
    ];
    for message in cases {
        assert_eq!(inner_fault(PayloadType::EAP, message), ParseError::BadEap);
    }
    let chain = last(&[3, 7, 0, 4]);
    let eap = parse_payloads(PayloadType::EAP, &chain).unwrap().eap().unwrap();
    assert_eq!((eap.identifier, eap.method), (7, None));
}

#[test]
fn no_two_faults_are_counted_under_one_name() {
    let (t, size) = (PayloadType::SA, 9);
    let faults = [
        ParseError::Header(HeaderError::Truncated),
        ParseError::Header(HeaderError::BadLength { claimed: 1, actual: 2 }),
        ParseError::Header(HeaderError::ZeroInitiatorSpi),
        ParseError::Truncated(t),
        ParseError::BadLength(t),
        ParseError::TrailingOctets,
        ParseError::TooManyPayloads,
        ParseError::DuplicatePayload(t),
        ParseError::UnsupportedCritical(t),
        ParseError::AfterEncrypted(t),
        ParseError::NestedEncrypted(t),
        ParseError::BadFragment { number: 2, total: 1 },
        ParseError::Empty(t),
        ParseError::BadCount(t),
        ParseError::BadChain,
        ParseError::BadProposalNumber(3),
        ParseError::TooManyProposals,
        ParseError::TooManyTransforms,
        ParseError::DuplicateAttribute,
        ParseError::BadSpiSize { payload: t, size },
        ParseError::BadProtocol(9),
        ParseError::BadNonceLength(1),
        ParseError::BadIdentification(t),
        ParseError::BadRange(t),
        ParseError::TooManyAttributes,
        ParseError::BadEap,
    ];
    let mut reasons: Vec<_> = faults.iter().map(ParseError::reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), faults.len());
}
