//! Signatures in AUTH: the classic methods (RFC 7296 section 3.8, RFC 4754) and
//! method 14, which names its algorithm (RFC 7427, RFC 8420).

use crypto::{EcdsaForm, HashAlg, KeyKind, PublicKey, Scheme};
use pki::Credential;

use crate::event::Role;
use crate::exchange::Transcript;
use crate::fault::Failure;
use crate::wire::{self, AuthMethod, HashAlgorithm, Message, NotifyType};

/// The hashes that we verify signatures with (RFC 7427 section 4), and the
/// absence of one that Ed25519 wants (RFC 8420 section 2).
pub(crate) const HASHES: [HashAlgorithm; 4] = [
    HashAlgorithm::SHA2_256,
    HashAlgorithm::SHA2_384,
    HashAlgorithm::SHA2_512,
    HashAlgorithm::IDENTITY,
];

/// A signature as AUTH carries it.
pub(crate) struct Signature {
    pub(crate) method: AuthMethod,
    pub(crate) data: Vec<u8>,
}

impl Signature {
    /// Signs `octets` in the best way that the peer has said to understand.
    pub(crate) fn make(
        credential: &Credential,
        announced: &Announced,
        octets: &[u8],
    ) -> Result<Self, Failure> {
        let key = credential.key();
        let (method, scheme) =
            choose(key.public_key().kind(), announced).ok_or(Failure::NoCommonSignature)?;
        let signature = key.sign(scheme, octets).map_err(|_| Failure::NoCommonSignature)?;
        let data = match method {
            AuthMethod::DIGITAL_SIGNATURE => named(scheme, &signature),
            _ => Some(signature),
        };
        Ok(Self { method, data: data.ok_or(Failure::NoCommonSignature)? })
    }
}

/// Checks the signature of `octets` in AUTH.
pub(crate) fn verify(auth: wire::Auth<'_>, key: &PublicKey, octets: &[u8]) -> Result<(), Failure> {
    let (schemes, signature) = parse(auth.method, auth.data).ok_or(Failure::PeerNotAuthentic)?;
    let is_good = |&scheme: &Scheme| key.verify(scheme, octets, signature).is_ok();
    if schemes.iter().any(is_good) { Ok(()) } else { Err(Failure::PeerNotAuthentic) }
}

/// What the peer has announced in SIGNATURE_HASH_ALGORITHMS.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Announced(Vec<HashAlgorithm>);

impl Announced {
    /// What `speaker` said in its first message.
    pub(crate) fn by(speaker: Role, transcript: &Transcript) -> Self {
        let (message, _) = transcript.signed_by(speaker);
        let Ok(message) = Message::parse(message) else { return Self::default() };
        let notify = message.payloads.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS);
        let data = notify.map_or(&[][..], |notify| notify.data);
        let (numbers, _) = data.as_chunks::<2>();
        Self(numbers.iter().map(|&number| HashAlgorithm(u16::from_be_bytes(number))).collect())
    }

    fn has(&self, hash: HashAlg) -> bool {
        self.0.contains(&number(hash))
    }
}

/// RSA signs with PSS where the hash can be named (RFC 8247 section 3.2). A peer
/// that knows no method 14 gets the classic one: for RSA that is PKCS #1 v1.5,
/// whose hash the peer sees in the signature, with SHA-256 and never SHA-1.
fn choose(kind: KeyKind, announced: &Announced) -> Option<(AuthMethod, Scheme)> {
    const NAMED: AuthMethod = AuthMethod::DIGITAL_SIGNATURE;
    let (classic, hash) = match kind {
        KeyKind::Rsa => {
            let mut all = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].into_iter();
            let classic = (AuthMethod::RSA_SIGNATURE, Scheme::RsaPkcs1(HashAlg::Sha256));
            let hash = all.find(|&hash| announced.has(hash));
            return Some(hash.map_or(classic, |hash| (NAMED, Scheme::RsaPss(hash))));
        }
        KeyKind::Ed25519 => {
            let is_known = announced.0.contains(&HashAlgorithm::IDENTITY);
            return is_known.then_some((NAMED, Scheme::Ed25519));
        }
        KeyKind::EcdsaP256 => (AuthMethod::ECDSA_SHA256_P256, HashAlg::Sha256),
        KeyKind::EcdsaP384 => (AuthMethod::ECDSA_SHA384_P384, HashAlg::Sha384),
        KeyKind::EcdsaP521 => (AuthMethod::ECDSA_SHA512_P521, HashAlg::Sha512),
    };
    Some(if announced.has(hash) {
        (NAMED, Scheme::Ecdsa(hash, EcdsaForm::Asn1))
    } else {
        (classic, Scheme::Ecdsa(hash, EcdsaForm::Fixed))
    })
}

/// Behind the length and the name of its algorithm (RFC 7427 section 3).
fn named(scheme: Scheme, signature: &[u8]) -> Option<Vec<u8>> {
    let name = scheme.algorithm_identifier()?;
    let len = u8::try_from(name.len()).ok()?;
    Some([&[len], &*name, signature].concat())
}

/// The schemes that AUTH may have been made with, and the signature.
pub(crate) fn parse(method: AuthMethod, data: &[u8]) -> Option<(Vec<Scheme>, &[u8])> {
    let fixed = |hash| vec![Scheme::Ecdsa(hash, EcdsaForm::Fixed)];
    let schemes = match method {
        AuthMethod::RSA_SIGNATURE => {
            [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].map(Scheme::RsaPkcs1).to_vec()
        }
        AuthMethod::ECDSA_SHA256_P256 => fixed(HashAlg::Sha256),
        AuthMethod::ECDSA_SHA384_P384 => fixed(HashAlg::Sha384),
        AuthMethod::ECDSA_SHA512_P521 => fixed(HashAlg::Sha512),
        AuthMethod::DIGITAL_SIGNATURE => {
            let (&len, rest) = data.split_first()?;
            let (name, signature) = rest.split_at_checked(usize::from(len))?;
            return Some((vec![Scheme::from_algorithm_identifier(name)?], signature));
        }
        _ => return None,
    };
    Some((schemes, data))
}

