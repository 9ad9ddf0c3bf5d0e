//! The IKEv2 codec: header, payloads and fragments, parsed and emitted.
//!
//! Syntax only. Whether a message may be sent now, whether a proposal is
//! acceptable and what a notify leads to is decided elsewhere; nothing here
//! knows a key or a state.
//!
//! ```text
//! datagram -> Header::parse -> Message::parse -> Payloads { sa(), ke(), notify(..), .. }
//!                                   `-> Encrypted { header_len, .. } -> crypto opens it
//!                                            `-> parse_payloads(first_inner, plaintext)
//! MessageBuilder::new(buf, header) .sa(..) .ke(..) .finish()
//!                                  .begin_encrypted() .. .finish_encrypted(..) -> crypto seals it
//! ```
//!
//! - A parsed payload borrows from the datagram; nothing is copied or allocated.
//! - Everything that a peer sends is bounded: see [`limits`].
//! - Reserved bits and the critical bit of payloads known here are ignored on
//!   receipt and sent as zero (RFC 7296 sections 2.5 and 3.2).
//! - Parsing what was emitted gives what was meant, and emitting what was
//!   parsed gives the octets back, up to reserved bits and transform attributes
//!   that IKEv2 does not define.

mod config;
mod delete;
mod eap;
mod encrypted;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod header;
mod identity;
mod key_exchange;
mod message;
mod notify;
mod notify_type;
mod payload;
mod reader;
mod registry;
mod sa;
mod transform;
mod ts;
mod writer;

pub use config::{ConfigAttribute, ConfigAttributes, ConfigPayload};
pub use delete::{Delete, SpiList};
pub use eap::Eap;
pub use encrypted::{Encrypted, EncryptedFragment};
pub use error::{Complaint, HeaderError, ParseError};
pub use gateway::{GatewayId, is_host_name};
pub use header::{Flags, Header, IkeSpi, Version};
pub use identity::{Auth, Cert, CertRequest, Id, id_body};
pub use key_exchange::Ke;
pub use message::{Message, Payloads, parse_payloads};
pub use notify::Notify;
pub use notify_type::NotifyType;
pub use payload::Payload;
pub use registry::{
    AuthMethod, CertEncoding, ConfigAttributeType, ConfigType, EapCode, ExchangeType,
    HashAlgorithm, IdType, PayloadType, Protocol, TsType,
};
pub use sa::{Proposal, Proposals, SaPayload, Transforms};
pub use transform::{Encr, Esn, Integ, KeMethod, Prf, Transform, TransformType};
pub use ts::{TrafficSelector, TsPayload};
pub use writer::{Clear, MessageBuilder, NewProposal, Protected, TooLong};

/// What a peer may make us walk through. Every bound is far above what an
/// honest peer sends.
pub mod limits {
    /// Payloads of one chain (a message, or the inside of an Encrypted payload).
    pub const PAYLOADS: usize = 64;
    /// Proposals of one SA payload.
    pub const PROPOSALS: usize = 64;
    /// Transforms of one proposal.
    pub const TRANSFORMS: usize = 128;
    /// Attributes of one Configuration payload.
    pub const CONFIG_ATTRIBUTES: usize = 256;
    /// Octets of a nonce (RFC 7296 section 3.9).
    pub const NONCE: std::ops::RangeInclusive<usize> = 16..=256;
    /// Octets of a message: what fits a UDP datagram.
    pub const MESSAGE: usize = 65_535;
}
