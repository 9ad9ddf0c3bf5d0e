//! Inner packet to ESP packet (RFC 4303 section 3.3, tunnel mode).
//!
//! ```text
//! | SPI 4 | sequence number 4 | IV | inner packet | padding | pad length | next header | ICV |
//! ```
//! IV, padding and ICV are as long as the cipher wants them.

use crypto::{EspCipher, EspSealingKey};

use crate::discard::Discard;
use crate::spec::{HalfSpec, Spi};

/// SPI and sequence number.
pub(crate) const HEADER_LEN: usize = 8;
/// Pad length and next header (RFC 4303 section 2).
const TRAILER_LEN: usize = 2;
/// The longest padding: that of AES-CBC (RFC 4303 section 2.4).
const MAX_PADDING: u8 = 15;

/// So many packets before its last sequence number a child should be replaced.
const SOFT_MARGIN: u64 = 1 << 20;

const NEXT_HEADER_IPV4: u8 = 4;
const NEXT_HEADER_IPV6: u8 = 41;

/// Octets of the ESP packet for an inner packet of `inner_len` octets.
#[must_use]
pub const fn sealed_len(cipher: EspCipher, inner_len: usize) -> usize {
    let body = (inner_len + TRAILER_LEN).next_multiple_of(cipher.alignment());
    HEADER_LEN + cipher.iv_len() + body + cipher.icv_len()
}

/// The largest inner packet for an ESP packet of `esp_len` octets; 0 if none fits.
#[must_use]
pub const fn inner_len_within(cipher: EspCipher, esp_len: usize) -> usize {
    let body = esp_len.saturating_sub(HEADER_LEN + cipher.iv_len() + cipher.icv_len());
    (body - body % cipher.alignment()).saturating_sub(TRAILER_LEN)
}

/// The outbound half of a child. Shared by threads: it has no lock.
pub struct Outbound {
    spi: Spi,
    cipher: EspCipher,
    key: EspSealingKey,
}

/// What became of one inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Octets of the ESP packet.
    pub len: usize,
    /// Its sequence number; the packet holds the lower 32 bits.
    pub sequence: u64,
}

impl Outbound {
    /// Takes the key of a child's outbound half.
    #[must_use]
    pub fn new(half: HalfSpec) -> Self {
        let cipher = half.key.suite().cipher;
        Self { spi: half.spi, cipher, key: half.key.into_sealing() }
    }

    /// The SPI on the wire: the peer's.
    #[must_use]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// Octets of the ESP packet for an inner packet of `inner_len` octets.
    #[must_use]
    pub const fn sealed_len(&self, inner_len: usize) -> usize {
        sealed_len(self.cipher, inner_len)
    }

    /// From this sequence number on the child should be replaced: about a
    /// million packets are left to do it in.
    #[must_use]
    pub const fn soft_limit(&self) -> u64 {
        self.key.last() - SOFT_MARGIN
    }

    /// Writes the ESP packet for `inner` to the beginning of `out`.
    ///
    /// # Errors
    /// [`Discard::TooBig`] when `out` is shorter than [`Self::sealed_len`] says,
    /// [`Discard::BadInner`] when `inner` is not IPv4 or IPv6,
    /// [`Discard::Exhausted`] when no sequence number is left.
    pub fn seal(&self, inner: &[u8], out: &mut [u8]) -> Result<Sealed, Discard> {
        let len = self.sealed_len(inner.len());
        let packet = out.get_mut(..len).ok_or(Discard::TooBig)?;
        lay_out(self.cipher, self.spi, inner, packet)?;
        let sequence = self.key.seal(packet).map_err(|_exhausted| Discard::Exhausted)?;
        Ok(Sealed { len, sequence })
    }
}

