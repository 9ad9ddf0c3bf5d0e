//! Transforms: one algorithm each, of one type (RFC 7296 section 3.3.2).

use std::fmt;

use super::registry::registry;

registry! {
    /// What a transform is for (RFC 7296 section 3.3.2).
    TransformType(u8);
    ENCR = 1, "RFC 7296: encryption";
    PRF = 2, "RFC 7296: pseudorandom function";
    INTEG = 3, "RFC 7296: integrity";
    KE = 4, "RFC 7296, RFC 9370: key exchange method, once Diffie-Hellman group";
    ESN = 5, "RFC 7296: extended sequence numbers";
    ADDKE1 = 6, "RFC 9370: additional key exchange";
    ADDKE2 = 7, "RFC 9370";
    ADDKE3 = 8, "RFC 9370";
    ADDKE4 = 9, "RFC 9370";
    ADDKE5 = 10, "RFC 9370";
    ADDKE6 = 11, "RFC 9370";
    ADDKE7 = 12, "RFC 9370";
}

registry! {
    /// Transform IDs of [`TransformType::ENCR`].
    Encr(u16);
    DES = 2, "RFC 2405";
    TRIPLE_DES = 3, "RFC 2451";
    NULL = 11, "RFC 2410";
    AES_CBC = 12, "RFC 3602; with a key length";
    AES_CTR = 13, "RFC 3686, RFC 5930; with a key length";
    AES_CCM_8 = 14, "RFC 4309, RFC 5282; with a key length";
    AES_CCM_12 = 15, "RFC 4309, RFC 5282; with a key length";
    AES_CCM_16 = 16, "RFC 4309, RFC 5282; with a key length";
    AES_GCM_8 = 18, "RFC 4106, RFC 5282; with a key length";
    AES_GCM_12 = 19, "RFC 4106, RFC 5282; with a key length";
    AES_GCM_16 = 20, "RFC 4106, RFC 5282; with a key length";
    NULL_AUTH_AES_GMAC = 21, "RFC 4543; with a key length";
    CAMELLIA_CBC = 23, "RFC 5529; with a key length";
    CHACHA20_POLY1305 = 28, "RFC 7634; without a key length";
    AES_GCM_16_IIV = 30, "RFC 8750; with a key length";
    CHACHA20_POLY1305_IIV = 31, "RFC 8750; without a key length";
}

registry! {
    /// Transform IDs of [`TransformType::PRF`].
    Prf(u16);
    HMAC_MD5 = 1, "RFC 2104";
    HMAC_SHA1 = 2, "RFC 2104";
    AES128_XCBC = 4, "RFC 4434";
    HMAC_SHA2_256 = 5, "RFC 4868";
    HMAC_SHA2_384 = 6, "RFC 4868";
    HMAC_SHA2_512 = 7, "RFC 4868";
    AES128_CMAC = 8, "RFC 4615";
}

registry! {
    /// Transform IDs of [`TransformType::INTEG`].
    Integ(u16);
    NONE = 0, "RFC 7296";
    HMAC_MD5_96 = 1, "RFC 2403";
    HMAC_SHA1_96 = 2, "RFC 2404";
    AES_XCBC_96 = 5, "RFC 3566";
    AES_CMAC_96 = 8, "RFC 4494";
    AES_128_GMAC = 9, "RFC 4543";
    AES_192_GMAC = 10, "RFC 4543";
    AES_256_GMAC = 11, "RFC 4543";
    HMAC_SHA2_256_128 = 12, "RFC 4868";
    HMAC_SHA2_384_192 = 13, "RFC 4868";
    HMAC_SHA2_512_256 = 14, "RFC 4868";
}

