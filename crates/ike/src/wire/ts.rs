//! Traffic Selector payloads (RFC 7296 section 3.13).

use std::net::IpAddr;

use esp::spec::Selector;

use super::error::ParseError;
use super::reader::Reader;
use super::registry::{PayloadType, TsType};

/// A Traffic Selector payload: one or more selectors. Its inside has been
/// checked; iterating cannot fail.
#[derive(Clone, Copy)]
pub struct TsPayload<'a> {
    payload: PayloadType,
    list: &'a [u8],
}

impl<'a> TsPayload<'a> {
    pub(super) fn parse(payload: PayloadType, body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(payload, body);
        let [count, _, _, _] = reader.array()?;
        let list = reader.rest();
        if count == 0 {
            return Err(ParseError::Empty(payload));
        }
        for _ in 0..count {
            TrafficSelector::parse(payload, &mut reader)?;
        }
        if !reader.is_empty() {
            return Err(ParseError::BadCount(payload));
        }
        Ok(Self { payload, list })
    }

    /// Every selector in order.
    pub fn iter(&self) -> impl Iterator<Item = TrafficSelector<'a>> + use<'a> {
        let payload = self.payload;
        let mut reader = Reader::new(payload, self.list);
        std::iter::from_fn(move || TrafficSelector::parse(payload, &mut reader).ok())
    }

    /// The selectors that a plane can enforce, in order: narrowing leaves out
    /// the others (RFC 7296 section 2.9).
    pub fn selectors(&self) -> impl Iterator<Item = Selector> + use<'a> {
        self.iter().filter_map(|selector| match selector {
            TrafficSelector::Range(selector) => Some(selector),
            TrafficSelector::OpaquePorts { .. } | TrafficSelector::Other { .. } => None,
        })
    }
}

impl PartialEq for TsPayload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for TsPayload<'_> {}

impl std::fmt::Debug for TsPayload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One traffic selector of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrafficSelector<'a> {
    /// A range of addresses and ports.
    Range(Selector),
    /// A range of addresses whose packets show no port: ports 65535 to 0
    /// (RFC 7296 section 3.13.1).
    OpaquePorts {
        /// First address.
        start: IpAddr,
        /// Last address, of the same family and not before `start`.
        end: IpAddr,
        /// IP protocol; 0 is any.
        protocol: u8,
    },
    /// A type that is not understood.
    Other {
        /// The type.
        kind: TsType,
        /// The octet that other types use for the IP protocol.
        protocol: u8,
        /// What follows Selector Length.
        body: &'a [u8],
    },
}

/// Ports of a selector for packets that show none.
const OPAQUE: (u16, u16) = (u16::MAX, 0);

impl<'a> TrafficSelector<'a> {
    /// Octets before the part that depends on the type.
    const HEADER_LEN: usize = 4;

    fn parse(payload: PayloadType, reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let [kind, protocol] = reader.array()?;
        let length = usize::from(reader.u16()?);
        let bad_length = ParseError::BadLength(payload);
        let rest = length.checked_sub(Self::HEADER_LEN).ok_or(bad_length)?;
        let body = reader.octets(rest).map_err(|_| bad_length)?;
        match TsType(kind) {
            TsType::IPV4_ADDR_RANGE => range::<4>(payload, protocol, body),
            TsType::IPV6_ADDR_RANGE => range::<16>(payload, protocol, body),
            kind => Ok(Self::Other { kind, protocol, body }),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Range(selector) => emit_range(
                out,
                selector.protocol(),
                selector.ports(),
                (selector.start(), selector.end()),
            ),
            Self::OpaquePorts { start, end, protocol } => {
                emit_range(out, protocol, OPAQUE, (start, end));
            }
            Self::Other { kind, protocol, body } => {
                let length = u16::try_from(Self::HEADER_LEN + body.len()).unwrap_or(u16::MAX);
                out.extend_from_slice(&[kind.0, protocol]);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(body);
            }
        }
    }
}

impl From<Selector> for TrafficSelector<'_> {
    fn from(selector: Selector) -> Self {
        Self::Range(selector)
    }
}

fn range<const N: usize>(
    payload: PayloadType,
    protocol: u8,
    body: &[u8],
) -> Result<TrafficSelector<'_>, ParseError>
where
    IpAddr: From<[u8; N]>,
{
    let mut reader = Reader::new(payload, body);
    let ports = (reader.u16()?, reader.u16()?);
    let start = IpAddr::from(reader.array::<N>()?);
    let end = IpAddr::from(reader.array::<N>()?);
    if !reader.is_empty() {
        return Err(ParseError::BadLength(payload));
    }
    if ports == OPAQUE && start <= end {
        return Ok(TrafficSelector::OpaquePorts { start, end, protocol });
    }
    Selector::new(start, end, protocol, ports)
        .map(TrafficSelector::Range)
        .map_err(|_| ParseError::BadRange(payload))
}

fn emit_range(out: &mut Vec<u8>, protocol: u8, ports: (u16, u16), (start, end): (IpAddr, IpAddr)) {
    let (kind, length) = match start {
        IpAddr::V4(_) => (TsType::IPV4_ADDR_RANGE, 16),
        IpAddr::V6(_) => (TsType::IPV6_ADDR_RANGE, 40),
    };
    out.extend_from_slice(&[kind.0, protocol, 0, length]);
    out.extend_from_slice(&ports.0.to_be_bytes());
    out.extend_from_slice(&ports.1.to_be_bytes());
    for address in [start, end] {
        match address {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
        }
    }
}
