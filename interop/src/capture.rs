//! What was on the wire, from tcpdump's file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::{PATIENCE, until};

/// One IPv4 packet outside the tunnel, as far as a stranger can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The header of an IKE message (RFC 7296 section 3.1).
    Ike {
        /// From where.
        from: SocketAddrV4,
        /// To where.
        to: SocketAddrV4,
        /// Exchange type: 34 IKE_SA_INIT, 35 IKE_AUTH, 36 CREATE_CHILD_SA, 37 INFORMATIONAL,
        /// 38 IKE_SESSION_RESUME (RFC 5723 section 4.3.2).
        exchange: u8,
        /// Whether the response flag is set.
        response: bool,
        /// The initiator's SPI: one an attempt.
        spi: u64,
        /// Message ID.
        id: u32,
    },
    /// ESP, raw or in UDP (RFC 3948).
    Esp {
        /// From where.
        from: Ipv4Addr,
        /// To where.
        to: Ipv4Addr,
        /// Whether it is inside UDP.
        in_udp: bool,
        /// Of the receiver's inbound SA.
        spi: u32,
    },
    /// A NAT keepalive (RFC 3948 section 2.3).
    Keepalive,
    /// Anything else: readable by everybody.
    Clear {
        /// From where.
        from: Ipv4Addr,
        /// To where.
        to: Ipv4Addr,
        /// IP protocol number.
        protocol: u8,
    },
}

/// What passed a device, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Since 1970, by this machine's clock.
    pub time: Duration,
    /// From the link's header on, as far as it was recorded.
    pub octets: Vec<u8>,
}

impl Frame {
    /// The IPv4 packet in an Ethernet frame; none in one of another protocol, or a broken one.
    pub fn packet(&self) -> Option<Packet> {
        ethernet(&self.octets)
    }
}

/// A running tcpdump on one device.
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Begins to record the headers of what passes `device`; from the return on, nothing is
    /// missed.
    ///
    /// # Errors
    /// When tcpdump cannot listen there.
    pub fn start(namespace: &Namespace, device: &str) -> Result<Self> {
        Self::record(namespace, device, &["-s", "128"])
    }

    /// As [`Capture::start`], with every octet, also of packets of 64 KiB.
    ///
    /// # Errors
    /// When tcpdump cannot listen there.
    pub fn start_whole(namespace: &Namespace, device: &str) -> Result<Self> {
        // tcpdump keeps a slot of that length for each packet that it has yet to write.
        Self::record(namespace, device, &["-s", "65600", "-B", "32768"])
    }

    fn record(namespace: &Namespace, device: &str, size: &[&str]) -> Result<Self> {
        let file = namespace.dir().join(format!("{device}.pcap"));
        let mut command = namespace.command("tcpdump");
        command.args(["-n", "-U", "--immediate-mode", "-Z", "root", "-i", device]);
        command.args(size).arg("-w").arg(&file);
        let mut process =
            Process::spawn(namespace.dir(), &format!("tcpdump-{device}"), &mut command)?;
        process.wait_for_line("listening on", PATIENCE)?;
        Ok(Self { process, file })
    }

    /// All IPv4 packets so far, oldest first.
    ///
    /// # Errors
    /// When the file is not a capture.
    pub fn packets(&self) -> Result<Vec<Packet>> {
        let bytes = fs::read(&self.file)?;
        Ok(records(&bytes).filter_map(|(_, octets)| ethernet(octets)).collect())
    }

    /// Everything so far, oldest first.
    ///
    /// # Errors
    /// When the file is not a capture.
    pub fn frames(&self) -> Result<Vec<Frame>> {
        let bytes = fs::read(&self.file)?;
        let frame = |(time, octets): (Duration, &[u8])| Frame { time, octets: octets.to_vec() };
        Ok(records(&bytes).map(frame).collect())
    }

    /// All ESP in UDP so far, whose packets have one length: from where to where, and how many.
    /// What is sent at once passes a cable in one piece.
    ///
    /// # Errors
    /// When the file is not a capture, or the packets have more than one length.
    pub fn equal_esp(&self) -> Result<Vec<([Ipv4Addr; 2], usize)>> {
        let esp = |frame: Frame| match frame.packet()? {
            Packet::Esp { from, to, in_udp: true, .. } => {
                let total = frame.octets.get(16..)?.first_chunk().copied()?;
                Some(([from, to], usize::from(u16::from_be_bytes(total)).checked_sub(IP_AND_UDP)?))
            }
            _ => None,
        };
        let all: Vec<_> = self.frames()?.into_iter().filter_map(esp).collect();
        let one = all.iter().map(|(_, octets)| *octets).min().unwrap_or(1);
        ensure!(all.iter().all(|(_, octets)| octets % one == 0), "of several lengths: {all:?}");
        Ok(all.into_iter().map(|(way, octets)| (way, octets / one)).collect())
    }

    /// Ends the recording and returns all of it.
    ///
    /// # Errors
    /// When tcpdump does not end, or had to leave something out.
    pub fn stop(mut self) -> Result<Vec<Frame>> {
        self.process.signal(Signal::INT)?;
        self.process.wait_exit(PATIENCE)?;
        let said = self.process.output()?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "an incomplete capture: {said}");
        self.frames()
    }

    /// Waits until `wanted` is content with the packets so far, and returns them. A packet that
    /// was sent before one that is seen has been seen as well.
    ///
    /// # Errors
    /// When `limit` passes.
    pub fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&[Packet]) -> bool,
    ) -> Result<Vec<Packet>> {
        until(limit, format!("on the wire: {what}"), || {
            let packets = self.packets()?;
            Ok(wanted(&packets).then_some(packets))
        })
        .with_context(|| format!("seen: {:#?}", self.packets()))
    }
}

