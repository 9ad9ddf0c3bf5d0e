use shake::{ExtendableOutput as _, Shake128, Update as _, XofReader as _};

use super::{hex, octets};
use crate::error::{BadShare, CryptoError};
use crate::kem::{self, Parameters};
use crate::kex::KeyExchange;
use crate::ops::public_key_operations;
use crate::provider::Provider;
use crate::suite::Group;

const MODP: [Group; 3] = [Group::Modp2048, Group::Modp3072, Group::Modp4096];
const KEM: [Group; 3] = [Group::MlKem512, Group::MlKem768, Group::MlKem1024];

fn check(group: Group, private: &str, public: &str, peer_public: &str, shared: &str) {
    let exchange = KeyExchange::from_private_octets(group, &hex(private));
    assert_eq!(exchange.group(), group);
    assert_eq!(exchange.public(), hex(public));
    let agreed = exchange.agree(&hex(peer_public));
    assert_eq!(agreed.unwrap_or_else(|e| panic!("{e}")).bytes(), hex(shared));
}

fn refusal(group: Group, peer_public: &[u8]) -> Option<BadShare> {
    Provider::seeded(1).key_exchange(group).unwrap().agree(peer_public).err()
}

/// RFC 7748 section 6.1.
#[test]
fn x25519_agrees_as_in_rfc_7748() {
    let (alice, alice_public) = (
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    );
    let (bob, bob_public) = (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    );
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    check(Group::X25519, alice, alice_public, bob_public, shared);
    check(Group::X25519, bob, bob_public, alice_public, shared);
}

/// RFC 5903 section 8.1.
#[test]
fn p256_agrees_as_in_rfc_5903() {
    let (i, gi) = (
        "C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
        "DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
         5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3",
    );
    let (r, gr) = (
        "C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53",
        "D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63
         56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB",
    );
    let shared = "D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE";
    check(Group::P256, i, gi, gr, shared);
    check(Group::P256, r, gr, gi, shared);
}

/// RFC 5903 section 8.2.
#[test]
fn p384_agrees_as_in_rfc_5903() {
    let (i, gi) = (
        "099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655
         E35B5380 41E649EE 3FAEF896 783AB194",
        "667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6
         DE3AC808 ACB4BDB4 C88732AE E95F41AA
         9482ED1F C0EEB9CA FC498462 5CCFC23F 65032149 E0E144AD A0241815 35A0F38E
         EB9FCFF3 C2C947DA E69B4C63 4573A81C",
    );
    let (r, gr) = (
        "41CB0779 B4BDB85D 47846725 FBEC3C94 30FAB46C C8DC5060 855CC9BD A0AA2942
         E0308312 916B8ED2 960E4BD5 5A7448FC",
        "E558DBEF 53EECDE3 D3FCCFC1 AEA08A89 A987475D 12FD950D 83CFA417 32BC509D
         0D1AC43A 0336DEF9 6FDA41D0 774A3571
         DCFBEC7A ACF31964 72169E83 8430367F 66EEBE3C 6E70C416 DD5F0C68 759DD1FF
         F83FA401 42209DFF 5EAAD96D B9E6386C",
    );
    let shared = "11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4
                  D6031355 69B9E9D0 9CF5D4A2 70F59746";
    check(Group::P384, i, gi, gr, shared);
    check(Group::P384, r, gr, gi, shared);
}

/// RFC 5903 section 8.3.
#[test]
fn p521_agrees_as_in_rfc_5903() {
    let (i, gi) = (
        "0037ADE9 319A89F4 DABDB3EF 411AACCC A5123C61 ACAB57B5 393DCE47 608172A0
         95AA85A3 0FE1C295 2C6771D9 37BA9777 F5957B26 39BAB072 462F68C2 7A57382D
         4A52",
        "0015417E 84DBF28C 0AD3C278 713349DC 7DF153C8 97A1891B D98BAB43 57C9ECBE
         E1E3BF42 E00B8E38 0AEAE57C 2D107564 94188594 2AF5A7F4 601723C4 195D176C
         ED3E
         017CAE20 B6641D2E EB695786 D8C94614 6239D099 E18E1D5A 514C739D 7CB4A10A
         D8A78801 5AC405D7 799DC75E 7B7D5B6C F2261A6A 7F150743 8BF01BEB 6CA3926F
         9582",
    );
    let (r, gr) = (
        "0145BA99 A847AF43 793FDD0E 872E7CDF A16BE30F DC780F97 BCCC3F07 8380201E
         9C677D60 0B343757 A3BDBF2A 3163E4C2 F869CCA7 458AA4A4 EFFC311F 5CB15168
         5EB9",
        "00D0B397 5AC4B799 F5BEA16D 5E13E9AF 971D5E9B 984C9F39 728B5E57 39735A21
         9B97C356 436ADC6E 95BB0352 F6BE64A6 C2912D4E F2D0433C ED2B6171 640012D9
         460F
         015C6822 6383956E 3BD066E7 97B623C2 7CE0EAC2 F551A10C 2C724D98 52077B87
         220B6536 C5C408A1 D2AEBB8E 86D678AE 49CB5709 1F473229 6579AB44 FCD17F0F
         C56A",
    );
    let shared = "01144C7D 79AE6956 BC8EDB8E 7C787C45 21CB086F A64407F9 7894E5E6 B2D79B04
                  D1427E73 CA4BAA24 0A347868 59810C06 B3C715A3 A8CC3151 F2BEE417 996D19F3
                  DDEA";
    check(Group::P521, i, gi, gr, shared);
    check(Group::P521, r, gr, gi, shared);
}

