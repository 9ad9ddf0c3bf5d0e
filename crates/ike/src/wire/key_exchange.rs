//! Key Exchange and Nonce payloads (RFC 7296 sections 3.4 and 3.9).

use super::error::ParseError;
use super::limits;
use super::payload::debug_lengths;
use super::reader::Reader;
use super::registry::PayloadType;
use super::transform::KeMethod;

/// A Key Exchange payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ke<'a> {
    /// The method, or group.
    pub group: KeMethod,
    /// The public value; whether it is one of the group is for the group to say.
    pub data: &'a [u8],
}

impl<'a> Ke<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::KE, body);
        let group = KeMethod(reader.u16()?);
        let _reserved = reader.u16()?;
        Ok(Self { group, data: reader.rest() })
    }
}

debug_lengths!(Ke { group } lengths { data });

pub(super) fn parse_nonce(body: &[u8]) -> Result<&[u8], ParseError> {
    if limits::NONCE.contains(&body.len()) {
        Ok(body)
    } else {
        Err(ParseError::BadNonceLength(body.len()))
    }
}
