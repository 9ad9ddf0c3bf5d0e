//! IKE fragmentation (RFC 7383): messages that go out in parts, and what is put
//! together of the parts that come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::fault::Discard;
use crate::time::Instant;
use crate::wire::{EncryptedFragment, ExchangeType, Header, PayloadType};

/// Octets of IPv6 and UDP headers and of the non-ESP marker. They are counted
/// whatever the path is like, for it may change.
const OVERHEAD: u16 = 40 + 8 + 4;

/// Parts of one message, and octets of all of them together. An honest peer's
/// chain of certificates is far below.
const MAX_PARTS: u16 = 128;
const MAX_OCTETS: usize = 32 * 1024;

/// How long the first part waits for the last one: as long as a peer sends its
/// request again, with the settings that are usual (RFC 7383 section 2.6).
const PATIENCE: Duration = Duration::from_secs(120);

/// Octets of IKE header and generic header of the Encrypted payload.
pub(crate) const HEAD_LEN: usize = Header::LEN + 4;

/// Octets of a message that a datagram of `size` octets has room for.
pub(crate) const fn room(size: u16) -> usize {
    size.saturating_sub(OVERHEAD) as usize
}

/// A message as it goes out: in one datagram, or in several.
pub(crate) struct Datagrams {
    first: Arc<[u8]>,
    more: Box<[Arc<[u8]>]>,
}

impl From<Arc<[u8]>> for Datagrams {
    fn from(first: Arc<[u8]>) -> Self {
        Self { first, more: Box::default() }
    }
}

impl Datagrams {
    /// Fragments in order. `None` if there are none.
    pub(crate) fn of(fragments: Vec<Arc<[u8]>>) -> Option<Self> {
        let mut fragments = fragments.into_iter();
        Some(Self { first: fragments.next()?, more: fragments.collect() })
    }

    /// The only one, or the first fragment.
    pub(crate) const fn first(&self) -> &Arc<[u8]> {
        &self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        std::iter::once(&self.first).chain(&*self.more)
    }
}

/// The parts of one message that have come so far. Each was authenticated
/// before it was kept, so only the peer can make us keep any.
pub(crate) struct Reassembly {
    exchange: ExchangeType,
    id: u32,
    total: u16,
    begun: Instant,
    head: Head,
    parts: BTreeMap<u16, Zeroizing<Vec<u8>>>,
}

/// What the first part says of the whole.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// The type of the first payload inside.
    pub(crate) first: PayloadType,
    /// IKE header and generic header as they came, if nothing stands between them.
    pub(crate) octets: Option<[u8; HEAD_LEN]>,
}

/// A message that is complete.
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) octets: Zeroizing<Vec<u8>>,
}

