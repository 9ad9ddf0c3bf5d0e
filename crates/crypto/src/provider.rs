//! Where all randomness that matters comes from.

use aws_lc_rs::{hmac, rand};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::CryptoError;
use crate::kex::{KeyAnswer, KeyExchange};
use crate::suite::Group;

/// A source of randomness, owned by whoever needs it; there is no global one.
pub struct Provider(Source);

enum Source {
    System(Box<Reserve>),
    Seeded(Box<Stream>),
}

/// Octets of the module's generator, drawn ahead: a draw costs the same for one
/// as for many. Given-out octets are wiped.
struct Reserve {
    octets: Zeroizing<[u8; Self::LEN]>,
    /// Octets at the end that were not given out.
    left: usize,
}

impl Reserve {
    const LEN: usize = 512;

    /// What is longer than an eighth of the reserve is drawn directly.
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > Self::LEN / 8 {
            return system_fill(out);
        }
        if self.left < out.len() {
            system_fill(self.octets.as_mut_slice());
            self.left = Self::LEN;
        }
        let (_, fresh) = self.octets.split_at_mut(Self::LEN - self.left);
        let (now, _) = fresh.split_at_mut(out.len());
        out.copy_from_slice(now);
        now.zeroize();
        self.left -= out.len();
    }
}

impl Provider {
    /// The module's own generator.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Box::new(Reserve {
            octets: Zeroizing::new([0; Reserve::LEN]),
            left: 0,
        })))
    }

    /// The same octets, and the same key exchanges, every time: for simulations
    /// that are to be repeated. Whoever knows the seed knows every key.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Box::new(Stream::new(seed))))
    }

    /// Fills `out`. Ends the process if the module's generator fails: there is
    /// nothing safe to go on with, and unwinding would run code with keys that
    /// are not random.
    pub fn fill(&mut self, out: &mut [u8]) {
        match &mut self.0 {
            Source::System(reserve) => reserve.fill(out),
            Source::Seeded(stream) => stream.fill(out),
        }
    }

    /// `N` octets; see [`Provider::fill`].
    #[must_use]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A new key pair of `group`.
    ///
    /// # Errors
    /// [`CryptoError::Module`] if the module does not make one.
    pub fn key_exchange(&mut self, group: Group) -> Result<KeyExchange, CryptoError> {
        KeyExchange::generate(self, group)
    }

    /// Our answer to the initiator's public value of a key exchange, which must
    /// be as in a KE payload.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] if the value is seen not to be one of `group`;
    /// [`CryptoError::Module`] if the module makes no key.
    pub fn answer_key_exchange(
        &mut self,
        group: Group,
        peer_public: &[u8],
    ) -> Result<KeyAnswer, CryptoError> {
        KeyAnswer::new(self, group, peer_public)
    }

    /// Whether the module may draw keys by itself.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, Source::System(_))
    }
}

/// Ends the process because the module failed at something that cannot fail
/// while it works and memory lasts.
pub(crate) fn module_failed() -> ! {
    std::process::abort()
}

#[expect(clippy::disallowed_methods, reason = "the one place that it is meant for")]
fn system_fill(out: &mut [u8]) {
    if rand::fill(out).is_err() {
        module_failed();
    }
}

/// HMAC-SHA256(seed, 0) | HMAC-SHA256(seed, 1) | ..
struct Stream {
    key: hmac::Key,
    counter: u64,
    block: Zeroizing<[u8; 32]>,
    /// Octets at the end of `block` that were not given out.
    left: usize,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &seed.to_be_bytes());
        Self { key, counter: 0, block: Zeroizing::new([0; 32]), left: 0 }
    }

    fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.left == 0 {
                self.next_block();
            }
            let fresh = self.block.split_at(self.block.len() - self.left).1;
            let taken = fresh.len().min(out.len());
            let (now, later) = out.split_at_mut(taken);
            now.copy_from_slice(fresh.split_at(taken).0);
            self.left -= taken;
            out = later;
        }
    }

    fn next_block(&mut self) {
        let input = self.counter.to_be_bytes();
        if hmac::sign_to_buffer(&self.key, &input, self.block.as_mut_slice()).is_err() {
            module_failed();
        }
        self.counter += 1;
        self.left = self.block.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_octets_however_they_are_drawn() {
        let mut whole = Provider::seeded(7);
        let expected: [u8; 100] = whole.array();
        let mut pieces = Provider::seeded(7);
        let mut drawn = Vec::new();
        for len in [1, 31, 32, 0, 33, 3] {
            let mut piece = vec![0; len];
            pieces.fill(&mut piece);
            drawn.extend(piece);
        }
        assert_eq!(drawn, expected);
        assert_ne!(Provider::seeded(8).array::<100>(), expected);
    }

    #[test]
    fn the_module_does_not_repeat_itself() {
        let mut provider = Provider::system();
        let drawn: Vec<[u8; 32]> = (0..100).map(|_| provider.array()).collect();
        let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        assert_ne!(provider.array::<100>(), provider.array::<100>());
    }
}
