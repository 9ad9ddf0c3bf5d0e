//! The 2048-bit MODP group (RFC 3526 section 3), which the module lacks.

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{EncodedUint, U320, U2048};
use zeroize::Zeroizing;

use crate::error::BadShare;
use crate::kex::SharedSecret;
use crate::provider::Provider;

use group14::Prime;

mod group14 {
    crypto_bigint::const_monty_params!(
        Prime,
        crypto_bigint::U2048,
        "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
         020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437\
         4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
         ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05\
         98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb\
         9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
         e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
         3995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff"
    );
}

/// Octets of the prime, of a public value and of a shared secret.
const LEN: usize = 256;

type Element = ConstMontyForm<Prime, { U2048::LIMBS }>;

/// A private exponent of 320 bits: the group is as strong as 110 to 160 bits
/// of key (RFC 3526 section 8), and an exponent should have twice that. In a
/// safe-prime group a short exponent gives nothing away.
pub(crate) struct Exponent(Zeroizing<U320>);

impl Exponent {
    /// Uniform below 2^320.
    pub(crate) fn new(provider: &mut Provider) -> Self {
        let mut bytes = Zeroizing::new([0; U320::BYTES]);
        provider.fill(bytes.as_mut_slice());
        Self(Zeroizing::new(U320::from_be_slice(bytes.as_slice())))
    }

    /// 2^x mod p, padded to the length of p.
    pub(crate) fn public(&self) -> Box<[u8]> {
        self.power(&Element::new(&U2048::from_u8(2))).as_slice().into()
    }

    /// y^x mod p, padded to the length of p.
    pub(crate) fn agree(&self, peer_public: &[u8; LEN]) -> Result<SharedSecret, BadShare> {
        let y = U2048::from_be_slice(peer_public);
        if !is_acceptable(&y) {
            return Err(BadShare);
        }
        Ok(SharedSecret::new(self.power(&Element::new(&y)).as_slice()))
    }

    /// Constant time in base and exponent.
    fn power(&self, base: &Element) -> Zeroizing<EncodedUint<{ U2048::LIMBS }>> {
        let power = Zeroizing::new(base.pow_bounded_exp(&self.0, U320::BITS).retrieve());
        Zeroizing::new(power.to_be_bytes())
    }
}

/// `1 < y < p-1`: all that is to be checked where `(p-1)/2` is prime
/// (RFC 6989 section 2.1). `y` is public, so the time may tell of it.
fn is_acceptable(y: &U2048) -> bool {
    let largest = Prime::PARAMS.modulus().as_ref().wrapping_sub(&U2048::from_u8(2));
    *y > U2048::ONE && *y <= largest
}

#[cfg(test)]
impl Exponent {
    pub(crate) fn from_bytes(bytes: &[u8; U320::BYTES]) -> Self {
        Self(Zeroizing::new(U320::from_be_slice(bytes)))
    }
}
