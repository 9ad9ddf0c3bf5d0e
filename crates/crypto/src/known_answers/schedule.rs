use serde_json::Value;

use super::{cases, octets, prf_alg};
use crate::kex::SharedSecret;
use crate::schedule::{IkeKeys, IkeSpis, Nonces, Skeyseed};
use crate::secret::{Psk, SignedOctets};
use crate::suite::{CbcIntegrity, EspCipher, Group, IkeCipher, IkeSuite, KeyLen};

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
        None => IkeCipher::AesGcm16(key_len),
        Some("sha256") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha256_128),
        Some("sha384") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha384_192),
        Some("sha512") => IkeCipher::AesCbc(key_len, CbcIntegrity::HmacSha512_256),
        Some(other) => panic!("unknown integrity algorithm {other}"),
    };
    IkeSuite { cipher, prf: prf_alg(&case["prf"]), group: Group::X25519 }
}

#[test]
fn a_full_exchange_gives_every_key_of_its_suite() {
    let all = cases(SCHEDULE);
    assert_eq!(all.len(), 12);
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
            for (shared, keymat) in
                [(None, "child"), (Some(secret(case, "shared_new")), "child_pfs")]
            {
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
        let signed =
            SignedOctets { message: &message, peer_nonce: &exchange.nr, maced_id: &maced_id };
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
