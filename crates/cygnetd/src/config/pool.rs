//! `[pools.NAME]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esp::spec::{Prefix, Selector};
use ike::identity::Id;
use ike::inner::{Addresses, Domain, Network, is_host};
use ike::pool::{AddressRange, PoolConfig};

use super::diagnostic::{Findings, Place};
use super::reader::{Item, Section, Wrong};
use super::value::{address, check_name, selector};

/// A pool and where it is written.
pub(super) struct Pool {
    pub(super) config: PoolConfig,
    place: Place,
}

/// Reads a pool. `None` when something is wrong with it.
pub(super) fn read(name: &str, mut section: Section<'_>, findings: &mut Findings) -> Option<Pool> {
    if let Err(wrong) = check_name(name) {
        wrong.report(&section.place, findings);
    }
    let ranges = section.list(findings, "addrs", range);
    if ranges.as_ref().is_none_or(Vec::is_empty) && findings.is_good() {
        let help = "addrs = [\"10.3.0.0/16\", \"10.4.0.10-10.4.0.99\"]";
        let message = format!("there are no addresses in {}", section.title);
        findings.error(&section.place_of_value("addrs"), message, help);
    }
    let dns = section.list(findings, "dns", host).unwrap_or_default();
    let domains = section.list(findings, "domains", domain).unwrap_or_default();
    let subnets = section.list(findings, "subnets", prefix).unwrap_or_default();
    if !domains.is_empty() && dns.is_empty() && !section.has("dns") {
        let message = "domains without name servers to ask (RFC 8598)";
        findings.error(&section.place_of_value("domains"), message, "add dns = [\"10.0.0.53\"]");
    }
    for (key, len) in [("dns", dns.len()), ("domains", domains.len()), ("subnets", subnets.len())] {
        if len > Network::MAX_ITEMS {
            let help = format!("at most {}", Network::MAX_ITEMS);
            findings.error(&section.place_of_value(key), "this list is too long", help);
        }
    }
    let fixed = fixed(&mut section, findings);
    let place = section.place.clone();
    section.finish(findings);
    let network = Network { dns, domains, subnets };
    let config = PoolConfig { name: name.into(), ranges: ranges?, fixed: fixed?, network };
    Some(Pool { config, place })
}

/// `[pools.NAME.fixed]`: an address, or one of each family, for an identity.
fn fixed(section: &mut Section<'_>, findings: &mut Findings) -> Option<Vec<(Id, IpAddr)>> {
    let Some(mut section) = section.section(findings, "fixed") else {
        return (!section.has("fixed")).then(Vec::new);
    };
    let mut fixed = Vec::new();
    for (name, place, addresses) in section.entries(findings, hosts) {
        let Ok(owner) = name.parse::<Id>() else {
            findings.error(&place, format!("\"{name}\" is no identity"), "");
            return None;
        };
        for address in addresses {
            if fixed.iter().any(|(_, other)| *other == address) {
                findings.error(&place, format!("{address} is somebody else's"), "");
            }
            fixed.push((owner.clone(), address));
        }
    }
    Some(fixed)
}

/// No two pools may give the same address.
pub(super) fn check_overlaps(pools: &[Pool], findings: &mut Findings) {
    for (index, pool) in pools.iter().enumerate() {
        let mut others = pools.iter().take(index);
        if let Some(other) = others.find(|other| overlap(&pool.config, &other.config)) {
            let message =
                format!("addresses of this pool are in \"{}\" as well", other.config.name);
            findings.error(&pool.place, message, "an address can only belong to one pool");
        }
        let ranges = &pool.config.ranges;
        let is_twice = |(n, range): (usize, &AddressRange)| {
            ranges.iter().take(n).any(|other| meet(range, other))
        };
        if ranges.iter().enumerate().any(is_twice) {
            findings.error(&pool.place, "the ranges of this pool overlap", "");
        }
    }
}

fn overlap(one: &PoolConfig, other: &PoolConfig) -> bool {
    let has = |pool: &PoolConfig, address| {
        pool.ranges.iter().any(|range| range.contains(address))
            || pool.fixed.iter().any(|(_, fixed)| *fixed == address)
    };
    one.ranges.iter().any(|range| other.ranges.iter().any(|theirs| meet(range, theirs)))
        || one.fixed.iter().any(|&(_, address)| has(other, address))
        || other.fixed.iter().any(|&(_, address)| has(one, address))
}

