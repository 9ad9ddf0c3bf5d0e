//! Protection of IKE messages: the body of an SK or SKF payload
//! (RFC 7296 section 3.14, RFC 5282, RFC 7383 section 2.5).

use std::ops::Range;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cbc;
use crate::error::{CryptoError, OpenFailed};
use crate::provider::{Provider, module_failed};
use crate::suite::{CbcIntegrity, IkeCipher, KeyLen};

/// Octets of the salt behind every AEAD key (RFC 4106, RFC 5282, RFC 7634).
pub(crate) const SALT_LEN: usize = 4;
/// Octets of the IV that travels with an AEAD message.
pub(crate) const IV_LEN: usize = 8;
/// Octets of the ICV of every AEAD here.
pub(crate) const ICV_LEN: usize = 16;

/// SK_e of 256 bits and SK_a of 512 bits.
const MAX_KEY_LEN: usize = 32 + 64;

/// The key of one direction of an IKE SA: SK_e and, beside AES-CBC, SK_a.
///
/// It is kept as it was derived and set up for every message, since an SA
/// mostly waits: it takes about a hundred octets and nothing on the heap.
#[derive(ZeroizeOnDrop)]
pub struct MessageKey {
    /// SK_e | SK_a.
    bytes: [u8; MAX_KEY_LEN],
    #[zeroize(skip)]
    cipher: IkeCipher,
    /// Messages sealed so far. Each AEAD message takes the next number for its
    /// IV, so no nonce occurs twice (RFC 5282 section 3.1).
    sealed: u64,
}

impl MessageKey {
    pub(crate) fn new(cipher: IkeCipher, sk_e: &[u8], sk_a: &[u8]) -> Self {
        let mut key = Self { bytes: [0; MAX_KEY_LEN], cipher, sealed: 0 };
        let (encryption, rest) = key.bytes.split_at_mut(cipher.encryption_key_len());
        encryption.copy_from_slice(sk_e);
        rest.split_at_mut(cipher.integrity_key_len()).0.copy_from_slice(sk_a);
        key
    }

    /// How the key protects.
    #[must_use]
    pub fn cipher(&self) -> IkeCipher {
        self.cipher
    }

    /// Octets of the payload body (IV, ciphertext, padding, Pad Length, ICV)
    /// for so many octets of inner payloads.
    #[must_use]
    pub fn sealed_len(&self, plaintext_len: usize) -> usize {
        let shape = Shape::of(self.cipher);
        let pad_len = usize::from(shape.pad_len(plaintext_len));
        shape.iv_len + plaintext_len + pad_len + 1 + shape.icv_len
    }

    /// Seals in place.
    ///
    /// On entry `message[..header_len]` is everything from the IKE header to
    /// the SK or SKF payload's own headers, inclusive, with the lengths that
    /// [`MessageKey::sealed_len`] foretells; behind it are the inner payloads.
    /// On return `message` is complete. `provider` makes the IV of AES-CBC,
    /// which has to be unpredictable; that of an AEAD is counted.
    ///
    /// # Errors
    /// [`CryptoError`]. `message` is then empty, so that its plaintext cannot
    /// be sent by mistake.
    pub fn seal(
        &mut self,
        provider: &mut Provider,
        message: &mut Vec<u8>,
        header_len: usize,
    ) -> Result<(), CryptoError> {
        let sealed = self.try_seal(provider, message, header_len);
        if sealed.is_err() {
            message.zeroize();
        }
        sealed
    }

    /// Opens in place and returns where in `message` the inner payloads are,
    /// without padding. `header_len` is as in [`MessageKey::seal`].
    ///
    /// # Errors
    /// [`OpenFailed`], whatever is wrong. The octets behind the header are
    /// then unspecified.
    pub fn open(&self, message: &mut [u8], header_len: usize) -> Result<Range<usize>, OpenFailed> {
        let shape = Shape::of(self.cipher);
        let text_len = shape.text_len(message.len(), header_len).ok_or(OpenFailed)?;
        if text_len == 0 || !text_len.is_multiple_of(shape.block_len) {
            return Err(OpenFailed);
        }
        match self.cipher {
            IkeCipher::AesGcm16(key_len) => {
                self.open_aead(gcm_algorithm(key_len), message, header_len)?;
            }
            IkeCipher::ChaCha20Poly1305 => {
                self.open_aead(&aead::CHACHA20_POLY1305, message, header_len)?;
            }
            IkeCipher::AesCbc(key_len, integrity) => {
                self.open_cbc(key_len, integrity, message, header_len)?;
            }
        }
        unpadded(message, header_len + shape.iv_len, text_len)
    }

