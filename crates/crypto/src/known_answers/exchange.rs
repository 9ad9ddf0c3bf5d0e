use super::{hex, octets};
use crate::error::BadShare;
use crate::kex::KeyExchange;
use crate::ops::public_key_operations;
use crate::provider::Provider;
use crate::suite::Group;

const ALL: [Group; 4] = [Group::X25519, Group::P256, Group::P384, Group::Modp2048];

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

/// The prime from its formula and the powers from another program; one secret
/// begins with a zero octet, which belongs to it (RFC 7296 section 2.14).
#[test]
fn modp2048_agrees_as_computed_elsewhere() {
    let json = include_str!("../../tests/data/modp2048.json");
    let file: serde_json::Value = serde_json::from_str(json).unwrap();
    let cases = file["vectors"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let exchange = KeyExchange::from_private_octets(Group::Modp2048, &octets(case, "private"));
        assert_eq!(exchange.public(), octets(case, "public"));
        let shared = exchange.agree(&octets(case, "peer_public")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(shared.bytes(), octets(case, "shared"));
    }
    assert_eq!(octets(cases.last().unwrap(), "shared")[0], 0);
}

#[test]
fn modp2048_refuses_what_is_not_between_1_and_p_minus_1() {
    let json = include_str!("../../tests/data/modp2048.json");
    let file: serde_json::Value = serde_json::from_str(json).unwrap();
    let prime = octets(&file, "prime");
    let near_prime = |last: u8| {
        let mut value = prime.clone();
        *value.last_mut().unwrap() = last;
        value
    };
    let small = |value: u8| {
        let mut octets = vec![0; 256];
        octets[255] = value;
        octets
    };
    for refused in [small(0), small(1), near_prime(0xfe), near_prime(0xff), vec![0xff; 256]] {
        assert_eq!(refusal(Group::Modp2048, &refused), Some(BadShare));
    }
    for accepted in [small(2), near_prime(0xfd)] {
        assert_eq!(refusal(Group::Modp2048, &accepted), None);
    }
}

#[test]
fn a_share_of_the_wrong_length_is_refused() {
    for group in ALL {
        let share = Provider::seeded(2).key_exchange(group).unwrap().public().to_vec();
        assert_eq!(share.len(), group.public_len());
        assert_eq!(refusal(group, &share[1..]), Some(BadShare));
        assert_eq!(refusal(group, &[share.as_slice(), &[0]].concat()), Some(BadShare));
        assert_eq!(refusal(group, &[]), Some(BadShare));
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    for group in [Group::P256, Group::P384] {
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
    for group in ALL {
        for mut provider in [Provider::system(), Provider::seeded(3)] {
            let (ours, theirs) =
                (provider.key_exchange(group).unwrap(), provider.key_exchange(group).unwrap());
            assert_ne!(ours.public(), theirs.public());
            let (our_share, their_share) = (ours.public().to_vec(), theirs.public().to_vec());
            let at_us = ours.agree(&their_share).unwrap_or_else(|e| panic!("{e}"));
            let at_them = theirs.agree(&our_share).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(at_us.bytes(), at_them.bytes());
        }
    }
}

#[test]
fn a_seeded_provider_repeats_its_key_exchanges() {
    for group in ALL {
        let public = |seed| Provider::seeded(seed).key_exchange(group).unwrap().public().to_vec();
        assert_eq!(public(4), public(4));
        assert_ne!(public(4), public(5));
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
