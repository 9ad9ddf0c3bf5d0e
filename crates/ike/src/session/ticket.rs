//! Tickets by value, on the gateway (RFC 5723 section 6.1).
//!
//! ```text
//! ticket = version (1) | key id (4) | nonce (12) | AES-256-GCM(plain) | tag (16)
//! plain  = expires (8) | SPI of the SA before (8) | mark of its connection (4) | Resumable
//!          | zeros to a multiple of 64
//! ```
//! Version and key id are associated data. The padding keeps a ticket's length
//! from telling an identity's (E5).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crypto::{CookieKey, Provider, Psk, TicketKey};

use crate::event::TicketFault;
use crate::time::{Instant, Now, unix_seconds};

use super::evidence::SecretMark;
use super::record::{self, Resumable};
use super::suspended::Ticket;

/// The only version of the encoding. A change of it needs new keys (E3).
const VERSION: u8 = 6;
const KEY_ID_LEN: usize = 4;
const CLEAR_LEN: usize = 1 + KEY_ID_LEN;
const PADDING: usize = 64;

/// The largest ticket that is handed out: a resume must fit a datagram (F1).
pub const MAX_ISSUED: usize = 1024;

/// How many spent sessions are remembered beside one key. One more, and the
/// key is replaced early: tickets are lost, never used twice.
const MAX_SPENT: usize = 1 << 20;

/// The SA that a ticket is given to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Our SPI of it (C4: to find old state, never to choose a new SPI).
    pub spi: u64,
    /// The connection that has let its peer in. Another one may fit the same
    /// identity, but believe other authorities and give other rights.
    pub connection: ConnectionMark,
}

/// Stands for a connection's name in a ticket. What is sealed has been chosen
/// by nobody else, so that a short one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionMark([u8; 4]);

impl ConnectionMark {
    /// Of this name: FNV-1a.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let step = |hash: u32, &octet: &u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        Self(name.as_bytes().iter().fold(0x811c_9dc5, step).to_be_bytes())
    }
}

/// A ticket that was presented, is ours and is good.
pub struct Presented {
    /// What was sealed.
    pub state: Resumable,
    /// When its lifetime ends.
    pub expires: SystemTime,
    /// The SA that it was given to.
    pub origin: Origin,
}

/// Makes and opens tickets, and knows which sessions are spent.
///
/// A session is spent when an SA was established with one of its tickets (B4),
/// or when somebody here ended its SA (B9). None of its tickets is good then,
/// also not one that was renewed and never presented. It is remembered beside
/// the key of that day, and forgotten with it: by then no key opens any ticket
/// of that session.
pub struct TicketIssuer {
    current: Generation,
    previous: Option<Generation>,
    /// Makes marks of secrets. It seals nothing, and lives as long as we do:
    /// whoever gets hold of a key of tickets cannot guess secrets by them.
    marks: CookieKey,
    rotate_every: Duration,
    rotate_at: Instant,
}

/// A key, and the sessions spent while it sealed, by our SPI of their SA.
struct Generation {
    key: TicketKey,
    spent: BTreeSet<u64>,
}

impl Generation {
    fn new(provider: &mut Provider) -> Self {
        Self { key: TicketKey::generate(provider), spent: BTreeSet::new() }
    }
}

impl TicketIssuer {
    /// With a new key. A key seals for `rotate_every` and then opens for as
    /// long again: it outlives every ticket that is good for no longer than
    /// that (D12).
    #[must_use]
    pub fn new(provider: &mut Provider, rotate_every: Duration, now: Now) -> Self {
        Self {
            current: Generation::new(provider),
            previous: None,
            marks: CookieKey::generate(provider),
            rotate_every,
            rotate_at: now.instant + rotate_every,
        }
    }

    /// When [`Self::rotate_if_due`] has something to do.
    #[must_use]
    pub const fn rotation_due(&self) -> Instant {
        self.rotate_at
    }

    /// From the next key on, each seals for so long.
    pub const fn rotate_every(&mut self, rotate_every: Duration) {
        self.rotate_every = rotate_every;
    }

    /// Replaces the key when its time has come; the one before the last is wiped.
    pub fn rotate_if_due(&mut self, provider: &mut Provider, now: Now) {
        if now.instant >= self.rotate_at || self.current.spent.len() > MAX_SPENT {
            self.rotate(provider, now);
        }
    }

    /// Replaces the key now. Twice in a row voids all tickets.
    pub fn rotate(&mut self, provider: &mut Provider, now: Now) {
        let last = std::mem::replace(&mut self.current, Generation::new(provider));
        self.previous = Some(last);
        self.rotate_at = now.instant + self.rotate_every;
    }

