//! The IKE header (RFC 7296 section 3.1).

use std::fmt;
use std::hash::{Hash, Hasher};

use super::error::{HeaderError, ParseError};
use super::reader::Reader;
use super::registry::{ExchangeType, PayloadType};

/// Half of an IKE SA's name; zero where the responder has not chosen yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IkeSpi(pub [u8; 8]);

impl Hash for IkeSpi {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_be_bytes(self.0));
    }
}

impl IkeSpi {
    /// Octets on the wire.
    pub const LEN: usize = 8;
    /// The responder's SPI in the first message of an initial exchange.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether no SPI is given.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// An SPI of the wire, or `None` when it is not eight octets.
    #[must_use]
    pub fn from_wire(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The protocol version of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// What decides whether a message is understood.
    pub major: u8,
    /// Ignored on receipt.
    pub minor: u8,
}

impl Version {
    /// The major version spoken here.
    pub const MAJOR: u8 = 2;
    /// The version spoken here.
    pub const IKEV2: Self = Self { major: Self::MAJOR, minor: 0 };

    const fn from_wire(octet: u8) -> Self {
        Self { major: octet >> 4, minor: octet & 0x0f }
    }

    const fn to_wire(self) -> u8 {
        self.major << 4 | self.minor & 0x0f
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Who sent a message and whether it answers one. The other bits of the field
/// are ignored on receipt, and never sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flags {
    /// The sender is the original initiator of the IKE SA (or of its last rekey).
    pub initiator: bool,
    /// The message is a response.
    pub response: bool,
}

impl Flags {
    const INITIATOR: u8 = 0x08;
    const RESPONSE: u8 = 0x20;

    const fn from_wire(octet: u8) -> Self {
        Self { initiator: octet & Self::INITIATOR != 0, response: octet & Self::RESPONSE != 0 }
    }

    const fn to_wire(self) -> u8 {
        let initiator = if self.initiator { Self::INITIATOR } else { 0 };
        let response = if self.response { Self::RESPONSE } else { 0 };
        initiator | response
    }
}

/// The IKE header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The initiator's SPI, never zero in a parsed header.
    pub spi_i: IkeSpi,
    /// The responder's SPI.
    pub spi_r: IkeSpi,
    /// The type of the first payload. Set by the builder.
    pub next: PayloadType,
    /// As received; what is emitted is always [`Version::IKEV2`].
    pub version: Version,
    /// The exchange.
    pub exchange: ExchangeType,
    /// Who, and request or response.
    pub flags: Flags,
    /// Counts requests of one side from zero.
    pub message_id: u32,
    /// Octets of the whole message. Set by the builder.
    pub length: u32,
}

impl Header {
    /// Octets of a header.
    pub const LEN: usize = 28;

    /// A header to build a message from: next payload and length come with the
    /// payloads.
    #[must_use]
    pub const fn new(
        (spi_i, spi_r): (IkeSpi, IkeSpi),
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        let (next, version, length) = (PayloadType::NONE, Version::IKEV2, 0);
        Self { spi_i, spi_r, next, version, exchange, flags, message_id, length }
    }

    /// The header of a datagram and what follows it. The datagram is without
    /// the non-ESP marker of RFC 3948.
    ///
    /// # Errors
    /// [`HeaderError`]. A version is refused before the length is looked at,
    /// so that a later protocol gets its answer.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let mut reader = Reader::new(PayloadType::NONE, datagram);
        let header = Self::fields(&mut reader).map_err(|_| HeaderError::Truncated)?;
        if header.version.major != Version::MAJOR {
            return Err(HeaderError::MajorVersion(header));
        }
        if usize::try_from(header.length) != Ok(datagram.len()) {
            let (claimed, actual) = (header.length, datagram.len());
            return Err(HeaderError::BadLength { claimed, actual });
        }
        if header.spi_i.is_zero() {
            return Err(HeaderError::ZeroInitiatorSpi);
        }
        Ok((header, reader.rest()))
    }

    /// The SPI that the receiver of this message has chosen (RFC 7296 section 3.1).
    #[must_use]
    pub const fn recipient_spi(&self) -> IkeSpi {
        if self.flags.initiator { self.spi_r } else { self.spi_i }
    }

    fn fields(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            spi_i: IkeSpi(reader.array()?),
            spi_r: IkeSpi(reader.array()?),
            next: PayloadType(reader.u8()?),
            version: Version::from_wire(reader.u8()?),
            exchange: ExchangeType(reader.u8()?),
            flags: Flags::from_wire(reader.u8()?),
            message_id: reader.array().map(u32::from_be_bytes)?,
            length: reader.array().map(u32::from_be_bytes)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.spi_i.0);
        out.extend_from_slice(&self.spi_r.0);
        out.extend_from_slice(&[
            self.next.0,
            Version::IKEV2.to_wire(),
            self.exchange.0,
            self.flags.to_wire(),
        ]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
    }
}
