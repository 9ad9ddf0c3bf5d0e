//! A real resumption between two libreswan 5.2 peers, through the public
//! interface alone: from the old SK_d to the keys of the child.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test")]

use crypto::{
    AdditionalGroups, EspCipher, Group, IkeCipher, IkeKeys, IkeSpis, IkeSuite, KeyLen, Mac, Nonces,
    PrfAlg, SignedOctets, SkD, nat_detection_hash, public_key_operations,
};
use serde_json::Value;

/// IKE header and the header of the SK payload.
const HEADER_LEN: usize = 28 + 4;
const AUTH: u8 = 39;

const SUITE: IkeSuite = IkeSuite {
    cipher: IkeCipher::AesGcm16(KeyLen::L256),
    prf: PrfAlg::HmacSha512,
    group: Group::P256,
    additional: AdditionalGroups::NONE,
};

struct Capture(Value);

impl Capture {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("data/libreswan-5.2-resume.json")).unwrap())
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        hex(self.0[name].as_str().unwrap_or_else(|| panic!("no {name} in the capture")))
    }

    fn sk_d_old(&self) -> SkD {
        SkD::from_ticket(SUITE.prf, &self.octets("sk_d_old")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn resumed(&self) -> IkeKeys {
        let (ni, nr) = (self.octets("ni"), self.octets("nr"));
        let nonces = Nonces { initiator: &ni, responder: &nr };
        let spis = IkeSpis {
            initiator: self.octets("spii").try_into().unwrap(),
            responder: self.octets("spir").try_into().unwrap(),
        };
        self.sk_d_old().resume(nonces).expand(SUITE, nonces, spis)
    }

    /// AUTH as one side sent it in its IKE_AUTH message.
    fn auth(&self, message: &str) -> Vec<u8> {
        let first = self.octets(message)[28];
        // Behind the generic payload header: method and three reserved octets.
        payload(first, &self.octets(&format!("{message}_plain")), AUTH)[4..].to_vec()
    }
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The body of the first payload of a type.
fn payload(mut kind: u8, mut rest: &[u8], wanted: u8) -> &[u8] {
    loop {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if kind == wanted {
            return &rest[4..len];
        }
        (kind, rest) = (rest[0], &rest[len..]);
    }
}

#[test]
fn the_resumed_sa_has_the_keys_that_libreswan_had() {
    let capture = Capture::read();
    let keys = capture.resumed();
    assert_eq!(keys.sk_d.export_to_ticket(), capture.octets("SK_d"));
    assert_eq!(keys.sk_d.prf(), SUITE.prf);
}

#[test]
fn both_ike_auth_messages_open_to_their_payloads() {
    let capture = Capture::read();
    let keys = capture.resumed();
    for (name, key) in [("ike_auth_request", keys.initiator), ("ike_auth_response", keys.responder)]
    {
        let mut message = capture.octets(name);
        // As it was recorded, the plaintext ends with Pad Length.
        let plain = capture.octets(&format!("{name}_plain"));
        let (pad_length, inner) = plain.split_last().unwrap();
        assert_eq!(*pad_length, 0);
        assert_eq!(message.len(), HEADER_LEN + key.sealed_len(inner.len()));
        let range = key.open(&mut message, HEADER_LEN).unwrap();
        assert_eq!(&message[range], inner);
    }
}

/// The direction of a key matters: neither end can be shown its own message.
#[test]
fn a_message_does_not_open_with_the_key_of_the_other_direction() {
    let capture = Capture::read();
    let keys = capture.resumed();
    let mut request = capture.octets("ike_auth_request");
    assert!(keys.responder.open(&mut request, HEADER_LEN).is_err());
}

#[test]
fn libreswan_authenticated_both_ends_in_its_short_form() {
    let capture = Capture::read();
    let keys = capture.resumed();
    let initiator = keys.sk_pi.resume_auth_message_only(&capture.octets("resume_request"));
    assert_eq!(initiator.verify(&capture.auth("ike_auth_request")), Ok(()));
    let responder = keys.sk_pr.resume_auth_message_only(&capture.octets("resume_response"));
    assert_eq!(responder.verify(&capture.auth("ike_auth_response")), Ok(()));
}

/// RFC 5723 section 4.3.3, against `data/resume_auth_rfc.py`.
#[test]
fn the_form_of_the_rfc_is_as_computed_elsewhere_and_is_not_libreswans() {
    let capture = Capture::read();
    let keys = capture.resumed();
    let expected: Value = serde_json::from_str(include_str!("data/resume_auth_rfc.json")).unwrap();
    for (end, sk_p, message, peer_nonce, sent) in [
        ("initiator", keys.sk_pi, "resume_request", "nr", "ike_auth_request"),
        ("responder", keys.sk_pr, "resume_response", "ni", "ike_auth_response"),
    ] {
        let expected = |name: &str| hex(expected[end][name].as_str().unwrap());
        let maced_id: Mac = sk_p.mac_id(&expected("id_body"));
        assert_eq!(maced_id.as_bytes(), expected("maced_id"));
        let auth = sk_p.resume_auth(SignedOctets {
            message: &capture.octets(message),
            peer_nonce: &capture.octets(peer_nonce),
            maced_id: &maced_id,
            intermediate: &[],
        });
        assert_eq!(auth.as_bytes(), expected("auth"));
        assert!(auth.verify(&capture.auth(sent)).is_err());
    }
}

#[test]
fn the_child_has_the_keys_that_libreswan_installed() {
    let capture = Capture::read();
    let keys = capture.resumed();
    let (ni, nr) = (capture.octets("ni"), capture.octets("nr"));
    let nonces = Nonces { initiator: &ni, responder: &nr };
    let child = keys.sk_d.child_keys(EspCipher::AesGcm16(KeyLen::L256).into(), None, nonces);
    let bytes = |key: crypto::EspKey| key.for_kernel(<[u8]>::to_vec);
    assert_eq!(bytes(child.initiator_to_responder), capture.octets("child_keymat_i2r"));
    assert_eq!(bytes(child.responder_to_initiator), capture.octets("child_keymat_r2i"));
}

#[test]
fn a_resumption_takes_no_public_key_operation() {
    let before = public_key_operations();
    let keys = Capture::read().resumed();
    assert_eq!(keys.initiator.cipher(), SUITE.cipher);
    assert_eq!(public_key_operations(), before);
}

#[test]
fn an_sk_d_of_the_wrong_length_is_refused() {
    let refused = SkD::from_ticket(PrfAlg::HmacSha256, &[0; 64]).err();
    assert_eq!(refused, Some(crypto::WrongLength { expected: 32, got: 64 }));
}

/// The payloads of NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP in
/// the first IKE_SA_INIT (RFC 7296 section 2.23).
#[test]
fn addresses_are_hashed_as_libreswan_hashed_them() {
    let capture = Capture::read();
    let request = hex(capture.0["all_messages"][0]["raw"].as_str().unwrap());
    let (spi_i, spi_r) = (request[..8].try_into().unwrap(), request[8..16].try_into().unwrap());
    for (notify, address) in [(16388u16, "10.9.0.1:500"), (16389, "10.9.0.2:500")] {
        let hash = nat_detection_hash(spi_i, spi_r, address.parse().unwrap());
        let body = [&[0, 0][..], &notify.to_be_bytes(), &hash].concat();
        assert!(request.windows(body.len()).any(|window| window == body));
    }
}
