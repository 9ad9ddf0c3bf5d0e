use std::collections::BTreeSet;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305};

use super::{cases, hex, octets};
use crate::aead::{expanded, nonce};
use crate::error::{Exhausted, OpenFailed, WrongLength};
use crate::esp::EspKey;
use crate::suite::{CbcIntegrity, EspCipher, EspSuite, KeyLen};

const ESP_CBC: &str = include_str!("../../tests/data/esp_cbc.json");

fn all() -> Vec<EspSuite> {
    let mut ciphers = vec![EspCipher::ChaCha20Poly1305];
    for key_len in [KeyLen::L128, KeyLen::L192, KeyLen::L256] {
        ciphers.push(EspCipher::AesGcm16(key_len));
        for integrity in [
            CbcIntegrity::HmacSha256_128,
            CbcIntegrity::HmacSha384_192,
            CbcIntegrity::HmacSha512_256,
        ] {
            ciphers.push(EspCipher::AesCbc(key_len, integrity));
        }
    }
    let suite = |cipher| [false, true].map(|extended| EspSuite { cipher, extended });
    ciphers.into_iter().flat_map(suite).collect()
}

fn key(suite: impl Into<EspSuite>) -> EspKey {
    let suite = suite.into();
    EspKey::new(suite, &vec![3; suite.cipher.keymat_len()])
}

/// `SPI | room | plaintext | room`; the plaintext is of whole blocks.
fn packet(cipher: EspCipher, plaintext: &[u8]) -> Vec<u8> {
    let spi = [0xde, 0xad, 0xbe, 0xef];
    let (head, tail) = (vec![0; 4 + cipher.iv_len()], vec![0; cipher.icv_len()]);
    [&spi[..], &head, plaintext, &tail].concat()
}

/// One of ChaCha20-Poly1305.
fn chacha(plaintext: &[u8]) -> Vec<u8> {
    packet(EspCipher::ChaCha20Poly1305, plaintext)
}

fn check_opening(cipher: EspCipher, keymat: &str, packet: &str, plaintext: &str) {
    let key = EspKey::for_test(cipher, &hex(keymat)).unwrap_or_else(|e| panic!("{e}"));
    let mut packet = hex(packet);
    let range = key.into_opening().open(&mut packet, 0).unwrap();
    assert_eq!(packet[range], hex(plaintext));
}

