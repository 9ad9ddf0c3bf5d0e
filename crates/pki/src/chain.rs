//! What `rustls-webpki` needs of us: signatures, and which uses are right.

use crypto::{EcdsaForm, HashAlg, KeyKind, PublicKey, Scheme};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use webpki::{Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

use crate::refusal::Refusal;

/// One way of signing a certificate, checked by the crypto crate.
#[derive(Debug)]
struct Way {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    kind: KeyKind,
    scheme: Scheme,
}

impl SignatureVerificationAlgorithm for Way {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = PublicKey::from_parts(self.kind, public_key).map_err(|_| InvalidSignature)?;
        key.verify(self.scheme, message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

const fn rsa(signature: AlgorithmIdentifier, scheme: Scheme) -> Way {
    Way { key: alg_id::RSA_ENCRYPTION, signature, kind: KeyKind::Rsa, scheme }
}

const fn ecdsa(
    (key, kind): (AlgorithmIdentifier, KeyKind),
    signature: AlgorithmIdentifier,
    hash: HashAlg,
) -> Way {
    Way { key, signature, kind, scheme: Scheme::Ecdsa(hash, EcdsaForm::Asn1) }
}

const P256: (AlgorithmIdentifier, KeyKind) = (alg_id::ECDSA_P256, KeyKind::EcdsaP256);
const P384: (AlgorithmIdentifier, KeyKind) = (alg_id::ECDSA_P384, KeyKind::EcdsaP384);
const P521: (AlgorithmIdentifier, KeyKind) = (alg_id::ECDSA_P521, KeyKind::EcdsaP521);

static WAYS: [Way; 16] = [
    rsa(alg_id::RSA_PKCS1_SHA256, Scheme::RsaPkcs1(HashAlg::Sha256)),
    rsa(alg_id::RSA_PKCS1_SHA384, Scheme::RsaPkcs1(HashAlg::Sha384)),
    rsa(alg_id::RSA_PKCS1_SHA512, Scheme::RsaPkcs1(HashAlg::Sha512)),
    rsa(alg_id::RSA_PSS_SHA256, Scheme::RsaPss(HashAlg::Sha256)),
    rsa(alg_id::RSA_PSS_SHA384, Scheme::RsaPss(HashAlg::Sha384)),
    rsa(alg_id::RSA_PSS_SHA512, Scheme::RsaPss(HashAlg::Sha512)),
    ecdsa(P256, alg_id::ECDSA_SHA256, HashAlg::Sha256),
    ecdsa(P256, alg_id::ECDSA_SHA384, HashAlg::Sha384),
    ecdsa(P256, alg_id::ECDSA_SHA512, HashAlg::Sha512),
    ecdsa(P384, alg_id::ECDSA_SHA256, HashAlg::Sha256),
    ecdsa(P384, alg_id::ECDSA_SHA384, HashAlg::Sha384),
    ecdsa(P384, alg_id::ECDSA_SHA512, HashAlg::Sha512),
    ecdsa(P521, alg_id::ECDSA_SHA256, HashAlg::Sha256),
    ecdsa(P521, alg_id::ECDSA_SHA384, HashAlg::Sha384),
    ecdsa(P521, alg_id::ECDSA_SHA512, HashAlg::Sha512),
    Way {
        key: alg_id::ED25519,
        signature: alg_id::ED25519,
        kind: KeyKind::Ed25519,
        scheme: Scheme::Ed25519,
    },
];

/// Every way of signing a certificate that is accepted.
pub(crate) fn signature_algorithms() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    WAYS.iter().map(|way| way as &dyn SignatureVerificationAlgorithm).collect()
}

/// Which extended key usages are good for IKE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExtendedKeyUsage {
    /// None at all, or ipsecIKE or any among them (RFC 4945 section 5.1.3.12).
    #[default]
    Ike,
    /// Those of TLS servers and clients, too: many gateways have the
    /// certificate of a web server, and other implementations take it.
    Tls,
}

const IPSEC_IKE: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x11";
const ANY: &[u8] = b"\x55\x1d\x25\x00";
const SERVER_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";
const CLIENT_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x02";

impl ExtendedKeyUsage {
    /// Whether these purposes, as [`crate::Usages`] names them, are good.
    pub(crate) fn allows(self, purposes: &[String]) -> bool {
        let good: &[&str] = match self {
            Self::Ike => &["ipsecIKE", "any"],
            Self::Tls => &["ipsecIKE", "any", "serverAuth", "clientAuth"],
        };
        purposes.iter().any(|purpose| good.contains(&purpose.as_str()))
    }
}

impl ExtendedKeyUsageValidator for ExtendedKeyUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let good: &[&[u8]] = match self {
            Self::Ike => &[IPSEC_IKE, ANY],
            Self::Tls => &[IPSEC_IKE, ANY, SERVER_AUTH, CLIENT_AUTH],
        };
        let mut is_absent = true;
        for purpose in purposes {
            let purpose = purpose?;
            if good.iter().any(|oid| purpose == KeyPurposeId::new(oid)) {
                return Ok(());
            }
            is_absent = false;
        }
        if is_absent { Ok(()) } else { Err(Error::EmptyEkuExtension) }
    }
}

/// The check that an error of the library is about.
pub(crate) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::CertExpired { .. } => Refusal::Expired,
        Error::CertNotValidYet { .. } => Refusal::NotYetValid,
        Error::CertRevoked => Refusal::Revoked,
        Error::UnknownIssuer => Refusal::UnknownIssuer,
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => {
            Refusal::Signature
        }
        Error::EmptyEkuExtension => Refusal::ExtendedKeyUsage,
        Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => Refusal::BasicConstraints,
        Error::PathLenConstraintViolated
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Refusal::PathLength,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::UnsupportedNameType
        | Error::MaximumNameConstraintComparisonsExceeded => Refusal::NameConstraints,
        Error::UnsupportedCriticalExtension => Refusal::CriticalExtension,
        Error::CrlExpired { .. } | Error::UnknownRevocationStatus => Refusal::NoRevocationList,
        Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Refusal::RevocationList,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refusal::Algorithm,
        // The library may learn to say more; what it means is the same.
        _ => Refusal::Malformed,
    }
}