    fn try_seal(
        &mut self,
        provider: &mut Provider,
        message: &mut Vec<u8>,
        header_len: usize,
    ) -> Result<(), CryptoError> {
        let plaintext_len = message.len().checked_sub(header_len).ok_or(CryptoError::TooShort)?;
        self.sealed = self.sealed.checked_add(1).ok_or(CryptoError::Exhausted)?;
        self.lay_out(message, header_len, plaintext_len);
        match self.cipher {
            IkeCipher::AesGcm16(key_len) => {
                self.seal_aead(gcm_algorithm(key_len), message, header_len)
            }
            IkeCipher::ChaCha20Poly1305 => {
                self.seal_aead(&aead::CHACHA20_POLY1305, message, header_len)
            }
            IkeCipher::AesCbc(key_len, integrity) => {
                let iv = provider.array();
                self.seal_cbc(key_len, integrity, iv, message, header_len)
            }
        }
    }

    /// header | plaintext becomes
    /// header | room for the IV | plaintext | padding | Pad Length | room for the ICV.
    fn lay_out(&self, message: &mut Vec<u8>, header_len: usize, plaintext_len: usize) {
        let shape = Shape::of(self.cipher);
        let plaintext_end = header_len + plaintext_len;
        message.resize(header_len + self.sealed_len(plaintext_len), 0);
        message.copy_within(header_len..plaintext_end, header_len + shape.iv_len);
        let pad_len = shape.pad_len(plaintext_len);
        let pad_length_at = plaintext_end + shape.iv_len + usize::from(pad_len);
        if let Some(pad_length) = message.get_mut(pad_length_at) {
            *pad_length = pad_len;
        }
    }

    /// The associated data is everything before the IV (RFC 5282 section 5.1).
    fn seal_aead(
        &self,
        algorithm: &'static aead::Algorithm,
        message: &mut [u8],
        header_len: usize,
    ) -> Result<(), CryptoError> {
        let (header, body) = message.split_at_mut(header_len);
        let (iv, sealed) = body.split_first_chunk_mut().ok_or(CryptoError::TooShort)?;
        let (text, icv) = sealed.split_last_chunk_mut::<ICV_LEN>().ok_or(CryptoError::TooShort)?;
        *iv = self.sealed.to_be_bytes();

        let (key, nonce) = self.aead(algorithm, iv);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(header), text)
            .map_err(|_| CryptoError::Module)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open_aead(
        &self,
        algorithm: &'static aead::Algorithm,
        message: &mut [u8],
        header_len: usize,
    ) -> Result<(), OpenFailed> {
        let (header, body) = message.split_at_mut(header_len);
        let (iv, sealed) = body.split_first_chunk_mut().ok_or(OpenFailed)?;
        let (key, nonce) = self.aead(algorithm, iv);
        key.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| OpenFailed)?;
        Ok(())
    }

    /// The key set up, and the nonce of this message: salt | IV
    /// (RFC 5282 section 4, RFC 7634 section 2).
    fn aead(&self, algorithm: &'static aead::Algorithm, iv: &[u8; IV_LEN]) -> (LessSafeKey, Nonce) {
        let (key, rest) = self.bytes.split_at(algorithm.key_len());
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(rest.split_at(SALT_LEN).0);
        (expanded(algorithm, key), nonce(salt, iv))
    }

    /// The ICV covers everything before it (RFC 7296 section 3.14).
    fn seal_cbc(
        &self,
        key_len: KeyLen,
        integrity: CbcIntegrity,
        iv: [u8; cbc::BLOCK_LEN],
        message: &mut [u8],
        header_len: usize,
    ) -> Result<(), CryptoError> {
        let (sk_e, sk_a) = self.cbc_keys();
        let (covered, icv) = message.split_at_mut(message.len() - integrity.icv_len());
        let (front, text) = covered.split_at_mut(header_len + cbc::BLOCK_LEN);
        front.split_at_mut(header_len).1.copy_from_slice(&iv);
        cbc::encrypt(key_len, sk_e, iv, text).map_err(|_| CryptoError::Module)?;
        icv.copy_from_slice(cbc::icv(integrity, sk_a, covered).leading(integrity.icv_len()));
        Ok(())
    }

    /// Nothing is decrypted before the ICV is verified, so that padding cannot
    /// be an oracle.
    fn open_cbc(
        &self,
        key_len: KeyLen,
        integrity: CbcIntegrity,
        message: &mut [u8],
        header_len: usize,
    ) -> Result<(), OpenFailed> {
        let (sk_e, sk_a) = self.cbc_keys();
        let (covered, icv) = message.split_at_mut(message.len() - integrity.icv_len());
        let expected = cbc::icv(integrity, sk_a, covered);
        verify_slices_are_equal(expected.leading(integrity.icv_len()), icv)
            .map_err(|_| OpenFailed)?;
        let (_, body) = covered.split_at_mut(header_len);
        let (iv, text) = body.split_first_chunk_mut().ok_or(OpenFailed)?;
        cbc::decrypt(key_len, sk_e, *iv, text).map_err(|_| OpenFailed)
    }

    #[cfg(test)]
    pub(crate) fn octets(&self) -> &[u8] {
        let len = self.cipher.encryption_key_len() + self.cipher.integrity_key_len();
        self.bytes.split_at(len).0
    }

    fn cbc_keys(&self) -> (&[u8], &[u8]) {
        let (sk_e, rest) = self.bytes.split_at(self.cipher.encryption_key_len());
        (sk_e, rest.split_at(self.cipher.integrity_key_len()).0)
    }
}

