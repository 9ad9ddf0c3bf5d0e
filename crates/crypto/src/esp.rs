//! Keys of ESP: AES-GCM (RFC 4106), ChaCha20-Poly1305 (RFC 7634), and AES-CBC
//! (RFC 3602) with HMAC (RFC 4868).
//!
//! A packet is `SPI 4 | sequence number 4 | IV | ciphertext | ICV`. A sealing
//! key owns its counter, so no number can occur twice:
//!
//! - of an AEAD cipher the IV is the sequence number in 64 bits, the nonce is
//!   salt | IV, and the associated data is SPI | sequence number;
//! - of AES-CBC the IV is the sequence number, encrypted with the same key: it
//!   can neither occur twice nor be foreseen (NIST SP 800-38A appendix C). The
//!   code covers everything before it.
//!
//! With extended sequence numbers the upper half of the number is covered, but
//! not sent (RFC 4106 section 5, RFC 4303 section 2.2.1).

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{self, Aad, LessSafeKey};
use zeroize::ZeroizeOnDrop;

use crate::aead::{ICV_LEN, IV_LEN, SALT_LEN, expanded, gcm_algorithm, nonce};
use crate::cbc::PacketCbc;
use crate::error::{Exhausted, OpenFailed, WrongLength};
use crate::provider::module_failed;
use crate::suite::{EspCipher, EspSuite};

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

/// Key material of one direction of a child, as it was derived: not yet good
/// for packets.
#[derive(ZeroizeOnDrop)]
pub struct EspKey {
    /// As long as [`EspCipher::keymat_len`] says.
    bytes: [u8; Self::MAX_LEN],
    #[zeroize(skip)]
    suite: EspSuite,
}

impl EspKey {
    /// The longest [`EspCipher::keymat_len`].
    pub(crate) const MAX_LEN: usize = 32 + 64;

    /// `keymat` has the length of the cipher.
    pub(crate) fn new(suite: EspSuite, keymat: &[u8]) -> Self {
        let mut key = Self { bytes: [0; Self::MAX_LEN], suite };
        key.bytes.split_at_mut(suite.cipher.keymat_len()).0.copy_from_slice(keymat);
        key
    }

    /// A key that was not negotiated, for tests and measurements.
    ///
    /// # Errors
    /// [`WrongLength`] unless there are [`EspCipher::keymat_len`] octets.
    pub fn for_test(suite: impl Into<EspSuite>, keymat: &[u8]) -> Result<Self, WrongLength> {
        let suite = suite.into();
        let (expected, got) = (suite.cipher.keymat_len(), keymat.len());
        if got != expected {
            return Err(WrongLength { expected, got });
        }
        Ok(Self::new(suite, keymat))
    }

    /// How the key protects.
    #[must_use]
    pub fn suite(&self) -> EspSuite {
        self.suite
    }

    /// For packets that we send. Its first sequence number is 1.
    #[must_use]
    pub fn into_sealing(self) -> EspSealingKey {
        let last = if self.suite.extended { u64::MAX } else { u64::from(u32::MAX) };
        EspSealingKey {
            key: PacketKey::new(&self, PacketCbc::sealing),
            sent: AtomicU64::new(0),
            last,
        }
    }

    /// For packets that we receive.
    #[must_use]
    pub fn into_opening(self) -> EspOpeningKey {
        EspOpeningKey { key: PacketKey::new(&self, PacketCbc::opening) }
    }

    /// Lends the key material to `install`, in the form that the kernel takes.
    pub fn for_kernel<R>(&self, install: impl FnOnce(&[u8]) -> R) -> R {
        install(self.octets())
    }

    fn octets(&self) -> &[u8] {
        self.bytes.split_at(self.suite.cipher.keymat_len()).0
    }
}

/// Seals packets of one direction. Threads may share it: it takes no lock.
pub struct EspSealingKey {
    key: PacketKey,
    /// The last sequence number that was given out; at most `last`.
    sent: AtomicU64,
    /// The last that there is.
    last: u64,
}

impl EspSealingKey {
    /// Takes the next sequence number and seals `packet` in place with it.
    ///
    /// On entry `packet` is `SPI 4 | room 4 | room for the IV | plaintext with
    /// ESP trailer | room for the ICV`, with the cipher's lengths; the sequence
    /// number, which is returned, the IV, the ciphertext and the ICV are
    /// written. A packet without that room is a fault of the caller; it is
    /// refused too.
    ///
    /// # Errors
    /// [`Exhausted`], from then on always, after the last number: the counter
    /// never wraps (RFC 4303 section 3.3.3). `packet` is then not sealed.
    pub fn seal(&self, packet: &mut [u8]) -> Result<u64, Exhausted> {
        self.reserve(1)?.seal(packet)
    }

    /// Takes the next `count` sequence numbers at once, for a batch; fewer
    /// where fewer are left. Those that the run does not use are never used.
    ///
    /// # Errors
    /// [`Exhausted`] if none is left, or none was asked for.
    pub fn reserve(&self, count: u32) -> Result<SeqRun<'_>, Exhausted> {
        let taken = |sent: u64| {
            let last = sent.saturating_add(u64::from(count)).min(self.last);
            (last > sent).then_some(last)
        };
        let sent = self
            .sent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .map_err(|_| Exhausted)?;
        let last = taken(sent).unwrap_or(sent);
        Ok(SeqRun { key: &self.key, used: sent, last })
    }

    /// The last sequence number that there is.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
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
    pub fn seal(&mut self, packet: &mut [u8]) -> Result<u64, Exhausted> {
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
    /// Opens `packet` in place, from the SPI to the ICV. `high` is the upper
    /// half of its sequence number, of which only extended ones make use.
    /// Returns where the plaintext is, which ends with padding, Pad Length and
    /// Next Header.
    ///
    /// # Errors
    /// [`OpenFailed`], whatever is wrong. The octets behind the IV are then
    /// unspecified.
    pub fn open(&self, packet: &mut [u8], high: u32) -> Result<Range<usize>, OpenFailed> {
        self.key.open(packet, high)
    }
}

