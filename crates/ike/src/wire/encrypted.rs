//! Encrypted payloads and their fragments (RFC 7296 section 3.14, RFC 7383
//! section 2.5), still sealed.

use super::error::ParseError;
use super::payload::{Raw, debug_lengths};
use super::reader::Reader;
use super::registry::PayloadType;

/// An Encrypted (SK) payload.
#[derive(Clone, Copy)]
pub struct Encrypted<'a> {
    /// The type of the first payload inside.
    pub first_inner: PayloadType,
    /// Where `body` begins in the datagram. What precedes is authenticated
    /// with it.
    pub header_len: usize,
    /// IV, ciphertext and integrity check value.
    pub body: &'a [u8],
}

/// One fragment (SKF) of an Encrypted payload.
#[derive(Clone, Copy)]
pub struct EncryptedFragment<'a> {
    /// The type of the first payload inside; [`PayloadType::NONE`] in every
    /// fragment but the first.
    pub first_inner: PayloadType,
    /// Counts from 1; at most `total`.
    pub number: u16,
    /// How many fragments there are.
    pub total: u16,
    /// Where `body` begins in the datagram. What precedes is authenticated
    /// with it.
    pub header_len: usize,
    /// IV, ciphertext and integrity check value.
    pub body: &'a [u8],
}

impl<'a> Encrypted<'a> {
    pub(super) const fn parse(raw: &Raw<'a>, header_len: usize) -> Self {
        Self { first_inner: raw.next, header_len, body: raw.body }
    }
}

impl<'a> EncryptedFragment<'a> {
    /// Octets of Fragment Number and Total Fragments.
    pub(super) const NUMBERS_LEN: usize = 4;

    pub(super) fn parse(raw: &Raw<'a>, body_at: usize) -> Result<Self, ParseError> {
        let mut reader = Reader::new(raw.kind, raw.body);
        let (number, total) = (reader.u16()?, reader.u16()?);
        if number == 0 || number > total {
            return Err(ParseError::BadFragment { number, total });
        }
        let first_inner = if number == 1 { raw.next } else { PayloadType::NONE };
        let (header_len, body) = (body_at + Self::NUMBERS_LEN, reader.rest());
        Ok(Self { first_inner, number, total, header_len, body })
    }
}

/// Where a payload stands is not part of what it is.
impl PartialEq for Encrypted<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.first_inner, self.body) == (other.first_inner, other.body)
    }
}

impl Eq for Encrypted<'_> {}

/// Where a payload stands is not part of what it is.
impl PartialEq for EncryptedFragment<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.first_inner, self.number, self.total, self.body)
            == (other.first_inner, other.number, other.total, other.body)
    }
}

impl Eq for EncryptedFragment<'_> {}

debug_lengths!(Encrypted { first_inner, header_len } lengths { body });
debug_lengths!(EncryptedFragment { first_inner, number, total, header_len } lengths { body });
