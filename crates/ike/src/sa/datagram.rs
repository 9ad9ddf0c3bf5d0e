//! A datagram on its way to its SA.

use std::ops::Deref;

use zeroize::Zeroizing;

use crate::event::Path;
use crate::time::Instant;
use crate::wire::Header;

/// A datagram that has come for an SA, and room for the message that it may
/// complete. It is decrypted in place.
pub(crate) struct Datagram<'b> {
    /// The way it came.
    pub(crate) path: Path,
    /// What it begins with: nobody has vouched for it yet.
    pub(crate) header: Header,
    /// When it came.
    pub(crate) at: Instant,
    octets: &'b mut [u8],
    whole: Zeroizing<Vec<u8>>,
}

impl<'b> Datagram<'b> {
    pub(crate) fn new(octets: &'b mut [u8], header: Header, path: Path, at: Instant) -> Self {
        Self { path, header, at, octets, whole: Zeroizing::default() }
    }

    pub(crate) const fn octets_mut(&mut self) -> &mut [u8] {
        self.octets
    }

    /// The message that has been put together of this datagram and earlier ones.
    pub(crate) fn whole(&self) -> &[u8] {
        &self.whole
    }

    pub(crate) fn complete(&mut self, whole: Zeroizing<Vec<u8>>) {
        self.whole = whole;
    }
}

impl Deref for Datagram<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.octets
    }
}
