//! How redirects name a gateway (RFC 5685 sections 9.2 and 9.3).

use std::net::IpAddr;

use super::error::ParseError;
use super::reader::Reader;
use super::registry::PayloadType;

/// The longest name of a host (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// A gateway in REDIRECT or REDIRECTED_FROM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GatewayId<'a> {
    /// Its address.
    Address(IpAddr),
    /// Its name in the DNS: see [`is_host_name`].
    Name(&'a str),
}

impl<'a> GatewayId<'a> {
    const IPV4: u8 = 1;
    const IPV6: u8 = 2;
    const FQDN: u8 = 3;

    /// The gateway, and the octets behind it: a nonce, or nothing. `None` if it
    /// is of a kind that is not known, or not what it says to be.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        Self::read(data).ok().flatten()
    }

    fn read(data: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        let mut reader = Reader::new(PayloadType::NOTIFY, data);
        let kind = reader.u8()?;
        let len = reader.u8()?;
        let octets = reader.octets(usize::from(len))?;
        let gateway = match kind {
            Self::IPV4 => <[u8; 4]>::try_from(octets).ok().map(|it| Self::Address(it.into())),
            Self::IPV6 => <[u8; 16]>::try_from(octets).ok().map(|it| Self::Address(it.into())),
            Self::FQDN => {
                let name = std::str::from_utf8(octets).ok().filter(|name| is_host_name(name));
                name.map(Self::Name)
            }
            _ => None,
        };
        Ok(gateway.map(|gateway| (gateway, reader.rest())))
    }

    /// The gateway, and what belongs behind it.
    #[must_use]
    pub fn emit(&self, nonce: &[u8]) -> Vec<u8> {
        let (kind, octets) = match self {
            Self::Address(IpAddr::V4(it)) => (Self::IPV4, it.octets().to_vec()),
            Self::Address(IpAddr::V6(it)) => (Self::IPV6, it.octets().to_vec()),
            Self::Name(name) => (Self::FQDN, name.as_bytes().to_vec()),
        };
        // No name is longer than `MAX_NAME`.
        let len = u8::try_from(octets.len()).unwrap_or(u8::MAX);
        [&[kind, len], &*octets, nonce].concat()
    }
}

/// Whether this is the full name of a host: labels of letters, digits, hyphens
/// and underscores with dots between, at most 253 octets, and not an address.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    text.len() <= MAX_NAME
        && text.split('.').all(is_label)
        && !text.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_comes_back_as_it_went() {
        let addresses =
            ["192.0.2.1", "2001:db8::1"].map(|it| GatewayId::Address(it.parse().unwrap()));
        for gateway in addresses.into_iter().chain([GatewayId::Name("gw2.example.org")]) {
            for nonce in [&[][..], &[7; 32]] {
                assert_eq!(GatewayId::parse(&gateway.emit(nonce)), Some((gateway, nonce)));
            }
        }
        // RFC 5685 section 9.2: type, length, identity, nonce.
        let octets = GatewayId::Address([192, 0, 2, 1].into()).emit(&[9, 9]);
        assert_eq!(octets, [1, 4, 192, 0, 2, 1, 9, 9]);
    }

    #[test]
    fn what_is_not_a_gateway_is_none() {
        for octets in [
            &[][..],
            &[1],
            &[1, 4, 192, 0, 2],
            &[1, 3, 192, 0, 2],
            &[2, 4, 192, 0, 2, 1],
            &[0, 4, 192, 0, 2, 1],
            &[4, 4, 192, 0, 2, 1],
            &[3, 0],
            &[3, 3, b'a', b' ', b'b'],
            &[3, 3, b'a', 0, b'b'],
            &[3, 2, 0xff, 0xfe],
            &[3, 7, b'1', b'.', b'2', b'.', b'3', b'.', b'4'],
        ] {
            assert_eq!(GatewayId::parse(octets), None, "{octets:?}");
        }
        assert!(!is_host_name(&"a.".repeat(126)), "an empty label at the end");
        assert!(is_host_name(&format!("{}a", "a.".repeat(126))));
        assert!(!is_host_name(&format!("{}ab", "a.".repeat(126))), "254 octets");
    }
}
