//! Signatures: those that OpenSSL made, our own, and what is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use crypto::{
    BadKey, CryptoError, EcdsaForm, HashAlg, KeyKind, Mismatch, PublicKey, Scheme, Signer as _,
    SigningKey,
};
use serde_json::Value;

/// Keys and signatures from `openssl genpkey`, `openssl dgst -sign` and
/// `openssl pkeyutl -sign`, OpenSSL 3.0.
fn openssl() -> Value {
    serde_json::from_str(include_str!("data/openssl-signatures.json")).unwrap()
}

fn octets(value: &Value) -> Vec<u8> {
    let digits: Vec<char> = value.as_str().unwrap().chars().collect();
    let digit = |c: char| u8::try_from(c.to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

const HASHES: [(&str, HashAlg); 3] =
    [("sha256", HashAlg::Sha256), ("sha384", HashAlg::Sha384), ("sha512", HashAlg::Sha512)];

fn scheme(name: &str) -> Option<Scheme> {
    let (family, hash) = name.split_once('-').unwrap_or((name, ""));
    let hash = HASHES.iter().find(|(name, _)| *name == hash).map(|&(_, hash)| hash);
    match (family, hash) {
        ("pkcs1", Some(hash)) => Some(Scheme::RsaPkcs1(hash)),
        ("pss", Some(hash)) => Some(Scheme::RsaPss(hash)),
        ("ecdsa", Some(hash)) => Some(Scheme::Ecdsa(hash, EcdsaForm::Asn1)),
        ("ed25519", None) => Some(Scheme::Ed25519),
        _ => None,
    }
}

#[test]
fn signatures_of_openssl_are_verified_and_nothing_else() {
    let all = openssl();
    let message = octets(&all["message"]);
    for key in all["keys"].as_array().unwrap() {
        let public = PublicKey::from_spki(&octets(&key["spki"])).unwrap();
        for signature in key["signatures"].as_array().unwrap() {
            let Some(scheme) = scheme(signature["scheme"].as_str().unwrap()) else { continue };
            let mut signature = octets(&signature["octets"]);
            assert_eq!(public.verify(scheme, &message, &signature), Ok(()), "{scheme:?}");
            assert_eq!(public.verify(scheme, b"another", &signature), Err(Mismatch));
            *signature.last_mut().unwrap() ^= 1;
            assert_eq!(public.verify(scheme, &message, &signature), Err(Mismatch));
        }
    }
}

/// RFC 8247 section 3.2: no name of ours accepts SHA-1.
#[test]
fn an_rsa_signature_over_sha_1_is_never_accepted() {
    let all = openssl();
    let key = &all["keys"][0];
    let public = PublicKey::from_spki(&octets(&key["spki"])).unwrap();
    let sha1 = key["signatures"].as_array().unwrap().iter().find(|s| s["scheme"] == "none");
    let signature = octets(&sha1.unwrap()["octets"]);
    for (_, hash) in HASHES {
        for scheme in [Scheme::RsaPkcs1(hash), Scheme::RsaPss(hash)] {
            let result = public.verify(scheme, &octets(&all["message"]), &signature);
            assert_eq!(result, Err(Mismatch));
        }
    }
}

#[test]
fn what_we_sign_verifies_with_the_public_key_that_openssl_shows() {
    let all = openssl();
    for key in all["keys"].as_array().unwrap() {
        let signer = SigningKey::from_pkcs8(&octets(&key["pkcs8"])).unwrap();
        assert_eq!(signer.public_key().to_spki(), octets(&key["spki"]));
        let kind = signer.public_key().kind();
        let schemes = match kind.own_hash() {
            Some(hash) => {
                vec![Scheme::Ecdsa(hash, EcdsaForm::Asn1), Scheme::Ecdsa(hash, EcdsaForm::Fixed)]
            }
            None if kind == KeyKind::Ed25519 => vec![Scheme::Ed25519],
            None => {
                HASHES.iter().flat_map(|&(_, h)| [Scheme::RsaPkcs1(h), Scheme::RsaPss(h)]).collect()
            }
        };
        for scheme in schemes {
            let signature = signer.sign(scheme, b"message").unwrap();
            assert_eq!(signer.public_key().verify(scheme, b"message", &signature), Ok(()));
        }
    }
}

/// RFC 4754 section 7: r and s, each as long as the order.
#[test]
fn the_fixed_form_has_the_length_of_the_curve() {
    let all = openssl();
    for (index, hash, len) in
        [(1, HashAlg::Sha256, 64), (2, HashAlg::Sha384, 96), (3, HashAlg::Sha512, 132)]
    {
        let signer = SigningKey::from_pkcs8(&octets(&all["keys"][index]["pkcs8"])).unwrap();
        let signature = signer.sign(Scheme::Ecdsa(hash, EcdsaForm::Fixed), b"message").unwrap();
        assert_eq!(signature.len(), len);
    }
}

/// RFC 8032 section 7.1, test 2.
#[test]
fn an_ed25519_signature_is_that_of_the_rfc() {
    let hex = |text: &str| octets(&Value::from(text));
    let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    let pkcs8 = [hex("302e020100300506032b657004220420"), seed].concat();
    let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
    let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    assert_eq!(key.public_key().octets(), public);
    let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    assert_eq!(key.sign(Scheme::Ed25519, &[0x72]), Ok(signature));
}

#[test]
fn a_short_rsa_key_and_a_curve_of_another_kind_are_refused() {
    let all = openssl();
    for (which, why) in [("short", BadKey::Size), ("other", BadKey::Kind)] {
        let key = &all[which];
        assert_eq!(PublicKey::from_spki(&octets(&key["spki"])).err(), Some(why), "{which}");
        assert_eq!(SigningKey::from_pkcs8(&octets(&key["pkcs8"])).err(), Some(why), "{which}");
    }
}

#[test]
fn a_key_does_not_sign_as_another_kind() {
    let all = openssl();
    let key = SigningKey::from_pkcs8(&octets(&all["keys"][1]["pkcs8"])).unwrap();
    for scheme in [
        Scheme::Ed25519,
        Scheme::RsaPss(HashAlg::Sha256),
        Scheme::Ecdsa(HashAlg::Sha384, EcdsaForm::Asn1),
    ] {
        assert_eq!(key.sign(scheme, b"message"), Err(CryptoError::Module));
    }
}

#[test]
fn new_keys_of_every_kind_can_be_read_back() {
    for kind in
        [KeyKind::Rsa, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Ed25519]
    {
        let key = SigningKey::from_pkcs8(&SigningKey::generate(kind, 2048).unwrap()).unwrap();
        assert_eq!(key.public_key().kind(), kind);
    }
    assert_eq!(SigningKey::generate(KeyKind::Rsa, 1024).err(), Some(CryptoError::Module));
}

#[test]
fn octets_that_are_cut_short_are_no_key() {
    let all = openssl();
    for key in all["keys"].as_array().unwrap() {
        let (spki, pkcs8) = (octets(&key["spki"]), octets(&key["pkcs8"]));
        for len in 0..spki.len() {
            assert!(PublicKey::from_spki(&spki[..len]).is_err());
        }
        for len in (0..pkcs8.len()).step_by(7) {
            assert!(SigningKey::from_pkcs8(&pkcs8[..len]).is_err());
        }
    }
}
