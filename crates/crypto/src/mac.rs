//! Codes and digests that protect an exchange before it has keys.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use crate::error::Mismatch;
use crate::provider::Provider;

/// A secret for stateless cookies (RFC 7296 section 2.6), tokens of crash
/// detection (RFC 6290) and marks of secrets ([`crate::Psk::mark`]): HMAC-SHA256.
///
/// It is set up once, since a flood is answered with it.
pub struct CookieKey(hmac::Key);

impl CookieKey {
    /// A new secret.
    #[must_use]
    pub fn generate(provider: &mut Provider) -> Self {
        let bytes = Zeroizing::new(provider.array::<32>());
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()))
    }

    /// A secret that was kept.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The code of `parts`, of which each is preceded by its length, so that
    /// octets cannot be moved from one to the next.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// [`Mismatch`] unless `tag` is the code of `parts`.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), Mismatch> {
        verify_slices_are_equal(&self.tag(parts), tag).map_err(|_| Mismatch)
    }
}

/// Whether two secrets are the same, in a time that tells only their lengths.
#[must_use]
pub fn same_octets(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

/// SHA-1(SPIi | SPIr | address | port), the body of a NAT_DETECTION notify
/// (RFC 7296 section 2.23). The RFC fixes SHA-1; no security rests on it.
#[must_use]
pub fn nat_detection_hash(spi_i: [u8; 8], spi_r: [u8; 8], addr: SocketAddr) -> [u8; 20] {
    match addr.ip() {
        IpAddr::V4(ip) => sha1_of(&spi_i, &spi_r, &ip.octets(), addr.port()),
        IpAddr::V6(ip) => sha1_of(&spi_i, &spi_r, &ip.octets(), addr.port()),
    }
}

fn sha1_of(spi_i: &[u8; 8], spi_r: &[u8; 8], address: &[u8], port: u16) -> [u8; 20] {
    // Two SPIs, an IPv6 address and a port at the most.
    let mut input = [0; 34];
    let parts = [&spi_i[..], spi_r, address, &port.to_be_bytes()];
    let len = parts.iter().map(|part| part.len()).sum();
    for (place, octet) in input.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *octet;
    }
    let input = input.get(..len).unwrap_or_default();
    let mut out = [0; 20];
    out.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, input).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_bound_to_its_secret_and_to_every_part() {
        let key = CookieKey::generate(&mut Provider::seeded(1));
        let tag = key.tag(&[b"ab", b"c"]);
        assert_eq!(key.verify(&[b"ab", b"c"], &tag), Ok(()));
        assert_eq!(key.verify(&[b"a", b"bc"], &tag), Err(Mismatch));
        assert_eq!(key.verify(&[b"ab", b"c"], &tag[..31]), Err(Mismatch));
        let other = CookieKey::generate(&mut Provider::seeded(2));
        assert_eq!(other.verify(&[b"ab", b"c"], &tag), Err(Mismatch));
    }

    /// 16 octets of SPIs, 16 of the address, 2 of the port.
    #[test]
    fn an_ipv6_address_is_hashed_with_all_its_octets() {
        let addr = "[2001:db8::1]:4500".parse().unwrap();
        let hash = nat_detection_hash([1; 8], [2; 8], addr);
        let input = [
            &[1; 8][..],
            &[2; 8],
            &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &4500u16.to_be_bytes(),
        ];
        let expected = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input.concat());
        assert_eq!(hash, expected.as_ref());
    }
}
