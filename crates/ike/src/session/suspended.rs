//! A session without an SA, and where it waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attempt::AuthForm;
use super::record::Resumable;

/// The longest ticket that is taken from a gateway. It must fit one datagram
/// with the rest of `IKE_SESSION_RESUME`, which cannot be fragmented (F1).
pub const MAX_TICKET: usize = 4096;

/// A ticket as a gateway gave it: opaque to the client.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(Box<[u8]>);

impl Ticket {
    /// The ticket with these octets; `None` if there are none or more than [`MAX_TICKET`].
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=MAX_TICKET).contains(&octets.len()).then(|| Self(octets.into()))
    }

    /// What goes into `TICKET_OPAQUE`.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// A ticket held while its SA lives.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The ticket.
    pub ticket: Ticket,
    /// When its lifetime ends.
    pub expires: SystemTime,
    /// Its lifetime when it was given.
    pub lifetime: Duration,
}

/// What a session is kept under: the connection that it belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionKey(pub Arc<str>);

/// A suspended session: RFC 5723 section 5's list as an owned value, and the
/// ticket that brings it back. It holds the only copy of the old SK_d.
pub struct SuspendedSession {
    /// The connection that it belongs to.
    pub key: SessionKey,
    /// What the next SA starts from.
    pub state: Resumable,
    /// What the gateway wants to see.
    pub ticket: Ticket,
    /// When the ticket's lifetime ends.
    pub expires: SystemTime,
    /// The form of AUTH that the gateway accepted before, if it was resumed before.
    pub form: Option<AuthForm>,
    /// Until when the gateway wants another proof of who we are, if it said so
    /// (RFC 4478).
    pub prove_by: Option<SystemTime>,
}

/// Suspended sessions in memory: at most one a key, each taken at most once.
#[derive(Default)]
pub struct SessionStore {
    sessions: BTreeMap<SessionKey, SuspendedSession>,
}

impl SessionStore {
    /// Keeps a session until it is taken or expires. One that was there under
    /// the same key is dropped.
    pub fn put(&mut self, session: SuspendedSession) {
        self.sessions.insert(session.key.clone(), session);
    }

    /// Takes a session out. An expired one is not given (B2): it is left for
    /// [`Self::expire`], which reports it.
    pub fn take(&mut self, key: &SessionKey, now: SystemTime) -> Option<SuspendedSession> {
        if self.sessions.get(key)?.expires <= now {
            return None;
        }
        self.sessions.remove(key)
    }

    /// Drops a session (D7, D8); whether there was one.
    pub fn forget(&mut self, key: &SessionKey) -> bool {
        self.sessions.remove(key).is_some()
    }

    /// A session that stays where it is.
    #[must_use]
    pub fn get(&self, key: &SessionKey) -> Option<&SuspendedSession> {
        self.sessions.get(key)
    }

    /// How many sessions sleep.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none sleeps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Drops every session whose time is over and tells which.
    pub fn expire(&mut self, now: SystemTime) -> Vec<SessionKey> {
        let over = |s: &SuspendedSession| s.expires <= now;
        let keys: Vec<_> =
            self.sessions.values().filter(|s| over(s)).map(|s| s.key.clone()).collect();
        for key in &keys {
            self.sessions.remove(key);
        }
        keys
    }

    /// When the next session expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.sessions.values().map(|s| s.expires).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuthMethod, ResumeAttempt};
    use super::*;
    use crate::config::ResumeAuth;
    use crypto::{AdditionalGroups, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg, SkD};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn session(name: &str, expires: u64, form: Option<AuthForm>) -> SuspendedSession {
        let prf = PrfAlg::HmacSha256;
        let state = Resumable {
            initiator: "client".parse().unwrap(),
            responder: "gateway".parse().unwrap(),
            authenticated: None,
            method: AuthMethod::PreShared,
            authenticated_at: at(0),
            evidence: None,
            ppk: None,
            suite: IkeSuite {
                cipher: IkeCipher::AesGcm16(KeyLen::L128),
                prf,
                group: Group::X25519,
                additional: AdditionalGroups::NONE,
            },
            inner: crate::inner::Addresses::NONE,
            sk_d: SkD::from_ticket(prf, &[1; 32]).unwrap(),
        };
        let ticket = Ticket::new(name.as_bytes()).unwrap();
        let (key, expires) = (SessionKey(name.into()), at(expires));
        SuspendedSession { key, state, ticket, expires, form, prove_by: None }
    }

    fn key(name: &str) -> SessionKey {
        SessionKey(name.into())
    }

    #[test]
    fn a_session_is_taken_once() {
        let mut store = SessionStore::default();
        store.put(session("a", 10, None));
        assert!(store.take(&key("b"), at(1)).is_none());
        assert!(store.take(&key("a"), at(1)).is_some());
        assert!(store.take(&key("a"), at(1)).is_none());
        assert!(!store.forget(&key("a")));
    }

    #[test]
    fn a_session_that_has_expired_is_not_taken_but_told_of() {
        let mut store = SessionStore::default();
        store.put(session("a", 10, None));
        store.put(session("b", 20, None));
        assert_eq!(store.next_expiry(), Some(at(10)));
        assert!(store.take(&key("a"), at(10)).is_none());
        assert_eq!(store.expire(at(10)), [key("a")]);
        assert_eq!(store.expire(at(10)), []);
        assert_eq!((store.len(), store.next_expiry()), (1, Some(at(20))));
    }

    #[test]
    fn a_ticket_has_octets_and_fits_a_datagram() {
        assert!(Ticket::new(&[]).is_none());
        assert!(Ticket::new(&[0; MAX_TICKET]).is_some());
        assert!(Ticket::new(&[0; MAX_TICKET + 1]).is_none());
    }

    #[test]
    fn an_attempt_begins_with_the_form_that_was_set_or_accepted_before() {
        let form = |before, setting| ResumeAttempt::new(session("a", 1, before), setting).form();
        let (rfc, short) = (AuthForm::Rfc5723, AuthForm::MessageOnly);
        assert_eq!(form(None, ResumeAuth::Auto), rfc);
        assert_eq!(form(Some(short), ResumeAuth::Auto), short);
        assert_eq!(form(Some(short), ResumeAuth::Rfc5723), rfc);
        assert_eq!(form(None, ResumeAuth::Libreswan), short);
    }

    #[test]
    fn only_an_automatic_attempt_tries_the_other_form_and_only_once() {
        for fixed in [ResumeAuth::Rfc5723, ResumeAuth::Libreswan] {
            assert!(ResumeAttempt::new(session("a", 1, None), fixed).with_other_form().is_err());
        }
        let first = ResumeAttempt::new(session("a", 1, None), ResumeAuth::Auto);
        let second = first.with_other_form().ok().unwrap();
        assert_eq!(second.form(), AuthForm::MessageOnly);
        let given_back = second.with_other_form().err().unwrap().unanswered();
        assert_eq!(given_back.key, key("a"));
    }
}
