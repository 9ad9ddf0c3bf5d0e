//! Who, and the proof: Identification, Certificate, Certificate Request and
//! Authentication payloads (RFC 7296 sections 3.5 to 3.8).

use super::error::ParseError;
use super::payload::debug_lengths;
use super::reader::Reader;
use super::registry::{AuthMethod, CertEncoding, IdType, PayloadType};

/// An Identification payload.
#[derive(Clone, Copy)]
pub struct Id<'a> {
    /// How the identity is written.
    pub kind: IdType,
    /// The identity; an address has the length of one.
    pub data: &'a [u8],
    /// The payload without its generic header, as received: the octets that
    /// AUTH covers, reserved ones included (RFC 7296 section 2.15).
    pub body: &'a [u8],
}

impl<'a> Id<'a> {
    pub(super) fn parse(payload: PayloadType, body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(payload, body);
        let kind = IdType(reader.u8()?);
        let _reserved = reader.array::<3>()?;
        let data = reader.rest();
        let well_formed = match kind {
            IdType::IPV4_ADDR => data.len() == 4,
            IdType::IPV6_ADDR => data.len() == 16,
            _ => true,
        };
        if !well_formed {
            return Err(ParseError::BadIdentification(payload));
        }
        Ok(Self { kind, data, body })
    }
}

/// Two identities are the same whatever their reserved octets.
impl PartialEq for Id<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.data) == (other.kind, other.data)
    }
}

impl Eq for Id<'_> {}

debug_lengths!(Id { kind } lengths { data });

/// The body of the Identification payload that is emitted for an identity: the
/// octets that AUTH covers.
#[must_use]
pub fn id_body(kind: IdType, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + data.len());
    emit_id(&mut body, kind, data);
    body
}

pub(super) fn emit_id(out: &mut Vec<u8>, kind: IdType, data: &[u8]) {
    out.extend_from_slice(&[kind.0, 0, 0, 0]);
    out.extend_from_slice(data);
}

/// A Certificate payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cert<'a> {
    /// What `data` is.
    pub encoding: CertEncoding,
    /// The certificate, or what stands for it.
    pub data: &'a [u8],
}

impl<'a> Cert<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::CERT, body);
        Ok(Self { encoding: CertEncoding(reader.u8()?), data: reader.rest() })
    }
}

debug_lengths!(Cert { encoding } lengths { data });

/// A Certificate Request payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CertRequest<'a> {
    /// Which certificates are wanted.
    pub encoding: CertEncoding,
    /// The authorities that are trusted for them.
    pub authorities: &'a [u8],
}

impl<'a> CertRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::CERTREQ, body);
        Ok(Self { encoding: CertEncoding(reader.u8()?), authorities: reader.rest() })
    }

    /// The authorities of an X.509 request: SHA-1 hashes of their
    /// SubjectPublicKeyInfo (RFC 7296 section 3.7). An incomplete last one is
    /// left out.
    pub fn hashes(&self) -> impl Iterator<Item = &'a [u8; 20]> + use<'a> {
        self.authorities.as_chunks().0.iter()
    }
}

debug_lengths!(CertRequest { encoding } lengths { authorities });

/// An Authentication payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// How `data` was computed.
    pub method: AuthMethod,
    /// The value. To be verified with `crypto`, not compared.
    pub data: &'a [u8],
}

impl<'a> Auth<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::AUTH, body);
        let method = AuthMethod(reader.u8()?);
        let _reserved = reader.array::<3>()?;
        Ok(Self { method, data: reader.rest() })
    }

    /// The algorithm (a DER AlgorithmIdentifier) and the signature inside the
    /// value of [`AuthMethod::DIGITAL_SIGNATURE`] (RFC 7427 section 3), or
    /// `None` when it is not one.
    #[must_use]
    pub fn digital_signature(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.method != AuthMethod::DIGITAL_SIGNATURE {
            return None;
        }
        let (&length, rest) = self.data.split_first()?;
        rest.split_at_checked(usize::from(length))
    }
}

debug_lengths!(Auth { method } lengths { data });
