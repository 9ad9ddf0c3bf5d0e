//! IKE_FOLLOWUP_KE: the additional key exchanges of what CREATE_CHILD_SA has
//! begun (RFC 9370 section 2.2.4), one each.
//!
//! ```text
//! HDR, SK { KEi(n), N(ADDITIONAL_KEY_EXCHANGE)(link) } -->
//!              <-- HDR, SK { KEr(n), [N(ADDITIONAL_KEY_EXCHANGE)(next link)] }
//! ```
//! The responder's link says what the next of them belongs to. Only to the last
//! there is no other.

use crypto::{AdditionalGroups, Group, IkeSuite, SharedSecret, SharedSecrets, SkD};
use esp::spec::{ChildId, Spi};

use crate::crash::PeerToken;
use crate::event::Role;
use crate::exchange::child::Terms;
use crate::exchange::create_child::BothNonces;
use crate::exchange::rekey_ike::Successor;
use crate::proposal::group_number;
use crate::sa::protection::Spis;
use crate::wire::{MessageBuilder, NotifyType, Payloads, Protected};

/// Appends a public value and the link.
pub(crate) fn push(
    builder: &mut MessageBuilder<Protected>,
    (group, public): (Group, &[u8]),
    link: Option<&[u8]>,
) {
    builder.ke(group_number(group), public);
    push_link(builder, link);
}

/// Appends the link, if more is to follow.
pub(crate) fn push_link(builder: &mut MessageBuilder<Protected>, link: Option<&[u8]>) {
    if let Some(link) = link {
        builder.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, link);
    }
}

/// The link in a message: a blob of the responder's, which nobody else looks into.
pub(crate) fn link<'a>(payloads: &Payloads<'a>) -> Option<&'a [u8]> {
    payloads.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| notify.data)
}

/// An SA that both sides have agreed on, until its last key exchange is over.
pub(crate) struct Unfinished {
    pub(crate) what: NewSa,
    pub(crate) nonces: BothNonces,
    secrets: SharedSecrets,
    additional: AdditionalGroups,
    /// How many of the additional ones are over.
    done: usize,
}

/// What an [`Unfinished`] is to become.
pub(crate) enum NewSa {
    /// A child, maybe in place of another.
    Child {
        /// The other.
        replaces: Option<ChildId>,
        spi_in: Spi,
        terms: Terms,
    },
    /// Another IKE SA, and what the peer will prove with that it has lost it.
    Ike(IkeSuite, Spis, Option<PeerToken>),
}

impl Unfinished {
    /// After CREATE_CHILD_SA with a key exchange.
    pub(crate) fn new(what: NewSa, nonces: BothNonces, shared: SharedSecret) -> Self {
        let additional = match &what {
            NewSa::Child { terms, .. } => terms.additional(),
            NewSa::Ike(suite, ..) => suite.additional,
        };
        Self { what, nonces, secrets: shared.into(), additional, done: 0 }
    }

    /// The group of the key exchange that comes next.
    pub(crate) fn next_group(&self) -> Option<Group> {
        self.additional.iter().nth(self.done)
    }

    /// After one more key exchange.
    pub(crate) fn with(mut self, shared: SharedSecret) -> Self {
        self.secrets = self.secrets.then(shared);
        self.done += 1;
        self
    }

    /// What it is to become, the nonces, and all secrets that its keys are made of.
    pub(crate) fn into_parts(self) -> (NewSa, BothNonces, SharedSecrets) {
        (self.what, self.nonces, self.secrets)
    }

    /// The IKE SA that it is to become, with the keys of who has this role in
    /// it; `None` if not all key exchanges are over, or if it is a child.
    pub(crate) fn successor(
        self,
        role: Role,
        sk_d: &SkD,
        room: Option<usize>,
    ) -> Option<Successor> {
        if self.next_group().is_some() {
            return None;
        }
        let NewSa::Ike(suite, spis, _) = self.what else { return None };
        Some(Successor::new((role, spis, room), suite, sk_d, self.secrets, self.nonces))
    }

    /// Whether it is a child in place of this one.
    pub(crate) fn replaces(&self, old: ChildId) -> bool {
        matches!(&self.what, NewSa::Child { replaces: Some(id), .. } if *id == old)
    }

    /// Whether it is another IKE SA.
    pub(crate) const fn is_ike(&self) -> bool {
        matches!(self.what, NewSa::Ike(..))
    }
}
