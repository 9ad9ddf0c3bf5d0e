//! What the data plane must know of an inner packet, read with every bound checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::spec::Selector;

/// Extension headers of one IPv6 packet that are walked before giving up.
/// Real packets have at most three or four.
const MAX_EXTENSION_HEADERS: usize = 8;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// IP protocol numbers (IANA "Protocol Numbers").
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const SCTP: u8 = 132;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const UDP_LITE: u8 = 136;
}

/// TCP's protocol number.
pub(crate) const TCP: u8 = protocol::TCP;

/// What traffic selectors look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol of the payload, past extension headers.
    pub protocol: u8,
    /// Source and destination port. ICMP has type and code in both, as
    /// RFC 7296 section 3.13.1 packs them. `None` where the packet shows none.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// Source port, if the packet shows one.
    #[must_use]
    pub fn source_port(&self) -> Option<u16> {
        self.ports.map(|(source, _)| source)
    }

    /// Destination port, if the packet shows one.
    #[must_use]
    pub fn destination_port(&self) -> Option<u16> {
        self.ports.map(|(_, destination)| destination)
    }

    /// The narrowest traffic selectors of a packet, for its source and its
    /// destination. Any port will do where it shows none, and type and code of
    /// ICMP are in both (RFC 7296 sections 2.9 and 3.13.1).
    #[must_use]
    pub fn selectors(&self) -> [Selector; 2] {
        let Self { source, destination, protocol, .. } = *self;
        [
            Selector::of_packet(source, protocol, self.source_port()),
            Selector::of_packet(destination, protocol, self.destination_port()),
        ]
    }

    /// Whether the packet is meant for the link it was sent on: a tunnel is
    /// another link, and such a packet must not start one.
    #[must_use]
    pub fn is_link_scope(&self) -> bool {
        match self.destination {
            IpAddr::V4(a) => {
                let [first, second, third, _] = a.octets();
                (first, second, third) == (224, 0, 0) || a.is_link_local() || a.is_broadcast()
            }
            // Multicast scopes 1 and 2 (RFC 4291 section 2.7), and fe80::/10.
            IpAddr::V6(a) => {
                let first = a.segments()[0];
                first & 0xff00 == 0xff00 && first & 0x000f <= 2 || a.is_unicast_link_local()
            }
        }
    }
}

/// An inner packet whose header does not contradict its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner {
    /// What selectors look at.
    pub flow: Flow,
    /// Octets of the packet as its header says; never more than there are.
    pub total_len: usize,
    /// The ECN field, 0..=3 (RFC 3168 section 5).
    pub ecn: u8,
    /// Where the payload of `flow.protocol` begins, if its first octets are here.
    pub(crate) transport: Option<usize>,
}

/// Not an IPv4 or IPv6 packet, or one that contradicts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a well-formed IP packet")]
pub struct Malformed;

/// Reads the header of an inner packet.
///
/// # Errors
/// [`Malformed`] when it is neither IPv4 nor IPv6 or claims to be longer than it is.
pub fn parse(packet: &[u8]) -> Result<Inner, Malformed> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => parse_v4(packet),
        Some(6) => parse_v6(packet),
        _ => Err(Malformed),
    }
}

fn parse_v4(packet: &[u8]) -> Result<Inner, Malformed> {
    let header = packet.first_chunk::<IPV4_HEADER>().ok_or(Malformed)?;
    let &[first, tos, len0, len1, _, _, frag0, frag1, _, protocol, ..] = header;
    let &[.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([len0, len1]));
    if header_len < IPV4_HEADER || total_len < header_len || total_len > packet.len() {
        return Err(Malformed);
    }
    let is_later_fragment = u16::from_be_bytes([frag0, frag1]) & 0x1fff != 0;
    let transport = (!is_later_fragment).then_some(header_len);
    let ports = transport
        .and_then(|at| packet.get(at..total_len))
        .and_then(|payload| ports(protocol, payload));
    let flow = Flow {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol,
        ports,
    };
    Ok(Inner { flow, total_len, ecn: tos & 3, transport })
}

