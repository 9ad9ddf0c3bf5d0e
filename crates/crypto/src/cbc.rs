//! AES-CBC without padding of its own (RFC 3602) and HMAC beside it (RFC 4868).

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;

use crate::prf;
use crate::secret::Mac;
use crate::suite::{CbcIntegrity, KeyLen, PrfAlg};

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
    let hmac = match integrity {
        CbcIntegrity::HmacSha256_128 => PrfAlg::HmacSha256,
        CbcIntegrity::HmacSha384_192 => PrfAlg::HmacSha384,
        CbcIntegrity::HmacSha512_256 => PrfAlg::HmacSha512,
    };
    prf::mac(hmac, key, &[covered])
}

fn algorithm(key_len: KeyLen) -> &'static Algorithm {
    match key_len {
        KeyLen::L128 => &AES_128,
        KeyLen::L192 => &AES_192,
        KeyLen::L256 => &AES_256,
    }
}