const fn number(hash: HashAlg) -> HashAlgorithm {
    match hash {
        HashAlg::Sha256 => HashAlgorithm::SHA2_256,
        HashAlg::Sha384 => HashAlgorithm::SHA2_384,
        HashAlg::Sha512 => HashAlgorithm::SHA2_512,
    }
}

/// What the fuzz target `signature` runs.
pub(crate) mod fuzzing {
    use super::{AuthMethod, parse, verify, wire};

    /// A method, and the data of AUTH: what is named is there, the signature
    /// is the end of it, and nobody has made it.
    pub fn signature(input: &[u8]) {
        let Some((&method, data)) = input.split_first() else { return };
        let method = AuthMethod(method);
        let Some((schemes, signature)) = parse(method, data) else { return };
        assert!(data.ends_with(signature) && !schemes.is_empty());
        if method == AuthMethod::DIGITAL_SIGNATURE {
            assert_eq!(schemes.len(), 1);
            assert!(signature.len() < data.len());
        }
        // The key of RFC 8032 section 7.1, test 2.
        let key = crypto::PublicKey::from_parts(crypto::KeyKind::Ed25519, &KEY);
        if let Ok(key) = key {
            assert!(verify(wire::Auth { method, data }, &key, b"never signed").is_err());
        }
    }

    const KEY: [u8; 32] = [
        0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e,
        0xbc, 0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4,
        0x66, 0x0c,
    ];
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crypto::SigningKey;

    use super::*;

    const KINDS: [KeyKind; 5] = [
        KeyKind::Rsa,
        KeyKind::EcdsaP256,
        KeyKind::EcdsaP384,
        KeyKind::EcdsaP521,
        KeyKind::Ed25519,
    ];

    fn credential(kind: KeyKind) -> Credential {
        let pkcs8 = SigningKey::generate(kind, 2048).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8(&pkcs8).unwrap());
        Credential::new(key, Vec::new()).unwrap()
    }

    fn auth(signature: &Signature) -> wire::Auth<'_> {
        wire::Auth { method: signature.method, data: &signature.data }
    }

    #[test]
    fn every_key_signs_by_name_for_whoever_announces_all() {
        for kind in KINDS {
            let credential = credential(kind);
            let key = credential.key().public_key();
            let made = Signature::make(&credential, &Announced(HASHES.to_vec()), b"octets");
            let made = made.ok().unwrap();
            assert_eq!(made.method, AuthMethod::DIGITAL_SIGNATURE);
            assert_eq!(verify(auth(&made), key, b"octets"), Ok(()));
            assert_eq!(verify(auth(&made), key, b"others"), Err(Failure::PeerNotAuthentic));
        }
    }

    #[test]
    fn every_key_but_ed25519_signs_in_the_classic_way_for_whoever_announces_nothing() {
        let methods = KINDS.map(|kind| {
            let credential = credential(kind);
            let made = Signature::make(&credential, &Announced::default(), b"octets").ok()?;
            assert_eq!(verify(auth(&made), credential.key().public_key(), b"octets"), Ok(()));
            Some(made.method)
        });
        let expected = [
            Some(AuthMethod::RSA_SIGNATURE),
            Some(AuthMethod::ECDSA_SHA256_P256),
            Some(AuthMethod::ECDSA_SHA384_P384),
            Some(AuthMethod::ECDSA_SHA512_P521),
            None,
        ];
        assert_eq!(methods, expected);
    }

    #[test]
    fn a_peer_gets_a_hash_that_it_has_announced() {
        let only = |hash| Announced(vec![HashAlgorithm::SHA1, hash]);
        let chosen = |kind, hash| choose(kind, &only(hash)).map(|(_, scheme)| scheme);
        let rsa = chosen(KeyKind::Rsa, HashAlgorithm::SHA2_512);
        assert_eq!(rsa, Some(Scheme::RsaPss(HashAlg::Sha512)));
        let rsa = chosen(KeyKind::Rsa, HashAlgorithm::IDENTITY);
        assert_eq!(rsa, Some(Scheme::RsaPkcs1(HashAlg::Sha256)));
        let ecdsa = chosen(KeyKind::EcdsaP384, HashAlgorithm::SHA2_256);
        assert_eq!(ecdsa, Some(Scheme::Ecdsa(HashAlg::Sha384, EcdsaForm::Fixed)));
    }

    #[test]
    fn a_signature_of_another_kind_of_key_is_not_verified() {
        let (rsa, ed25519) = (credential(KeyKind::Rsa), credential(KeyKind::Ed25519));
        let made = Signature::make(&rsa, &Announced(HASHES.to_vec()), b"octets").ok().unwrap();
        let key = ed25519.key().public_key();
        assert_eq!(verify(auth(&made), key, b"octets"), Err(Failure::PeerNotAuthentic));
    }

    #[test]
    fn what_is_cut_short_has_no_scheme() {
        let method = AuthMethod::DIGITAL_SIGNATURE;
        assert_eq!(parse(method, &[]), None);
        assert_eq!(parse(method, &[15, 0x30, 13]), None);
        assert_eq!(parse(method, &[0, 1, 2]), None);
        assert_eq!(parse(AuthMethod::NULL, b"x"), None);
        let ed25519 = [5 + 2, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
        assert_eq!(parse(method, &ed25519), Some((vec![Scheme::Ed25519], &[][..])));
    }
}