/// The groups of [`MODP`], computed by `tests/data/modp.py`.
fn modp() -> Vec<serde_json::Value> {
    let groups = super::cases(include_str!("../../tests/data/modp.json"));
    assert_eq!(groups.len(), MODP.len());
    groups
}

/// The primes from their formula and the powers from another program; one secret
/// of each group begins with a zero octet, which belongs to it (RFC 7296
/// section 2.14).
#[test]
fn modp_agrees_as_computed_elsewhere() {
    for (group, file) in MODP.into_iter().zip(modp()) {
        assert_eq!(group.to_string(), format!("modp{}", file["bits"]));
        let cases = file["vectors"].as_array().unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let exchange = KeyExchange::from_private_octets(group, &octets(case, "private"));
            assert_eq!(exchange.group(), group);
            assert_eq!(exchange.public(), octets(case, "public"));
            let shared = exchange.agree(&octets(case, "peer_public"));
            let shared = shared.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(shared.bytes(), octets(case, "shared"));
        }
        assert_eq!(octets(cases.last().unwrap(), "shared")[0], 0);
    }
}

#[test]
fn modp_refuses_what_is_not_between_1_and_p_minus_1() {
    for (group, file) in MODP.into_iter().zip(modp()) {
        let prime = octets(&file, "prime");
        let near_prime = |last: u8| {
            let mut value = prime.clone();
            *value.last_mut().unwrap() = last;
            value
        };
        let small = |value: u8| {
            let mut octets = vec![0; prime.len()];
            *octets.last_mut().unwrap() = value;
            octets
        };
        let ones = vec![0xff; prime.len()];
        for refused in [small(0), small(1), near_prime(0xfe), near_prime(0xff), ones] {
            assert_eq!(refusal(group, &refused), Some(BadShare));
        }
        for accepted in [small(2), near_prime(0xfd)] {
            assert_eq!(refusal(group, &accepted), None);
        }
    }
}

/// What the module makes of a key is told apart from what the other
/// implementation of ML-KEM makes of it by nothing, in either direction.
#[test]
fn two_implementations_of_ml_kem_agree() {
    let parameters = [Parameters::MlKem512, Parameters::MlKem768, Parameters::MlKem1024];
    for (group, parameters) in KEM.into_iter().zip(parameters) {
        let (mut module, mut other) = (Provider::system(), Provider::seeded(1));
        for _ in 0..8 {
            let (key, public) = kem::Private::generate(&mut module, parameters).unwrap();
            let (ciphertext, secret) =
                kem::encapsulate(&mut other, parameters, &public).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((public.len(), ciphertext.len()), (group.public_len(), group.answer_len()));
            let opened = key.decapsulate(&ciphertext).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(opened.bytes(), secret.bytes());

            let (key, public) = kem::Private::generate(&mut other, parameters).unwrap();
            let (ciphertext, secret) = kem::encapsulate(&mut module, parameters, &public)
                .unwrap_or_else(|e| panic!("{e}"));
            let opened = key.decapsulate(&ciphertext).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(opened.bytes(), secret.bytes());
        }
    }
}

