//! What a child SA is: the value that a negotiation produces and a plane installs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crypto::EspKey;

use crate::limits::Limits;

/// Names one child between endpoint and plane, for the life of the process.
///
/// An endpoint never uses an id twice, so a late event of a removed child
/// cannot be taken for one of its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChildId(pub u64);

/// The policies of one connection, for the life of the process.
///
/// A group outlives its children: while no child serves it, its packets wait
/// (see [`crate::plane::Command::Hold`]) and never leave in clear text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u64);

/// A Security Parameters Index of ESP (RFC 4303 section 2.1): 256 or more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(u32);

impl Spi {
    /// The lowest SPI that may be assigned; 0..=255 are reserved (RFC 4303 section 2.1).
    pub const MIN: u32 = 256;

    /// An SPI, or `None` for one of the reserved values.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value < Self::MIN { None } else { Some(Self(value)) }
    }

    /// The value in host byte order.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Names a TCP connection that carries IKE and ESP (RFC 9329), for the life of
/// the process. One of ours keeps its name when it is broken and opened anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StreamId {
    /// One that we open.
    Ours(u64),
    /// One that a peer has opened.
    Theirs(u64),
}

/// How ESP travels between the gateways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// IP protocol 50 (RFC 4303).
    Plain,
    /// Inside UDP (RFC 3948), sharing the port with IKE.
    Udp,
    /// Inside this TCP connection, beside IKE (RFC 9329).
    Tcp(StreamId),
}

/// Where a child's packets go on the outside.
///
/// With [`Encapsulation::Plain`] the ports have no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OuterPath {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The form on the wire.
    pub encapsulation: Encapsulation,
}

/// What the packets of a child hold (RFC 4301 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    /// Whole IP packets.
    #[default]
    Tunnel,
    /// What IP packets between the two ends of the SA carry: the outer addresses
    /// are the only ones.
    Transport,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "tunnel",
            Self::Transport => "transport",
        })
    }
}

/// The addresses of the peer's packets before NATs rewrite them: checksums in
/// transport mode are made with these (RFC 3948 section 3.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Original {
    /// The peer, as it sees itself.
    pub source: IpAddr,
    /// We, as the peer sees us.
    pub destination: IpAddr,
}

/// One traffic selector (RFC 7296 section 3.13.1): an address range of one
/// family, an IP protocol and a port range. Ordered by its first address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    start: IpAddr,
    end: IpAddr,
    protocol: u8,
    start_port: u16,
    end_port: u16,
}

/// A range whose ends are of different families or in the wrong order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the range is empty or mixes address families")]
pub struct EmptySelector;

impl Selector {
    /// A selector for `start..=end`. `protocol` 0 means any; ports are
    /// inclusive, `0..=65535` means any (and ICMP type and code, RFC 7296
    /// section 3.13.1, where the protocol is ICMP).
    ///
    /// # Errors
    /// [`EmptySelector`] when nothing could match.
    pub fn new(
        start: IpAddr,
        end: IpAddr,
        protocol: u8,
        ports: (u16, u16),
    ) -> Result<Self, EmptySelector> {
        let same_family = start.is_ipv4() == end.is_ipv4();
        // OPAQUE ports are (65535, 0) on the wire; no policy here uses them.
        if !same_family || start > end || ports.0 > ports.1 {
            return Err(EmptySelector);
        }
        Ok(Self { start, end, protocol, start_port: ports.0, end_port: ports.1 })
    }

    /// Just the packets that have this address, protocol and port on one side: all
    /// ports where the packet shows none.
    #[must_use]
    pub const fn of_packet(address: IpAddr, protocol: u8, port: Option<u16>) -> Self {
        let (start_port, end_port) = match port {
            Some(port) => (port, port),
            None => (0, u16::MAX),
        };
        Self { start: address, end: address, protocol, start_port, end_port }
    }

    /// The same protocol and ports of one address.
    #[must_use]
    pub const fn at(self, address: IpAddr) -> Self {
        Self { start: address, end: address, ..self }
    }

    /// All protocols and ports of a subnet. The prefix length is capped at the
    /// family's width.
    #[must_use]
    pub fn subnet(address: IpAddr, prefix: u8) -> Self {
        let (start, end) = subnet_range(address, prefix);
        Self { start, end, protocol: 0, start_port: 0, end_port: u16::MAX }
    }

    /// First address.
    #[must_use]
    pub const fn start(&self) -> IpAddr {
        self.start
    }

