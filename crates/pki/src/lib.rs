//! Certificates: reading them, trusting them, and whom they prove somebody to
//! be (RFC 5280, and RFC 4945 for their use in IKE).
//!
//! No IO and no clock: files are read by the daemon, and time is an argument.
//! Chains are built and checked by `rustls-webpki`, whose signatures are
//! checked by the `crypto` crate.
#![forbid(unsafe_code)]

mod certificate;
mod chain;
mod credential;
mod crl;
mod culprit;
mod der;
pub mod dn;
pub mod fuzzing;
#[cfg(feature = "issue")]
pub mod issue;
mod key;
mod name;
pub mod pem;
pub mod pkcs12;
mod refusal;
mod trust;
mod vouched;

pub use certificate::{Certificate, Usages};
pub use chain::ExtendedKeyUsage;
pub use credential::{BadCredential, Credential, LocalKey};
pub use crl::Crl;
pub use dn::{Dn, DnPattern};
pub use key::{BadPrivateKey, private_key};
pub use name::Name;
pub use refusal::{BadCertificate, Refusal, Refused, Subject};
pub use trust::{Ask, Presented, Revocation, Trust, Verified, Wanted};
pub use vouched::{Mark, Trace, Vouched};