/// Keys, ciphertexts and secrets of a hundred cases in one digest, those of
/// ciphertexts that nobody has made among them.
fn digest_of_a_hundred(parameters: Parameters) -> [u8; 32] {
    let mut chance = Shake128::default().finalize_xof();
    let mut digest = Shake128::default();
    let (mut seed, mut message) = ([0; 64], [0; 32]);
    for _ in 0..100 {
        chance.read(&mut seed);
        let (key, public) = kem::Private::from_seed(&seed, parameters).unwrap();
        chance.read(&mut message);
        let (ciphertext, secret) =
            kem::encapsulate_with(&message, parameters, &public).unwrap_or_else(|e| panic!("{e}"));
        let mut stray = vec![0; ciphertext.len()];
        chance.read(&mut stray);
        let [opened, rejected] =
            [&*ciphertext, &stray].map(|it| key.decapsulate(it).unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(opened.bytes(), secret.bytes());
        for part in [&public, &ciphertext, secret.bytes(), rejected.bytes()] {
            digest.update(part);
        }
    }
    let mut octets = [0; 32];
    digest.finalize_xof().read(&mut octets);
    octets
}

/// The digest for ML-KEM-768 is that of Go's crypto/mlkem; on the others
/// PQClean, CIRCL and kyber-py agree.
#[test]
fn ml_kem_is_that_of_other_implementations() {
    for (parameters, digest) in [
        (Parameters::MlKem512, "86b1b4703b8ffef6f7f3290c6dbce4ad954498a0673ded401a94828e8c519a59"),
        (Parameters::MlKem768, "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"),
        (Parameters::MlKem1024, "800018fec3e2723f73f1d657fe239b4d5d8782efaade297e8cd448e54cc2ac00"),
    ] {
        assert_eq!(digest_of_a_hundred(parameters).as_slice(), hex(digest));
    }
}

/// Coefficients of twelve ones are not below 3329 (FIPS 203 section 7.2).
#[test]
fn an_encapsulation_key_that_is_not_reduced_is_refused() {
    for group in KEM {
        for mut provider in [Provider::system(), Provider::seeded(1)] {
            let mut public = provider.key_exchange(group).unwrap().public().to_vec();
            public[..2].fill(0xff);
            let answer = provider.answer_key_exchange(group, &public);
            assert_eq!(answer.err(), Some(CryptoError::BadShare));
        }
    }
}

#[test]
fn an_altered_ciphertext_gives_another_secret() {
    for group in KEM {
        let mut provider = Provider::seeded(9);
        let ours = provider.key_exchange(group).unwrap();
        let theirs = provider.answer_key_exchange(group, ours.public()).unwrap();
        let mut ciphertext = theirs.public().to_vec();
        ciphertext[100] ^= 1;
        let at_us = ours.agree(&ciphertext).unwrap_or_else(|e| panic!("{e}"));
        let at_them = theirs.agree().unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(at_us.bytes(), at_them.bytes());
    }
}

#[test]
fn a_share_of_the_wrong_length_is_refused() {
    for group in Group::ALL {
        let mut provider = Provider::seeded(2);
        let ours = provider.key_exchange(group).unwrap().public().to_vec();
        let theirs = provider.answer_key_exchange(group, &ours).unwrap().public().to_vec();
        assert_eq!((ours.len(), theirs.len()), (group.public_len(), group.answer_len()));
        for wrong in [&ours[1..], &[ours.as_slice(), &[0]].concat(), &[]] {
            let answer = provider.answer_key_exchange(group, wrong);
            assert_eq!(answer.err(), Some(CryptoError::BadShare));
        }
        for wrong in [&theirs[1..], &[theirs.as_slice(), &[0]].concat(), &[]] {
            assert_eq!(refusal(group, wrong), Some(BadShare));
        }
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    for group in [Group::P256, Group::P384, Group::P521] {
        let mut share = Provider::seeded(2).key_exchange(group).unwrap().public().to_vec();
        *share.last_mut().unwrap() ^= 1;
        assert_eq!(refusal(group, &share), Some(BadShare));
        assert_eq!(refusal(group, &vec![0; group.public_len()]), Some(BadShare));
        assert_eq!(refusal(group, &vec![0xff; group.public_len()]), Some(BadShare));
    }
}

/// RFC 8031 section 2.3; the points are of small order (RFC 7748 section 7).
#[test]
fn an_x25519_result_of_zeros_is_refused() {
    for low_order in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    ] {
        assert_eq!(refusal(Group::X25519, &hex(low_order)), Some(BadShare));
    }
}

#[test]
fn both_ends_agree_on_one_secret_with_either_source() {
    for group in Group::ALL {
        for mut provider in [Provider::system(), Provider::seeded(3)] {
            let ours = provider.key_exchange(group).unwrap();
            let theirs = provider.answer_key_exchange(group, ours.public()).unwrap();
            assert_ne!(ours.public(), theirs.public());
            let at_us = ours.agree(theirs.public()).unwrap_or_else(|e| panic!("{e}"));
            let at_them = theirs.agree().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(at_us.bytes(), at_them.bytes());
        }
    }
}

#[test]
fn a_seeded_provider_repeats_its_key_exchanges() {
    let values = |seed, group| {
        let mut provider = Provider::seeded(seed);
        let ours = provider.key_exchange(group).unwrap();
        let theirs = provider.answer_key_exchange(group, ours.public()).unwrap();
        (ours.public().to_vec(), theirs.public().to_vec())
    };
    for group in Group::ALL {
        assert_eq!(values(4, group), values(4, group));
        let (one, other) = (values(4, group), values(5, group));
        assert!(one.0 != other.0 && one.1 != other.1);
    }
}

#[test]
fn generating_and_agreeing_are_counted() {
    let before = public_key_operations();
    let exchange = Provider::seeded(1).key_exchange(Group::X25519).unwrap();
    let share = Provider::seeded(2).key_exchange(Group::X25519).unwrap().public().to_vec();
    assert!(exchange.agree(&share).is_ok());
    assert!(public_key_operations() >= before + 3);
}
