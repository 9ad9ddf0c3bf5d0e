//! What can be negotiated, written as strongSwan writes it.

use std::fmt;

/// A pseudorandom function (RFC 4868, RFC 7296 section 3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PrfAlg {
    /// PRF_HMAC_SHA2_256.
    HmacSha256,
    /// PRF_HMAC_SHA2_384.
    HmacSha384,
    /// PRF_HMAC_SHA2_512.
    HmacSha512,
}

impl PrfAlg {
    /// Octets of its output, which is also its preferred key length
    /// (RFC 4868 section 2.1.2): 32, 48 or 64.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

/// The key length of AES.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyLen {
    /// 128 bits.
    L128,
    /// 192 bits.
    L192,
    /// 256 bits.
    L256,
}

impl KeyLen {
    /// In octets: 16, 24 or 32.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::L128 => 16,
            Self::L192 => 24,
            Self::L256 => 32,
        }
    }

    /// In bits, as the Key Length attribute counts (RFC 7296 section 3.3.5).
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::L128 => 128,
            Self::L192 => 192,
            Self::L256 => 256,
        }
    }
}

/// The integrity algorithm beside AES-CBC (RFC 4868).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(non_camel_case_types, reason = "the names of RFC 4868")]
pub enum CbcIntegrity {
    /// AUTH_HMAC_SHA2_256_128.
    HmacSha256_128,
    /// AUTH_HMAC_SHA2_384_192.
    HmacSha384_192,
    /// AUTH_HMAC_SHA2_512_256.
    HmacSha512_256,
}

impl CbcIntegrity {
    /// Octets of the key (RFC 4868 section 2.1.1): 32, 48 or 64.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of the truncated code on the wire: 16, 24 or 32.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }
}

/// How IKE messages are protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IkeCipher {
    /// AES-GCM with a 16 octet ICV (RFC 5282).
    AesGcm16(KeyLen),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602) with a separate integrity algorithm.
    AesCbc(KeyLen, CbcIntegrity),
}

impl IkeCipher {
    /// Octets of one SK_e: the key, for an AEAD with its 4 octet salt
    /// (RFC 5282 section 7.1, RFC 7634 section 2).
    #[must_use]
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::AesGcm16(key) => key.bytes() + crate::aead::SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + crate::aead::SALT_LEN,
            Self::AesCbc(key, _) => key.bytes(),
        }
    }

    /// Octets of one SK_a: none for an AEAD.
    #[must_use]
    pub const fn integrity_key_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 0,
            Self::AesCbc(_, integrity) => integrity.key_len(),
        }
    }
}

/// How ESP packets are protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EspCipher {
    /// AES-GCM with a 16 octet ICV (RFC 4106).
    AesGcm16(KeyLen),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602) with an HMAC beside it (RFC 4868).
    AesCbc(KeyLen, CbcIntegrity),
}

impl EspCipher {
    /// Octets of key material for one direction: the key and a 4 octet salt
    /// (RFC 4106 section 8.1, RFC 7634 section 2), or the key and the integrity
    /// key behind it (RFC 7296 section 2.17).
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        match self {
            Self::AesGcm16(key) => key.bytes() + crate::aead::SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + crate::aead::SALT_LEN,
            Self::AesCbc(key, integrity) => key.bytes() + integrity.key_len(),
        }
    }

    /// Octets of the IV in a packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => crate::aead::IV_LEN,
            Self::AesCbc(..) => crate::cbc::BLOCK_LEN,
        }
    }

    /// Octets of the ICV at the end of a packet.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => crate::aead::ICV_LEN,
            Self::AesCbc(_, integrity) => integrity.icv_len(),
        }
    }

    /// What the ciphertext of a packet is a multiple of: the cipher's block,
    /// and 4 octets at least (RFC 4303 section 2.4).
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 4,
            Self::AesCbc(..) => crate::cbc::BLOCK_LEN,
        }
    }
}

/// What two ends of a child agreed on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EspSuite {
    /// Protects packets.
    pub cipher: EspCipher,
    /// Whether sequence numbers have 64 bits, of which packets carry the lower
    /// 32 (RFC 4303 section 2.2.1).
    pub extended: bool,
}

/// With sequence numbers of 32 bits.
impl From<EspCipher> for EspSuite {
    fn from(cipher: EspCipher) -> Self {
        Self { cipher, extended: false }
    }
}

/// A key exchange method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// Curve25519 (RFC 8031).
    X25519,
    /// The 256-bit random ECP group (RFC 5903).
    P256,
    /// The 384-bit random ECP group (RFC 5903).
    P384,
    /// The 521-bit random ECP group (RFC 5903).
    P521,
    /// The 2048-bit MODP group (RFC 3526 section 3).
    Modp2048,
    /// The 3072-bit MODP group (RFC 3526 section 4).
    Modp3072,
    /// The 4096-bit MODP group (RFC 3526 section 5).
    Modp4096,
    /// ML-KEM-512 (FIPS 203).
    MlKem512,
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024 (FIPS 203).
    MlKem1024,
}