impl Reassembly {
    /// Whether a part may be kept, if it is authentic (RFC 7383 section 2.6).
    pub(crate) fn check(
        slot: Option<&Self>,
        header: &Header,
        now: Instant,
        part: (u16, u16),
    ) -> Result<(), Discard> {
        let (number, total) = part;
        if total > MAX_PARTS {
            return Err(Discard::Limit);
        }
        match slot.filter(|slot| slot.is_of(header, now)) {
            Some(slot) if total < slot.total => Err(Discard::Fragment),
            Some(slot) if total == slot.total && slot.parts.contains_key(&number) => {
                Err(Discard::Fragment)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps an authentic part. Other parts of a message in fewer of them, of
    /// another message or from too long ago are dropped for it.
    pub(crate) fn keep(
        slot: &mut Option<Box<Self>>,
        header: &Header,
        now: Instant,
        (number, total): (u16, u16),
        (head, plain): (Head, &[u8]),
    ) -> Result<Whole, Discard> {
        let goes_on = slot.as_ref().is_some_and(|s| s.is_of(header, now) && s.total == total);
        if !goes_on {
            *slot = Some(Box::new(Self {
                exchange: header.exchange,
                id: header.message_id,
                total,
                begun: now,
                head,
                parts: BTreeMap::new(),
            }));
        }
        let Some(reassembly) = slot else { return Err(Discard::Fragment) };
        if number == 1 {
            reassembly.head = head;
        }
        reassembly.parts.insert(number, Zeroizing::new(plain.to_vec()));
        if reassembly.len() > MAX_OCTETS {
            *slot = None;
            return Err(Discard::Limit);
        }
        if reassembly.parts.len() < usize::from(total) {
            return Err(Discard::Fragment);
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(reassembly.len()));
        reassembly.parts.values().for_each(|part| octets.extend_from_slice(part));
        let head = reassembly.head;
        *slot = None;
        Ok(Whole { head, octets })
    }

    fn is_of(&self, header: &Header, now: Instant) -> bool {
        (self.exchange, self.id) == (header.exchange, header.message_id)
            && now.since(self.begun) < PATIENCE
    }

    fn len(&self) -> usize {
        self.parts.values().map(|part| part.len()).sum()
    }
}

/// The numbers of a fragment.
pub(crate) const fn numbers(fragment: &EncryptedFragment<'_>) -> (u16, u16) {
    (fragment.number, fragment.total)
}

/// What the fuzz target `fragments` runs on each input, and a test on its corpus.
pub(crate) mod fuzzing {
    use super::{HEAD_LEN, Head, MAX_OCTETS, MAX_PARTS, Reassembly};
    use crate::time::Instant;
    use crate::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType};

    /// Parts of messages, as they come from an authenticated peer:
    /// `{ seconds since the one before (1) | message id (1) | number (1) | total (1) | octets of 64 (2) }`.
    ///
    /// # Panics
    /// If more is kept than may be, or what is put together is not what was
    /// sent last.
    pub fn fragments(input: &[u8]) {
        let (mut slot, mut seconds) = (None, 0);
        for part in input.chunks_exact(6) {
            let &[wait, id, number, total, high, low] = part else { return };
            seconds += u64::from(wait);
            let now = Instant::from_nanos(seconds * 1_000_000_000);
            let len = usize::from(u16::from_be_bytes([high, low])) / 64;
            let numbers = (u16::from(number), u16::from(total));
            if number == 0 || number > total {
                continue;
            }
            let header = header(u32::from(id));
            if Reassembly::check(slot.as_deref(), &header, now, numbers).is_err() {
                continue;
            }
            let head = Head { first: PayloadType(number), octets: Some([number; HEAD_LEN]) };
            let octets = vec![number; len];
            if let Ok(whole) = Reassembly::keep(&mut slot, &header, now, numbers, (head, &octets)) {
                assert_eq!(whole.head.first, PayloadType(1), "the first part says what is inside");
                assert!(whole.octets.is_sorted(), "parts stand in their order");
                assert!(slot.is_none(), "nothing is kept of it");
            }
            assert!(slot.as_ref().is_none_or(|slot| is_bounded(slot)), "bounds");
        }
    }

    fn is_bounded(slot: &Reassembly) -> bool {
        slot.len() <= MAX_OCTETS
            && slot.parts.len() < usize::from(slot.total)
            && slot.total <= MAX_PARTS
    }

    const fn header(id: u32) -> Header {
        let spis = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        Header::new(spis, ExchangeType::AUTH, Flags { initiator: true, response: false }, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Flags, IkeSpi};

    const AT: Instant = Instant::from_nanos(1_000_000_000);

    fn header(id: u32) -> Header {
        let spis = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        Header::new(spis, ExchangeType::AUTH, Flags { initiator: true, response: false }, id)
    }

    /// What becomes of an authentic part: what it completes, or why it does not.
    fn come(
        slot: &mut Option<Box<Reassembly>>,
        (id, at): (u32, Instant),
        part: (u16, u16),
        octets: &[u8],
    ) -> Result<Vec<u8>, Discard> {
        Reassembly::check(slot.as_deref(), &header(id), at, part)?;
        let head = Head { first: PayloadType::ID_I, octets: None };
        let whole = Reassembly::keep(slot, &header(id), at, part, (head, octets))?;
        Ok(whole.octets.to_vec())
    }

    #[test]
    fn parts_in_any_order_give_the_whole_once() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut slot = None;
            let mut last = Err(Discard::Fragment);
            for number in order {
                assert_eq!(last, Err(Discard::Fragment));
                last = come(&mut slot, (1, AT), (number, 3), &[number as u8; 2]);
            }
            assert_eq!(last, Ok(vec![1, 1, 2, 2, 3, 3]));
            assert!(slot.is_none());
        }
    }

    #[test]
    fn a_part_that_is_there_is_not_replaced() {
        let mut slot = None;
        assert!(come(&mut slot, (1, AT), (1, 2), b"one").is_err());
        assert!(come(&mut slot, (1, AT), (1, 2), b"two").is_err());
        assert_eq!(come(&mut slot, (1, AT), (2, 2), b"!"), Ok(b"one!".to_vec()));
    }

    /// RFC 7383 section 2.6.
    #[test]
    fn a_message_in_more_parts_replaces_one_in_fewer() {
        let mut slot = None;
        assert!(come(&mut slot, (1, AT), (1, 2), b"one").is_err());
        assert!(come(&mut slot, (1, AT), (3, 3), b"c").is_err());
        assert!(come(&mut slot, (1, AT), (2, 2), b"!").is_err());
        assert!(come(&mut slot, (1, AT), (2, 3), b"b").is_err());
        assert_eq!(come(&mut slot, (1, AT), (1, 3), b"a"), Ok(b"abc".to_vec()));
    }

    #[test]
    fn parts_of_another_message_or_from_long_ago_do_not_count() {
        let mut slot = None;
        assert!(come(&mut slot, (1, AT), (1, 2), b"old").is_err());
        assert!(come(&mut slot, (2, AT), (2, 2), b"new").is_err());
        assert!(come(&mut slot, (2, AT + PATIENCE), (1, 2), b"late").is_err());
        let whole = come(&mut slot, (2, AT + PATIENCE), (2, 2), b"r");
        assert_eq!(whole, Ok(b"later".to_vec()));
    }

    #[test]
    fn too_many_parts_or_octets_are_not_kept() {
        let mut slot = None;
        assert_eq!(come(&mut slot, (1, AT), (1, MAX_PARTS + 1), b""), Err(Discard::Limit));
        let half = vec![0; MAX_OCTETS / 2];
        assert_eq!(come(&mut slot, (1, AT), (1, 4), &half), Err(Discard::Fragment));
        assert_eq!(come(&mut slot, (1, AT), (2, 4), &half), Err(Discard::Fragment));
        assert_eq!(come(&mut slot, (1, AT), (3, 4), b"."), Err(Discard::Limit));
        assert!(slot.is_none());
    }
}
