use std::net::{IpAddr, Ipv4Addr};

use crypto::{CbcIntegrity, EspCipher, EspKey, EspSuite, KeyLen};
use proptest::prelude::*;

use super::*;
use crate::outbound::Outbound;
use crate::segments::{Pushed, Segments};
use crate::spec::Selector;

const CIPHERS: [EspCipher; 7] = [
    EspCipher::AesGcm16(KeyLen::L128),
    EspCipher::AesGcm16(KeyLen::L192),
    EspCipher::AesGcm16(KeyLen::L256),
    EspCipher::ChaCha20Poly1305,
    EspCipher::AesCbc(KeyLen::L128, CbcIntegrity::HmacSha256_128),
    EspCipher::AesCbc(KeyLen::L256, CbcIntegrity::HmacSha384_192),
    EspCipher::AesCbc(KeyLen::L256, CbcIntegrity::HmacSha512_256),
];

fn half(cipher: EspCipher) -> HalfSpec {
    let key = vec![0x42; cipher.keymat_len()];
    HalfSpec { spi: Spi::new(0xc0ff_ee00).unwrap(), key: EspKey::for_test(cipher, &key).unwrap() }
}

/// The peer has 10.1.0.0/16 and fd01::/16, we have 10.2.0.0/16 and fd02::/16.
fn selectors() -> Arc<Selectors> {
    let net = |text: &str, len| Selector::subnet(text.parse().unwrap(), len);
    Arc::new(Selectors::new(
        vec![net("10.2.0.0", 16), net("fd02::", 16)],
        vec![net("10.1.0.0", 16), net("fd01::", 16)],
    ))
}

fn pair(cipher: EspCipher) -> (Outbound, Inbound) {
    (Outbound::new(half(cipher)), Inbound::new(half(cipher), selectors()))
}

fn gcm() -> (Outbound, Inbound) {
    pair(EspCipher::AesGcm16(KeyLen::L128))
}

