//! What can go wrong, with nothing in it that a peer could learn from.

/// The cryptographic module could not do what was asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CryptoError {
    /// The module refused, for a reason that it does not give.
    #[error("the cryptographic module refused")]
    Module,
    /// The key has protected as much as it may.
    #[error("the key is used up")]
    Exhausted,
    /// A message is shorter than the header that it should begin with.
    #[error("the message is too short")]
    TooShort,
    /// See [`BadShare`].
    #[error("the peer's public value is not acceptable")]
    BadShare,
}

/// A peer's public value is not one of the group's: its length is wrong, it is
/// not on the curve, it is not in `2..=p-2`, the result would be all zero
/// (RFC 6989 section 2, RFC 8031 section 2.3), or it is no encapsulation key
/// (FIPS 203 section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the peer's public value is not acceptable")]
pub struct BadShare;

/// Something protected does not open: it was changed, cut short, or made with
/// another key. There is deliberately no more to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not authentic")]
pub struct OpenFailed;

/// A code that was received is not the one expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the authentication code does not match")]
pub struct Mismatch;

/// Every sequence number of an ESP key is used (RFC 4303 section 3.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no sequence number is left")]
pub struct Exhausted;

/// Key material of a length that its algorithm does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{got} octets of key material where {expected} belong")]
pub struct WrongLength {
    /// Octets that the algorithm has.
    pub expected: usize,
    /// Octets that were given.
    pub got: usize,
}

/// A shared secret of no octets, which everybody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the shared secret is empty")]
pub struct EmptySecret;

/// A key that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKey {
    /// It is not what it should be.
    #[error("the key is malformed")]
    Malformed,
    /// Not RSA, ECDSA on P-256, P-384 or P-521, or Ed25519.
    #[error("keys of this kind are not supported")]
    Kind,
    /// An RSA key below 2048 or above 8192 bits (RFC 8247 section 3.1.1).
    #[error("an RSA key must have 2048 to 8192 bits")]
    Size,
}
