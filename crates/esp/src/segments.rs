//! A buffer of ESP packets as UDP segmentation offload takes them: equal
//! sizes back to back, the last one perhaps shorter.

use crate::discard::Discard;
use crate::outbound::{Outbound, Sealed};

/// The kernel's limit of segments in one send (`UDP_MAX_SEGMENTS` since Linux
/// 6.9 is 128, before it was 64).
pub const MAX_SEGMENTS: usize = 64;

/// The largest payload of an IPv4 UDP datagram: what one send may hold.
pub const CAPACITY: usize = 65_507;

/// ESP packets of one child that leave together.
pub struct Segments {
    buffer: Box<[u8]>,
    len: usize,
    segment: usize,
    count: usize,
    ecn: u8,
}

/// What [`Segments::push`] did with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was sealed and stands at the end of the buffer.
    Sealed(Sealed),
    /// It does not go with what is there: send that, clear, and push again.
    Full,
}

impl Default for Segments {
    fn default() -> Self {
        let buffer = vec![0; CAPACITY].into_boxed_slice();
        Self { buffer, len: 0, segment: 0, count: 0, ecn: 0 }
    }
}

impl Segments {
    /// Seals `inner` with `outbound` behind the packets that are there.
    ///
    /// All packets between two calls of [`Segments::clear`] must be of one
    /// child. `ecn` is the inner ECN field; packets of different fields do not
    /// share a send.
    ///
    /// # Errors
    /// The packet was not sealed, and never will be.
    pub fn push(&mut self, outbound: &Outbound, inner: &[u8], ecn: u8) -> Result<Pushed, Discard> {
        let size = outbound.sealed_len(inner.len());
        if !self.takes(size, ecn) {
            return if self.count == 0 { Err(Discard::TooBig) } else { Ok(Pushed::Full) };
        }
        let room = self.buffer.get_mut(self.len..).ok_or(Discard::TooBig)?;
        let sealed = outbound.seal(inner, room)?;
        if self.count == 0 {
            self.segment = sealed.len;
            self.ecn = ecn;
        }
        self.len += sealed.len;
        self.count += 1;
        Ok(Pushed::Sealed(sealed))
    }

    fn takes(&self, size: usize, ecn: u8) -> bool {
        let has_room = self.len + size <= self.buffer.len() && self.count < MAX_SEGMENTS;
        let is_first = self.count == 0;
        let follows_full_segments = self.len == self.segment * self.count;
        has_room && (is_first || size <= self.segment && follows_full_segments && ecn == self.ecn)
    }

    /// The packets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Octets of every packet but the last, which may be shorter.
    #[must_use]
    pub const fn segment_size(&self) -> usize {
        self.segment
    }

    /// How many packets there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The ECN field for the outer header (RFC 4301 section 5.1.2.1).
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.ecn
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets the packets.
    pub fn clear(&mut self) {
        self.len = 0;
        self.segment = 0;
        self.count = 0;
    }
}