/// What a cipher adds to a message.
#[derive(Clone, Copy)]
struct Shape {
    iv_len: usize,
    /// What the ciphertext is a multiple of.
    block_len: usize,
    icv_len: usize,
}

impl Shape {
    fn of(cipher: IkeCipher) -> Self {
        match cipher {
            IkeCipher::AesGcm16(_) | IkeCipher::ChaCha20Poly1305 => {
                Self { iv_len: IV_LEN, block_len: 1, icv_len: ICV_LEN }
            }
            IkeCipher::AesCbc(_, integrity) => Self {
                iv_len: cbc::BLOCK_LEN,
                block_len: cbc::BLOCK_LEN,
                icv_len: integrity.icv_len(),
            },
        }
    }

    /// As little padding as aligns plaintext and Pad Length: less than a block.
    fn pad_len(self, plaintext_len: usize) -> u8 {
        let unaligned = plaintext_len + 1;
        (unaligned.next_multiple_of(self.block_len) - unaligned) as u8
    }

    /// Octets of ciphertext in a message, if it is long enough for the rest.
    fn text_len(self, message_len: usize, header_len: usize) -> Option<usize> {
        message_len.checked_sub(header_len)?.checked_sub(self.iv_len + self.icv_len)
    }
}

/// Where the plaintext is, without padding and Pad Length, which were sealed
/// with it.
fn unpadded(message: &[u8], start: usize, text_len: usize) -> Result<Range<usize>, OpenFailed> {
    let pad_length = message.get(start + text_len - 1).ok_or(OpenFailed)?;
    let plaintext_len = (text_len - 1).checked_sub(usize::from(*pad_length)).ok_or(OpenFailed)?;
    Ok(start..start + plaintext_len)
}

pub(crate) fn gcm_algorithm(key_len: KeyLen) -> &'static aead::Algorithm {
    match key_len {
        KeyLen::L128 => &aead::AES_128_GCM,
        KeyLen::L192 => &aead::AES_192_GCM,
        KeyLen::L256 => &aead::AES_256_GCM,
    }
}

/// Sets a key up. `key` has the length of the algorithm, so only a broken
/// module or the end of memory can make it fail.
pub(crate) fn expanded(algorithm: &'static aead::Algorithm, key: &[u8]) -> LessSafeKey {
    match UnboundKey::new(algorithm, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => module_failed(),
    }
}

/// salt | IV.
pub(crate) fn nonce(salt: [u8; SALT_LEN], iv: &[u8; IV_LEN]) -> Nonce {
    let mut nonce = [0; SALT_LEN + IV_LEN];
    let (first, last) = nonce.split_at_mut(SALT_LEN);
    first.copy_from_slice(&salt);
    last.copy_from_slice(iv);
    Nonce::assume_unique_for_key(nonce)
}
