//! Quick crash detection (RFC 6290): a peer that talks to an SA which we have
//! lost learns so in one round trip, instead of when its patience ends.
//!
//! A token is a code of the SA's two SPIs, made with a secret that outlives us:
//! it is made again when it is needed, and nothing is kept for it. The peer got
//! it under the SA's protection, and only a secret's owner can show it in clear.

use std::time::Duration;

use crypto::{CookieKey, same_octets};

use crate::sa::protection::Spis;
use crate::time::Instant;
use crate::wire::{Header, Message, Notify, NotifyType, Payloads};

/// Octets of a token of ours.
pub(crate) const TOKEN_LEN: usize = 32;

/// The longest token of a peer that is kept.
pub(crate) const MAX_TOKEN: usize = 128;

/// Tokens of others in one message that are looked at: RFC 6290 section 4.5
/// asks for four at least.
const MAX_SHOWN: usize = 4;

/// Answers a second, so that a flood of made-up SPIs costs us little.
const ANSWERS: u32 = 5_000;

/// Makes tokens, if there is a secret.
pub(crate) struct CrashTokens {
    key: Option<CookieKey>,
    since: Instant,
    answered: u32,
}

impl CrashTokens {
    pub(crate) const fn new(key: Option<CookieKey>, now: Instant) -> Self {
        Self { key, since: now, answered: 0 }
    }

    /// The token of an SA that the peer began, or whose first it began.
    pub(crate) fn of(&self, spis: Spis) -> Option<[u8; TOKEN_LEN]> {
        let key = self.key.as_ref()?;
        Some(key.tag(&[&spis.initiator.0, &spis.responder.0]))
    }

    /// The token to show to whoever asks something of an SA that is not there, as
    /// a peer does that has not given it up yet. Rekeys change roles: it may be
    /// one that we have begun.
    pub(crate) fn show(
        &mut self,
        now: Instant,
        header: &Header,
        datagram: &[u8],
    ) -> Option<[u8; TOKEN_LEN]> {
        // What a rekey of ours has made is there for the peer before it is there for
        // us, but nothing of it is answered before.
        let is_ours_to_know = header.flags.initiator || header.message_id > 0;
        let is_request = !header.flags.response && is_ours_to_know;
        let is_protected =
            || Message::parse(datagram).is_ok_and(|m| m.payloads.encrypted().is_some());
        if self.key.is_none() || !is_request || !is_protected() {
            return None;
        }
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.answered) = (now, 0);
        }
        if self.answered >= ANSWERS {
            return None;
        }
        self.answered += 1;
        self.of(Spis { initiator: header.spi_i, responder: header.spi_r })
    }
}

/// The token of a peer, as it came under protection.
pub(crate) struct PeerToken(Box<[u8]>);

impl PeerToken {
    /// The one that comes with an SA.
    pub(crate) fn of(payloads: &Payloads<'_>) -> Option<Self> {
        let data = payloads.notify(NotifyType::QUICK_CRASH_DETECTION)?.data;
        (16..=MAX_TOKEN).contains(&data.len()).then(|| Self(data.into()))
    }

    /// Whether a message in clear shows that the peer has lost the SA: it holds
    /// `INVALID_IKE_SPI` and this token (RFC 6290 section 4.5).
    pub(crate) fn is_shown_by(&self, datagram: &[u8]) -> bool {
        let Ok(Message { payloads, .. }) = Message::parse(datagram) else { return false };
        let is_token = |n: &Notify<'_>| n.kind == NotifyType::QUICK_CRASH_DETECTION;
        let mut tokens = payloads.notifies().filter(is_token).take(MAX_SHOWN);
        payloads.notify(NotifyType::INVALID_IKE_SPI).is_some()
            && tokens.any(|token| same_octets(&self.0, token.data))
    }
}
