use super::{cases, octets};
use crate::cbc;
use crate::prf;
use crate::suite::{CbcIntegrity, PrfAlg};

/// RFC 4868 section 2.7, whose PRF cases are those of RFC 4231. The key of
/// AUTH512-4 is without 16 octets that the RFC prints and did not use.
const RFC4868: &str = include_str!("../../tests/data/rfc4868.json");

const ALL: [(&str, PrfAlg, CbcIntegrity); 3] = [
    ("sha256", PrfAlg::HmacSha256, CbcIntegrity::HmacSha256_128),
    ("sha384", PrfAlg::HmacSha384, CbcIntegrity::HmacSha384_192),
    ("sha512", PrfAlg::HmacSha512, CbcIntegrity::HmacSha512_256),
];

#[test]
fn prf_gives_the_answers_of_rfc_4231_as_a_key_and_as_a_code() {
    let mut checked = 0;
    for case in cases(RFC4868) {
        let (key, data) = (octets(&case, "key"), octets(&case, "data"));
        for (name, alg, _) in ALL.iter().filter(|(name, ..)| case.get(name).is_some()) {
            let expected = octets(&case, name);
            assert_eq!(prf::derive(*alg, &key, &data).bytes(), expected);
            assert_eq!(prf::mac(*alg, &key, &[&data]).as_bytes(), expected);
            checked += 1;
        }
    }
    assert_eq!(checked, 6 * 3 + 3 * 4);
}

#[test]
fn integrity_codes_are_truncated_as_in_rfc_4868() {
    let mut checked = 0;
    for case in cases(RFC4868).iter().filter(|case| case.get("icv").is_some()) {
        let (key, data, expected) =
            (octets(case, "key"), octets(case, "data"), octets(case, "icv"));
        for (_, _, integrity) in ALL.iter().filter(|(name, ..)| case.get(name).is_some()) {
            assert_eq!(key.len(), integrity.key_len());
            let icv = cbc::icv(*integrity, &key, &data);
            assert_eq!(icv.leading(integrity.icv_len()), expected);
            checked += 1;
        }
    }
    assert_eq!(checked, 12);
}