    /// Seals a ticket. `None` when it would be longer than [`MAX_ISSUED`], or
    /// the key must not seal any more: then the answer is `TICKET_NACK`.
    pub fn issue(
        &self,
        provider: &mut Provider,
        state: &Resumable,
        origin: Origin,
        expires: SystemTime,
    ) -> Option<Ticket> {
        let padded = (8 + 8 + 4 + record::encoded_len(state)).next_multiple_of(PADDING);
        if CLEAR_LEN + TicketKey::OVERHEAD + padded > MAX_ISSUED {
            return None;
        }
        let mut plain = record::buffer(padded);
        plain.extend_from_slice(&unix_seconds(expires).to_be_bytes());
        plain.extend_from_slice(&origin.spi.to_be_bytes());
        plain.extend_from_slice(&origin.connection.0);
        record::encode(state, &mut plain);
        plain.resize(padded, 0);
        let key = &self.current.key;
        let clear = clear_part(key);
        let mut ticket = Vec::with_capacity(CLEAR_LEN + TicketKey::OVERHEAD + padded);
        ticket.extend_from_slice(&clear);
        key.seal(provider, &clear, &plain, &mut ticket).ok()?;
        Ticket::new(&ticket)
    }

    /// Opens a presented ticket. Costs one AES-GCM open and no memory (E1).
    ///
    /// # Errors
    /// [`TicketFault`] says why it is no good.
    pub fn open(&self, octets: &[u8], now: SystemTime) -> Result<Presented, TicketFault> {
        let (clear, sealed) =
            octets.split_first_chunk::<CLEAR_LEN>().ok_or(TicketFault::UnknownKey)?;
        let key = self.key_of(clear).ok_or(TicketFault::UnknownKey)?;
        let plain = key.open(clear, sealed).map_err(|_| TicketFault::Forged)?;
        // What our own key sealed was encoded by us; all else is a forgery.
        let presented = decode(&plain).map_err(|_| TicketFault::Forged)?;
        if presented.expires <= now {
            return Err(TicketFault::Expired);
        }
        if self.is_spent(presented.origin.spi) { Err(TicketFault::Used) } else { Ok(presented) }
    }

    /// Whether no ticket of the session is good any more whose SA had this SPI.
    #[must_use]
    pub fn is_spent(&self, old_spi: u64) -> bool {
        self.generations().any(|generation| generation.spent.contains(&old_spi))
    }

    /// From now on no ticket of the session is good.
    ///
    /// # Errors
    /// [`TicketFault::Used`] when that was so before: two attempts were under way.
    pub fn spend(&mut self, old_spi: u64) -> Result<(), TicketFault> {
        let before = self.is_spent(old_spi);
        self.current.spent.insert(old_spi);
        if before { Err(TicketFault::Used) } else { Ok(()) }
    }