/// The frames of a classic pcap file in this machine's byte order.
fn records(file: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    let mut rest = file.get(24..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, data) = rest.split_at_checked(16)?;
        let word = |at: usize| Some(u32::from_ne_bytes(*header.get(at..)?.first_chunk()?));
        let time = Duration::new(word(0)?.into(), word(4)?.checked_mul(1000)?);
        let (frame, after) = data.split_at_checked(word(8)? as usize)?;
        rest = after;
        Some((time, frame))
    })
}

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];

/// Octets of the headers of IPv4 and UDP.
const IP_AND_UDP: usize = 28;

fn ethernet(frame: &[u8]) -> Option<Packet> {
    let (header, packet) = frame.split_at_checked(14)?;
    header.ends_with(&ETHERTYPE_IPV4).then(|| ipv4(packet)).flatten()
}

fn ipv4(packet: &[u8]) -> Option<Packet> {
    let address = |at: usize| packet.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let (from, to, protocol) = (address(12)?, address(16)?, *packet.get(9)?);
    let body = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    let understood = match protocol {
        17 => udp(from, to, body),
        50 => esp(from, to, false, body),
        _ => None,
    };
    Some(understood.unwrap_or(Packet::Clear { from, to, protocol }))
}

fn udp(from: Ipv4Addr, to: Ipv4Addr, datagram: &[u8]) -> Option<Packet> {
    let port = |at: usize| datagram.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    let (from, to) = (SocketAddrV4::new(from, port(0)?), SocketAddrV4::new(to, port(2)?));
    let body = datagram.get(8..)?;
    match (from.port() == 4500 || to.port() == 4500, body) {
        (true, [0xff, ..]) if port(4)? == 9 => Some(Packet::Keepalive),
        // The non-ESP marker (RFC 3948 section 2.2).
        (true, [0, 0, 0, 0, message @ ..]) => ike(from, to, message),
        (true, packet) => esp(*from.ip(), *to.ip(), true, packet),
        (false, message) => {
            (from.port() == 500 || to.port() == 500).then(|| ike(from, to, message)).flatten()
        }
    }
}

fn ike(from: SocketAddrV4, to: SocketAddrV4, message: &[u8]) -> Option<Packet> {
    let spi = u64::from_be_bytes(*message.first_chunk()?);
    let id = u32::from_be_bytes(*message.get(20..)?.first_chunk()?);
    let response = message.get(19)? & 0x20 != 0;
    Some(Packet::Ike { from, to, exchange: *message.get(18)?, response, spi, id })
}

fn esp(from: Ipv4Addr, to: Ipv4Addr, in_udp: bool, packet: &[u8]) -> Option<Packet> {
    Some(Packet::Esp { from, to, in_udp, spi: u32::from_be_bytes(*packet.first_chunk()?) })
}