/// draft-mcgrew-gcm-test-01 section 4, the case with extended sequence numbers.
#[test]
fn the_upper_half_of_an_extended_number_is_covered_and_not_sent() {
    let suite = EspSuite { cipher: EspCipher::AesGcm16(KeyLen::L128), extended: true };
    let key = EspKey::for_test(suite, &hex("4c80cdefbb5d10da906ac73c3613a634 2e443b68"));
    let opening = key.ok().unwrap().into_opening();
    let mut sealed = hex("00004321 00000000 4956ed7e3b244cfe
         fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34
         cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce
         61bc17d768fd9732 459018148f6cbe722fd04796562dfdb4");
    let mut packet = sealed.clone();
    let range = opening.open(&mut packet, 0x8765_4321).unwrap();
    assert_eq!(
        packet[range],
        hex("45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000
             00000000045f736970045f756470037369700963796265726369747902646b00
             0021000101020201")
    );
    assert_eq!(opening.open(&mut sealed, 0x8765_4320), Err(OpenFailed));
}

/// Packets of an independent program: tests/data/esp_cbc.py.
#[test]
fn aes_cbc_opens_the_packets_of_another_program() {
    for case in cases(ESP_CBC) {
        let key_len = match case["key_bits"].as_u64().unwrap() {
            128 => KeyLen::L128,
            192 => KeyLen::L192,
            _ => KeyLen::L256,
        };
        let integrity = match case["hash"].as_str().unwrap() {
            "sha256" => CbcIntegrity::HmacSha256_128,
            "sha384" => CbcIntegrity::HmacSha384_192,
            _ => CbcIntegrity::HmacSha512_256,
        };
        let extended = case["extended"].as_bool().unwrap();
        let suite = EspSuite { cipher: EspCipher::AesCbc(key_len, integrity), extended };
        let key = EspKey::for_test(suite, &octets(&case, "keymat")).ok().unwrap();
        let high = u32::try_from(case["high"].as_u64().unwrap()).unwrap();
        let mut packet = octets(&case, "packet");
        let range = key.into_opening().open(&mut packet, high).unwrap();
        assert_eq!(packet[range], octets(&case, "text"), "{suite}");
    }
}

#[test]
fn ivs_of_aes_cbc_do_not_tell_the_number() {
    let cipher = EspCipher::AesCbc(KeyLen::L128, CbcIntegrity::HmacSha256_128);
    let sealing = key(cipher).into_sealing();
    let ivs: BTreeSet<_> = (0..100)
        .map(|_| {
            let mut packet = packet(cipher, &[0; 16]);
            sealing.seal(&mut packet).unwrap();
            packet[8..24].to_vec()
        })
        .collect();
    assert_eq!(ivs.len(), 100);
    assert!(ivs.iter().all(|iv| iv[..8] != [0; 8]));
}

/// draft-mcgrew-gcm-test-01 section 4, cases without extended sequence numbers.
#[test]
fn aes_gcm_opens_the_esp_packets_of_its_test_cases() {
    check_opening(
        EspCipher::AesGcm16(KeyLen::L128),
        "feffe9928665731c6d6a8f9467308308 cafebabe",
        "0000a5f8 0000000a facedbaddecaf888
         deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c
         3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1
         83b70d3aa8bc6ee4c309e9d85a41ad4a",
        "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100
         00010000000000000373697009637962657263697479 02646b0000010001 0001",
    );
    check_opening(
        EspCipher::AesGcm16(KeyLen::L192),
        "feffe9928665731c6d6a8f9467308308feffe9928665731c cafebabe",
        "0000a5f8 0000000a facedbaddecaf888
         a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0
         315b27452144cc77 95457b9652037f5318027b5b4cd7a636",
        "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e
         501016d075680001",
    );
    check_opening(
        EspCipher::AesGcm16(KeyLen::L256),
        "abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344",
        "4a2cbfe3 00000002 0102030405060708
         ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763
         748a637985771d347f0545659f14e99def842d8e b335f4eecfdbf831824b4c4915956c96",
        "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000
         7002400020bf0000020405b40101040201020201",
    );
    check_opening(
        EspCipher::AesGcm16(KeyLen::L128),
        "7d773d00c144c525ac619d18c84a3f47 d9664267",
        "335467ae ffffffff 43457e9182443bc6 437f866b cb3f699fe9b0822bac961c4504bef270",
        "01020201",
    );
}

/// RFC 7634 appendix A.
#[test]
fn chacha20_poly1305_opens_the_packet_of_rfc_7634() {
    check_opening(
        EspCipher::ChaCha20Poly1305,
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3",
        "01020304 00000005 1011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43",
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
         0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
         2425262728292a2b2c2d2e2f303132333435363701020204",
    );
}

/// RFC 8439 section 2.8.2, whose associated data no ESP packet has.
#[test]
fn chacha20_poly1305_gives_the_answer_of_rfc_8439() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let (salt, iv) = ([7, 0, 0, 0], [0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47]);
    let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                     only one tip for the future, sunscreen would be it."
        .to_vec();
    let aad = Aad::from(hex("50515253c0c1c2c3c4c5c6c7"));
    let tag = expanded(&CHACHA20_POLY1305, &key)
        .seal_in_place_separate_tag(nonce(salt, &iv), aad, &mut text)
        .unwrap();
    assert_eq!(
        text,
        hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
             3ff4def08e4b7a9de576d26586cec64b6116")
    );
    assert_eq!(tag.as_ref(), hex("1ae10b594f09e26a7e902ecbd0600691"));
}

#[test]
fn packets_are_numbered_from_1_and_an_aead_carries_the_number_as_iv() {
    for suite in all() {
        let (sealing, opening) = (key(suite).into_sealing(), key(suite).into_opening());
        for expected in 1..=3u8 {
            let mut packet = packet(suite.cipher, b"an inner packet.");
            assert_eq!(sealing.seal(&mut packet), Ok(u64::from(expected)));
            assert_eq!(packet[..4], [0xde, 0xad, 0xbe, 0xef]);
            assert_eq!(packet[4..8], [0, 0, 0, expected]);
            if suite.cipher.iv_len() == 8 {
                assert_eq!(packet[8..16], [0, 0, 0, 0, 0, 0, 0, expected]);
            }
            let range = opening.open(&mut packet, 0).unwrap();
            assert_eq!(&packet[range], b"an inner packet.");
        }
        assert_eq!(sealing.sent(), 3);
    }
}

#[test]
fn no_octet_of_a_packet_can_be_changed_or_lost() {
    for suite in all() {
        let (sealing, opening) = (key(suite).into_sealing(), key(suite).into_opening());
        let mut sealed = packet(suite.cipher, b"an inner packet.");
        sealing.seal(&mut sealed).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opening.open(&mut changed, 0), Err(OpenFailed));
            assert_eq!(opening.open(&mut sealed.clone()[..at], 0), Err(OpenFailed));
        }
        let with_high = opening.open(&mut sealed.clone(), 1);
        assert_eq!(with_high.is_err(), suite.extended, "{suite}");
    }
}