fn meet(one: &AddressRange, other: &AddressRange) -> bool {
    one.contains(other.first()) || other.contains(one.first())
}

/// All addresses of a pool.
pub(super) fn selectors(pool: &PoolConfig) -> impl Iterator<Item = Selector> {
    let any = (0, u16::MAX);
    let ranges = pool.ranges.iter();
    let ranges = ranges.filter_map(move |it| Selector::new(it.first(), it.last(), 0, any).ok());
    ranges.chain(pool.fixed.iter().map(|&(_, address)| Selector::subnet(address, u8::MAX)))
}

/// What a client asks for: at most one address of each family; an unspecified
/// one stands for any.
pub(super) fn vips(section: &mut Section<'_>, findings: &mut Findings) -> Addresses {
    let list = section.list(findings, "vips", |item| match address(item)? {
        address if address.is_unspecified() || is_host(address) => Ok(address),
        address => Err(Wrong::new(format!("{address} is no address of a host"), "")),
    });
    let list = list.unwrap_or_default();
    let vips: Addresses = list.iter().copied().collect();
    if vips.iter().count() < list.len() {
        let help = "one IPv4 and one IPv6 address at most";
        findings.error(&section.place_of_value("vips"), "too many addresses of a family", help);
    }
    vips
}

fn host(item: Item<'_>) -> Result<IpAddr, Wrong> {
    let address = address(item)?;
    if is_host(address) {
        return Ok(address);
    }
    Err(Wrong::new(format!("{address} is no address of a host"), ""))
}

fn hosts(item: Item<'_>) -> Result<Vec<IpAddr>, Wrong> {
    let list = match item.elements() {
        Some(elements) => elements.map(host).collect::<Result<Vec<_>, _>>()?,
        None => vec![host(item)?],
    };
    let addresses: Addresses = list.iter().copied().collect();
    if addresses.iter().count() < list.len() {
        return Err(Wrong::new("too many addresses of a family", "one of each at most"));
    }
    Ok(list)
}

pub(super) fn domain(item: Item<'_>) -> Result<Domain, Wrong> {
    item.parsed()
}

fn prefix(item: Item<'_>) -> Result<Prefix, Wrong> {
    let selector = selector(item)?;
    let mut prefixes = selector.prefixes();
    match (prefixes.next(), prefixes.next()) {
        (Some(only), None) if selector.protocol() == 0 => Ok(only),
        _ => Err(Wrong::new("this is no network", "write \"10.0.0.0/8\"")),
    }
}

/// `"10.3.0.0/16"` or `"10.3.0.10-10.3.0.99"`. Of a network, not the addresses
/// that its hosts cannot have.
fn range(item: Item<'_>) -> Result<AddressRange, Wrong> {
    let selector = selector(item)?;
    if selector.protocol() != 0 {
        return Err(Wrong::new("a pool has no protocols", "write addresses alone"));
    }
    let is_network = !item.text()?.contains('-');
    let (first, last) = match (selector.start(), selector.end()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => v4_hosts(first, last, is_network),
        (IpAddr::V6(first), IpAddr::V6(last)) => v6_hosts(first, last, is_network),
        (first, last) => (first, last),
    };
    AddressRange::new(first, last).ok_or_else(|| Wrong::new("this range is empty", ""))
}

/// Without the network's own address and that of all hosts.
fn v4_hosts(first: Ipv4Addr, last: Ipv4Addr, is_network: bool) -> (IpAddr, IpAddr) {
    let (low, high) = (u32::from(first), u32::from(last));
    let inset = u32::from(is_network && high - low > 1);
    (IpAddr::V4((low + inset).into()), IpAddr::V4((high - inset).into()))
}

/// Without the address of all routers (RFC 4291 section 2.6.1).
fn v6_hosts(first: Ipv6Addr, last: Ipv6Addr, is_network: bool) -> (IpAddr, IpAddr) {
    let (low, high) = (u128::from(first), u128::from(last));
    let inset = u128::from(is_network && high - low > 1);
    (IpAddr::V6((low + inset).into()), IpAddr::V6(last))
}
