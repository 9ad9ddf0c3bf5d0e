use serde_json::Value;

use super::{cases, octets, prf_alg};
use crate::intermediate::IntAuth;
use crate::kex::{SharedSecret, SharedSecrets};
use crate::schedule::{IkeKeys, IkeSpis, Nonces, Skeyseed};
use crate::secret::{Ppk, Psk, SignedOctets};
use crate::suite::{AdditionalGroups, CbcIntegrity, EspCipher, Group, IkeCipher, IkeSuite, KeyLen};

/// Every cipher with every PRF, computed by `tests/data/schedule.py`.
pub(super) const SCHEDULE: &str = include_str!("../../tests/data/schedule.json");

/// What both ends of an exchange know of a case.
struct Exchange {
    suite: IkeSuite,
    ni: Vec<u8>,
    nr: Vec<u8>,
    spis: IkeSpis,
}

impl Exchange {
    fn of(case: &Value) -> Self {
        Self {
            suite: suite(case),
            ni: octets(case, "ni"),
            nr: octets(case, "nr"),
            spis: IkeSpis {
                initiator: octets(case, "spi_i").try_into().unwrap(),
                responder: octets(case, "spi_r").try_into().unwrap(),
            },
        }
    }

    fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.ni, responder: &self.nr }
    }

    fn initial(&self, case: &Value) -> Skeyseed {
        Skeyseed::initial(self.suite.prf, self.nonces(), secret(case, "shared"))
    }

    fn keys(&self, case: &Value) -> IkeKeys {
        self.initial(case).expand(self.suite, self.nonces(), self.spis)
    }
}

fn secret(case: &Value, name: &str) -> SharedSecret {
    SharedSecret::new(&octets(case, name))
}

fn suite(case: &Value) -> IkeSuite {
    let key_len = match case["key_bits"].as_u64() {
        Some(128) => KeyLen::L128,
        Some(192) => KeyLen::L192,
        Some(256) => KeyLen::L256,
        other => panic!("unknown key length {other:?}"),
    };
    let cipher = match case["integrity"].as_str() {
        None if case["cipher"] == "chacha" => IkeCipher::ChaCha20Poly1305,
        None => IkeCipher::AesGcm16(key_len),
        Some("sha256") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha256_128),
        Some("sha384") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha384_192),
        Some("sha512") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha512_256),
        Some(other) => panic!("unknown integrity algorithm {other}"),
    };
    let (prf, additional) = (prf_alg(&case["prf"]), AdditionalGroups::NONE);
    IkeSuite { cipher, prf, group: Group::X25519, additional }
}

#[test]
fn a_full_exchange_gives_every_key_of_its_suite() {
    let all = cases(SCHEDULE);
    assert_eq!(all.len(), 13);
    for case in &all {
        let exchange = Exchange::of(case);
        assert_eq!(exchange.initial(case).bytes(), octets(case, "skeyseed"));
        let keys = exchange.keys(case);
        assert_eq!(keys.sk_d.export_to_ticket(), octets(case, "sk_d"));
        assert_eq!(keys.sk_d.prf(), exchange.suite.prf);
        assert_eq!(keys.sk_pi.bytes(), octets(case, "sk_pi"));
        assert_eq!(keys.sk_pr.bytes(), octets(case, "sk_pr"));
        let sk_i = [octets(case, "sk_ei"), octets(case, "sk_ai")].concat();
        let sk_r = [octets(case, "sk_er"), octets(case, "sk_ar")].concat();
        assert_eq!(keys.initiator.octets(), sk_i);
        assert_eq!(keys.responder.octets(), sk_r);
    }
}

/// RFC 7296 section 2.18: the old SA's PRF makes SKEYSEED, the new SA's
/// expands it.
#[test]
fn a_rekey_may_change_the_prf() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let sk_d = exchange.keys(case).sk_d;
        let skeyseed = sk_d.rekey(secret(case, "shared_new"), exchange.nonces());
        assert_eq!(skeyseed.bytes(), octets(case, "skeyseed_rekey"));
        let suite = IkeSuite { prf: prf_alg(&case["rekey_prf"]), ..exchange.suite };
        let keys = skeyseed.expand(suite, exchange.nonces(), exchange.spis);
        assert_eq!(keys.sk_d.export_to_ticket(), octets(case, "sk_d_rekey"));
        assert_eq!(keys.sk_d.prf(), suite.prf);
        assert_eq!(keys.sk_pr.bytes(), octets(case, "sk_pr_rekey"));
    }
}

fn three_secrets(case: &Value) -> SharedSecrets {
    let first = SharedSecrets::from(secret(case, "shared_new"));
    first.then(secret(case, "more_1")).then(secret(case, "more_2"))
}

/// RFC 9370 section 2.2.4.
#[test]
fn a_rekey_takes_the_secrets_of_all_its_key_exchanges() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let skeyseed = exchange.keys(case).sk_d.rekey(three_secrets(case), exchange.nonces());
        assert_eq!(skeyseed.bytes(), octets(case, "skeyseed_rekey_more"));
    }
}

