//! Keys that seal tickets (RFC 5723 sections 6.1 and 9.5).

use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce};
use zeroize::{Zeroize, Zeroizing};

use crate::aead::{ICV_LEN, expanded};
use crate::error::{CryptoError, OpenFailed, WrongLength};
use crate::provider::Provider;

/// A key for tickets and nothing else: AES-256-GCM with random nonces.
pub struct TicketKey {
    aead: LessSafeKey,
    /// id | key, as it goes to a store.
    octets: Zeroizing<[u8; STORED_LEN]>,
    /// Tickets sealed since the key was made or restored.
    sealed: AtomicU32,
}

const ID_LEN: usize = 4;
const STORED_LEN: usize = ID_LEN + 32;

impl TicketKey {
    /// Octets that sealing adds: nonce and tag.
    pub const OVERHEAD: usize = NONCE_LEN + ICV_LEN;

    /// Octets of [`TicketKey::export_to_store`].
    pub const STORED_LEN: usize = STORED_LEN;

    /// Random nonces may serve 2^32 times (SP 800-38D section 8.3). Half of
    /// that leaves room for a key that comes back from a store, whose count
    /// begins anew.
    const MAX_SEALED: u32 = 1 << 31;

    /// A new key with a random name.
    #[must_use]
    pub fn generate(provider: &mut Provider) -> Self {
        let mut octets = Zeroizing::new([0; STORED_LEN]);
        provider.fill(octets.as_mut_slice());
        Self::from_octets(octets)
    }

    /// The name of the key, which a ticket carries in clear
    /// (RFC 5723 section 6.1). It says nothing about the key.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *self.octets;
        [a, b, c, d]
    }

    /// Appends nonce | ciphertext | tag to `out`. `aad` is covered but not
    /// written.
    ///
    /// # Errors
    /// [`CryptoError::Exhausted`] after 2^31 tickets, [`CryptoError::Module`];
    /// `out` is then as it was.
    pub fn seal(
        &self,
        provider: &mut Provider,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        self.count()?;
        let nonce: [u8; NONCE_LEN] = provider.array();
        let begin = out.len();
        out.reserve(plaintext.len() + Self::OVERHEAD);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let text = out.split_at_mut(begin + NONCE_LEN).1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), text) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                text.zeroize();
                out.truncate(begin);
                return Err(CryptoError::Module);
            }
        }
        Ok(())
    }

    /// The plaintext of what [`TicketKey::seal`] appended.
    ///
    /// # Errors
    /// [`OpenFailed`], whatever is wrong.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenFailed> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenFailed)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut plaintext = Zeroizing::new(text.to_vec());
        let len = self
            .aead
            .open_in_place(nonce, Aad::from(aad), &mut plaintext)
            .map_err(|_| OpenFailed)?
            .len();
        plaintext.truncate(len);
        Ok(plaintext)
    }

    /// The key with its name. It may go nowhere but into a store that is
    /// itself sealed: who has it can open every ticket that it sealed, and
    /// with a capture every session resumed from one.
    #[must_use]
    pub fn export_to_store(&self) -> &[u8; STORED_LEN] {
        &self.octets
    }

    /// What [`TicketKey::export_to_store`] gave.
    ///
    /// # Errors
    /// [`WrongLength`] unless there are [`TicketKey::STORED_LEN`] octets.
    pub fn from_store(bytes: &[u8]) -> Result<Self, WrongLength> {
        let wrong = WrongLength { expected: STORED_LEN, got: bytes.len() };
        let octets = bytes.try_into().map_err(|_| wrong)?;
        Ok(Self::from_octets(Zeroizing::new(octets)))
    }

    fn from_octets(octets: Zeroizing<[u8; STORED_LEN]>) -> Self {
        let aead = expanded(&AES_256_GCM, octets.split_at(ID_LEN).1);
        Self { aead, octets, sealed: AtomicU32::new(0) }
    }

    fn count(&self) -> Result<(), CryptoError> {
        let next = |sealed| (sealed < Self::MAX_SEALED).then(|| sealed + 1);
        self.sealed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| CryptoError::Exhausted)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &TicketKey, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key.seal(&mut Provider::seeded(9), aad, plaintext, &mut out).unwrap();
        out
    }

    #[test]
    fn a_ticket_opens_with_its_key_and_associated_data() {
        let key = TicketKey::generate(&mut Provider::seeded(1));
        let ticket = sealed(&key, b"version 1", b"state");
        assert_eq!(ticket.len(), 5 + TicketKey::OVERHEAD);
        assert_eq!(key.open(b"version 1", &ticket).unwrap().as_slice(), b"state");
        assert_eq!(key.open(b"version 2", &ticket).err(), Some(OpenFailed));
        let other = TicketKey::generate(&mut Provider::seeded(2));
        assert_ne!(other.id(), key.id());
        assert_eq!(other.open(b"version 1", &ticket).err(), Some(OpenFailed));
    }

    #[test]
    fn a_changed_or_shortened_ticket_does_not_open() {
        let key = TicketKey::generate(&mut Provider::seeded(1));
        let ticket = sealed(&key, b"", b"state");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"", &changed).err(), Some(OpenFailed));
            assert_eq!(key.open(b"", &ticket[..at]).err(), Some(OpenFailed));
        }
    }

    #[test]
    fn a_ticket_is_appended_to_what_is_there() {
        let key = TicketKey::generate(&mut Provider::seeded(1));
        let mut out = b"in front".to_vec();
        key.seal(&mut Provider::seeded(3), b"", b"state", &mut out).unwrap();
        let (front, ticket) = out.split_at(8);
        assert_eq!(front, b"in front");
        assert_eq!(key.open(b"", ticket).unwrap().as_slice(), b"state");
    }

    #[test]
    fn a_key_from_a_store_is_the_key_that_went_in() {
        let key = TicketKey::generate(&mut Provider::seeded(1));
        let ticket = sealed(&key, b"", b"state");
        let restored = TicketKey::from_store(key.export_to_store()).unwrap();
        assert_eq!(restored.id(), key.id());
        assert_eq!(restored.open(b"", &ticket).unwrap().as_slice(), b"state");
        assert_eq!(
            TicketKey::from_store(&[0; 35]).err(),
            Some(WrongLength { expected: 36, got: 35 })
        );
    }

    #[test]
    fn a_key_that_sealed_enough_seals_no_more_but_opens() {
        let key = TicketKey::generate(&mut Provider::seeded(1));
        let ticket = sealed(&key, b"", b"state");
        key.sealed.store(TicketKey::MAX_SEALED - 1, Ordering::Relaxed);
        sealed(&key, b"", b"the last");
        let mut out = Vec::new();
        for _ in 0..2 {
            let refused = key.seal(&mut Provider::seeded(9), b"", b"state", &mut out);
            assert_eq!(refused, Err(CryptoError::Exhausted));
        }
        assert!(out.is_empty());
        assert!(key.open(b"", &ticket).is_ok());
    }
}
