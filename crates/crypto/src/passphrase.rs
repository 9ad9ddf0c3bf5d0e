//! What a passphrase protects: PBES2 with PBKDF2 and AES-CBC (RFC 8018), and
//! the integrity of a PKCS #12 file (RFC 7292).

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::error::{Mismatch, OpenFailed};
use crate::sign::HashAlg;

/// More iterations are not made: a file must not stop the program for minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

/// How a key is made of a passphrase, and what for.
#[derive(Clone, Copy)]
pub struct Pbes2<'a> {
    /// The hash of PBKDF2's HMAC; `None` is SHA-1, which is the default of RFC
    /// 8018 and sound in an HMAC.
    pub hash: Option<HashAlg>,
    /// PBKDF2's salt.
    pub salt: &'a [u8],
    /// PBKDF2's iterations.
    pub iterations: u32,
    /// Octets of the AES key: 16, 24 or 32.
    pub key_len: usize,
    /// AES-CBC's initialization vector.
    pub iv: [u8; 16],
}

impl Pbes2<'_> {
    /// What was encrypted.
    ///
    /// # Errors
    /// [`OpenFailed`], most likely since the passphrase is another.
    pub fn decrypt(
        &self,
        passphrase: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenFailed> {
        let cipher = match self.key_len {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            _ => return Err(OpenFailed),
        };
        let mut key = Zeroizing::new([0; 32]);
        let key = key.split_at_mut(self.key_len).0;
        self.derive(passphrase, key)?;
        let key = UnboundCipherKey::new(cipher, key).map_err(|_| OpenFailed)?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| OpenFailed)?;
        let mut octets = Zeroizing::new(ciphertext.to_vec());
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let len = key.decrypt(&mut octets, context).map_err(|_| OpenFailed)?.len();
        octets.truncate(len);
        Ok(octets)
    }

    fn derive(&self, passphrase: &[u8], key: &mut [u8]) -> Result<(), OpenFailed> {
        let algorithm = match self.hash {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(HashAlg::Sha256) => pbkdf2::PBKDF2_HMAC_SHA256,
            Some(HashAlg::Sha384) => pbkdf2::PBKDF2_HMAC_SHA384,
            Some(HashAlg::Sha512) => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        if self.iterations > MAX_ITERATIONS {
            return Err(OpenFailed);
        }
        let iterations = NonZeroU32::new(self.iterations).ok_or(OpenFailed)?;
        pbkdf2::derive(algorithm, iterations, self.salt, passphrase, key);
        Ok(())
    }
}

/// How a PKCS #12 file is protected against changes (RFC 7292 section 4).
#[derive(Clone, Copy)]
pub struct Pkcs12Mac<'a> {
    /// The hash of the key's derivation and of the HMAC; `None` is SHA-1,
    /// which is sound in both.
    pub hash: Option<HashAlg>,
    /// The salt.
    pub salt: &'a [u8],
    /// How often the hash is made.
    pub iterations: u32,
    /// The HMAC.
    pub code: &'a [u8],
}

impl Pkcs12Mac<'_> {
    /// Checks the code of `content`.
    ///
    /// # Errors
    /// [`Mismatch`], most likely since the passphrase is another.
    pub fn verify(&self, passphrase: &str, content: &[u8]) -> Result<(), Mismatch> {
        let (hash, mac, block) = match self.hash {
            None => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 64),
            Some(HashAlg::Sha256) => (&digest::SHA256, hmac::HMAC_SHA256, 64),
            Some(HashAlg::Sha384) => (&digest::SHA384, hmac::HMAC_SHA384, 128),
            Some(HashAlg::Sha512) => (&digest::SHA512, hmac::HMAC_SHA512, 128),
        };
        if self.iterations == 0 || self.iterations > MAX_ITERATIONS {
            return Err(Mismatch);
        }
        let key = self.key(hash, block, passphrase);
        let key = hmac::Key::new(mac, &key);
        hmac::verify(&key, content, self.code).map_err(|_| Mismatch)
    }

    /// RFC 7292 appendix B.2. The key is as long as the hash, so its first
    /// round is all of it; 3 asks for an integrity key (appendix B.3).
    fn key(
        &self,
        hash: &'static digest::Algorithm,
        block: usize,
        passphrase: &str,
    ) -> Zeroizing<Vec<u8>> {
        let text = passphrase.encode_utf16().chain([0]).flat_map(u16::to_be_bytes);
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.collect());
        let mut input = Zeroizing::new(vec![3; block]);
        input.reserve_exact(self.salt.len() + text.len() + 2 * block);
        for part in [self.salt, text.as_slice()] {
            let len = part.len().next_multiple_of(block);
            input.extend(part.iter().cycle().take(len));
        }
        let mut key = Zeroizing::new(digest::digest(hash, &input).as_ref().to_vec());
        for _ in 1..self.iterations {
            let next = digest::digest(hash, &key);
            key.copy_from_slice(next.as_ref());
        }
        key
    }
}
