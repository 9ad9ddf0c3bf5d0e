//! Keys of ESP: AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634).
//!
//! A packet is `SPI 4 | sequence number 4 | IV 8 | ciphertext | ICV 16`; the
//! nonce is salt | IV and the associated data is SPI | sequence number. The IV
//! is the sequence number in 64 bits: a sealing key owns its counter, so no
//! nonce can occur twice.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{self, Aad, LessSafeKey};
use zeroize::ZeroizeOnDrop;

use crate::aead::{ICV_LEN, IV_LEN, SALT_LEN, expanded, gcm_algorithm, nonce};
use crate::error::{Exhausted, OpenFailed, WrongLength};
use crate::suite::EspCipher;

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

/// The last sequence number. The counters have 64 bits, as extended sequence
/// numbers would need (RFC 4303 section 2.2.1).
const LAST: u64 = u32::MAX as u64;

/// Key material of one direction of a child, as it was derived: not yet good
/// for packets.
#[derive(ZeroizeOnDrop)]
pub struct EspKey {
    /// key | salt.
    bytes: [u8; Self::MAX_LEN],
    #[zeroize(skip)]
    cipher: EspCipher,
}

impl EspKey {
    /// The longest [`EspCipher::key_and_salt_len`].
    pub(crate) const MAX_LEN: usize = 32 + SALT_LEN;

    /// `key_and_salt` has the length of the cipher.
    pub(crate) fn new(cipher: EspCipher, key_and_salt: &[u8]) -> Self {
        let mut key = Self { bytes: [0; Self::MAX_LEN], cipher };
        key.bytes.split_at_mut(cipher.key_and_salt_len()).0.copy_from_slice(key_and_salt);
        key
    }

    /// A key that was not negotiated, for tests and measurements.
    ///
    /// # Errors
    /// [`WrongLength`] unless there are [`EspCipher::key_and_salt_len`] octets.
    pub fn for_test(cipher: EspCipher, key_and_salt: &[u8]) -> Result<Self, WrongLength> {
        let (expected, got) = (cipher.key_and_salt_len(), key_and_salt.len());
        if got != expected {
            return Err(WrongLength { expected, got });
        }
        Ok(Self::new(cipher, key_and_salt))
    }

    /// How the key protects.
    #[must_use]
    pub fn cipher(&self) -> EspCipher {
        self.cipher
    }

    /// For packets that we send. Its first sequence number is 1.
    #[must_use]
    pub fn into_sealing(self) -> EspSealingKey {
        EspSealingKey { key: PacketKey::new(&self), sent: AtomicU64::new(0) }
    }

    /// For packets that we receive.
    #[must_use]
    pub fn into_opening(self) -> EspOpeningKey {
        EspOpeningKey { key: PacketKey::new(&self) }
    }

    /// Lends key | salt to `install`, in the form that the kernel takes.
    pub fn for_kernel<R>(&self, install: impl FnOnce(&[u8]) -> R) -> R {
        install(self.octets())
    }

    fn octets(&self) -> &[u8] {
        self.bytes.split_at(self.cipher.key_and_salt_len()).0
    }
}

/// Seals packets of one direction. Threads may share it: it takes no lock.
pub struct EspSealingKey {
    key: PacketKey,
    /// The last sequence number that was given out; at most [`LAST`].
    sent: AtomicU64,
}

impl EspSealingKey {
    /// Octets before the IV: SPI and sequence number.
    pub const HEADER_LEN: usize = HEADER_LEN;
    /// Octets of the IV.
    pub const IV_LEN: usize = IV_LEN;
    /// Octets of the ICV.
    pub const ICV_LEN: usize = ICV_LEN;
    /// Octets of a packet beside its ciphertext.
    pub const OVERHEAD: usize = HEADER_LEN + IV_LEN + ICV_LEN;

    /// Takes the next sequence number and seals `packet` in place with it.
    ///
    /// On entry `packet` is `SPI 4 | room 12 | plaintext with ESP trailer |
    /// room 16`; the sequence number, which is returned, the IV, the
    /// ciphertext and the ICV are written. A packet shorter than
    /// [`EspSealingKey::OVERHEAD`] is a fault of the caller; it is refused too.
    ///
    /// # Errors
    /// [`Exhausted`], from then on always, after 2^32-1 numbers: the counter
    /// never wraps (RFC 4303 section 3.3.3). `packet` is then not sealed.
    pub fn seal(&self, packet: &mut [u8]) -> Result<u32, Exhausted> {
        self.reserve(1)?.seal(packet)
    }

