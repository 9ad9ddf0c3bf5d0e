//! Secrets that are held, and codes made from them.
//!
//! Every secret of fixed size lies inline in its owner and is wiped when it is
//! dropped. A move may leave the octets where the value was, which safe Rust
//! cannot prevent; so owners that live long are boxed once and stay put.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::error::{EmptySecret, Mismatch};
use crate::mac::{CookieKey, same_octets};
use crate::prf;
use crate::suite::PrfAlg;

/// The longest output of a [`PrfAlg`].
const MAX_PRF_LEN: usize = 64;

/// What an AUTH payload covers (RFC 7296 section 2.15), in this order.
#[derive(Clone, Copy)]
pub struct SignedOctets<'a> {
    /// The sender's whole first message, from the IKE header on and without
    /// the non-ESP marker.
    pub message: &'a [u8],
    /// The other side's nonce: the payload body.
    pub peer_nonce: &'a [u8],
    /// prf(SK_px, IDx'), from [`crate::SkP::mac_id`].
    pub maced_id: &'a Mac,
    /// [`crate::IntAuth::octets`] of the exchanges between the first one and
    /// IKE_AUTH; empty if there were none (RFC 9242 section 3.3.2).
    pub intermediate: &'a [u8],
}

impl<'a> SignedOctets<'a> {
    /// The parts in the order of the RFC, for whoever signs them.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 4] {
        [self.message, self.peer_nonce, self.maced_id.as_bytes(), self.intermediate]
    }
}

/// A pre-shared key, or an EAP method's MSK in its place
/// (RFC 7296 section 2.16). Of any length but zero.
pub struct Psk(Zeroizing<Box<[u8]>>);

impl Psk {
    /// Takes a copy of `bytes`.
    ///
    /// # Errors
    /// [`EmptySecret`] if there are none.
    pub fn new(bytes: &[u8]) -> Result<Self, EmptySecret> {
        if bytes.is_empty() {
            return Err(EmptySecret);
        }
        Ok(Self(Zeroizing::new(bytes.into())))
    }

    /// Whether both are the same secret, in a time that tells only their lengths.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same_octets(&self.0, &other.0)
    }

    /// Stands for the secret where `key` is known, and tells nothing of it, not
    /// even whether a guess is right, where it is not.
    #[must_use]
    pub fn mark(&self, key: &CookieKey) -> [u8; 8] {
        let tag = key.tag(&[b"pre-shared key".as_slice(), &self.0]);
        tag.first_chunk().copied().unwrap_or_default()
    }

    /// AUTH = prf(prf(secret, "Key Pad for IKEv2"), octets)
    /// (RFC 7296 section 2.15).
    #[must_use]
    pub fn auth(&self, prf: PrfAlg, octets: SignedOctets<'_>) -> Mac {
        let padded = prf::derive(prf, &self.0, b"Key Pad for IKEv2");
        prf::mac(prf, padded.bytes(), &octets.parts())
    }
}

/// A post-quantum pre-shared key (RFC 8784). Of any length but zero; 32 octets
/// of entropy are what the RFC asks for (section 6).
pub struct Ppk(Zeroizing<Box<[u8]>>);

impl Ppk {
    /// Takes a copy of `bytes`.
    ///
    /// # Errors
    /// [`EmptySecret`] if there are none.
    pub fn new(bytes: &[u8]) -> Result<Self, EmptySecret> {
        if bytes.is_empty() {
            return Err(EmptySecret);
        }
        Ok(Self(Zeroizing::new(bytes.into())))
    }

    /// Whether both are one key, in a time that tells only their lengths.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same_octets(&self.0, &other.0)
    }

    /// prf+(PPK, key), as long as the key.
    pub(crate) fn mix(&self, key: &PrfKey) -> PrfKey {
        let prf = key.prf();
        PrfKey::filled_by(prf, |out| prf::prf_plus(prf, &self.0, &[key.bytes()], out))
    }
}

/// The output of a PRF that goes on the wire, or into the octets that AUTH
/// covers. Wiped when dropped, for until it is sent it is what a peer would
/// need to pass for another.
pub struct Mac(PrfKey);

impl Mac {
    pub(crate) fn new(output: PrfKey) -> Self {
        Self(output)
    }

    /// 32, 48 or 64 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The first octets, as a truncated code carries them.
    pub(crate) fn leading(&self, len: usize) -> &[u8] {
        self.as_bytes().split_at(len).0
    }

    /// Compares in constant time; another length does not match either.
    ///
    /// # Errors
    /// [`Mismatch`].
    pub fn verify(&self, received: &[u8]) -> Result<(), Mismatch> {
        verify_slices_are_equal(self.as_bytes(), received).map_err(|_| Mismatch)
    }
}

/// As many octets as a PRF has output, and which PRF that is.
#[derive(ZeroizeOnDrop)]
pub(crate) struct PrfKey {
    bytes: [u8; MAX_PRF_LEN],
    #[zeroize(skip)]
    prf: PrfAlg,
}

impl PrfKey {
    /// Lets `fill` write the octets where they will stay.
    pub(crate) fn filled_by(prf: PrfAlg, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut key = Self { bytes: [0; MAX_PRF_LEN], prf };
        fill(key.bytes.split_at_mut(prf.output_len()).0);
        key
    }

    /// A copy of the first octets of `source`, and the octets behind them.
    ///
    /// `source` must have that many: callers cut a buffer whose length is the
    /// sum of what they take.
    pub(crate) fn split_from(prf: PrfAlg, source: &[u8]) -> (Self, &[u8]) {
        let (own, rest) = source.split_at(prf.output_len());
        (Self::filled_by(prf, |bytes| bytes.copy_from_slice(own)), rest)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.split_at(self.prf.output_len()).0
    }

    pub(crate) fn prf(&self) -> PrfAlg {
        self.prf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_is_refused() {
        assert_eq!(Psk::new(b"").err(), Some(EmptySecret));
    }

    #[test]
    fn a_code_matches_itself_and_nothing_shorter_longer_or_changed() {
        let mac = prf::mac(PrfAlg::HmacSha256, b"key", &[b"data"]);
        let right = mac.as_bytes().to_vec();
        assert_eq!(mac.verify(&right), Ok(()));
        assert_eq!(mac.verify(&right[..31]), Err(Mismatch));
        assert_eq!(mac.verify(&[right.as_slice(), &[0]].concat()), Err(Mismatch));
        for bit in 0..256 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mac.verify(&wrong), Err(Mismatch));
        }
    }

    #[test]
    fn parts_and_whole_have_the_same_code() {
        let parts = prf::mac(PrfAlg::HmacSha512, b"key", &[b"da", b"", b"ta"]);
        let whole = prf::derive(PrfAlg::HmacSha512, b"key", b"data");
        assert_eq!(parts.verify(whole.bytes()), Ok(()));
    }
}
