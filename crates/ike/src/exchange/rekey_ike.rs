//! CREATE_CHILD_SA for another IKE SA (RFC 7296 sections 1.3.2 and 2.18).
//!
//! ```text
//! HDR, SK { SA, Ni, KEi } -->
//!                      <-- HDR, SK { SA, Nr, KEr }
//! ```

use crypto::{Group, IkeSpis, IkeSuite, KeyExchange, SharedSecrets, SkD};

use crate::event::Role;
use crate::exchange::Shape;
use crate::exchange::create_child::{BothNonces, push_value};
use crate::proposal::{Declined, IkeProposal, group_number};
use crate::sa::protection::{Keys, Spis};
use crate::wire::{
    IkeSpi, MessageBuilder, NewProposal, NotifyType, PayloadType, Payloads, Protected, Protocol,
};

/// What a request must hold.
pub(crate) const REQUEST: Shape =
    Shape { required: &[PayloadType::SA, PayloadType::NONCE, PayloadType::KE], forbidden: &[] };

/// What a response must hold that is not an error.
pub(crate) const RESPONSE: Shape = REQUEST;

/// The SA that takes the place of another: what both sides agreed on, and its keys.
pub(crate) struct Successor {
    pub(crate) suite: IkeSuite,
    pub(crate) keys: Keys,
    pub(crate) nonces: BothNonces,
}

impl Successor {
    /// SKEYSEED = prf(SK_d, g^ir | Ni | Nr), with the PRF of the SA before and the
    /// secrets of additional key exchanges behind; the rest with its own. Fragmentation is as before (RFC 7383 section 2.3),
    /// for messages longer than `room`.
    pub(crate) fn new(
        (role, spis, room): (Role, Spis, Option<usize>),
        suite: IkeSuite,
        sk_d: &SkD,
        shared: SharedSecrets,
        nonces: BothNonces,
    ) -> Self {
        let on_wire = IkeSpis { initiator: spis.initiator.0, responder: spis.responder.0 };
        let seed = sk_d.rekey(shared, nonces.both());
        let keys = Keys::new(role, spis, seed.expand(suite, nonces.both(), on_wire), room);
        Self { suite, keys, nonces }
    }
}

/// What an initiator says.
pub(crate) struct Request<'a> {
    pub(crate) proposals: &'a [IkeProposal],
    pub(crate) spi: IkeSpi,
    pub(crate) nonce: &'a [u8],
    pub(crate) key_exchange: &'a KeyExchange,
}

impl Request<'_> {
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>) {
        let transforms: Vec<Vec<_>> =
            self.proposals.iter().map(|p| p.transforms().collect()).collect();
        let proposals: Vec<_> =
            (1..).zip(&transforms).map(|(n, t)| proposal(n, &self.spi, t)).collect();
        builder.sa(&proposals).nonce(self.nonce);
        push_value(builder, Some(self.key_exchange));
    }
}

/// A choice of a responder.
#[derive(Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) number: u8,
    pub(crate) suite: IkeSuite,
    pub(crate) declined: Declined,
    /// The peer's SPI of the new SA.
    pub(crate) spi: IkeSpi,
}

/// The best of ours that is on offer.
pub(crate) fn choose(
    ours: &[IkeProposal],
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Chosen, NotifyType> {
    let offered = payloads.sa().ok_or(NotifyType::INVALID_SYNTAX)?;
    let agree = |ours: &IkeProposal| {
        offered.offered().ok()?.filter(|p| p.protocol == Protocol::IKE).find_map(|theirs| {
            let transforms: Vec<_> = theirs.transforms().collect();
            let suite = ours.agree(&transforms, keyed)?;
            let declined = Declined::of(&transforms, suite.additional);
            Some(Chosen { number: theirs.number, suite, declined, spi: spi_of(theirs.spi)? })
        })
    };
    ours.iter().find_map(agree).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)
}

/// Appends the response of a responder that accepts.
pub(crate) fn answer(
    builder: &mut MessageBuilder<Protected>,
    chosen: Chosen,
    own_spi: IkeSpi,
    nonce: &[u8],
    value: &[u8],
) {
    let proposal_of = IkeProposal::of(chosen.suite);
    let transforms: Vec<_> = proposal_of.transforms().chain(chosen.declined.transforms()).collect();
    builder
        .sa(&[proposal(chosen.number, &own_spi, &transforms)])
        .nonce(nonce)
        .ke(group_number(chosen.suite.group), value);
}

/// The suite in a response, if it is one that we offered, and the peer's SPI.
pub(crate) fn accepted(
    ours: &[IkeProposal],
    payloads: &Payloads<'_>,
) -> Option<(IkeSuite, IkeSpi)> {
    let answer = payloads.sa()?;
    let suite = crate::exchange::sa_init::accepted(ours, answer)?;
    Some((suite, spi_of(answer.accepted().ok()?.spi)?))
}

fn spi_of(octets: &[u8]) -> Option<IkeSpi> {
    let spi = IkeSpi(octets.try_into().ok()?);
    (!spi.is_zero()).then_some(spi)
}

const fn proposal<'a>(
    number: u8,
    spi: &'a IkeSpi,
    transforms: &'a [crate::wire::Transform],
) -> NewProposal<'a> {
    NewProposal { number, protocol: Protocol::IKE, spi: &spi.0, transforms }
}
