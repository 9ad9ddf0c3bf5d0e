//! AES-CBC without padding of its own (RFC 3602) and HMAC beside it (RFC 4868).

use std::ops::Range;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;

use crate::prf;
use crate::secret::Mac;
use crate::suite::{CbcIntegrity, EspCipher, KeyLen, PrfAlg};

/// Octets of a block, and of the IV.
pub(crate) const BLOCK_LEN: usize = 16;

/// `text` is of whole blocks.
pub(crate) fn encrypt(
    key_len: KeyLen,
    key: &[u8],
    iv: [u8; BLOCK_LEN],
    text: &mut [u8],
) -> Result<(), Unspecified> {
    let key = EncryptingKey::cbc(UnboundCipherKey::new(algorithm(key_len), key)?)?;
    key.less_safe_encrypt(text, EncryptionContext::Iv128(iv.into()))?;
    Ok(())
}

/// `text` is of whole blocks.
pub(crate) fn decrypt(
    key_len: KeyLen,
    key: &[u8],
    iv: [u8; BLOCK_LEN],
    text: &mut [u8],
) -> Result<(), Unspecified> {
    let key = DecryptingKey::cbc(UnboundCipherKey::new(algorithm(key_len), key)?)?;
    key.decrypt(text, DecryptionContext::Iv128(iv.into()))?;
    Ok(())
}

/// The code, not yet truncated to [`CbcIntegrity::icv_len`].
pub(crate) fn icv(integrity: CbcIntegrity, key: &[u8], covered: &[u8]) -> Mac {
    prf::mac(prf_of(integrity), key, &[covered])
}

const fn prf_of(integrity: CbcIntegrity) -> PrfAlg {
    match integrity {
        CbcIntegrity::HmacSha256_128 => PrfAlg::HmacSha256,
        CbcIntegrity::HmacSha384_192 => PrfAlg::HmacSha384,
        CbcIntegrity::HmacSha512_256 => PrfAlg::HmacSha512,
    }
}

/// One direction of ESP with AES-CBC, set up for packets.
pub(crate) struct PacketCbc {
    way: Way,
    hmac: hmac::Key,
    icv_len: usize,
}

enum Way {
    /// The second key makes IVs: it is the same, used block by block.
    Seal(EncryptingKey, Box<EncryptingKey>),
    Open(DecryptingKey),
}

impl PacketCbc {
    /// `None` if the cipher is another one, or the module does not take the key.
    pub(crate) fn sealing(cipher: EspCipher, keymat: &[u8]) -> Option<Self> {
        Self::new(cipher, keymat, |algorithm, key| {
            let cbc = EncryptingKey::cbc(UnboundCipherKey::new(algorithm, key)?)?;
            let ecb = EncryptingKey::ecb(UnboundCipherKey::new(algorithm, key)?)?;
            Ok(Way::Seal(cbc, Box::new(ecb)))
        })
    }

    /// As [`Self::sealing`].
    pub(crate) fn opening(cipher: EspCipher, keymat: &[u8]) -> Option<Self> {
        Self::new(cipher, keymat, |algorithm, key| {
            Ok(Way::Open(DecryptingKey::cbc(UnboundCipherKey::new(algorithm, key)?)?))
        })
    }

    fn new(
        cipher: EspCipher,
        keymat: &[u8],
        way: impl FnOnce(&'static Algorithm, &[u8]) -> Result<Way, Unspecified>,
    ) -> Option<Self> {
        let EspCipher::AesCbc(key_len, integrity) = cipher else { return None };
        let (encryption, authentication) = keymat.split_at_checked(key_len.bytes())?;
        let hmac = prf::hmac_key(prf_of(integrity), authentication);
        let icv_len = integrity.icv_len();
        Some(Self { way: way(algorithm(key_len), encryption).ok()?, hmac, icv_len })
    }

    /// `packet` is header | room for the IV | text | room for the ICV.
    pub(crate) fn seal(
        &self,
        header_len: usize,
        number: u64,
        high: Option<[u8; 4]>,
        packet: &mut [u8],
    ) -> Option<()> {
        let Way::Seal(cbc, ecb) = &self.way else { return None };
        let covered_len = packet.len().checked_sub(self.icv_len)?;
        let (covered, icv) = packet.split_at_mut_checked(covered_len)?;
        let (_, body) = covered.split_at_mut_checked(header_len)?;
        let (iv, text) = body.split_first_chunk_mut::<BLOCK_LEN>()?;
        *iv = u128::from(number).to_be_bytes();
        ecb.less_safe_encrypt(iv, EncryptionContext::None).ok()?;
        let context = EncryptionContext::Iv128((*iv).into());
        cbc.less_safe_encrypt(text, context).ok()?;
        icv.copy_from_slice(self.code(covered, high).as_ref().get(..self.icv_len)?);
        Some(())
    }

    /// Where the text of `packet` is.
    pub(crate) fn open(
        &self,
        header_len: usize,
        high: Option<[u8; 4]>,
        packet: &mut [u8],
    ) -> Option<Range<usize>> {
        let Way::Open(cbc) = &self.way else { return None };
        let covered_len = packet.len().checked_sub(self.icv_len)?;
        let (covered, icv) = packet.split_at_mut_checked(covered_len)?;
        let code = self.code(covered, high);
        verify_slices_are_equal(code.as_ref().get(..self.icv_len)?, icv).ok()?;
        let (_, body) = covered.split_at_mut_checked(header_len)?;
        let (iv, text) = body.split_first_chunk_mut::<BLOCK_LEN>()?;
        if text.len() % BLOCK_LEN != 0 {
            return None;
        }
        cbc.decrypt(text, DecryptionContext::Iv128((*iv).into())).ok()?;
        Some(header_len + BLOCK_LEN..covered_len)
    }

    /// The upper half of the sequence number is covered at the end
    /// (RFC 4303 section 2.2.1).
    fn code(&self, covered: &[u8], high: Option<[u8; 4]>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.hmac);
        context.update(covered);
        if let Some(high) = high {
            context.update(&high);
        }
        context.sign()
    }
}

fn algorithm(key_len: KeyLen) -> &'static Algorithm {
    match key_len {
        KeyLen::L128 => &AES_128,
        KeyLen::L192 => &AES_192,
        KeyLen::L256 => &AES_256,
    }
}