/// A key set up for packets. Its cipher is known to the module.
struct PacketKey {
    cipher: Cipher,
    extended: bool,
}

enum Cipher {
    Aead { key: LessSafeKey, salt: [u8; SALT_LEN] },
    Cbc(Box<PacketCbc>),
}

impl PacketKey {
    fn new(key: &EspKey, cbc: impl FnOnce(EspCipher, &[u8]) -> Option<PacketCbc>) -> Self {
        let EspSuite { cipher, extended } = key.suite;
        let cipher = match algorithm(cipher) {
            Some(algorithm) => Cipher::aead(algorithm, key.octets()),
            None => match cbc(cipher, key.octets()) {
                Some(cbc) => Cipher::Cbc(Box::new(cbc)),
                None => module_failed(),
            },
        };
        Self { cipher, extended }
    }

    #[inline]
    fn seal(&self, number: u64, packet: &mut [u8]) -> Result<u64, Exhausted> {
        let [high, low] = halves(number);
        let Some((_, number_field)) = header(packet) else {
            debug_assert!(false, "a packet without a header");
            return Err(Exhausted);
        };
        *number_field = low;
        let high = self.extended.then_some(high);
        let sealed = match &self.cipher {
            Cipher::Aead { key, salt } => seal_aead(key, *salt, number, high, packet),
            Cipher::Cbc(cbc) => cbc.seal(HEADER_LEN, number, high, packet),
        };
        debug_assert!(sealed.is_some(), "a packet without room for its IV and ICV");
        sealed.map(|()| number).ok_or(Exhausted)
    }

    #[inline]
    fn open(&self, packet: &mut [u8], high: u32) -> Result<Range<usize>, OpenFailed> {
        let high = self.extended.then_some(high.to_be_bytes());
        match &self.cipher {
            Cipher::Aead { key, salt } => open_aead(key, *salt, high, packet),
            Cipher::Cbc(cbc) => cbc.open(HEADER_LEN, high, packet),
        }
        .ok_or(OpenFailed)
    }
}

impl Cipher {
    fn aead(algorithm: &'static aead::Algorithm, octets: &[u8]) -> Self {
        let (key, salt_octets) = octets.split_at(octets.len() - SALT_LEN);
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(salt_octets);
        Self::Aead { key: expanded(algorithm, key), salt }
    }
}

/// The upper and the lower half of a sequence number.
const fn halves(number: u64) -> [[u8; 4]; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [[a, b, c, d], [e, f, g, h]]
}

#[inline]
fn seal_aead(
    key: &LessSafeKey,
    salt: [u8; SALT_LEN],
    number: u64,
    high: Option<[u8; 4]>,
    packet: &mut [u8],
) -> Option<()> {
    let (header, iv, text, icv) = parts(packet)?;
    *iv = number.to_be_bytes();
    let nonce = nonce(salt, iv);
    let tag = match high {
        None => key.seal_in_place_separate_tag(nonce, Aad::from(&*header), text),
        Some(high) => {
            key.seal_in_place_separate_tag(nonce, Aad::from(extended_aad(header, high)), text)
        }
    };
    icv.copy_from_slice(tag.ok()?.as_ref());
    Some(())
}

#[inline]
fn open_aead(
    key: &LessSafeKey,
    salt: [u8; SALT_LEN],
    high: Option<[u8; 4]>,
    packet: &mut [u8],
) -> Option<Range<usize>> {
    let (header, iv, text, icv) = parts(packet)?;
    let nonce = nonce(salt, iv);
    match high {
        None => key.open_in_place_separate_tag(nonce, Aad::from(&*header), icv, text),
        Some(high) => {
            let aad = Aad::from(extended_aad(header, high));
            key.open_in_place_separate_tag(nonce, aad, icv, text)
        }
    }
    .ok()?;
    let start = HEADER_LEN + IV_LEN;
    Some(start..start + text.len())
}

/// SPI | upper half | lower half (RFC 4106 section 5).
const fn extended_aad(header: &[u8; HEADER_LEN], high: [u8; 4]) -> [u8; HEADER_LEN + 4] {
    let [s, p, i, x, a, b, c, d] = *header;
    let [e, f, g, h] = high;
    [s, p, i, x, e, f, g, h, a, b, c, d]
}

#[inline]
fn header(packet: &mut [u8]) -> Option<(&mut [u8; 4], &mut [u8; 4])> {
    let (spi, rest) = packet.split_first_chunk_mut()?;
    Some((spi, rest.first_chunk_mut()?))
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

fn algorithm(cipher: EspCipher) -> Option<&'static aead::Algorithm> {
    match cipher {
        EspCipher::AesGcm16(key_len) => Some(gcm_algorithm(key_len)),
        EspCipher::ChaCha20Poly1305 => Some(&aead::CHACHA20_POLY1305),
        EspCipher::AesCbc(..) => None,
    }
}