    /// Last address, included.
    #[must_use]
    pub const fn end(&self) -> IpAddr {
        self.end
    }

    /// IP protocol number; 0 is any.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// First and last port, both included.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        (self.start_port, self.end_port)
    }

    /// Whether a packet with this address, protocol and port is selected.
    ///
    /// `port` is `None` when the packet shows none (a later fragment, a
    /// protocol without ports): such a packet matches only "any port"
    /// (RFC 4301 section 4.4.1.1).
    #[must_use]
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let any_port = self.start_port == 0 && self.end_port == u16::MAX;
        let port_matches =
            any_port || port.is_some_and(|p| (self.start_port..=self.end_port).contains(&p));
        (self.start..=self.end).contains(&address)
            && address.is_ipv4() == self.start.is_ipv4()
            && (self.protocol == 0 || self.protocol == protocol)
            && port_matches
    }

    /// The fewest prefixes that together cover exactly this address range, in
    /// ascending order: what a route or an index can hold.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + use<> {
        let (mut next, last, width) = match (self.start, self.end) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (Some(u128::from(u32::from(a))), u128::from(u32::from(b)), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (Some(u128::from(a)), u128::from(b), 128),
            // Selector::new admits no mixture.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => (None, 0, 0),
        };
        std::iter::from_fn(move || {
            let first = next.take()?;
            let (prefix, end) = largest_prefix(first, last, width)?;
            next = if end < last { end.checked_add(1) } else { None };
            Some(prefix)
        })
    }

    /// Whether this selects all that `other` does.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.intersection(other) == Some(*other)
    }

    /// What both select, if anything: the narrowing of RFC 7296 section 2.9.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, p) | (p, 0) => p,
            (a, b) if a == b => a,
            _ => return None,
        };
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        let ports = (self.start_port.max(other.start_port), self.end_port.min(other.end_port));
        Self::new(start, end, protocol, ports).ok()
    }
}

/// A subnet: an address whose host bits are zero, and the prefix length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix {
    /// The network address.
    pub address: IpAddr,
    /// Prefix length, at most 32 or 128.
    pub len: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// The largest prefix that begins at `first` and does not pass `last`, and its
/// last address.
fn largest_prefix(first: u128, last: u128, width: u32) -> Option<(Prefix, u128)> {
    let aligned = first.trailing_zeros().min(width);
    let spare = last.checked_sub(first)?;
    // The largest n with 2^n - 1 <= spare.
    let fitting = spare.checked_add(1).map_or(width, u128::ilog2);
    let host_bits = aligned.min(fitting);
    let end = first | !u128::MAX.checked_shl(host_bits).unwrap_or(0);
    let address = if width == 32 {
        IpAddr::V4(u32::try_from(first).ok()?.into())
    } else {
        IpAddr::V6(first.into())
    };
    let len = u8::try_from(width - host_bits).ok()?;
    Some((Prefix { address, len }, end))
}

