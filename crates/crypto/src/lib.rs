//! Every key and every primitive of the workspace; the FIPS boundary.
//!
//! Keys are used, not shown: one type a role, without `Debug`, `Clone` or
//! `PartialEq`, wiped when dropped. The types of the key schedule consume each
//! other, so that it cannot be run in the wrong order. Nothing here has a
//! clock; everything random comes from a [`Provider`] that the caller owns.
//!
//! ```
//! use crypto::{Group, IkeSpis, IkeSuite, Nonces, Provider, Skeyseed};
//! use crypto::{AdditionalGroups, IkeCipher, KeyLen, PrfAlg};
//!
//! let suite = IkeSuite {
//!     cipher: IkeCipher::AesGcm16(KeyLen::L256),
//!     prf: PrfAlg::HmacSha384,
//!     group: Group::X25519,
//!     additional: AdditionalGroups::NONE,
//! };
//! let mut provider = Provider::system();
//! let ours = provider.key_exchange(suite.group)?;
//! let theirs = provider.answer_key_exchange(suite.group, ours.public())?;
//! let (ni, nr): ([u8; 32], [u8; 32]) = (provider.array(), provider.array());
//! let nonces = Nonces { initiator: &ni, responder: &nr };
//! let spis = IkeSpis { initiator: provider.array(), responder: provider.array() };
//!
//! let shared = ours.agree(theirs.public())?;
//! let keys = Skeyseed::initial(suite.prf, nonces, shared).expand(suite, nonces, spis);
//! assert_eq!(keys.initiator.cipher(), suite.cipher);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod aead;
mod cbc;
mod error;
mod esp;
mod guard;
mod intermediate;
mod kem;
mod kex;
mod mac;
mod modp;
mod ops;
mod passphrase;
mod prf;
mod provider;
mod schedule;
mod secret;
mod sign;
mod suite;
mod ticket;

#[cfg(test)]
mod known_answers;

pub use aead::MessageKey;
pub use error::{
    BadKey, BadShare, CryptoError, EmptySecret, Exhausted, Mismatch, OpenFailed, WrongLength,
};
pub use esp::{EspKey, EspOpeningKey, EspSealingKey, SeqRun};
pub use intermediate::IntAuth;
pub use kex::{KeyAnswer, KeyExchange, SharedSecret, SharedSecrets};
pub use mac::{CookieKey, nat_detection_hash, same_octets};
pub use ops::public_key_operations;
pub use passphrase::{Pbes2, Pkcs12Mac};
pub use provider::Provider;
pub use schedule::{ChildKeys, IkeKeys, IkeSpis, Nonces, SkD, SkP, Skeyseed};
pub use secret::{Mac, Ppk, Psk, SignedOctets};
pub use sign::{
    EcdsaForm, HashAlg, KeyKind, PublicKey, Scheme, Signer, SigningKey, sha1_name, sha256,
};
pub use suite::{
    AdditionalGroups, CbcIntegrity, EspCipher, EspSuite, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg,
};
pub use ticket::TicketKey;