/// RFC 9370 section 2.2.2, RFC 9242 section 3.3.2.
#[test]
fn every_additional_key_exchange_replaces_the_keys_and_is_covered_by_auth() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let keys = exchange.keys(case);
        let message = |name: &str| octets(case, name);
        let int_auth = IntAuth::first(
            (&keys.sk_pi, &message("request_1")),
            (&keys.sk_pr, &message("response_1")),
        );
        assert_eq!(*int_auth.octets(2), octets(case, "int_auth_1"));

        let maced_id = keys.sk_pi.mac_id(&octets(case, "id_body"));
        let psk = Psk::new(&octets(case, "psk")).unwrap_or_else(|e| panic!("{e}"));
        let signed = SignedOctets {
            message: &message("message"),
            peer_nonce: &exchange.nr,
            maced_id: &maced_id,
            intermediate: &int_auth.octets(2),
        };
        let auth = psk.auth(exchange.suite.prf, signed);
        assert_eq!(auth.as_bytes(), octets(case, "auth_intermediate"));

        let skeyseed = keys.sk_d.strengthen(secret(case, "shared_new"), exchange.nonces());
        let keys = skeyseed.expand(exchange.suite, exchange.nonces(), exchange.spis);
        assert_eq!(keys.sk_d.export_to_ticket(), octets(case, "sk_d_additional"));
        let int_auth = int_auth
            .next((&keys.sk_pi, &message("request_2")), (&keys.sk_pr, &message("response_2")));
        assert_eq!(*int_auth.octets(3), octets(case, "int_auth_2"));
    }
}

/// RFC 8784 section 3.
#[test]
fn a_post_quantum_key_is_mixed_into_the_keys_that_others_come_from() {
    for case in &cases(SCHEDULE) {
        let ppk = Ppk::new(&octets(case, "ppk")).unwrap_or_else(|e| panic!("{e}"));
        let keys = Exchange::of(case).keys(case);
        assert_eq!(keys.sk_d.with_ppk(&ppk).export_to_ticket(), octets(case, "sk_d_ppk"));
        assert_eq!(keys.sk_pi.with_ppk(&ppk).bytes(), octets(case, "sk_pi_ppk"));
        assert_eq!(keys.sk_pr.with_ppk(&ppk).bytes(), octets(case, "sk_pr_ppk"));
    }
}

#[test]
fn a_resumption_begins_with_the_old_sk_d_and_a_copy_of_it_is_as_good() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let sk_d = exchange.keys(case).sk_d;
        let expected = octets(case, "skeyseed_resume");
        assert_eq!(sk_d.resume(exchange.nonces()).bytes(), expected);
        assert_eq!(sk_d.duplicate_for_grant().resume(exchange.nonces()).bytes(), expected);
    }
}

#[test]
fn children_get_their_keys_with_and_without_a_key_exchange() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let sk_d = exchange.keys(case).sk_d;
        for cipher in [
            EspCipher::AesGcm16(KeyLen::L128),
            EspCipher::AesGcm16(KeyLen::L192),
            EspCipher::AesGcm16(KeyLen::L256),
            EspCipher::ChaCha20Poly1305,
        ] {
            for (shared, keymat) in [
                (None, "child"),
                (Some(secret(case, "shared_new").into()), "child_pfs"),
                (Some(three_secrets(case)), "child_more"),
            ] {
                let child = sk_d.child_keys(cipher.into(), shared, exchange.nonces());
                let keymat = octets(case, keymat);
                let (forth, rest) = keymat.split_at(cipher.keymat_len());
                let (back, _) = rest.split_at(cipher.keymat_len());
                assert_eq!(child.initiator_to_responder.for_kernel(<[u8]>::to_vec), forth);
                assert_eq!(child.responder_to_initiator.for_kernel(<[u8]>::to_vec), back);
                assert_eq!(child.responder_to_initiator.suite(), cipher.into());
            }
        }
    }
}

#[test]
fn a_shared_secret_authenticates_through_the_key_pad() {
    for case in &cases(SCHEDULE) {
        let exchange = Exchange::of(case);
        let maced_id = exchange.keys(case).sk_pi.mac_id(&octets(case, "id_body"));
        let message = octets(case, "message");
        let signed = SignedOctets {
            message: &message,
            peer_nonce: &exchange.nr,
            maced_id: &maced_id,
            intermediate: &[],
        };
        let psk = Psk::new(&octets(case, "psk")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(psk.auth(exchange.suite.prf, signed).as_bytes(), octets(case, "auth"));
    }
}

#[test]
fn sk_payloads_open_to_what_was_sealed_elsewhere() {
    for case in &cases(SCHEDULE) {
        let keys = Exchange::of(case).keys(case);
        let header_len = octets(case, "header").len();
        let (inner, mut message) = (octets(case, "inner"), octets(case, "sealed"));
        assert_eq!(message.len(), header_len + keys.initiator.sealed_len(inner.len()));
        let range = keys.initiator.open(&mut message, header_len).unwrap();
        assert_eq!(message[range], inner);
    }
}
