//! What is sealed opens, to what it was, and to nothing else.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test")]

use crypto::{
    AdditionalGroups, CbcIntegrity, EspCipher, EspKey, EspSuite, Group, IkeCipher, IkeKeys,
    IkeSpis, IkeSuite, KeyLen, Nonces, OpenFailed, PrfAlg, Provider, SkD, TicketKey,
};
use proptest::prelude::*;

fn key_len() -> impl Strategy<Value = KeyLen> {
    prop_oneof![Just(KeyLen::L128), Just(KeyLen::L192), Just(KeyLen::L256)]
}

fn prf() -> impl Strategy<Value = PrfAlg> {
    prop_oneof![Just(PrfAlg::HmacSha256), Just(PrfAlg::HmacSha384), Just(PrfAlg::HmacSha512)]
}

fn ike_cipher() -> impl Strategy<Value = IkeCipher> {
    prop_oneof![
        key_len().prop_map(IkeCipher::AesGcm16),
        Just(IkeCipher::ChaCha20Poly1305),
        (key_len(), integrity()).prop_map(|(key_len, with)| IkeCipher::AesCbc(key_len, with)),
    ]
}

fn integrity() -> impl Strategy<Value = CbcIntegrity> {
    prop_oneof![
        Just(CbcIntegrity::HmacSha256_128),
        Just(CbcIntegrity::HmacSha384_192),
        Just(CbcIntegrity::HmacSha512_256),
    ]
}

fn esp_suite() -> impl Strategy<Value = EspSuite> {
    let cipher = prop_oneof![
        key_len().prop_map(EspCipher::AesGcm16),
        Just(EspCipher::ChaCha20Poly1305),
        (key_len(), integrity()).prop_map(|(key_len, with)| EspCipher::AesCbc(key_len, with)),
    ];
    (cipher, any::<bool>()).prop_map(|(cipher, extended)| EspSuite { cipher, extended })
}

/// The keys of an SA that resumed from an SK_d made of `seed`.
fn ike_keys(cipher: IkeCipher, prf: PrfAlg, seed: u8) -> IkeKeys {
    let sk_d =
        SkD::from_ticket(prf, &vec![seed; prf.output_len()]).unwrap_or_else(|e| panic!("{e}"));
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
    let spis = IkeSpis { initiator: [3; 8], responder: [4; 8] };
    let suite = IkeSuite { cipher, prf, group: Group::P256, additional: AdditionalGroups::NONE };
    sk_d.resume(nonces).expand(suite, nonces, spis)
}

proptest! {
    #[test]
    fn an_ike_message_opens_to_what_was_sealed(
        cipher in ike_cipher(),
        prf in prf(),
        header in prop::collection::vec(any::<u8>(), 0..64),
        inner in prop::collection::vec(any::<u8>(), 0..2000),
        seed: u8,
    ) {
        let (mut ours, theirs) = (ike_keys(cipher, prf, seed), ike_keys(cipher, prf, seed));
        let mut message = [header.clone(), inner.clone()].concat();
        ours.initiator.seal(&mut Provider::system(), &mut message, header.len()).unwrap();
        prop_assert_eq!(message.len(), header.len() + theirs.initiator.sealed_len(inner.len()));
        prop_assert_eq!(&message[..header.len()], &header);
        let range = theirs.initiator.open(&mut message, header.len()).unwrap();
        prop_assert_eq!(&message[range], &inner);
    }

    #[test]
    fn a_changed_ike_message_does_not_open(
        cipher in ike_cipher(),
        inner in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index,
        change in 1u8..,
    ) {
        let mut keys = ike_keys(cipher, PrfAlg::HmacSha256, 5);
        let mut message = [&[0; 32], inner.as_slice()].concat();
        keys.initiator.seal(&mut Provider::system(), &mut message, 32).unwrap();
        let at = at.index(message.len());
        message[at] ^= change;
        prop_assert_eq!(keys.initiator.open(&mut message, 32), Err(OpenFailed));
    }

    #[test]
    fn octets_of_a_stranger_never_open_and_never_panic(
        cipher in ike_cipher(),
        esp in esp_suite(),
        mut octets in prop::collection::vec(any::<u8>(), 0..300),
        header_len: usize,
    ) {
        let keys = ike_keys(cipher, PrfAlg::HmacSha384, 6);
        prop_assert_eq!(keys.responder.open(&mut octets.clone(), header_len), Err(OpenFailed));
        prop_assert_eq!(keys.responder.open(&mut octets.clone(), header_len % 64), Err(OpenFailed));
        let ticket_key = TicketKey::generate(&mut Provider::seeded(1));
        prop_assert_eq!(ticket_key.open(b"", &octets).err(), Some(OpenFailed));
        let opening = EspKey::for_test(esp, &vec![7; esp.cipher.keymat_len()])
            .unwrap_or_else(|e| panic!("{e}"))
            .into_opening();
        prop_assert_eq!(opening.open(&mut octets, 0), Err(OpenFailed));
    }

    #[test]
    fn an_esp_packet_opens_to_what_was_sealed(
        suite in esp_suite(),
        spi: [u8; 4],
        blocks in prop::collection::vec(any::<[u8; 16]>(), 0..125),
        earlier in 0u32..u32::MAX,
    ) {
        let cipher = suite.cipher;
        let key = || {
            EspKey::for_test(suite, &vec![8; cipher.keymat_len()]).unwrap_or_else(|e| panic!("{e}"))
        };
        let (sealing, opening) = (key().into_sealing(), key().into_opening());
        prop_assert_eq!(sealing.reserve(earlier).is_ok(), earlier > 0);
        let (inner, head) = (blocks.concat(), vec![0; 4 + cipher.iv_len()]);
        let mut packet = [&spi[..], &head, &inner, &vec![0; cipher.icv_len()]].concat();
        prop_assert_eq!(sealing.seal(&mut packet), Ok(u64::from(earlier) + 1));
        prop_assert_eq!(&packet[..4], &spi);
        prop_assert_eq!(&packet[4..8], &(earlier + 1).to_be_bytes());
        let range = opening.open(&mut packet, 0).unwrap();
        prop_assert_eq!(&packet[range], &inner);
    }

    #[test]
    fn a_ticket_opens_to_what_was_sealed(
        aad in prop::collection::vec(any::<u8>(), 0..40),
        state in prop::collection::vec(any::<u8>(), 0..1000),
    ) {
        let mut provider = Provider::system();
        let key = TicketKey::generate(&mut provider);
        let mut ticket = Vec::new();
        key.seal(&mut provider, &aad, &state, &mut ticket).unwrap();
        prop_assert_eq!(ticket.len(), state.len() + TicketKey::OVERHEAD);
        let opened = key.open(&aad, &ticket).unwrap();
        prop_assert_eq!(opened.as_slice(), state);
    }
}