fn udp_v4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(28 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend([0, 1, 0, 2]);
    packet.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn from_peer(payload: &[u8]) -> Vec<u8> {
    udp_v4([10, 1, 0, 1], [10, 2, 0, 1], payload)
}

fn udp_v6(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    packet.extend([17, 64, 0xfd, 1]);
    packet.extend([0; 14]);
    packet.extend([0xfd, 2]);
    packet.extend([0; 14]);
    packet.extend([0, 1, 0, 2, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

fn sealed(outbound: &Outbound, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; outbound.sealed_len(inner.len())];
    let sealed = outbound.seal(inner, &mut out).unwrap();
    assert_eq!(sealed.len, out.len());
    out
}

#[test]
fn a_packet_comes_out_as_it_went_in() {
    for cipher in CIPHERS {
        let (outbound, inbound) = pair(cipher);
        for inner in [from_peer(b"four"), udp_v6(b"six, and longer")] {
            let mut packet = sealed(&outbound, &inner);
            assert_eq!(spi(&packet), Ok(0xc0ff_ee00));
            let opened = inbound.run().open(&mut packet).unwrap();
            assert_eq!(packet[opened.range], inner);
        }
    }
}

#[test]
fn a_replayed_packet_is_refused_before_it_is_opened() {
    let (outbound, inbound) = gcm();
    let mut packet = sealed(&outbound, &from_peer(b"x"));
    let mut again = packet.clone();
    assert!(inbound.run().open(&mut packet).is_ok());
    assert_eq!(inbound.run().open(&mut again), Err(Discard::Replayed));
}

#[test]
fn a_forged_packet_does_not_move_the_window() {
    let (outbound, inbound) = gcm();
    let mut packet = sealed(&outbound, &from_peer(b"x"));
    let mut forged = packet.clone();
    forged[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(inbound.run().open(&mut forged), Err(Discard::NotAuthentic));
    assert!(inbound.run().open(&mut packet).is_ok());
}

#[test]
fn every_changed_bit_is_noticed() {
    let (outbound, inbound) = gcm();
    let mut packet = sealed(&outbound, &from_peer(b"x"));
    for bit in 0..packet.len() * 8 {
        let mut changed = packet.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(inbound.run().open(&mut changed).is_err(), "bit {bit}");
    }
    assert!(inbound.run().open(&mut packet).is_ok());
}

#[test]
fn a_packet_outside_the_selectors_is_refused() {
    let (outbound, inbound) = gcm();
    for inner in [
        udp_v4([10, 9, 0, 1], [10, 2, 0, 1], b"a stranger's source"),
        udp_v4([10, 1, 0, 1], [10, 9, 0, 1], b"to someone else"),
        udp_v4([10, 2, 0, 1], [10, 1, 0, 1], b"our own, reflected"),
    ] {
        let mut packet = sealed(&outbound, &inner);
        assert_eq!(inbound.run().open(&mut packet), Err(Discard::SelectorMismatch));
    }
}

#[test]
fn what_was_accepted_does_not_open_the_door_for_another_flow() {
    let (outbound, inbound) = gcm();
    let mut run = inbound.run();
    assert!(run.open(&mut sealed(&outbound, &from_peer(b"x"))).is_ok());
    let mut stranger = sealed(&outbound, &udp_v4([10, 9, 0, 1], [10, 2, 0, 1], b"x"));
    assert_eq!(run.open(&mut stranger), Err(Discard::SelectorMismatch));
    assert!(run.open(&mut sealed(&outbound, &from_peer(b"x"))).is_ok());
}

#[test]
fn flow_confidentiality_padding_is_cut() {
    let (outbound, inbound) = gcm();
    let inner = from_peer(b"short");
    let mut padded = inner.clone();
    padded.extend([0; 700]);
    let mut packet = sealed(&outbound, &padded);
    let opened = inbound.run().open(&mut packet).unwrap();
    assert_eq!(packet[opened.range], inner);
}

#[test]
fn an_inner_packet_that_lies_about_its_length_is_refused() {
    let (outbound, inbound) = gcm();
    let mut inner = from_peer(b"short");
    inner[3] += 1;
    assert_eq!(inbound.run().open(&mut sealed(&outbound, &inner)), Err(Discard::BadInner));
}

#[test]
fn an_older_packet_is_delivered_but_is_not_the_newest() {
    let (outbound, inbound) = gcm();
    let mut first = sealed(&outbound, &from_peer(b"1"));
    let mut second = sealed(&outbound, &from_peer(b"2"));
    let mut run = inbound.run();
    assert!(run.open(&mut second).unwrap().is_newest);
    assert!(!run.open(&mut first).unwrap().is_newest);
}

#[test]
fn padding_must_count_up() {
    assert_eq!(strip_padding(&[0xaa, 1, 2, 3, 3, 4]), Ok((&[0xaa][..], 4)));
    assert_eq!(strip_padding(&[0xaa, 0, 4]), Ok((&[0xaa][..], 4)));
    assert_eq!(strip_padding(&[0xaa, 1, 1, 2, 4]), Err(Discard::BadPadding));
    assert_eq!(strip_padding(&[1, 2, 4]), Err(Discard::BadPadding));
    assert_eq!(strip_padding(&[4]), Err(Discard::BadPadding));
}

#[test]
fn the_next_header_must_fit_the_packet() {
    let inner = from_peer(b"x");
    assert!(inner_packet(&inner, 4).is_ok());
    assert_eq!(inner_packet(&inner, 41), Err(Discard::BadInner));
    assert_eq!(inner_packet(&inner, 59), Err(Discard::Dummy));
    assert_eq!(inner_packet(&inner, 6), Err(Discard::BadNextHeader));
}

#[test]
fn what_is_too_short_for_esp_is_told_apart() {
    let (_, inbound) = gcm();
    for len in 0..MIN_LEN {
        assert_eq!(spi(&vec![0; len]), Err(Discard::TooShort));
        assert_eq!(inbound.run().open(&mut vec![1; len]), Err(Discard::TooShort));
    }
}

#[test]
fn segments_are_equal_but_for_the_last() {
    let (outbound, inbound) = gcm();
    let mut segments = Segments::default();
    let (full, short) = (from_peer(&[7; 1000]), from_peer(&[7; 10]));
    for inner in [&full, &full, &short] {
        assert!(matches!(segments.push(&outbound, inner, 0), Ok(Pushed::Sealed(_))));
    }
    assert_eq!(segments.push(&outbound, &short, 0), Ok(Pushed::Full));
    assert_eq!(segments.count(), 3);
    let mut octets = segments.octets().to_vec();
    let opened: Vec<_> = octets
        .chunks_mut(segments.segment_size())
        .map(|packet| inbound.run().open(packet).unwrap().inner.total_len)
        .collect();
    assert_eq!(opened, [full.len(), full.len(), short.len()]);
}

#[test]
fn a_longer_packet_or_another_ecn_field_begins_a_new_send() {
    let (outbound, _) = gcm();
    let mut segments = Segments::default();
    segments.push(&outbound, &from_peer(&[7; 10]), 0).unwrap();
    assert_eq!(segments.push(&outbound, &from_peer(&[7; 20]), 0), Ok(Pushed::Full));
    assert_eq!(segments.push(&outbound, &from_peer(&[7; 10]), 2), Ok(Pushed::Full));
    segments.clear();
    assert!(matches!(segments.push(&outbound, &from_peer(&[7; 20]), 2), Ok(Pushed::Sealed(_))));
    assert_eq!(segments.ecn(), 2);
}

#[test]
fn a_packet_that_no_send_can_hold_is_too_big() {
    let (outbound, _) = gcm();
    let mut inner = from_peer(b"x");
    inner.resize(65_500, 0);
    assert_eq!(Segments::default().push(&outbound, &inner, 0), Err(Discard::TooBig));
}

#[test]
fn packets_with_extended_numbers_go_on_where_32_bits_end() {
    let extended = || {
        let cipher = EspCipher::AesGcm16(KeyLen::L256);
        let suite = EspSuite { cipher, extended: true };
        let key = EspKey::for_test(suite, &vec![0x42; cipher.keymat_len()]).unwrap();
        HalfSpec { spi: Spi::new(0xc0ff_ee00).unwrap(), key }
    };
    let sealing = extended().key.into_sealing();
    let inbound = Inbound::new(extended(), selectors());
    let sealed = || {
        let inner = from_peer(b"four");
        let mut packet = vec![0; 16];
        packet[..4].copy_from_slice(&0xc0ff_ee00u32.to_be_bytes());
        packet.extend(&inner);
        let pad = (inner.len() + 2).next_multiple_of(4) - inner.len() - 2;
        packet.extend((1..=3).take(pad));
        packet.extend([pad as u8, 4]);
        packet.extend([0; 16]);
        sealing.seal(&mut packet).unwrap();
        packet
    };
    for skipped in [1 << 31, 50, 1 << 31, 200, u32::MAX - 5000, 3000] {
        let mut older = sealed();
        assert!(sealing.reserve(skipped).is_ok());
        let mut newer = sealed();
        let is_far = skipped > 100_000;
        if is_far {
            assert!(inbound.run().open(&mut older).is_ok());
        }
        assert!(inbound.run().open(&mut newer.clone()).unwrap().is_newest);
        assert_eq!(inbound.run().open(&mut newer), Err(Discard::Replayed));
    }
    assert!(sealing.sent() > u64::from(u32::MAX));
}

proptest! {
    #[test]
    fn any_payload_survives(payload in prop::collection::vec(any::<u8>(), 0..1600), which in 0..CIPHERS.len()) {
        let (outbound, inbound) = pair(CIPHERS[which]);
        let inner = from_peer(&payload);
        let mut packet = sealed(&outbound, &inner);
        let opened = inbound.run().open(&mut packet).unwrap();
        prop_assert_eq!(&packet[opened.range], &inner[..]);
    }

    #[test]
    fn any_octets_are_refused(mut packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_, inbound) = gcm();
        prop_assert!(inbound.run().open(&mut packet).is_err());
    }

    #[test]
    fn whatever_is_sealed_by_a_peer_is_judged_without_a_fault(mut body in prop::collection::vec(any::<u8>(), 1..200), is_v6: bool) {
        body[0] = if is_v6 { 0x60 } else { 0x45 };
        let (outbound, inbound) = gcm();
        let mut packet = sealed(&outbound, &body);
        if let Ok(opened) = inbound.run().open(&mut packet) {
            let IpAddr::V4(source) = opened.inner.flow.source else { return Ok(()) };
            prop_assert_eq!(source.octets()[..2].to_vec(), Ipv4Addr::new(10, 1, 0, 0).octets()[..2].to_vec());
        }
    }
}
