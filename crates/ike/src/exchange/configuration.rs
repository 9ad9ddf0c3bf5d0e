//! Configuration payloads in IKE_AUTH (RFC 7296 sections 2.19 and 3.15,
//! RFC 8598).
//!
//! ```text
//! HDR, SK { IDi, .., AUTH, CP(CFG_REQUEST), SAi2, TSi, TSr } -->
//!                     <-- HDR, SK { IDr, AUTH, CP(CFG_REPLY), SAr2, TSi, TSr }
//! ```
//! After a resume it is sent again: what an initiator was given is not resumed,
//! but it asks for the address that it had (RFC 5723 section 5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esp::spec::Prefix;

use crate::inner::{Addresses, Assignment, Domain, Network, is_host};
use crate::wire::{
    ConfigAttribute, ConfigAttributeType, ConfigPayload, ConfigType, MessageBuilder, Payloads,
    Protected,
};

type Kind = ConfigAttributeType;

/// Appends CFG_REQUEST.
pub(crate) fn push_request(builder: &mut MessageBuilder<Protected>, wanted: Addresses) {
    let mut list = Attributes::default();
    if let Some(address) = wanted.v4 {
        let wish = address.octets();
        list.put(Kind::INTERNAL_IP4_ADDRESS, if address.is_unspecified() { &[] } else { &wish });
        list.put(Kind::INTERNAL_IP4_DNS, &[]);
        list.put(Kind::INTERNAL_IP4_SUBNET, &[]);
    }
    if let Some(address) = wanted.v6 {
        let wish = with_prefix(address, Ipv6Addr::BITS);
        list.put(Kind::INTERNAL_IP6_ADDRESS, if address.is_unspecified() { &[] } else { &wish });
        list.put(Kind::INTERNAL_IP6_DNS, &[]);
        list.put(Kind::INTERNAL_IP6_SUBNET, &[]);
    }
    list.put(Kind::INTERNAL_DNS_DOMAIN, &[]);
    list.push(builder, ConfigType::REQUEST);
}

/// Appends CFG_REPLY: what of an assignment was asked for.
pub(crate) fn push_reply(
    builder: &mut MessageBuilder<Protected>,
    asked: Request,
    given: &Assignment,
) {
    let mut list = Attributes::default();
    let Assignment { addresses, network } = given;
    if let Some(address) = addresses.v4 {
        list.put(Kind::INTERNAL_IP4_ADDRESS, &address.octets());
    }
    if let Some(address) = addresses.v6 {
        list.put(Kind::INTERNAL_IP6_ADDRESS, &with_prefix(address, Ipv6Addr::BITS));
    }
    let servers = network.dns.iter().filter(|server| asked.dns_of(server));
    for server in servers.clone() {
        match server {
            IpAddr::V4(server) => list.put(Kind::INTERNAL_IP4_DNS, &server.octets()),
            IpAddr::V6(server) => list.put(Kind::INTERNAL_IP6_DNS, &server.octets()),
        }
    }
    // Domains without a server to ask are of no use (RFC 8598 section 4.1).
    if asked.domains && servers.count() > 0 {
        for domain in &network.domains {
            list.put(Kind::INTERNAL_DNS_DOMAIN, domain.as_str().as_bytes());
        }
    }
    for subnet in &network.subnets {
        match subnet.address {
            IpAddr::V4(address) => {
                list.put(Kind::INTERNAL_IP4_SUBNET, &masked(address, subnet.len));
            }
            IpAddr::V6(address) => {
                list.put(Kind::INTERNAL_IP6_SUBNET, &with_prefix(address, u32::from(subnet.len)));
            }
        }
    }
    list.push(builder, ConfigType::REPLY);
}

/// What an initiator asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// The families, and the addresses that it would like; unspecified: any.
    pub(crate) wanted: Addresses,
    dns_v4: bool,
    dns_v6: bool,
    domains: bool,
}

impl Request {
    /// What a message asks for; `None` if it asks for no address. What else it
    /// asks for and we do not know is ignored (RFC 7296 section 3.15.1).
    pub(crate) fn of(payloads: &Payloads<'_>) -> Option<Self> {
        let payload = payloads.config().filter(|it| it.kind == ConfigType::REQUEST)?;
        let asks = |kind| payload.attributes().any(|attribute| attribute.kind == kind);
        let v4 = first(&payload, Kind::INTERNAL_IP4_ADDRESS, v4_wish);
        let v6 = first(&payload, Kind::INTERNAL_IP6_ADDRESS, v6_wish);
        let wanted = Addresses { v4, v6 };
        (!wanted.is_empty()).then(|| Self {
            wanted,
            dns_v4: asks(Kind::INTERNAL_IP4_DNS),
            dns_v6: asks(Kind::INTERNAL_IP6_DNS),
            domains: asks(Kind::INTERNAL_DNS_DOMAIN),
        })
    }

    const fn dns_of(&self, server: &IpAddr) -> bool {
        match server {
            IpAddr::V4(_) => self.dns_v4,
            IpAddr::V6(_) => self.dns_v6,
        }
    }
}

/// What a responder gives, of the families that were wanted. `None` if there
/// is no usable address in it.
pub(crate) fn assignment(payloads: &Payloads<'_>, wanted: Addresses) -> Option<Assignment> {
    let payload = payloads.config().filter(|it| it.kind == ConfigType::REPLY)?;
    let addresses = Addresses {
        v4: wanted.v4.and_then(|_| first(&payload, Kind::INTERNAL_IP4_ADDRESS, v4_given)),
        v6: wanted.v6.and_then(|_| first(&payload, Kind::INTERNAL_IP6_ADDRESS, v6_given)),
    };
    (!addresses.is_empty()).then(|| Assignment { addresses, network: network(&payload) })
}

