//! What was on the outer links, and what a stranger could read there.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use interop::{Capture, Frame, PATIENCE, Packet, until};

use crate::ground::{CLIENT_INSIDE, GATEWAY, GATEWAY_INSIDE, Ground, OUTER_DEVICE};
use crate::transfer::MARKER;

/// What pings carry, as `ping -p` wants it.
pub(crate) const PING_PATTERN: &str = "6379676e65742070696e67";
const PING_TEXT: &[u8] = b"cygnet ping";

/// So much of a frame tells what it is.
const HEADERS: usize = 64;

/// The recording of both outer links.
pub(crate) struct Evidence {
    client: Capture,
    gateway: Capture,
}

/// An IKE message on the client's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ike {
    /// When, since 1970.
    pub(crate) time: Duration,
    /// Whether the client sent it.
    pub(crate) by_client: bool,
    /// Its exchange type.
    pub(crate) exchange: u8,
    /// Whether it is a response.
    pub(crate) response: bool,
}

impl Evidence {
    pub(crate) fn start(ground: &Ground) -> Result<Self> {
        let client = Capture::start_whole(&ground.client, OUTER_DEVICE)?;
        let gateway = Capture::start_whole(&ground.gateway, OUTER_DEVICE)?;
        Ok(Self { client, gateway })
    }

    /// Waits until `enough` is content with the IKE messages on the client's link since a
    /// moment. What was sent before one that is seen has been seen as well.
    pub(crate) fn wait_for_ike(
        &self,
        since: Duration,
        what: &str,
        enough: impl Fn(&[Ike]) -> bool,
    ) -> Result<Vec<Ike>> {
        let look = || -> Result<Vec<Ike>> {
            let frames = self.client.frames()?;
            Ok(frames.iter().filter(|it| it.time >= since).filter_map(ike).collect())
        };
        until(
            PATIENCE,
            format!("on the wire: {what}"),
            || Ok(Some(look()?).filter(|it| enough(it))),
        )
        .with_context(|| format!("seen: {}", look().map_or(String::new(), |it| sequence(&it))))
    }

    /// How many packets the client has sent from this address until a moment, and since.
    pub(crate) fn sent_by(&self, client: Ipv4Addr, moment: Duration) -> Result<(usize, usize)> {
        let mut frames = self.client.frames()?;
        frames.retain(|frame| source(frame) == Some(client));
        let before = frames.iter().filter(|frame| frame.time < moment).count();
        Ok((before, frames.len() - before))
    }

    /// Waits for an ESP packet after a moment, then ends the recording and examines it.
    pub(crate) fn close(self, after: Duration) -> Result<[Readings; 2]> {
        for link in [&self.client, &self.gateway] {
            until(PATIENCE, "the last packets in the captures", || {
                let frames = link.frames()?;
                let is_later = |frame: &Frame| frame.time > after && is_esp(frame);
                Ok(frames.iter().any(is_later).then_some(()))
            })?;
        }
        Ok([Readings::of(&self.client.stop()?), Readings::of(&self.gateway.stop()?)])
    }
}

/// A recording, by kinds.
#[derive(Default)]
pub(crate) struct Readings {
    pub(crate) frames: usize,
    pub(crate) ike: usize,
    pub(crate) esp: usize,
    /// ARP and neighbour discovery.
    pub(crate) neighbours: usize,
    /// All else, and everything in which content or inner addresses can be read.
    pub(crate) clear: usize,
    /// The first of them.
    first_clear: Option<String>,
}

impl Readings {
    fn of(frames: &[Frame]) -> Self {
        let mut readings = Self { frames: frames.len(), ..Self::default() };
        for frame in frames {
            match frame.packet() {
                _ if is_readable(frame) => readings.note_clear(frame),
                Some(Packet::Ike { .. }) => readings.ike += 1,
                Some(Packet::Esp { .. } | Packet::Keepalive) => readings.esp += 1,
                None if is_neighbours(frame) => readings.neighbours += 1,
                Some(Packet::Clear { .. }) | None => readings.note_clear(frame),
            }
        }
        readings
    }

    fn note_clear(&mut self, frame: &Frame) {
        self.clear += 1;
        let header = frame.octets.get(..HEADERS).unwrap_or(&frame.octets);
        self.first_clear.get_or_insert_with(|| format!("{header:02x?}"));
    }
}

impl fmt::Display for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, ike, esp, neighbours, clear, first_clear } = self;
        write!(f, "{frames} frames: {esp} ESP, {ike} IKE, {neighbours} ARP and ND, {clear} clear")?;
        first_clear.as_ref().map_or(Ok(()), |frame| write!(f, ", such as {frame}"))
    }
}

/// How many frames show content or inner addresses to whoever reads them.
pub(crate) fn readable(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| is_readable(frame)).count()
}

