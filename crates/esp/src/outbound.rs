//! Inner packet to ESP packet (RFC 4303 section 3.3, tunnel mode).
//!
//! ```text
//! | SPI 4 | sequence number 4 | IV 8 | inner packet | padding 0..=3 | pad length | next header | ICV 16 |
//! ```

use crypto::EspSealingKey;

use crate::discard::Discard;
use crate::spec::{HalfSpec, Spi};

/// Octets before the inner packet: SPI, sequence number, IV (RFC 4106, RFC 7634).
pub const HEADER_LEN: usize = 16;
/// Octets of the integrity check value.
pub const ICV_LEN: usize = 16;
/// Pad length and next header (RFC 4303 section 2).
const TRAILER_LEN: usize = 2;
/// The trailer must end on a 4-octet boundary (RFC 4303 section 2.4).
const ALIGNMENT: usize = 4;
/// The padding of RFC 4303 section 2.4.
const PADDING: [u8; ALIGNMENT - 1] = [1, 2, 3];

/// From this sequence number on a child should be replaced: about a million
/// packets are left to do it in.
pub const SOFT_LIMIT: u32 = u32::MAX - (1 << 20);

const NEXT_HEADER_IPV4: u8 = 4;
const NEXT_HEADER_IPV6: u8 = 41;

/// Octets of the ESP packet for an inner packet of `inner_len` octets.
#[must_use]
pub const fn sealed_len(inner_len: usize) -> usize {
    let body = (inner_len + TRAILER_LEN).next_multiple_of(ALIGNMENT);
    HEADER_LEN + body + ICV_LEN
}

/// The largest inner packet for an ESP packet of `esp_len` octets; 0 if none fits.
#[must_use]
pub const fn inner_len_within(esp_len: usize) -> usize {
    let body = esp_len.saturating_sub(HEADER_LEN + ICV_LEN);
    (body - body % ALIGNMENT).saturating_sub(TRAILER_LEN)
}

/// The outbound half of a child. Shared by threads: it has no lock.
pub struct Outbound {
    spi: Spi,
    key: EspSealingKey,
}

/// What became of one inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Octets of the ESP packet.
    pub len: usize,
    /// Its sequence number.
    pub sequence: u32,
}

impl Outbound {
    /// Takes the key of a child's outbound half.
    #[must_use]
    pub fn new(half: HalfSpec) -> Self {
        Self { spi: half.spi, key: half.key.into_sealing() }
    }

    /// The SPI on the wire: the peer's.
    #[must_use]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// Writes the ESP packet for `inner` to the beginning of `out`.
    ///
    /// # Errors
    /// [`Discard::TooBig`] when `out` is shorter than [`sealed_len`] says,
    /// [`Discard::BadInner`] when `inner` is not IPv4 or IPv6,
    /// [`Discard::Exhausted`] when no sequence number is left.
    pub fn seal(&self, inner: &[u8], out: &mut [u8]) -> Result<Sealed, Discard> {
        let len = sealed_len(inner.len());
        let packet = out.get_mut(..len).ok_or(Discard::TooBig)?;
        lay_out(self.spi, inner, packet)?;
        let sequence = self.key.seal(packet).map_err(|_exhausted| Discard::Exhausted)?;
        Ok(Sealed { len, sequence })
    }
}

/// Writes everything but sequence number, IV and ICV.
fn lay_out(spi: Spi, inner: &[u8], packet: &mut [u8]) -> Result<(), Discard> {
    let next_header = match inner.first().map(|first| first >> 4) {
        Some(4) => NEXT_HEADER_IPV4,
        Some(6) => NEXT_HEADER_IPV6,
        _ => return Err(Discard::BadInner),
    };
    let (header, rest) = packet.split_at_mut_checked(HEADER_LEN).ok_or(Discard::TooBig)?;
    let (body, rest) = rest.split_at_mut_checked(inner.len()).ok_or(Discard::TooBig)?;
    let pad_len = rest.len().saturating_sub(TRAILER_LEN + ICV_LEN);
    let (padding, rest) = rest.split_at_mut_checked(pad_len).ok_or(Discard::TooBig)?;
    let [pad_length, next, ..] = rest else { return Err(Discard::TooBig) };

    if let Some(octets) = header.first_chunk_mut::<4>() {
        *octets = spi.get().to_be_bytes();
    }
    body.copy_from_slice(inner);
    for (octet, pad) in padding.iter_mut().zip(PADDING) {
        *octet = pad;
    }
    *pad_length = u8::try_from(pad_len).map_err(|_| Discard::TooBig)?;
    *next = next_header;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_follows_the_rfc() {
        let mut inner = [0u8; 21];
        inner[0] = 0x45;
        for inner_len in 18..=21 {
            let mut packet = vec![0xff; sealed_len(inner_len)];
            lay_out(Spi::new(0x1234_5678).unwrap(), &inner[..inner_len], &mut packet).unwrap();
            let body = &packet[HEADER_LEN..packet.len() - ICV_LEN];
            let pad_len = usize::from(body[body.len() - 2]);
            assert_eq!(packet[..4], [0x12, 0x34, 0x56, 0x78]);
            assert_eq!(body.len() % 4, 0);
            assert_eq!(body.len(), inner_len + pad_len + 2);
            assert_eq!(body[inner_len..inner_len + pad_len], PADDING[..pad_len]);
            assert_eq!(body[body.len() - 1], NEXT_HEADER_IPV4);
        }
    }

    #[test]
    fn ipv6_has_its_own_next_header() {
        let mut packet = vec![0; sealed_len(40)];
        let mut inner = [0u8; 40];
        inner[0] = 0x60;
        lay_out(Spi::new(256).unwrap(), &inner, &mut packet).unwrap();
        assert_eq!(packet[packet.len() - ICV_LEN - 1], NEXT_HEADER_IPV6);
    }

    #[test]
    fn what_is_not_ip_is_refused() {
        let spi = Spi::new(256).unwrap();
        let mut packet = vec![0; 64];
        assert_eq!(lay_out(spi, &[0x50; 20], &mut packet), Err(Discard::BadInner));
        assert_eq!(lay_out(spi, &[], &mut packet), Err(Discard::BadInner));
    }

    proptest! {
        #[test]
        fn the_largest_inner_packet_fits_and_one_octet_more_does_not(esp_len in 36usize..3000) {
            let inner_len = inner_len_within(esp_len);
            prop_assert!(sealed_len(inner_len) <= esp_len);
            prop_assert!(sealed_len(inner_len + 1) > esp_len);
        }
    }
}