registry! {
    /// Transform IDs of [`TransformType::KE`] and of the additional key
    /// exchanges; also the group of a Key Exchange payload.
    KeMethod(u16);
    NONE = 0, "RFC 7296";
    MODP_768 = 1, "RFC 7296";
    MODP_1024 = 2, "RFC 7296";
    MODP_1536 = 5, "RFC 3526";
    MODP_2048 = 14, "RFC 3526";
    MODP_3072 = 15, "RFC 3526";
    MODP_4096 = 16, "RFC 3526";
    MODP_6144 = 17, "RFC 3526";
    MODP_8192 = 18, "RFC 3526";
    P256 = 19, "RFC 5903";
    P384 = 20, "RFC 5903";
    P521 = 21, "RFC 5903";
    MODP_1024_160 = 22, "RFC 5114";
    MODP_2048_224 = 23, "RFC 5114";
    MODP_2048_256 = 24, "RFC 5114";
    P192 = 25, "RFC 5114";
    P224 = 26, "RFC 5114";
    BRAINPOOL_P224R1 = 27, "RFC 6954";
    BRAINPOOL_P256R1 = 28, "RFC 6954";
    BRAINPOOL_P384R1 = 29, "RFC 6954";
    BRAINPOOL_P512R1 = 30, "RFC 6954";
    CURVE25519 = 31, "RFC 8031";
    CURVE448 = 32, "RFC 8031";
    ML_KEM_512 = 35, "IKEv2 Parameters registry";
    ML_KEM_768 = 36, "IKEv2 Parameters registry";
    ML_KEM_1024 = 37, "IKEv2 Parameters registry";
}

registry! {
    /// Transform IDs of [`TransformType::ESN`].
    Esn(u16);
    NO_ESN = 0, "RFC 7296: 32-bit sequence numbers";
    ESN = 1, "RFC 7296: 64-bit sequence numbers";
}

/// One algorithm on offer or chosen.
///
/// Equality is that of the negotiation: a transform with an attribute that
/// IKEv2 does not define equals none of ours, so it is never chosen
/// (RFC 7296 section 3.3.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// The algorithm, in the number space of its type.
    pub id: u16,
    /// Key length in bits, for ciphers whose key length varies.
    pub key_length: Option<u16>,
    /// Whether it came with an attribute other than the key length. Such
    /// attributes are not kept and never sent.
    pub foreign_attributes: bool,
}

impl Transform {
    /// A transform without attributes.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_length: None, foreign_attributes: false }
    }

    /// A cipher; `key_length` in bits where the cipher needs one.
    #[must_use]
    pub const fn encr(id: Encr, key_length: Option<u16>) -> Self {
        Self { key_length, ..Self::new(TransformType::ENCR, id.0) }
    }

    /// A pseudorandom function.
    #[must_use]
    pub const fn prf(id: Prf) -> Self {
        Self::new(TransformType::PRF, id.0)
    }

    /// An integrity algorithm.
    #[must_use]
    pub const fn integ(id: Integ) -> Self {
        Self::new(TransformType::INTEG, id.0)
    }

    /// A key exchange method.
    #[must_use]
    pub const fn ke(id: KeMethod) -> Self {
        Self::new(TransformType::KE, id.0)
    }

    /// A choice of sequence numbers.
    #[must_use]
    pub const fn esn(id: Esn) -> Self {
        Self::new(TransformType::ESN, id.0)
    }

    fn name(self) -> Option<&'static str> {
        match self.kind {
            TransformType::ENCR => Encr(self.id).name(),
            TransformType::PRF => Prf(self.id).name(),
            TransformType::INTEG => Integ(self.id).name(),
            TransformType::ESN => Esn(self.id).name(),
            TransformType(4 | 6..=12) => KeMethod(self.id).name(),
            _ => None,
        }
    }
}

/// As in `ENCR=AES_GCM_16_256`.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{}={name}", self.kind)?,
            None => write!(f, "{}={}", self.kind, self.id)?,
        }
        if let Some(bits) = self.key_length {
            write!(f, "_{bits}")?;
        }
        if self.foreign_attributes {
            f.write_str("+?")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
