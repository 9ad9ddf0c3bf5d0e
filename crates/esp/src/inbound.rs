//! ESP packet to inner packet (RFC 4303 section 3.4, RFC 4301 section 5.2).

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto::EspOpeningKey;

use crate::discard::Discard;
use crate::outbound::HEADER_LEN;
use crate::packet::{self, Flow, Inner};
use crate::policy::Selectors;
use crate::replay::ReplayWindow;
use crate::spec::{HalfSpec, Spi};

/// SPI, sequence number, and the shortest IV, aligned body and ICV.
const MIN_LEN: usize = HEADER_LEN + 8 + 4 + 16;

const NEXT_HEADER_IPV4: u8 = 4;
const NEXT_HEADER_IPV6: u8 = 41;
/// "No next header" marks a dummy packet (RFC 4303 section 2.6).
const NEXT_HEADER_NONE: u8 = 59;

/// The SPI of an ESP packet.
///
/// # Errors
/// [`Discard::TooShort`] when it cannot be one.
pub fn spi(packet: &[u8]) -> Result<u32, Discard> {
    let octets = packet.first_chunk::<4>().ok_or(Discard::TooShort)?;
    if packet.len() < MIN_LEN { Err(Discard::TooShort) } else { Ok(u32::from_be_bytes(*octets)) }
}

/// The inbound half of a child.
pub struct Inbound {
    spi: Spi,
    extended: bool,
    key: EspOpeningKey,
    selectors: Arc<Selectors>,
    window: Mutex<ReplayWindow>,
}

/// An inner packet that passed every check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Where it stands in the buffer that was opened.
    pub range: Range<usize>,
    /// What its header says.
    pub inner: Inner,
    /// Whether its sequence number is the highest so far. Only such a packet
    /// tells of a new outer address: an older one may have been on its way
    /// since before the last change (RFC 7296 section 2.23).
    pub is_newest: bool,
}

impl Inbound {
    /// Takes the key of a child's inbound half.
    #[must_use]
    pub fn new(half: HalfSpec, selectors: Arc<Selectors>) -> Self {
        let (window, extended) = (Mutex::default(), half.key.suite().extended);
        Self { spi: half.spi, extended, key: half.key.into_opening(), selectors, window }
    }

    /// The SPI on the wire: ours.
    #[must_use]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// Begins a run of packets of this child. It holds the replay window, so
    /// that a batch costs one lock and not one a packet.
    pub fn run(&self) -> Run<'_> {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        Run { inbound: self, window, last_accepted: None }
    }
}

/// A run of packets of one child.
pub struct Run<'a> {
    inbound: &'a Inbound,
    window: MutexGuard<'a, ReplayWindow>,
    /// Packets of one flow come in rows; their selectors are looked at once.
    last_accepted: Option<Flow>,
}

impl Run<'_> {
    /// Opens one ESP packet in place.
    ///
    /// The replay window is updated once the packet is authentic, before its
    /// contents are judged (RFC 4303 section 3.4.3).
    ///
    /// # Errors
    /// Why the packet must be dropped. Its contents are undefined then.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, Discard> {
        let &[_, _, _, _, s0, s1, s2, s3] = packet.first_chunk::<8>().ok_or(Discard::TooShort)?;
        if packet.len() < MIN_LEN {
            return Err(Discard::TooShort);
        }
        let low = u32::from_be_bytes([s0, s1, s2, s3]);
        let sequence = match self.inbound.extended {
            true => self.window.extend(low).map_err(|_| Discard::Replayed)?,
            false => u64::from(low),
        };
        self.window.check(sequence).map_err(|_| Discard::Replayed)?;
        let high = (sequence >> 32) as u32;
        let plaintext = self.inbound.key.open(packet, high).map_err(|_| Discard::NotAuthentic)?;
        let is_newest = self.window.record(sequence).map_err(|_| Discard::Replayed)?;

        let body = packet.get(plaintext.clone()).ok_or(Discard::BadPadding)?;
        let (payload, next_header) = strip_padding(body)?;
        let inner = inner_packet(payload, next_header)?;
        self.check_selectors(&inner.flow)?;
        let range = plaintext.start..plaintext.start + inner.total_len;
        Ok(Opened { range, inner, is_newest })
    }

    fn check_selectors(&mut self, flow: &Flow) -> Result<(), Discard> {
        if self.last_accepted.as_ref() == Some(flow) {
            return Ok(());
        }
        if !self.inbound.selectors.accept(flow) {
            return Err(Discard::SelectorMismatch);
        }
        self.last_accepted = Some(*flow);
        Ok(())
    }
}

/// Payload and Next Header of a decrypted body.
fn strip_padding(body: &[u8]) -> Result<(&[u8], u8), Discard> {
    let [rest @ .., pad_len, next_header] = body else { return Err(Discard::BadPadding) };
    let payload_len = rest.len().checked_sub(usize::from(*pad_len)).ok_or(Discard::BadPadding)?;
    let (payload, padding) = rest.split_at_checked(payload_len).ok_or(Discard::BadPadding)?;
    let is_counted = padding.iter().zip(1u8..=255).all(|(octet, n)| *octet == n);
    if is_counted { Ok((payload, *next_header)) } else { Err(Discard::BadPadding) }
}

/// What is behind the inner packet is traffic flow confidentiality padding
/// (RFC 4303 section 2.7): the packet's own length says where it ends.
fn inner_packet(payload: &[u8], next_header: u8) -> Result<Inner, Discard> {
    let version = match next_header {
        NEXT_HEADER_IPV4 => 4,
        NEXT_HEADER_IPV6 => 6,
        NEXT_HEADER_NONE => return Err(Discard::Dummy),
        _ => return Err(Discard::BadNextHeader),
    };
    if payload.first().map(|first| first >> 4) != Some(version) {
        return Err(Discard::BadInner);
    }
    packet::parse(payload).map_err(|_| Discard::BadInner)
}

#[cfg(test)]
mod tests;