fn parse_v6(packet: &[u8]) -> Result<Inner, Malformed> {
    let header = packet.first_chunk::<IPV6_HEADER>().ok_or(Malformed)?;
    let &[_, class, _, _, len0, len1, next_header, _, ..] = header;
    let total_len = IPV6_HEADER + usize::from(u16::from_be_bytes([len0, len1]));
    let body = packet.get(IPV6_HEADER..total_len).ok_or(Malformed)?;
    let (source, destination) = v6_addresses(header).ok_or(Malformed)?;
    let payload = skip_extension_headers(next_header, body);
    let transport = payload.offset.map(|offset| IPV6_HEADER + offset);
    let ports = payload
        .offset
        .and_then(|offset| body.get(offset..))
        .and_then(|octets| ports(payload.protocol, octets));
    let flow = Flow {
        source: source.into(),
        destination: destination.into(),
        protocol: payload.protocol,
        ports,
    };
    Ok(Inner { flow, total_len, ecn: (class >> 4) & 3, transport })
}

fn v6_addresses(header: &[u8; IPV6_HEADER]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (_, addresses) = header.split_first_chunk::<8>()?;
    let (source, rest) = addresses.split_first_chunk::<16>()?;
    let destination = rest.first_chunk::<16>()?;
    Some((Ipv6Addr::from(*source), Ipv6Addr::from(*destination)))
}

struct Payload {
    protocol: u8,
    /// `None` in a later fragment, or when the chain leaves the packet.
    offset: Option<usize>,
}

/// Walks the chain of RFC 8200 section 4. Where it breaks off, the header that
/// could not be read stands for the protocol: only "any" selects such a packet.
fn skip_extension_headers(first: u8, body: &[u8]) -> Payload {
    let mut protocol = first;
    let mut offset = 0usize;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let unit = match protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY => 8,
            protocol::AH => 4,
            protocol::FRAGMENT => 0,
            _ => return Payload { protocol, offset: Some(offset) },
        };
        let Some(&[next, len, frag0, frag1]) =
            body.get(offset..).and_then(|rest| rest.first_chunk::<4>())
        else {
            return Payload { protocol, offset: None };
        };
        let size = match (protocol, unit) {
            (protocol::FRAGMENT, _) => 8,
            (protocol::AH, unit) => (usize::from(len) + 2) * unit,
            (_, unit) => (usize::from(len) + 1) * unit,
        };
        if protocol == protocol::FRAGMENT && u16::from_be_bytes([frag0, frag1]) & 0xfff8 != 0 {
            return Payload { protocol: next, offset: None };
        }
        protocol = next;
        offset += size;
    }
    Payload { protocol, offset: None }
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE => {
            let &[s0, s1, d0, d1] = payload.first_chunk::<4>()?;
            Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let type_and_code = u16::from_be_bytes(*payload.first_chunk::<2>()?);
            Some((type_and_code, type_and_code))
        }
        _ => None,
    }
}

/// Marks an ECN-capable packet "congestion experienced", as its outer header
/// was on the way (RFC 4301 section 5.1.2.1). Others stay as they are.
pub fn set_congestion_experienced(packet: &mut [u8]) {
    match packet {
        [first, tos, ..] if *first >> 4 == 4 => {
            let old = *tos;
            if matches!(old & 3, 1 | 2) {
                *tos = old | 3;
                update_v4_header_checksum(packet, u16::from(old), u16::from(old | 3));
            }
        }
        [first, class, ..] if *first >> 4 == 6 && matches!((*class >> 4) & 3, 1 | 2) => {
            *class |= 0x30;
        }
        _ => {}
    }
}

fn update_v4_header_checksum(packet: &mut [u8], old: u16, new: u16) {
    let Some(field) = packet.get_mut(10..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return;
    };
    *field = updated_checksum(u16::from_be_bytes(*field), old, new).to_be_bytes();
}

/// A checksum after one of its 16-bit words changed: equation 3 of RFC 1624.
pub(crate) fn updated_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