impl Group {
    /// Every group, in no order of preference.
    pub const ALL: [Self; 10] = [
        Self::X25519,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::MlKem512,
        Self::MlKem768,
        Self::MlKem1024,
    ];

    /// Octets of the initiator's public value in a KE payload: 32 to 1568.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::P256 => 64,
            Self::P384 => 96,
            Self::P521 => 132,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::MlKem512 => 800,
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// Octets of the responder's public value: another length only where it is
    /// a ciphertext.
    #[must_use]
    pub const fn answer_len(self) -> usize {
        match self {
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
            Self::X25519
            | Self::P256
            | Self::P384
            | Self::P521
            | Self::Modp2048
            | Self::Modp3072
            | Self::Modp4096 => self.public_len(),
        }
    }
}

/// The additional key exchanges of an SA, by the numbers of their transform
/// types: ADDKE1 to ADDKE7 (RFC 9370 section 2.2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AdditionalGroups([Option<Group>; Self::MAX]);

impl AdditionalGroups {
    /// How many there can be.
    pub const MAX: usize = 7;
    /// None.
    pub const NONE: Self = Self([None; Self::MAX]);

    /// The same, with `group` for ADDKE `index + 1`; an index of 7 and above
    /// stands for none and changes nothing.
    #[must_use]
    pub fn with(mut self, index: usize, group: Group) -> Self {
        if let Some(place) = self.0.get_mut(index) {
            *place = Some(group);
        }
        self
    }

    /// The group for ADDKE `index + 1`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Group> {
        self.0.get(index).copied().flatten()
    }

    /// The groups, in the order in which the exchanges are made.
    pub fn iter(&self) -> impl Iterator<Item = Group> + '_ {
        self.0.iter().flatten().copied()
    }

    /// How many exchanges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What two ends of an IKE SA agreed on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IkeSuite {
    /// Protects messages.
    pub cipher: IkeCipher,
    /// Derives keys and authenticates.
    pub prf: PrfAlg,
    /// The key exchange of the SA.
    pub group: Group,
    /// The key exchanges after it.
    pub additional: AdditionalGroups,
}

impl fmt::Display for PrfAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256 => "prfsha256",
            Self::HmacSha384 => "prfsha384",
            Self::HmacSha512 => "prfsha512",
        })
    }
}

impl fmt::Display for CbcIntegrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256_128 => "sha256",
            Self::HmacSha384_192 => "sha384",
            Self::HmacSha512_256 => "sha512",
        })
    }
}

impl fmt::Display for IkeCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16(key) => write!(f, "aes{}gcm16", key.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::AesCbc(key, integrity) => write!(f, "aes{}-{integrity}", key.bits()),
        }
    }
}

impl fmt::Display for EspCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16(key) => write!(f, "aes{}gcm16", key.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::AesCbc(key, integrity) => write!(f, "aes{}-{integrity}", key.bits()),
        }
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cipher.fmt(f)?;
        if self.extended { f.write_str("-esn") } else { Ok(()) }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X25519 => "x25519",
            Self::P256 => "ecp256",
            Self::P384 => "ecp384",
            Self::P521 => "ecp521",
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
            Self::MlKem512 => "mlkem512",
            Self::MlKem768 => "mlkem768",
            Self::MlKem1024 => "mlkem1024",
        })
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.cipher, self.prf, self.group)?;
        (1..).zip(self.additional.0).try_for_each(|(number, group)| match group {
            Some(group) => write!(f, "-ke{number}_{group}"),
            None => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_spelt_as_strongswan_spells_them() {
        let gcm = IkeSuite {
            cipher: IkeCipher::AesGcm16(KeyLen::L256),
            prf: PrfAlg::HmacSha384,
            group: Group::X25519,
            additional: AdditionalGroups::NONE,
        };
        let hybrid = IkeSuite {
            cipher: IkeCipher::ChaCha20Poly1305,
            additional: AdditionalGroups::NONE.with(0, Group::MlKem768).with(2, Group::P384),
            ..gcm
        };
        let cbc = IkeSuite {
            cipher: IkeCipher::AesCbc(KeyLen::L256, CbcIntegrity::HmacSha256_128),
            prf: PrfAlg::HmacSha256,
            group: Group::Modp2048,
            additional: AdditionalGroups::NONE,
        };
        assert_eq!(gcm.to_string(), "aes256gcm16-prfsha384-x25519");
        assert_eq!(hybrid.to_string(), "chacha20poly1305-prfsha384-x25519-ke1_mlkem768-ke3_ecp384");
        assert_eq!(cbc.to_string(), "aes256-sha256-prfsha256-modp2048");
        assert_eq!(EspCipher::ChaCha20Poly1305.to_string(), "chacha20poly1305");
        assert_eq!(EspCipher::AesGcm16(KeyLen::L192).to_string(), "aes192gcm16");
        assert_eq!(
            (Group::P256.to_string(), Group::P384.to_string()),
            ("ecp256".into(), "ecp384".into())
        );
    }
}
