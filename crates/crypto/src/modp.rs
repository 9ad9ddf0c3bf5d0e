//! The MODP groups of 2048, 3072 and 4096 bits (RFC 3526), which the module
//! lacks.

/// One group: its prime, and exponents that are twice as long as the strength
/// that RFC 3526 section 8 gives the group at the most. In a safe-prime group a
/// short exponent gives nothing away.
macro_rules! group {
    ($(#[$doc:meta])* $name:ident, $uint:ident, $exponent:ident, $prime:literal) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
            use crypto_bigint::{EncodedUint, $exponent, $uint};
            use zeroize::Zeroizing;

            use crate::error::BadShare;
            use crate::kex::SharedSecret;
            use crate::provider::Provider;

            crypto_bigint::const_monty_params!(Prime, crypto_bigint::$uint, $prime);

            type Element = ConstMontyForm<Prime, { $uint::LIMBS }>;

            /// A private exponent.
            pub(crate) struct Exponent(Zeroizing<$exponent>);

            impl Exponent {
                /// Uniform below the power of two that its type is named for.
                pub(crate) fn new(provider: &mut Provider) -> Self {
                    let mut bytes = Zeroizing::new([0; $exponent::BYTES]);
                    provider.fill(bytes.as_mut_slice());
                    Self(Zeroizing::new($exponent::from_be_slice(bytes.as_slice())))
                }

                /// 2^x mod p, padded to the length of p.
                pub(crate) fn public(&self) -> Box<[u8]> {
                    self.power(&Element::new(&$uint::from_u8(2))).as_slice().into()
                }

                /// y^x mod p, padded to the length of p.
                pub(crate) fn agree(&self, peer_public: &[u8]) -> Result<SharedSecret, BadShare> {
                    let peer_public: &[u8; $uint::BYTES] =
                        peer_public.try_into().map_err(|_| BadShare)?;
                    let y = $uint::from_be_slice(peer_public);
                    if !is_acceptable(&y) {
                        return Err(BadShare);
                    }
                    Ok(SharedSecret::new(self.power(&Element::new(&y)).as_slice()))
                }

                /// Constant time in base and exponent.
                fn power(&self, base: &Element) -> Zeroizing<EncodedUint<{ $uint::LIMBS }>> {
                    let power = base.pow_bounded_exp(&self.0, $exponent::BITS).retrieve();
                    Zeroizing::new(Zeroizing::new(power).to_be_bytes())
                }

                #[cfg(test)]
                pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
                    Self(Zeroizing::new($exponent::from_be_slice(bytes)))
                }
            }

            /// `1 < y < p-1`: all that is to be checked where `(p-1)/2` is prime
            /// (RFC 6989 section 2.1). `y` is public, so the time may tell of it.
            fn is_acceptable(y: &$uint) -> bool {
                let largest = Prime::PARAMS.modulus().as_ref().wrapping_sub(&$uint::from_u8(2));
                *y > $uint::ONE && *y <= largest
            }
        }
    };
}

group! {
    /// 2048 bits (RFC 3526 section 3).
    group14, U2048, U320,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
     020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437\
     4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
     ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05\
     98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb\
     9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
     e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
     3995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff"
}

group! {
    /// 3072 bits (RFC 3526 section 4).
    group15, U3072, U448,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
     020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437\
     4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
     ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05\
     98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb\
     9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
     e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
     3995497cea956ae515d2261898fa051015728e5a8aaac42dad33170d04507a33\
     a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7\
     abf5ae8cdb0933d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864\
     d87602733ec86a64521f2b18177b200cbbe117577a615d6c770988c0bad946e2\
     08e24fa074e5ab3143db5bfce0fd108e4b82d120a93ad2caffffffffffffffff"
}

group! {
    /// 4096 bits (RFC 3526 section 5).
    group16, U4096, U512,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
     020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437\
     4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
     ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05\
     98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb\
     9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
     e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
     3995497cea956ae515d2261898fa051015728e5a8aaac42dad33170d04507a33\
     a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7\
     abf5ae8cdb0933d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864\
     d87602733ec86a64521f2b18177b200cbbe117577a615d6c770988c0bad946e2\
     08e24fa074e5ab3143db5bfce0fd108e4b82d120a92108011a723c12a787e6d7\
     88719a10bdba5b2699c327186af4e23c1a946834b6150bda2583e9ca2ad44ce8\
     dbbbc2db04de8ef92e8efc141fbecaa6287c59474e6bc05d99b2964fa090c3a2\
     233ba186515be7ed1f612970cee2d7afb81bdd762170481cd0069127d5b05aa9\
     93b4ea988d8fddc186ffb7dc90a6c08f4df435c934063199ffffffffffffffff"
}