/// Messages as a line: `>` from the client, `<` from the gateway.
pub(crate) fn sequence(messages: &[Ike]) -> String {
    let name = |message: &Ike| {
        let direction = if message.by_client { '>' } else { '<' };
        let exchange = match message.exchange {
            34 => "IKE_SA_INIT",
            35 => "IKE_AUTH",
            37 => "INFORMATIONAL",
            38 => "IKE_SESSION_RESUME",
            _ => "another exchange",
        };
        format!("{direction} {exchange}")
    };
    messages.iter().map(name).collect::<Vec<_>>().join("  ")
}

/// Whether it belongs to the set-up of an SA.
pub(crate) fn is_set_up(message: &Ike) -> bool {
    matches!(message.exchange, 34 | 35 | 38)
}

/// Without what was sent again, as a loaded machine may have it.
pub(crate) fn first_sent(messages: Vec<Ike>) -> Vec<Ike> {
    let mut first: Vec<Ike> = Vec::new();
    for message in messages {
        let is_again = |it: &Ike| {
            (it.by_client, it.exchange, it.response)
                == (message.by_client, message.exchange, message.response)
        };
        if !first.iter().any(is_again) {
            first.push(message);
        }
    }
    first
}

/// Each exchange a request of the client's and its answer.
pub(crate) fn is_dialogue(messages: &[Ike], exchanges: &[u8]) -> bool {
    let expected =
        exchanges.iter().flat_map(|&exchange| [(true, exchange, false), (false, exchange, true)]);
    messages.iter().map(|it| (it.by_client, it.exchange, it.response)).eq(expected)
}

fn ike(frame: &Frame) -> Option<Ike> {
    let Some(Packet::Ike { from, exchange, response, .. }) = frame.packet() else { return None };
    Some(Ike { time: frame.time, by_client: *from.ip() != GATEWAY, exchange, response })
}

fn is_esp(frame: &Frame) -> bool {
    matches!(frame.packet(), Some(Packet::Esp { .. }))
}

fn source(frame: &Frame) -> Option<Ipv4Addr> {
    let address = frame.octets.get(26..)?.first_chunk::<4>().copied()?;
    is_of(frame, [8, 0]).then(|| address.into())
}

fn is_of(frame: &Frame, ethertype: [u8; 2]) -> bool {
    frame.octets.get(12..).is_some_and(|octets| octets.starts_with(&ethertype))
}

/// ARP; or ICMPv6 of the link: multicast listeners, routers, neighbours (types 130 to 137, 143).
fn is_neighbours(frame: &Frame) -> bool {
    let octet = |at: usize| frame.octets.get(at).copied();
    // Multicast listener reports have an option for routers before them.
    let kind = match octet(20) {
        Some(0) if octet(54) == Some(58) => octet(62),
        Some(58) => octet(54),
        _ => None,
    };
    is_of(frame, [8, 6])
        || is_of(frame, [0x86, 0xdd]) && kind.is_some_and(|it| matches!(it, 130..=137 | 143))
}

/// Whether content of the transfer or of a ping is in it, or an inner packet's addresses.
fn is_readable(frame: &Frame) -> bool {
    let (client, gateway) = (CLIENT_INSIDE.octets(), GATEWAY_INSIDE.octets());
    let contains = |part: &[u8]| frame.octets.windows(part.len()).any(|window| window == part);
    contains(MARKER)
        || contains(PING_TEXT)
        || contains(&[client, gateway].concat())
        || contains(&[gateway, client].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(octets: &[&[u8]]) -> Frame {
        Frame { time: Duration::ZERO, octets: octets.concat() }
    }

    #[test]
    fn an_inner_packet_is_readable_and_a_random_one_is_not() {
        let header = [0; 26];
        let inner = frame(&[&header, &CLIENT_INSIDE.octets(), &GATEWAY_INSIDE.octets()]);
        assert!(is_readable(&inner));
        assert!(is_readable(&frame(&[&header, b"x", PING_TEXT])));
        assert!(!is_readable(&frame(&[&header, &CLIENT_INSIDE.octets(), &[9; 40]])));
    }

    #[test]
    fn what_is_neither_the_tunnels_nor_the_links_is_clear() {
        let arp = frame(&[&[2; 12], &[8, 6], &[0; 28]]);
        let solicitation = frame(&[&[2; 12], &[0x86, 0xdd], &[0; 6], &[58], &[0; 33], &[135]]);
        let echo = frame(&[&[2; 12], &[0x86, 0xdd], &[0; 6], &[58], &[0; 33], &[128]]);
        let readings = Readings::of(&[arp, solicitation, echo]);
        assert_eq!((readings.neighbours, readings.clear), (2, 1));
    }
}
