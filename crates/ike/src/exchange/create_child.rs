//! CREATE_CHILD_SA for children (RFC 7296 sections 1.3.1 and 1.3.3).
//!
//! ```text
//! HDR, SK { [N(REKEY_SA)], SA, Ni, [KEi], TSi, TSr } -->
//!                      <-- HDR, SK { SA, Nr, [KEr], TSi, TSr }
//! ```

use crypto::{Group, KeyExchange, Nonces, SharedSecret};
use esp::spec::Spi;

use crate::exchange::child::{self, Child, Terms, Wish};
use crate::exchange::sa_init::key_share;
use crate::exchange::{Shape, follow_up};
use crate::proposal::group_number;
use crate::wire::{MessageBuilder, Notify, NotifyType, PayloadType, Payloads, Protected, Protocol};

/// What a request for a child must hold.
pub(crate) const REQUEST: Shape = Shape {
    required: &[PayloadType::SA, PayloadType::NONCE, PayloadType::TS_I, PayloadType::TS_R],
    forbidden: &[],
};

/// What a response must hold that is not an error.
pub(crate) const RESPONSE: Shape = REQUEST;

/// What a request of CREATE_CHILD_SA is for.
pub(crate) enum Purpose {
    /// Another IKE SA in place of this one.
    RekeyIke,
    /// Another child in place of the one whose packets to the peer have this SPI.
    RekeyChild(u32),
    /// A further child.
    Child,
}

impl Purpose {
    pub(crate) fn of(payloads: &Payloads<'_>) -> Self {
        let first = payloads.sa().and_then(|sa| sa.offered().ok()?.next());
        if first.is_some_and(|proposal| proposal.protocol == Protocol::IKE) {
            return Self::RekeyIke;
        }
        match payloads.notify(NotifyType::REKEY_SA) {
            // One without an SPI of ESP names no child that could be there.
            Some(notify) => Self::RekeyChild(notify.esp_spi().unwrap_or(0)),
            None => Self::Child,
        }
    }
}

/// The nonces of an exchange.
pub(crate) struct BothNonces {
    pub(crate) ni: Box<[u8]>,
    pub(crate) nr: Box<[u8]>,
}

impl BothNonces {
    pub(crate) fn new(ni: &[u8], nr: &[u8]) -> Self {
        Self { ni: ni.into(), nr: nr.into() }
    }

    pub(crate) fn both(&self) -> Nonces<'_> {
        Nonces { initiator: &self.ni, responder: &self.nr }
    }

    /// The lower one. Of two exchanges for the same thing that with the lowest
    /// of all loses (RFC 7296 section 2.8.1).
    pub(crate) fn lowest(&self) -> &[u8] {
        (&*self.ni).min(&*self.nr)
    }

    /// Whether this exchange loses against another one.
    pub(crate) fn loses_against(&self, other: &Self) -> bool {
        self.lowest() < other.lowest()
    }
}

/// What an initiator says.
pub(crate) struct Request<'a> {
    /// Our SPI of the child that is to be replaced.
    pub(crate) rekeys: Option<Spi>,
    pub(crate) wish: Wish<'a>,
    pub(crate) spi: Spi,
    pub(crate) nonce: &'a [u8],
    pub(crate) key_exchange: Option<&'a KeyExchange>,
}

impl Request<'_> {
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>) {
        if let Some(old) = self.rekeys {
            about_child(builder, NotifyType::REKEY_SA, old.get());
        }
        child::offer_sa(builder, self.wish, self.spi);
        builder.nonce(self.nonce);
        push_value(builder, self.key_exchange);
        child::offer_ts(builder, self.wish);
    }
}

/// A public value in a group.
pub(crate) type Value = (Group, Box<[u8]>);

/// What a responder says that accepts, once the child is there.
pub(crate) enum Answer {
    /// To CREATE_CHILD_SA: our nonce, and our public value.
    Created(Box<[u8]>, Option<Value>),
    /// To the last IKE_FOLLOWUP_KE.
    FollowUp(Value),
}

impl Answer {
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>, child: &Child) {
        match self {
            Self::Created(nonce, value) => {
                push_created(builder, (&child.terms, child.spi_in), nonce, value.as_ref());
            }
            Self::FollowUp((group, public)) => follow_up::push(builder, (*group, public), None),
        }
    }
}

/// Appends what a responder says that accepts.
pub(crate) fn push_created(
    builder: &mut MessageBuilder<Protected>,
    (terms, spi_in): (&Terms, Spi),
    nonce: &[u8],
    value: Option<&Value>,
) {
    child::answer_sa_for(builder, terms, spi_in);
    builder.nonce(nonce);
    if let Some((group, public)) = value {
        builder.ke(group_number(*group), public);
    }
    child::answer_ts_for(builder, terms);
}

/// Appends our public value, if there is one.
pub(crate) fn push_value(
    builder: &mut MessageBuilder<Protected>,
    key_exchange: Option<&KeyExchange>,
) {
    if let Some(own) = key_exchange {
        builder.ke(group_number(own.group()), own.public());
    }
}

/// Appends a notify about a child, by the SPI of the packets that its sender
/// receives.
pub(crate) fn about_child(builder: &mut MessageBuilder<Protected>, kind: NotifyType, spi: u32) {
    let spi = spi.to_be_bytes();
    builder.notify_about(&Notify { protocol: Protocol::ESP, spi: &spi, kind, data: &[] });
}

/// The secret that both sides share after the response, for who asked, if there
/// was to be a key exchange.
pub(crate) fn agreed(
    own: Option<KeyExchange>,
    group: Option<Group>,
    payloads: &Payloads<'_>,
) -> Result<Option<SharedSecret>, NoSecret> {
    let Some(group) = group else { return Ok(None) };
    let own = own.filter(|own| own.group() == group).ok_or(NoSecret)?;
    let (_, value) = key_share(payloads).filter(|(g, _)| *g == group).ok_or(NoSecret)?;
    own.agree(value).map(Some).map_err(|_| NoSecret)
}

/// The peer's public value is missing, of another group, or not one.
pub(crate) struct NoSecret;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_with_the_lowest_of_all_nonces_loses() {
        let low = BothNonces::new(&[1, 2, 3], &[9]);
        let high = BothNonces::new(&[8], &[1, 2, 4]);
        assert!(low.loses_against(&high) && !high.loses_against(&low));
        // A nonce that another begins with is the lower one.
        let short = BothNonces::new(&[5], &[1, 2]);
        assert!(short.loses_against(&low));
    }
}
