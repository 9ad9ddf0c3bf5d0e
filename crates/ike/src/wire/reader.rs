//! A cursor over received octets that knows which payload it is reading.

use super::error::ParseError;
use super::registry::PayloadType;

/// Every step either yields what was asked for or says that the payload was
/// cut short.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    payload: PayloadType,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: PayloadType, octets: &'a [u8]) -> Self {
        Self { rest: octets, payload }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn octets(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(self.truncated())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.truncated())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    fn truncated(&self) -> ParseError {
        ParseError::Truncated(self.payload)
    }
}