    /// What a ticket keeps of the secret that its session began with.
    #[must_use]
    pub fn mark(&self, secret: &Psk) -> SecretMark {
        SecretMark(secret.mark(&self.marks))
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    fn key_of(&self, clear: &[u8; CLEAR_LEN]) -> Option<&TicketKey> {
        self.generations().map(|generation| &generation.key).find(|key| clear_part(key) == *clear)
    }
}

fn clear_part(key: &TicketKey) -> [u8; CLEAR_LEN] {
    let [a, b, c, d] = key.id();
    [VERSION, a, b, c, d]
}

pub(super) fn decode(mut plain: &[u8]) -> Result<Presented, record::Malformed> {
    let input = &mut plain;
    let expires = record::time_from(u64::from_be_bytes(*record::take_array(input)?))?;
    let spi = u64::from_be_bytes(*record::take_array(input)?);
    let connection = ConnectionMark(*record::take_array(input)?);
    let state = record::decode(input)?;
    if input.iter().any(|&octet| octet != 0) {
        return Err(record::Malformed);
    }
    Ok(Presented { state, expires, origin: Origin { spi, connection } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Id;
    use crate::inner::Addresses;
    use crate::session::{AuthMethod, Evidence};
    use crypto::{AdditionalGroups, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg, SkD};
    use pki::{Mark, Trace, Vouched};

    fn now_at(seconds: u64) -> Now {
        Now {
            instant: Instant::from_nanos(seconds * 1_000_000_000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    /// The most that an initiator can have.
    fn both() -> Addresses {
        ["10.3.0.7", "2001:db8::7"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn state(prf: PrfAlg, name: &str) -> Resumable {
        let id: Id = name.parse().unwrap();
        Resumable {
            initiator: id.clone(),
            responder: id,
            authenticated: None,
            method: AuthMethod::PreShared,
            authenticated_at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
            evidence: Some(Evidence::Secret(SecretMark([9; 8]))),
            ppk: None,
            suite: IkeSuite {
                cipher: IkeCipher::AesGcm16(KeyLen::L256),
                prf,
                group: Group::X25519,
                additional: AdditionalGroups::NONE,
            },
            inner: both(),
            sk_d: SkD::from_ticket(prf, &vec![7; prf.output_len()]).unwrap(),
        }
    }

    fn of(spi: u64) -> Origin {
        Origin { spi, connection: ConnectionMark::of("clients") }
    }

    fn issuer() -> (TicketIssuer, Provider) {
        let mut provider = Provider::seeded(1);
        let issuer = TicketIssuer::new(&mut provider, Duration::from_secs(100), now_at(0));
        (issuer, provider)
    }

    #[test]
    fn a_ticket_gives_back_what_was_sealed() {
        let (issuer, mut provider) = issuer();
        let mut sealed = state(PrfAlg::HmacSha384, "client.example.org");
        sealed.authenticated = Some("someone@example.org".parse().unwrap());
        sealed.ppk = Some("office-2026".into());
        let ticket = issuer.issue(&mut provider, &sealed, of(99), now_at(50).wall).unwrap();
        let opened = issuer.open(ticket.octets(), now_at(49).wall).unwrap();
        assert_eq!(opened.expires, now_at(50).wall);
        assert_eq!(opened.origin, of(99));
        assert_eq!(opened.state.initiator, sealed.initiator);
        assert_eq!(opened.state.responder, sealed.responder);
        assert_eq!(opened.state.authenticated, sealed.authenticated);
        assert_eq!(opened.state.authenticated_at, sealed.authenticated_at);
        assert_eq!(opened.state.evidence, sealed.evidence);
        assert_eq!(opened.state.ppk, sealed.ppk);
        assert_eq!(opened.state.suite, sealed.suite);
        assert_eq!(opened.state.inner, both());
        assert_eq!(opened.state.sk_d.export_to_ticket(), sealed.sk_d.export_to_ticket());
    }

    #[test]
    fn the_ticket_of_the_readmes_tunnel_has_161_octets_and_289_with_two_certificates() {
        let (issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "laptop@example.org");
        let additional = AdditionalGroups::NONE.with(0, Group::MlKem768);
        let state = Resumable {
            responder: "@gateway.example.org".parse().unwrap(),
            suite: IkeSuite { additional, ..state.suite },
            inner: Addresses::NONE,
            ..state
        };
        let mut len = |state: &Resumable| {
            issuer.issue(&mut provider, state, of(1), now_at(50).wall).unwrap().octets().len()
        };
        assert_eq!(len(&state), 161);
        let evidence = Some(by_certificates(&[7; 20]));
        assert_eq!(len(&Resumable { evidence, ..state }), 289);
    }

    /// By a peer's certificate with this serial number, and one of an authority.
    fn by_certificates(serial: &[u8]) -> Evidence {
        let mark = |octet| Mark([octet; 16]);
        let trace = |issuer, may_issue, places: Option<&[Mark]>| Trace {
            issuer: mark(issuer),
            serial: serial.into(),
            may_issue,
            names_list: !may_issue,
            places: places.map(Into::into),
        };
        let certificates = vec![trace(2, true, None), trace(3, false, Some(&[mark(4), mark(5)]))];
        let expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        Evidence::Key { vouched: Vouched { by: mark(1), certificates }, expires }
    }

    #[test]
    fn a_ticket_gives_back_by_what_its_client_was_authenticated() {
        let (issuer, mut provider) = issuer();
        let raw = Vouched { by: Mark([1; 16]), certificates: Vec::new() };
        for evidence in [
            None,
            Some(Evidence::Secret(issuer.mark(&Psk::new(b"secret").unwrap()))),
            Some(Evidence::Key { vouched: raw, expires: None }),
            Some(by_certificates(&[])),
            Some(by_certificates(&[7; 20])),
            Some(by_certificates(&[7; 255])),
        ] {
            let sealed = Resumable { evidence, ..state(PrfAlg::HmacSha256, "a") };
            let ticket = issuer.issue(&mut provider, &sealed, of(99), now_at(50).wall).unwrap();
            let opened = issuer.open(ticket.octets(), now_at(49).wall).unwrap();
            assert_eq!(opened.state.evidence, sealed.evidence);
        }
        let evidence = Some(by_certificates(&[7; 256]));
        let too_much = Resumable { evidence, ..state(PrfAlg::HmacSha256, "a") };
        assert!(issuer.issue(&mut provider, &too_much, of(99), now_at(50).wall).is_none());
    }

    #[test]
    fn a_secret_has_one_mark_with_one_gateway_and_another_with_the_next() {
        let (one, mut provider) = issuer();
        let other = TicketIssuer::new(&mut provider, Duration::from_secs(100), now_at(0));
        let [secret, again, guess] =
            [b"secret", b"secret", b"guess!"].map(|octets| Psk::new(octets).unwrap());
        assert_eq!(one.mark(&secret), one.mark(&again));
        assert_ne!(one.mark(&secret), one.mark(&guess));
        assert_ne!(one.mark(&secret), other.mark(&secret));
    }

    #[test]
    fn a_ticket_of_two_32_octet_identities_and_a_32_octet_sk_d_has_at_most_256_octets() {
        let (issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, &"n".repeat(32));
        let ticket = issuer.issue(&mut provider, &state, of(1), now_at(50).wall).unwrap();
        assert!(ticket.octets().len() <= 256, "{} octets", ticket.octets().len());
    }

    #[test]
    fn the_length_of_a_ticket_does_not_tell_that_of_a_short_identity() {
        let (issuer, mut provider) = issuer();
        let mut len = |name: &str| {
            let state = state(PrfAlg::HmacSha256, name);
            let state = Resumable { inner: Addresses::NONE, ..state };
            issuer.issue(&mut provider, &state, of(1), now_at(50).wall).unwrap().octets().len()
        };
        assert_eq!(len("a"), len("a-longer-name.example"));
    }

    #[test]
    fn a_state_too_large_for_a_datagram_gets_no_ticket() {
        let (issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, &"n".repeat(600));
        assert!(issuer.issue(&mut provider, &state, of(1), now_at(50).wall).is_none());
    }

    #[test]
    fn an_altered_octet_anywhere_makes_a_ticket_worthless() {
        let (issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "a");
        let ticket = issuer.issue(&mut provider, &state, of(1), now_at(50).wall).unwrap();
        for index in 0..ticket.octets().len() {
            let mut altered = ticket.octets().to_vec();
            altered[index] ^= 1;
            let fault = issuer.open(&altered, now_at(1).wall).err();
            let expected =
                if index < CLEAR_LEN { TicketFault::UnknownKey } else { TicketFault::Forged };
            assert_eq!(fault, Some(expected), "octet {index}");
        }
        for len in 0..ticket.octets().len() {
            assert!(issuer.open(&ticket.octets()[..len], now_at(1).wall).is_err());
        }
    }

    #[test]
    fn an_expired_ticket_is_refused() {
        let (issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "a");
        let ticket = issuer.issue(&mut provider, &state, of(1), now_at(50).wall).unwrap();
        assert_eq!(issuer.open(ticket.octets(), now_at(50).wall).err(), Some(TicketFault::Expired));
    }

    #[test]
    fn a_ticket_outlives_one_rotation_but_not_two() {
        let (mut issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "a");
        let ticket = issuer.issue(&mut provider, &state, of(1), now_at(500).wall).unwrap();
        issuer.rotate_if_due(&mut provider, now_at(99));
        issuer.rotate_if_due(&mut provider, now_at(100));
        assert!(issuer.open(ticket.octets(), now_at(101).wall).is_ok());
        issuer.rotate_if_due(&mut provider, now_at(200));
        assert_eq!(
            issuer.open(ticket.octets(), now_at(201).wall).err(),
            Some(TicketFault::UnknownKey)
        );
    }

    #[test]
    fn a_session_is_good_for_one_sa_whichever_of_its_tickets_is_shown() {
        let (mut issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "a");
        let first = issuer.issue(&mut provider, &state, of(1), now_at(50).wall).unwrap();
        let renewed = issuer.issue(&mut provider, &state, of(1), now_at(90).wall).unwrap();
        let presented = issuer.open(first.octets(), now_at(1).wall).unwrap();
        assert_eq!(issuer.spend(presented.origin.spi), Ok(()));
        assert_eq!(issuer.spend(presented.origin.spi), Err(TicketFault::Used));
        for ticket in [first, renewed] {
            assert_eq!(issuer.open(ticket.octets(), now_at(2).wall).err(), Some(TicketFault::Used));
        }
    }

    #[test]
    fn a_spent_session_is_remembered_as_long_as_a_key_opens_its_tickets() {
        let (mut issuer, mut provider) = issuer();
        let state = state(PrfAlg::HmacSha256, "a");
        let ticket = issuer.issue(&mut provider, &state, of(1), now_at(900).wall).unwrap();
        assert_eq!(issuer.spend(1), Ok(()));
        issuer.rotate(&mut provider, now_at(3));
        assert_eq!(issuer.open(ticket.octets(), now_at(4).wall).err(), Some(TicketFault::Used));
        issuer.rotate(&mut provider, now_at(5));
        assert!(!issuer.is_spent(1));
        assert_eq!(
            issuer.open(ticket.octets(), now_at(6).wall).err(),
            Some(TicketFault::UnknownKey)
        );
    }
}
