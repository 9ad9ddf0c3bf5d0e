//! EAP payloads (RFC 7296 section 3.16, RFC 3748 section 4).

use super::error::ParseError;
use super::payload::debug_lengths;
use super::registry::EapCode;

/// An EAP message whose length field has been checked against its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Eap<'a> {
    /// Request, response, success or failure.
    pub code: EapCode,
    /// Matches responses to requests.
    pub identifier: u8,
    /// The method of a request or response; other messages have none.
    pub method: Option<u8>,
    /// The whole message, to be handed to an EAP peer or server.
    pub message: &'a [u8],
}

impl<'a> Eap<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (&[code, identifier, high, low], data) =
            body.split_first_chunk().ok_or(ParseError::BadEap)?;
        if usize::from(u16::from_be_bytes([high, low])) != body.len() {
            return Err(ParseError::BadEap);
        }
        let code = EapCode(code);
        let method = match code {
            EapCode::REQUEST | EapCode::RESPONSE => {
                Some(data.first().copied().ok_or(ParseError::BadEap)?)
            }
            _ => None,
        };
        Ok(Self { code, identifier, method, message: body })
    }
}

debug_lengths!(Eap { code, identifier, method } lengths { message });