fn subnet_range(address: IpAddr, prefix: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let start = u32::from(a) & !host;
            (IpAddr::V4(start.into()), IpAddr::V4((start | host).into()))
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let start = u128::from(a) & !host;
            (IpAddr::V6(start.into()), IpAddr::V6((start | host).into()))
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match prefix_of(self.start, self.end) {
            Some(prefix) => write!(f, "{}/{prefix}", self.start)?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        let any_port = self.start_port == 0 && self.end_port == u16::MAX;
        match (self.protocol, any_port) {
            (0, true) => Ok(()),
            (p, true) => write!(f, "[{p}]"),
            (p, false) if self.start_port == self.end_port => {
                write!(f, "[{p}/{}]", self.start_port)
            }
            (p, false) => write!(f, "[{p}/{}-{}]", self.start_port, self.end_port),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The prefix length of a range that is a subnet.
fn prefix_of(start: IpAddr, end: IpAddr) -> Option<u8> {
    let (low, high, width) = match (start, end) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u128::from(u32::from(a)), u128::from(u32::from(b)), 32u32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
        _ => return None,
    };
    let host = low ^ high;
    let host_bits = 128 - host.leading_zeros();
    let is_subnet = host & host.wrapping_add(1) == 0 && low & host == 0;
    is_subnet.then(|| u8::try_from(width - host_bits).ok()).flatten()
}

/// One direction of a child: its SPI and its key.
pub struct HalfSpec {
    /// The SPI on the wire.
    pub spi: Spi,
    /// The key, used once: turned into a sealing or an opening key.
    pub key: EspKey,
}

/// A CHILD SA as negotiated: both directions and its policies, as one unit.
pub struct ChildSpec {
    /// Its name.
    pub id: ChildId,
    /// The policies it serves. Several children may serve a group; the newest wins.
    pub group: GroupId,
    /// Whether it gives way to every other child of its group until
    /// [`Command::Prefer`](crate::plane::Command::Prefer), while packets to us
    /// are taken at once: so does who answers a rekey, until the peer is known
    /// to have the new SA (RFC 7296 section 2.8). The first of its group gives way
    /// to other groups with the same selectors: so does who answers a peer that
    /// has another IKE SA already.
    pub standby: bool,
    /// Packets to us: the SPI is ours.
    pub inbound: HalfSpec,
    /// Packets to the peer: the SPI is theirs.
    pub outbound: HalfSpec,
    /// What its packets hold.
    pub mode: Mode,
    /// In transport mode, if NATs rewrite the addresses of the peer's packets.
    pub original: Option<Original>,
    /// Where packets go on the outside. In transport mode both sides of the
    /// traffic have just these addresses.
    pub path: OuterPath,
    /// Our side of the traffic: sources of outgoing packets.
    pub local_ts: Vec<Selector>,
    /// The peer's side: sources of incoming packets.
    pub remote_ts: Vec<Selector>,
    /// How much it may carry.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: &str, end: &str) -> Selector {
        Selector::new(start.parse().unwrap(), end.parse().unwrap(), 0, (0, u16::MAX)).unwrap()
    }

    fn prefixes(selector: &Selector) -> Vec<String> {
        selector.prefixes().map(|prefix| prefix.to_string()).collect()
    }

    #[test]
    fn a_subnet_is_one_prefix() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128"] {
            let (address, len) = text.split_once('/').unwrap();
            let selector = Selector::subnet(address.parse().unwrap(), len.parse().unwrap());
            assert_eq!(prefixes(&selector), [text]);
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn an_odd_range_is_cut_into_the_fewest_prefixes() {
        assert_eq!(
            prefixes(&range("10.0.0.5", "10.0.0.9")),
            ["10.0.0.5/32", "10.0.0.6/31", "10.0.0.8/31"]
        );
        assert_eq!(prefixes(&range("255.255.255.255", "255.255.255.255")).len(), 1);
        assert_eq!(prefixes(&range("0.0.0.1", "255.255.255.254")).len(), 62);
    }

    #[test]
    fn a_selector_includes_what_is_narrower_in_everything() {
        let of = |start: &str, end: &str, protocol, ports| {
            Selector::new(start.parse().unwrap(), end.parse().unwrap(), protocol, ports).unwrap()
        };
        let any = (0, u16::MAX);
        let https = of("10.0.0.1", "10.0.0.1", 6, (443, 443));
        for wider in
            [https, of("10.0.0.0", "10.0.0.9", 0, any), of("10.0.0.1", "10.0.0.1", 6, (1, 1023))]
        {
            assert!(wider.includes(&https));
            assert_eq!(https.includes(&wider), wider == https);
        }
        for other in [
            of("10.0.0.2", "10.0.0.9", 0, any),
            of("10.0.0.0", "10.0.0.9", 17, any),
            of("10.0.0.0", "10.0.0.9", 6, (1, 442)),
            of("::", "ffff::", 0, any),
        ] {
            assert!(!other.includes(&https) && !https.includes(&other));
        }
    }

    proptest! {
        #[test]
        fn prefixes_cover_the_range_without_gap_or_overlap(a: u32, b: u32, is_v6: bool) {
            let address = |n: u32| -> IpAddr {
                if is_v6 { IpAddr::V6((u128::from(n) << 64).into()) } else { IpAddr::V4(n.into()) }
            };
            let selector = Selector::new(address(a.min(b)), address(a.max(b)), 0, (0, u16::MAX)).unwrap();
            let pieces: Vec<_> = selector.prefixes().map(|p| Selector::subnet(p.address, p.len)).collect();
            prop_assert_eq!(pieces.first().unwrap().start(), selector.start());
            prop_assert_eq!(pieces.last().unwrap().end(), selector.end());
            for (left, right) in pieces.iter().zip(&pieces[1..]) {
                let next = match left.end() {
                    IpAddr::V4(a) => IpAddr::V4((u32::from(a) + 1).into()),
                    IpAddr::V6(a) => IpAddr::V6((u128::from(a) + 1).into()),
                };
                prop_assert_eq!(next, right.start());
            }
        }
    }
}
