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
    ConfigAttribute, ConfigAttributeType, ConfigPayload, ConfigType, MessageBuilder, PayloadType,
    Payloads, Protected, parse_payloads,
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

/// What the fuzz target `configuration` runs on each input, and the tests on
/// its corpus: the body of a Configuration payload as a request and as a reply.
#[doc(hidden)]
pub fn fuzz(body: &[u8]) {
    let any = Addresses { v4: Some(Ipv4Addr::UNSPECIFIED), v6: Some(Ipv6Addr::UNSPECIFIED) };
    let mut chain = vec![0, 0];
    let Ok(len) = u16::try_from(body.len() + 4) else { return };
    chain.extend_from_slice(&len.to_be_bytes());
    chain.extend_from_slice(body);
    let Ok(payloads) = parse_payloads(PayloadType::CP, &chain) else { return };
    if let Some(request) = Request::of(&payloads) {
        assert!(!request.wanted.is_empty(), "a request for nothing");
        let is_good = |address: IpAddr| address.is_unspecified() || is_host(address);
        assert!(request.wanted.iter().all(is_good), "a wish for what no host can have");
    }
    for wanted in [any, Addresses { v6: None, ..any }, Addresses { v4: None, ..any }] {
        let Some(Assignment { addresses, network }) = assignment(&payloads, wanted) else {
            continue;
        };
        assert!(addresses.iter().all(is_host), "an address that no host can have");
        assert!(wanted.v4.is_some() || addresses.v4.is_none(), "more than was wanted");
        assert!(wanted.v6.is_some() || addresses.v6.is_none(), "more than was wanted");
        let Network { dns, domains, subnets } = network;
        assert!(dns.iter().all(|&server| is_host(server)), "a server that is no host");
        assert!(domains.is_empty() || !dns.is_empty(), "domains without servers");
        let longest = dns.len().max(domains.len()).max(subnets.len());
        assert!(longest <= Network::MAX_ITEMS, "more than is taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: Kind, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap();
        [&kind.0.to_be_bytes()[..], &len.to_be_bytes()[..], value].concat()
    }

    fn chain(kind: ConfigType, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let len = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
        [&[0, 0, len[0], len[1], kind.0, 0, 0, 0], body.as_slice()].concat()
    }

    fn given(attributes: &[Vec<u8>]) -> Option<Assignment> {
        let chain = chain(ConfigType::REPLY, attributes);
        let any = Addresses { v4: Some(Ipv4Addr::UNSPECIFIED), v6: Some(Ipv6Addr::UNSPECIFIED) };
        assignment(&parse_payloads(PayloadType::CP, &chain).unwrap(), any)
    }

    #[test]
    fn the_corpus_holds_no_surprise() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/configuration");
        let inputs: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(!inputs.is_empty());
        inputs.into_iter().for_each(|it| fuzz(&std::fs::read(it.unwrap().path()).unwrap()));
    }

    #[test]
    fn only_an_address_of_a_host_is_taken() {
        let v4 = |octets: &[u8]| given(&[attribute(Kind::INTERNAL_IP4_ADDRESS, octets)]);
        assert!(v4(&[10, 0, 0, 1]).is_some());
        for bad in [&[0, 0, 0, 0][..], &[224, 0, 0, 1], &[127, 0, 0, 1], &[255; 4], &[], &[1; 16]] {
            assert_eq!(v4(bad), None, "{bad:?}");
        }
        let v6 = |octets: &[u8]| given(&[attribute(Kind::INTERNAL_IP6_ADDRESS, octets)]);
        assert!(v6(&[[0xfd; 16].as_slice(), &[64]].concat()).is_some());
        assert!(v6(&[0xfd; 16]).is_some(), "without a prefix length");
        assert_eq!(v6(&[0; 17]), None);
    }

    #[test]
    fn domains_need_a_server_and_trust_anchors_are_passed_over() {
        let address = attribute(Kind::INTERNAL_IP4_ADDRESS, &[10, 0, 0, 1]);
        let domain = attribute(Kind::INTERNAL_DNS_DOMAIN, b"corp.example");
        let anchor = attribute(Kind::INTERNAL_DNSSEC_TA, &[1; 40]);
        let version = attribute(Kind::APPLICATION_VERSION, b"gateway");
        let server = attribute(Kind::INTERNAL_IP4_DNS, &[10, 0, 0, 53]);
        let bad = attribute(Kind::INTERNAL_DNS_DOMAIN, b"corp\0example");
        let without = given(&[address.clone(), domain.clone(), anchor.clone()]).unwrap();
        assert_eq!(without.network, Network::default());
        let with = given(&[address, domain, anchor, bad, version, server]).unwrap();
        assert_eq!(with.network.domains, ["corp.example".parse().unwrap()]);
        assert_eq!(with.network.dns, [IpAddr::from([10, 0, 0, 53])]);
    }

    #[test]
    fn no_list_grows_without_bound() {
        let address = attribute(Kind::INTERNAL_IP4_ADDRESS, &[10, 0, 0, 1]);
        let servers = (0..200u8).map(|n| attribute(Kind::INTERNAL_IP4_DNS, &[10, 1, 1, n]));
        let all: Vec<_> = std::iter::once(address).chain(servers).collect();
        assert_eq!(given(&all).unwrap().network.dns.len(), Network::MAX_ITEMS);
    }

    #[test]
    fn what_a_netmask_means_is_a_prefix_or_nothing() {
        let subnet = |mask: [u8; 4]| {
            let address = attribute(Kind::INTERNAL_IP4_ADDRESS, &[10, 0, 0, 1]);
            let value = [[10, 0, 0, 0], mask].concat();
            let all = [address, attribute(Kind::INTERNAL_IP4_SUBNET, &value)];
            given(&all).unwrap().network.subnets.first().map(|it| it.len)
        };
        assert_eq!(subnet([255, 0, 0, 0]), Some(8));
        assert_eq!(subnet([0, 0, 0, 0]), Some(0));
        assert_eq!(subnet([255; 4]), Some(32));
        assert_eq!(subnet([255, 0, 255, 0]), None);
        for len in 0..=32 {
            let octets = masked(Ipv4Addr::new(10, 0, 0, 0), len);
            assert_eq!(subnet([octets[4], octets[5], octets[6], octets[7]]), Some(len));
        }
    }
}
