//! Delete payloads (RFC 7296 section 3.11).

use super::error::ParseError;
use super::reader::Reader;
use super::registry::{PayloadType, Protocol};

/// A Delete payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delete<'a> {
    /// The IKE SA that carries it, and all its children.
    IkeSa,
    /// Children.
    Children {
        /// AH or ESP.
        protocol: Protocol,
        /// The SPIs of packets that the sender receives.
        spis: SpiList<'a>,
    },
}

impl<'a> Delete<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let payload = PayloadType::DELETE;
        let mut reader = Reader::new(payload, body);
        let protocol = Protocol(reader.u8()?);
        let size = reader.u8()?;
        let count = usize::from(reader.u16()?);
        let expected = match protocol {
            Protocol::IKE => 0,
            Protocol::AH | Protocol::ESP => SpiList::SPI_LEN,
            Protocol(other) => return Err(ParseError::BadProtocol(other)),
        };
        if usize::from(size) != expected {
            return Err(ParseError::BadSpiSize { payload, size });
        }
        if reader.rest().len() != count * expected {
            return Err(ParseError::BadCount(payload));
        }
        Ok(match protocol {
            Protocol::IKE => Self::IkeSa,
            protocol => Self::Children { protocol, spis: SpiList::new(reader.rest()) },
        })
    }
}

/// SPIs of children, in the order of the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpiList<'a>(&'a [[u8; 4]]);

impl<'a> SpiList<'a> {
    const SPI_LEN: usize = 4;

    fn new(octets: &'a [u8]) -> Self {
        Self(octets.as_chunks().0)
    }

    /// Each SPI, as the number that ESP packets carry.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|spi| u32::from_be_bytes(*spi))
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the payload names no child.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for SpiList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|spi| format!("{spi:08x}"))).finish()
    }
}