#[test]
fn extended_numbers_go_on_behind_the_32nd_bit() {
    for suite in all().into_iter().filter(|suite| suite.extended) {
        let (sealing, opening) = (key(suite).into_sealing(), key(suite).into_opening());
        assert_eq!(sealing.last(), u64::MAX);
        assert!(sealing.reserve(u32::MAX).is_ok());
        let mut packet = packet(suite.cipher, &[7; 32]);
        assert_eq!(sealing.seal(&mut packet), Ok(1 << 32));
        assert_eq!(packet[4..8], [0; 4]);
        assert_eq!(opening.open(&mut packet.clone(), 0), Err(OpenFailed));
        assert_eq!(opening.open(&mut packet, 1).map(|range| range.len()), Ok(32));
    }
}

#[test]
fn a_key_is_mute_after_its_last_number() {
    let sealing = key(EspCipher::ChaCha20Poly1305).into_sealing();
    assert_eq!(sealing.reserve(u32::MAX - 2).map(|run| run.left()).ok(), Some(0xffff_fffd));
    let mut last = chacha(b"");
    assert_eq!(sealing.seal(&mut last), Ok(u64::from(u32::MAX) - 1));
    assert_eq!(sealing.seal(&mut last), Ok(u64::from(u32::MAX)));
    for _ in 0..3 {
        assert_eq!(sealing.seal(&mut last), Err(Exhausted));
        assert!(sealing.reserve(u32::MAX).is_err());
    }
    assert_eq!(sealing.sent(), u64::from(u32::MAX));
}

#[test]
fn a_run_is_cut_short_where_the_numbers_end() {
    let sealing = key(EspCipher::ChaCha20Poly1305).into_sealing();
    assert!(sealing.reserve(u32::MAX - 1).is_ok());
    let mut run = sealing.reserve(64).ok().unwrap();
    assert_eq!(run.left(), 1);
    assert_eq!(run.seal(&mut chacha(b"")), Ok(u64::from(u32::MAX)));
    assert_eq!(run.seal(&mut chacha(b"")), Err(Exhausted));
}

#[test]
fn an_empty_run_is_refused_and_takes_no_number() {
    let sealing = key(EspCipher::ChaCha20Poly1305).into_sealing();
    assert!(sealing.reserve(0).is_err());
    assert_eq!(sealing.sent(), 0);
}

#[test]
fn no_number_is_used_twice_by_several_threads() {
    let sealing = key(EspCipher::AesGcm16(KeyLen::L128)).into_sealing();
    let alone = || (0..500).map(|_| sealing.seal(&mut chacha(b"")).unwrap()).collect::<Vec<_>>();
    let in_runs = || {
        let mut numbers = Vec::new();
        for _ in 0..50 {
            let mut run = sealing.reserve(10).ok().unwrap();
            numbers.extend((0..10).map(|_| run.seal(&mut chacha(b"")).unwrap()));
        }
        numbers
    };
    let numbers: Vec<u64> = std::thread::scope(|scope| {
        let threads = [scope.spawn(alone), scope.spawn(in_runs), scope.spawn(alone)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(BTreeSet::from_iter(numbers), BTreeSet::from_iter(1..=1500));
}

#[test]
fn key_material_of_another_length_is_refused() {
    let refused = EspKey::for_test(EspCipher::AesGcm16(KeyLen::L256), &[0; 32]).err();
    assert_eq!(refused, Some(WrongLength { expected: 36, got: 32 }));
}
