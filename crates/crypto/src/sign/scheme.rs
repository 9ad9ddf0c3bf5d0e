//! How a signature is made, and the names that RFC 7427 has for it.

/// A hash of SHA-2. There is no SHA-1 (RFC 8247 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HashAlg {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

/// How an ECDSA signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EcdsaForm {
    /// `Ecdsa-Sig-Value` in DER (RFC 3279 section 2.2.3), as in certificates
    /// and in RFC 7427.
    Asn1,
    /// r and s, each padded to the length of the order (RFC 4754 section 7).
    Fixed,
}

/// How a signature is made. Which curve is the key's affair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5
    RsaPkcs1(HashAlg),
    /// RSASSA-PSS; MGF1 with the same hash, the salt as long as it.
    RsaPss(HashAlg),
    /// ECDSA
    Ecdsa(HashAlg, EcdsaForm),
    /// Ed25519 (RFC 8420)
    Ed25519,
}

const HASHES: [HashAlg; 3] = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512];

/// Bodies of AlgorithmIdentifiers whose parameters are NULL or absent.
const RSA_SHA256: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
const RSA_SHA384: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00";
const RSA_SHA512: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00";
const ECDSA_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const ECDSA_SHA384: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
const ECDSA_SHA512: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

const RSA_PSS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const MGF1: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
const TRAILER: &[u8] = b"\xa3\x03\x02\x01\x01";

impl HashAlg {
    /// Octets of its output.
    #[must_use]
    pub const fn output_len(self) -> u8 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01",
            Self::Sha384 => b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02",
            Self::Sha512 => b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03",
        }
    }
}

impl Scheme {
    /// The AlgorithmIdentifier, in DER (RFC 7427 appendix A, RFC 8420
    /// appendix A), as we send it. `None` for what method 14 cannot carry: it
    /// has ECDSA in ASN.1 only.
    #[must_use]
    pub fn algorithm_identifier(self) -> Option<Vec<u8>> {
        let body = match self {
            Self::RsaPkcs1(HashAlg::Sha256) => RSA_SHA256,
            Self::RsaPkcs1(HashAlg::Sha384) => RSA_SHA384,
            Self::RsaPkcs1(HashAlg::Sha512) => RSA_SHA512,
            Self::RsaPss(hash) => return Some(pss(hash, Trailer::Left)),
            Self::Ecdsa(HashAlg::Sha256, EcdsaForm::Asn1) => ECDSA_SHA256,
            Self::Ecdsa(HashAlg::Sha384, EcdsaForm::Asn1) => ECDSA_SHA384,
            Self::Ecdsa(HashAlg::Sha512, EcdsaForm::Asn1) => ECDSA_SHA512,
            Self::Ed25519 => ED25519,
            Self::Ecdsa(_, EcdsaForm::Fixed) => return None,
        };
        Some(tlv(0x30, body))
    }

    /// The scheme of an AlgorithmIdentifier. Only exact octets are known:
    /// RFC 7427 section 3 has one encoding of each but PSS, whose trailer field
    /// is the default: left out in DER, which section 3 asks for and libreswan
    /// insists on; written in appendix A.4.3.
    #[must_use]
    pub fn from_algorithm_identifier(der: &[u8]) -> Option<Self> {
        let plain = HASHES
            .into_iter()
            .flat_map(|hash| [Self::RsaPkcs1(hash), Self::Ecdsa(hash, EcdsaForm::Asn1)])
            .chain([Self::Ed25519])
            .find(|scheme| scheme.algorithm_identifier().as_deref() == Some(der));
        plain.or_else(|| {
            let is_pss = |&hash: &HashAlg| {
                pss(hash, Trailer::Written) == der || pss(hash, Trailer::Left) == der
            };
            HASHES.into_iter().find(is_pss).map(Self::RsaPss)
        })
    }
}

/// The trailer field of PSS parameters, which has only one value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailer {
    Written,
    Left,
}

fn pss(hash: HashAlg, trailer: Trailer) -> Vec<u8> {
    let hash_id = tlv(0x30, &[hash.oid(), b"\x05\x00"].concat());
    let mask = tlv(0x30, &[MGF1, &hash_id].concat());
    let salt = tlv(0x02, &[hash.output_len()]);
    let mut parameters = [tlv(0xa0, &hash_id), tlv(0xa1, &mask), tlv(0xa2, &salt)].concat();
    if trailer == Trailer::Written {
        parameters.extend_from_slice(TRAILER);
    }
    tlv(0x30, &[RSA_PSS, &tlv(0x30, &parameters)].concat())
}

/// Nothing here is longer than the short form of a length can say.
fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap_or(u8::MAX);
    [&[tag, len], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// RFC 7427 appendices A.1.2 and A.3.2, A.4.3 without what DER leaves out,
    /// RFC 8420 appendix A.
    #[test]
    fn the_names_are_those_of_the_rfcs() {
        let known = [
            (Scheme::RsaPkcs1(HashAlg::Sha256), "300d 0609 2a86 4886 f70d 0101 0b05 00"),
            (Scheme::Ecdsa(HashAlg::Sha384, EcdsaForm::Asn1), "300a 0608 2a86 48ce 3d04 0303"),
            (Scheme::Ed25519, "3005 0603 2b65 70"),
            (
                Scheme::RsaPss(HashAlg::Sha256),
                "3041 0609 2a86 4886 f70d 0101 0a30 34a0 0f30 0d06 0960 8648 0165 0304 0201 0500 \
                 a11c 301a 0609 2a86 4886 f70d 0101 0830 0d06 0960 8648 0165 0304 0201 0500 a203 \
                 0201 20",
            ),
        ];
        for (scheme, octets) in known {
            assert_eq!(scheme.algorithm_identifier(), Some(hex(octets)), "{scheme:?}");
            assert_eq!(Scheme::from_algorithm_identifier(&hex(octets)), Some(scheme));
        }
    }

    /// RFC 7427 appendix A.4.3, to the letter.
    #[test]
    fn pss_is_known_with_its_default_trailer_too() {
        let octets = "3046 0609 2a86 4886 f70d 0101 0a30 39a0 0f30 0d06 0960 8648 0165 0304 0201 \
             0500 a11c 301a 0609 2a86 4886 f70d 0101 0830 0d06 0960 8648 0165 0304 0201 0500 a203 \
             0201 20a3 0302 0101";
        assert_eq!(
            Scheme::from_algorithm_identifier(&hex(octets)),
            Some(Scheme::RsaPss(HashAlg::Sha256))
        );
        for hash in HASHES {
            let der = pss(hash, Trailer::Written);
            assert_eq!(Scheme::from_algorithm_identifier(&der), Some(Scheme::RsaPss(hash)));
        }
    }

    /// RFC 8247 section 3.2: SHA-1, and PSS with empty or default parameters.
    #[test]
    fn what_must_not_be_used_has_no_name() {
        for octets in [
            "300d 0609 2a86 4886 f70d 0101 0505 00",
            "3009 0607 2a86 48ce 3d04 01",
            "300d 0609 2a86 4886 f70d 0101 0a30 00",
            "303e 0609 2a86 4886 f70d 0101 0a30 31a0 0b30 0906 052b 0e03 021a 0500 a118 3016 \
             0609 2a86 4886 f70d 0101 0830 0906 052b 0e03 021a 0500 a203 0201 14a3 0302 0101",
            "",
        ] {
            assert_eq!(Scheme::from_algorithm_identifier(&hex(octets)), None, "{octets}");
        }
        assert_eq!(Scheme::Ecdsa(HashAlg::Sha256, EcdsaForm::Fixed).algorithm_identifier(), None);
    }
}