/// Trust anchors for DNSSEC are not read: nothing here validates (RFC 8598
/// section 4.2).
fn network(payload: &ConfigPayload<'_>) -> Network {
    let mut network = Network::default();
    for attribute in payload.attributes() {
        match attribute.kind {
            Kind::INTERNAL_IP4_DNS | Kind::INTERNAL_IP6_DNS => {
                keep(&mut network.dns, dns_server(&attribute));
            }
            Kind::INTERNAL_DNS_DOMAIN => keep(&mut network.domains, domain(&attribute)),
            Kind::INTERNAL_IP4_SUBNET | Kind::INTERNAL_IP6_SUBNET => {
                keep(&mut network.subnets, subnet(&attribute));
            }
            _ => {}
        }
    }
    // Domains MUST come with servers (RFC 8598 section 3.2).
    if network.dns.is_empty() {
        network.domains.clear();
    }
    network
}

fn keep<T: PartialEq>(list: &mut Vec<T>, item: Option<T>) {
    if let Some(item) = item
        && list.len() < Network::MAX_ITEMS
        && !list.contains(&item)
    {
        list.push(item);
    }
}

/// The first attribute of a kind that can be read.
fn first<T>(
    payload: &ConfigPayload<'_>,
    kind: Kind,
    read: impl Fn(&ConfigAttribute<'_>) -> Option<T>,
) -> Option<T> {
    payload.attributes().filter(|attribute| attribute.kind == kind).find_map(|it| read(&it))
}

/// No value, or one that is no address of a host, asks for any.
fn v4_wish(attribute: &ConfigAttribute<'_>) -> Option<Ipv4Addr> {
    if attribute.value.is_empty() {
        return Some(Ipv4Addr::UNSPECIFIED);
    }
    match attribute.address()? {
        IpAddr::V4(address) if is_host(address.into()) => Some(address),
        IpAddr::V4(_) => Some(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => None,
    }
}

fn v6_wish(attribute: &ConfigAttribute<'_>) -> Option<Ipv6Addr> {
    if attribute.value.is_empty() {
        return Some(Ipv6Addr::UNSPECIFIED);
    }
    let address = v6_address(attribute)?;
    Some(if is_host(address.into()) { address } else { Ipv6Addr::UNSPECIFIED })
}

fn v4_given(attribute: &ConfigAttribute<'_>) -> Option<Ipv4Addr> {
    match attribute.address()? {
        IpAddr::V4(address) => is_host(address.into()).then_some(address),
        IpAddr::V6(_) => None,
    }
}

fn v6_given(attribute: &ConfigAttribute<'_>) -> Option<Ipv6Addr> {
    v6_address(attribute).filter(|&address| is_host(address.into()))
}

/// With a prefix length, which old implementations leave out.
fn v6_address(attribute: &ConfigAttribute<'_>) -> Option<Ipv6Addr> {
    match (attribute.ipv6_prefix(), attribute.address()) {
        (Some((address, _)), _) | (None, Some(IpAddr::V6(address))) => Some(address),
        (None, Some(IpAddr::V4(_)) | None) => None,
    }
}

fn dns_server(attribute: &ConfigAttribute<'_>) -> Option<IpAddr> {
    let is_v4 = attribute.kind == Kind::INTERNAL_IP4_DNS;
    attribute.address().filter(|&server| server.is_ipv4() == is_v4 && is_host(server))
}

fn domain(attribute: &ConfigAttribute<'_>) -> Option<Domain> {
    std::str::from_utf8(attribute.value).ok()?.parse().ok()
}

fn subnet(attribute: &ConfigAttribute<'_>) -> Option<Prefix> {
    if attribute.kind == Kind::INTERNAL_IP6_SUBNET {
        let (address, len) = attribute.ipv6_prefix()?;
        return Some(Prefix { address: address.into(), len });
    }
    let (address, mask) = attribute.ipv4_subnet()?;
    let mask = u32::from(mask);
    let len = u8::try_from(mask.leading_ones()).ok()?;
    let is_contiguous = mask.checked_shl(u32::from(len)).unwrap_or(0) == 0;
    is_contiguous.then_some(Prefix { address: address.into(), len })
}

/// An address and a netmask.
fn masked(address: Ipv4Addr, len: u8) -> [u8; 8] {
    let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    let [a, b, c, d] = address.octets();
    let [m, n, o, p] = (!host).to_be_bytes();
    [a, b, c, d, m, n, o, p]
}

/// An address and a prefix length.
fn with_prefix(address: Ipv6Addr, len: u32) -> [u8; 17] {
    let mut octets = [u8::try_from(len).unwrap_or(128); 17];
    for (octet, of_address) in octets.iter_mut().zip(address.octets()) {
        *octet = of_address;
    }
    octets
}

/// Attributes that are being put together.
#[derive(Default)]
struct Attributes(Vec<(Kind, Box<[u8]>)>);

impl Attributes {
    fn put(&mut self, kind: Kind, value: &[u8]) {
        self.0.push((kind, value.into()));
    }

    fn push(&self, builder: &mut MessageBuilder<Protected>, kind: ConfigType) {
        let list = self.0.iter().map(|(kind, value)| ConfigAttribute { kind: *kind, value });
        builder.config(kind, list);
    }
}
