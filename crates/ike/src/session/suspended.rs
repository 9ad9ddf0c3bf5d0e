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