/// Writes everything but sequence number, IV and ICV.
fn lay_out(cipher: EspCipher, spi: Spi, inner: &[u8], packet: &mut [u8]) -> Result<(), Discard> {
    let next_header = match inner.first().map(|first| first >> 4) {
        Some(4) => NEXT_HEADER_IPV4,
        Some(6) => NEXT_HEADER_IPV6,
        _ => return Err(Discard::BadInner),
    };
    let (header, rest) =
        packet.split_at_mut_checked(HEADER_LEN + cipher.iv_len()).ok_or(Discard::TooBig)?;
    let (body, rest) = rest.split_at_mut_checked(inner.len()).ok_or(Discard::TooBig)?;
    let pad_len = rest.len().saturating_sub(TRAILER_LEN + cipher.icv_len());
    let (padding, rest) = rest.split_at_mut_checked(pad_len).ok_or(Discard::TooBig)?;
    let [pad_length, next, ..] = rest else { return Err(Discard::TooBig) };

    if let Some(octets) = header.first_chunk_mut::<4>() {
        *octets = spi.get().to_be_bytes();
    }
    body.copy_from_slice(inner);
    for (octet, pad) in padding.iter_mut().zip(1..=MAX_PADDING) {
        *octet = pad;
    }
    *pad_length = u8::try_from(pad_len).map_err(|_| Discard::TooBig)?;
    *next = next_header;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crypto::{CbcIntegrity, KeyLen};
    use proptest::prelude::*;

    use super::*;

    const CBC: EspCipher = EspCipher::AesCbc(KeyLen::L256, CbcIntegrity::HmacSha512_256);
    const GCM: EspCipher = EspCipher::AesGcm16(KeyLen::L128);

    #[test]
    fn padding_follows_the_rfc() {
        let mut inner = [0u8; 40];
        inner[0] = 0x45;
        for (cipher, inner_len) in
            [GCM, CBC].into_iter().flat_map(|c| (18..40).map(move |n| (c, n)))
        {
            let mut packet = vec![0xff; sealed_len(cipher, inner_len)];
            let spi = Spi::new(0x1234_5678).unwrap();
            lay_out(cipher, spi, &inner[..inner_len], &mut packet).unwrap();
            let body = &packet[8 + cipher.iv_len()..packet.len() - cipher.icv_len()];
            let pad_len = usize::from(body[body.len() - 2]);
            let padding: Vec<u8> = (1..=15).take(pad_len).collect();
            assert_eq!(packet[..4], [0x12, 0x34, 0x56, 0x78]);
            assert_eq!(body.len() % cipher.alignment(), 0);
            assert_eq!(body.len(), inner_len + pad_len + 2);
            assert_eq!(body[inner_len..inner_len + pad_len], padding);
            assert_eq!(body[body.len() - 1], NEXT_HEADER_IPV4);
        }
    }

    #[test]
    fn ipv6_has_its_own_next_header() {
        let mut packet = vec![0; sealed_len(GCM, 40)];
        let mut inner = [0u8; 40];
        inner[0] = 0x60;
        lay_out(GCM, Spi::new(256).unwrap(), &inner, &mut packet).unwrap();
        assert_eq!(packet[packet.len() - GCM.icv_len() - 1], NEXT_HEADER_IPV6);
    }

    #[test]
    fn what_is_not_ip_is_refused() {
        let spi = Spi::new(256).unwrap();
        let mut packet = vec![0; 64];
        assert_eq!(lay_out(GCM, spi, &[0x50; 20], &mut packet), Err(Discard::BadInner));
        assert_eq!(lay_out(GCM, spi, &[], &mut packet), Err(Discard::BadInner));
    }

    proptest! {
        #[test]
        fn the_largest_inner_packet_fits_and_one_octet_more_does_not(
            esp_len in 80usize..3000,
            is_cbc: bool,
        ) {
            let cipher = if is_cbc { CBC } else { GCM };
            let inner_len = inner_len_within(cipher, esp_len);
            prop_assert!(sealed_len(cipher, inner_len) <= esp_len);
            prop_assert!(sealed_len(cipher, inner_len + 1) > esp_len);
        }
    }
}
