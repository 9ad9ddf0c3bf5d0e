//! Configuration payloads (RFC 7296 section 3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::ParseError;
use super::limits;
use super::payload::debug_lengths;
use super::reader::Reader;
use super::registry::{ConfigAttributeType, ConfigType, PayloadType};

/// A Configuration payload. The lengths of its attributes add up; iterating
/// cannot fail.
#[derive(Clone, Copy)]
pub struct ConfigPayload<'a> {
    /// Request, reply, set or acknowledgement.
    pub kind: ConfigType,
    attributes: &'a [u8],
}

impl<'a> ConfigPayload<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(PayloadType::CP, body);
        let [kind, _, _, _] = reader.array()?;
        let payload = Self { kind: ConfigType(kind), attributes: reader.rest() };
        for _ in 0..limits::CONFIG_ATTRIBUTES {
            if reader.is_empty() {
                return Ok(payload);
            }
            ConfigAttribute::parse(&mut reader)?;
        }
        if reader.is_empty() { Ok(payload) } else { Err(ParseError::TooManyAttributes) }
    }

    /// The attributes in order. Those of unknown types are to be ignored.
    #[must_use]
    pub fn attributes(&self) -> ConfigAttributes<'a> {
        ConfigAttributes(Reader::new(PayloadType::CP, self.attributes))
    }
}

impl PartialEq for ConfigPayload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.attributes().eq(other.attributes())
    }
}

impl Eq for ConfigPayload<'_> {}

impl std::fmt::Debug for ConfigPayload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind)?;
        f.debug_list().entries(self.attributes()).finish()
    }
}

/// The attributes of a payload.
pub struct ConfigAttributes<'a>(Reader<'a>);

impl<'a> Iterator for ConfigAttributes<'a> {
    type Item = ConfigAttribute<'a>;

    fn next(&mut self) -> Option<ConfigAttribute<'a>> {
        ConfigAttribute::parse(&mut self.0).ok()
    }
}

/// One item of configuration. An empty value asks for one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigAttribute<'a> {
    /// What it is.
    pub kind: ConfigAttributeType,
    /// Its value, of whatever length the peer gave it.
    pub value: &'a [u8],
}

impl<'a> ConfigAttribute<'a> {
    /// The reserved bit in front of the type.
    const TYPE_MASK: u16 = 0x7fff;

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = ConfigAttributeType(reader.u16()? & Self::TYPE_MASK);
        let length = usize::from(reader.u16()?);
        let value = reader.octets(length)?;
        Ok(Self { kind, value })
    }

    /// The value as an address: 4 or 16 octets.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let v4 = self.value.try_into().ok().map(|octets: [u8; 4]| IpAddr::from(octets));
        v4.or_else(|| self.value.try_into().ok().map(|octets: [u8; 16]| IpAddr::from(octets)))
    }

    /// The value as an IPv6 address and a prefix length: 17 octets, as in
    /// INTERNAL_IP6_ADDRESS and INTERNAL_IP6_SUBNET.
    #[must_use]
    pub fn ipv6_prefix(&self) -> Option<(Ipv6Addr, u8)> {
        let (address, prefix) = self.value.split_first_chunk::<16>()?;
        match prefix {
            &[prefix @ 0..=128] => Some((Ipv6Addr::from(*address), prefix)),
            _ => None,
        }
    }

    /// The value as an IPv4 address and a netmask: 8 octets, as in
    /// INTERNAL_IP4_SUBNET.
    #[must_use]
    pub fn ipv4_subnet(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (address, mask) = self.value.split_first_chunk::<4>()?;
        let mask: [u8; 4] = mask.try_into().ok()?;
        Some((Ipv4Addr::from(*address), Ipv4Addr::from(mask)))
    }
}

debug_lengths!(ConfigAttribute { kind } lengths { value });
