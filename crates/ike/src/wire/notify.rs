//! Notify payloads (RFC 7296 section 3.10) and the data of those that have a
//! form of their own.

use std::net::IpAddr;

use super::error::ParseError;
use super::gateway::GatewayId;
use super::notify_type::NotifyType;
use super::payload::debug_lengths;
use super::reader::Reader;
use super::registry::{HashAlgorithm, PayloadType, Protocol};
use super::transform::KeMethod;

/// A Notify payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The protocol of the SA that `spi` names; without meaning where `spi` is
    /// empty (RFC 7296 section 3.10).
    pub protocol: Protocol,
    /// 0, 4 or 8 octets.
    pub spi: &'a [u8],
    /// What it says.
    pub kind: NotifyType,
    /// What belongs to it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// A notify about no particular SA, as most are.
    #[must_use]
    pub const fn new(kind: NotifyType, data: &'a [u8]) -> Self {
        Self { protocol: Protocol::NONE, spi: &[], kind, data }
    }

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let payload = PayloadType::NOTIFY;
        let mut reader = Reader::new(payload, body);
        let protocol = Protocol(reader.u8()?);
        let size = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        if !matches!(size, 0 | 4 | 8) {
            return Err(ParseError::BadSpiSize { payload, size });
        }
        let spi = reader.octets(usize::from(size))?;
        Ok(Self { protocol, spi, kind, data: reader.rest() })
    }

    /// The child that the notify is about, if it is about one of ESP.
    #[must_use]
    pub fn esp_spi(&self) -> Option<u32> {
        let spi = self.spi.try_into().ok().map(u32::from_be_bytes);
        spi.filter(|_| self.protocol == Protocol::ESP)
    }

    /// The one octet of data, as in UNSUPPORTED_CRITICAL_PAYLOAD.
    #[must_use]
    pub fn data_u8(&self) -> Option<u8> {
        self.data.try_into().ok().map(u8::from_be_bytes)
    }

    /// The four octets of data, as in SET_WINDOW_SIZE and AUTH_LIFETIME.
    #[must_use]
    pub fn data_u32(&self) -> Option<u32> {
        self.data.try_into().ok().map(u32::from_be_bytes)
    }

    /// The group that INVALID_KE_PAYLOAD asks for (RFC 7296 section 1.2).
    #[must_use]
    pub fn wanted_group(&self) -> Option<KeMethod> {
        self.data.try_into().ok().map(u16::from_be_bytes).map(KeMethod)
    }

    /// The lifetime in seconds and the ticket of TICKET_LT_OPAQUE
    /// (RFC 5723 section 7.1). `None` when there is no room for a ticket.
    #[must_use]
    pub fn ticket_with_lifetime(&self) -> Option<(u32, &'a [u8])> {
        let (lifetime, ticket) = self.data.split_first_chunk()?;
        (!ticket.is_empty()).then_some((u32::from_be_bytes(*lifetime), ticket))
    }

    /// The address of ADDITIONAL_IP4_ADDRESS or ADDITIONAL_IP6_ADDRESS
    /// (RFC 4555 section 4.2.2).
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.kind {
            NotifyType::ADDITIONAL_IP4_ADDRESS => {
                Some(IpAddr::from(<[u8; 4]>::try_from(self.data).ok()?))
            }
            NotifyType::ADDITIONAL_IP6_ADDRESS => {
                Some(IpAddr::from(<[u8; 16]>::try_from(self.data).ok()?))
            }
            _ => None,
        }
    }

    /// The gateway of REDIRECT or REDIRECTED_FROM, and the nonce behind it
    /// (RFC 5685 section 9).
    #[must_use]
    pub fn gateway(&self) -> Option<(GatewayId<'a>, &'a [u8])> {
        GatewayId::parse(self.data)
    }

    /// The hashes of SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4).
    pub fn hash_algorithms(&self) -> impl Iterator<Item = HashAlgorithm> + use<'a> {
        let pairs = self.data.as_chunks().0.iter();
        pairs.map(|pair| HashAlgorithm(u16::from_be_bytes(*pair)))
    }
}

debug_lengths!(Notify { kind, protocol } lengths { spi, data });
