//! ESP in transport mode, as a kernel does it for the packets of its host: what
//! an IP packet carries is sealed, its header is not.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crypto::{EspCipher, EspOpeningKey, EspSealingKey};
use esp::packet;
use esp::policy::Selectors;
use esp::spec::{ChildSpec, OuterPath, Spi};

/// SPI and sequence number.
const HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
/// Where an IPv4 header has the protocol.
const PROTOCOL: usize = 9;

/// Both halves of a child in transport mode, for IPv4.
pub(crate) struct HostChild {
    spi_out: Spi,
    cipher: EspCipher,
    sealing: EspSealingKey,
    opening: EspOpeningKey,
    selectors: Arc<Selectors>,
    /// Sequence numbers that have come.
    seen: RefCell<BTreeSet<u32>>,
}

impl HostChild {
    pub(crate) fn new(spec: ChildSpec, selectors: Arc<Selectors>) -> Self {
        Self {
            spi_out: spec.outbound.spi,
            cipher: spec.outbound.key.suite().cipher,
            sealing: spec.outbound.key.into_sealing(),
            opening: spec.inbound.key.into_opening(),
            selectors,
            seen: RefCell::default(),
        }
    }

    /// The ESP packet for what an IP packet carries.
    pub(crate) fn seal(&self, packet: &[u8]) -> Vec<u8> {
        let payload = &packet[IPV4_HEADER..];
        let mut out = self.spi_out.get().to_be_bytes().to_vec();
        out.resize(HEADER + self.cipher.iv_len(), 0);
        out.extend(payload);
        let padded = (payload.len() + 2).next_multiple_of(self.cipher.alignment());
        let pad_len = u8::try_from(padded - payload.len() - 2).unwrap();
        out.extend(1..=pad_len);
        out.extend([pad_len, packet[PROTOCOL]]);
        out.resize(out.len() + self.cipher.icv_len(), 0);
        self.sealing.seal(&mut out).unwrap();
        out
    }

    /// The IP packet that an authentic ESP packet stands for which has come this
    /// way, if it may, and whether it is the newest.
    pub(crate) fn open(&self, way: OuterPath, mut esp: Vec<u8>) -> Option<(Option<Vec<u8>>, bool)> {
        let sequence = u32::from_be_bytes(esp.get(4..HEADER)?.try_into().ok()?);
        let plaintext = self.opening.open(&mut esp, 0).ok()?;
        let is_newest = self.seen.borrow().last().is_none_or(|last| *last < sequence);
        if !self.seen.borrow_mut().insert(sequence) {
            return None;
        }
        let [rest @ .., pad_len, protocol] = &esp[plaintext] else { return None };
        let payload = rest.get(..rest.len().checked_sub(usize::from(*pad_len))?)?;
        let packet = ip(*protocol, way, payload)?;
        let flow = packet::parse(&packet).ok()?.flow;
        Some((self.selectors.accept(&flow).then_some(packet), is_newest))
    }
}

/// The packet with the addresses that the outer one has here.
fn ip(protocol: u8, way: OuterPath, payload: &[u8]) -> Option<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (way.remote.ip(), way.local.ip()) else {
        return None;
    };
    let len = u16::try_from(IPV4_HEADER + payload.len()).ok()?;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    Some(packet)
}
