//! prf and prf+ (RFC 7296 section 2.13) over HMAC.
//!
//! A result that becomes a key is written straight to where it stays: the
//! module's own tag type is not wiped, so it serves only for codes that go on
//! the wire.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::provider::module_failed;
use crate::secret::{Mac, PrfKey};
use crate::suite::PrfAlg;

/// prf(key, data), a key.
pub(crate) fn derive(prf: PrfAlg, key: &[u8], data: &[u8]) -> PrfKey {
    let key = hmac_key(prf, key);
    PrfKey::filled_by(prf, |out| sign_into(&key, data, out))
}

/// prf(key, parts | ..), a code.
pub(crate) fn mac(prf: PrfAlg, key: &[u8], parts: &[&[u8]]) -> Mac {
    let mut context = hmac::Context::with_key(&hmac_key(prf, key));
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    Mac::new(PrfKey::filled_by(prf, |out| out.copy_from_slice(tag.as_ref())))
}

/// prf+(key, seed | ..) into `out`: T1 | T2 | .. where
/// T1 = prf(key, seed | 1) and Tn = prf(key, Tn-1 | seed | n).
///
/// `out` has at most 255 times the output length of the PRF; every use here
/// has a small constant bound.
pub(crate) fn prf_plus(prf: PrfAlg, key: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let block_len = prf.output_len();
    debug_assert!(out.len() <= 255 * block_len, "RFC 7296 section 2.13");
    let key = hmac_key(prf, key);

    let seed_len: usize = seed.iter().map(|part| part.len()).sum();
    let mut input = Zeroizing::new(Vec::with_capacity(block_len + seed_len + 1));
    input.resize(block_len, 0);
    seed.iter().for_each(|part| input.extend_from_slice(part));
    input.push(0);

    for (count, piece) in (1u8..=255).zip(out.chunks_mut(block_len)) {
        if let Some(last) = input.last_mut() {
            *last = count;
        }
        // T1 has no block before it.
        let skipped = if count == 1 { block_len } else { 0 };
        let block = PrfKey::filled_by(prf, |out| sign_into(&key, input.split_at(skipped).1, out));
        piece.copy_from_slice(block.bytes().split_at(piece.len()).0);
        input.split_at_mut(block_len).0.copy_from_slice(block.bytes());
    }
}

fn sign_into(key: &hmac::Key, data: &[u8], out: &mut [u8]) {
    if hmac::sign_to_buffer(key, data, out).is_err() {
        module_failed();
    }
}

pub(crate) fn hmac_key(prf: PrfAlg, key: &[u8]) -> hmac::Key {
    let algorithm = match prf {
        PrfAlg::HmacSha256 => hmac::HMAC_SHA256,
        PrfAlg::HmacSha384 => hmac::HMAC_SHA384,
        PrfAlg::HmacSha512 => hmac::HMAC_SHA512,
    };
    hmac::Key::new(algorithm, key)
}