    /// Takes the next `count` sequence numbers at once, for a batch; fewer
    /// where fewer are left. Those that the run does not use are never used.
    ///
    /// # Errors
    /// [`Exhausted`] if none is left, or none was asked for.
    pub fn reserve(&self, count: u32) -> Result<SeqRun<'_>, Exhausted> {
        let taken = |sent: u64| {
            let last = sent.saturating_add(u64::from(count)).min(LAST);
            (last > sent).then_some(last)
        };
        let sent = self
            .sent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .map_err(|_| Exhausted)?;
        let last = taken(sent).unwrap_or(sent);
        Ok(SeqRun { key: &self.key, used: sent, last })
    }

    /// Sequence numbers given out so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Sequence numbers of one key that nobody else will use.
pub struct SeqRun<'a> {
    key: &'a PacketKey,
    used: u64,
    last: u64,
}

impl SeqRun<'_> {
    /// Seals `packet` as [`EspSealingKey::seal`] does, with the next number of
    /// the run.
    ///
    /// # Errors
    /// [`Exhausted`] at the end of the run.
    pub fn seal(&mut self, packet: &mut [u8]) -> Result<u32, Exhausted> {
        if self.used >= self.last {
            return Err(Exhausted);
        }
        self.used += 1;
        self.key.seal(self.used, packet)
    }

    /// How many numbers are left in it.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.last - self.used
    }
}

/// Opens packets of one direction. Threads may share it.
pub struct EspOpeningKey {
    key: PacketKey,
}

impl EspOpeningKey {
    /// Opens `packet` in place, from the SPI to the ICV. Returns where the
    /// plaintext is, which ends with padding, Pad Length and Next Header.
    ///
    /// # Errors
    /// [`OpenFailed`], whatever is wrong. The octets behind the IV are then
    /// unspecified.
    pub fn open(&self, packet: &mut [u8]) -> Result<Range<usize>, OpenFailed> {
        self.key.open(packet)
    }
}

/// A key set up for packets. Its cipher is known to the module.
struct PacketKey {
    aead: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl PacketKey {
    fn new(key: &EspKey) -> Self {
        let octets = key.octets();
        let (key_octets, salt_octets) = octets.split_at(octets.len() - SALT_LEN);
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(salt_octets);
        Self { aead: expanded(algorithm(key.cipher), key_octets), salt }
    }

    #[inline]
    fn seal(&self, number: u64, packet: &mut [u8]) -> Result<u32, Exhausted> {
        let sequence = u32::try_from(number).map_err(|_| Exhausted)?;
        let Some((header, iv, text, icv)) = parts(packet) else {
            debug_assert!(false, "a packet without room for its IV and ICV");
            return Err(Exhausted);
        };
        header.split_at_mut(4).1.copy_from_slice(&sequence.to_be_bytes());
        *iv = number.to_be_bytes();
        let nonce = nonce(self.salt, iv);
        match self.aead.seal_in_place_separate_tag(nonce, Aad::from(&*header), text) {
            Ok(tag) => icv.copy_from_slice(tag.as_ref()),
            Err(_) => return Err(Exhausted),
        }
        Ok(sequence)
    }

    #[inline]
    fn open(&self, packet: &mut [u8]) -> Result<Range<usize>, OpenFailed> {
        let (header, iv, text, icv) = parts(packet).ok_or(OpenFailed)?;
        let nonce = nonce(self.salt, iv);
        self.aead
            .open_in_place_separate_tag(nonce, Aad::from(&*header), icv, text)
            .map_err(|_| OpenFailed)?;
        let start = HEADER_LEN + IV_LEN;
        Ok(start..start + text.len())
    }
}

type Parts<'a> =
    (&'a mut [u8; HEADER_LEN], &'a mut [u8; IV_LEN], &'a mut [u8], &'a mut [u8; ICV_LEN]);

#[inline]
fn parts(packet: &mut [u8]) -> Option<Parts<'_>> {
    let (header, rest) = packet.split_first_chunk_mut()?;
    let (iv, rest) = rest.split_first_chunk_mut()?;
    let (text, icv) = rest.split_last_chunk_mut()?;
    Some((header, iv, text, icv))
}

fn algorithm(cipher: EspCipher) -> &'static aead::Algorithm {
    match cipher {
        EspCipher::AesGcm16(key_len) => gcm_algorithm(key_len),
        EspCipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
    }
}
