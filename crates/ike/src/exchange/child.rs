//! The child in IKE_AUTH: proposals, traffic selectors, keys
//! (RFC 7296 sections 2.7, 2.9 and 2.17).

use crypto::{EspSuite, SkD};
use esp::spec::{ChildId, ChildSpec, GroupId, HalfSpec, OuterPath, Selector, Spi};

use crate::config::{ChildConfig, narrowed};
use crate::event::Role;
use crate::exchange::Transcript;
use crate::fault::Failure;
use crate::inner::Addresses;
use crate::proposal::EspProposal;
use crate::wire::{
    MessageBuilder, NewProposal, NotifyType, Payloads, Proposal, Protected, Protocol, TsPayload,
};

/// More selectors than this are cut off: narrowing may shorten any list
/// (RFC 7296 section 2.9).
const MAX_SELECTORS: usize = 32;

/// A child of an SA.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) group: GroupId,
    pub(crate) spi_in: Spi,
    pub(crate) terms: Terms,
}

/// What both sides agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The number of the accepted proposal.
    pub(crate) number: u8,
    pub(crate) suite: EspSuite,
    /// The SPI of packets to the peer.
    pub(crate) spi_out: Spi,
    pub(crate) local_ts: Box<[Selector]>,
    pub(crate) remote_ts: Box<[Selector]>,
}

/// Appends SA, TSi and TSr of a request.
pub(crate) fn offer(builder: &mut MessageBuilder<Protected>, config: &ChildConfig, spi: Spi) {
    let spi = spi.get().to_be_bytes();
    let transforms: Vec<Vec<_>> =
        config.proposals.iter().map(|p| p.transforms().collect()).collect();
    let proposals: Vec<_> = (1..)
        .zip(&transforms)
        .map(|(number, transforms)| NewProposal {
            number,
            protocol: Protocol::ESP,
            spi: &spi,
            transforms,
        })
        .collect();
    builder.sa(&proposals).ts_i(&config.local_ts).ts_r(&config.remote_ts);
}

/// What a responder accepts of a request, or the notify that says why not.
/// The peer was given these inner addresses.
pub(crate) fn choose(
    config: &ChildConfig,
    inner: Addresses,
    payloads: &Payloads<'_>,
) -> Result<Terms, NotifyType> {
    let (number, suite, spi_out) =
        choose_suite(&config.proposals, payloads).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
    let remote_ts = narrow(&initiators(&config.remote_ts, config, inner), payloads.ts_i());
    let local_ts = narrow(&config.local_ts, payloads.ts_r());
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(NotifyType::TS_UNACCEPTABLE);
    }
    Ok(Terms { number, suite, spi_out, local_ts, remote_ts })
}

fn choose_suite(ours: &[EspProposal], payloads: &Payloads<'_>) -> Option<(u8, EspSuite, Spi)> {
    let offered = payloads.sa()?;
    let agree = |ours: &EspProposal| {
        offered.offered().ok()?.filter(|p| p.protocol == Protocol::ESP).find_map(|theirs| {
            let transforms: Vec<_> = theirs.transforms().collect();
            Some((theirs.number, ours.agree(&transforms)?, spi_of(&theirs)?))
        })
    };
    ours.iter().find_map(agree)
}

/// Appends SA, TSi and TSr of a response.
pub(crate) fn answer(builder: &mut MessageBuilder<Protected>, child: &Child) {
    let transforms: Vec<_> = EspProposal::of(child.terms.suite).transforms().collect();
    let proposal = NewProposal {
        number: child.terms.number,
        protocol: Protocol::ESP,
        spi: &child.spi_in.get().to_be_bytes(),
        transforms: &transforms,
    };
    builder.sa(&[proposal]).ts_i(&child.terms.remote_ts).ts_r(&child.terms.local_ts);
}

/// What an initiator finds in the response. It was given these inner addresses.
pub(crate) fn accept(
    config: &ChildConfig,
    inner: Addresses,
    payloads: &Payloads<'_>,
) -> Result<Terms, Failure> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (payloads.sa(), payloads.ts_i(), payloads.ts_r())
    else {
        return Err(refusal(payloads));
    };
    let chosen = sa.accepted().map_err(|_| Failure::Protocol)?;
    let offered = usize::from(chosen.number)
        .checked_sub(1)
        .and_then(|index| config.proposals.get(index))
        .ok_or(Failure::Protocol)?;
    let transforms: Vec<_> = chosen.transforms().collect();
    let suite = offered.agree(&transforms).ok_or(Failure::NoEspProposal)?;
    let spi_out = spi_of(&chosen).ok_or(Failure::Protocol)?;
    // Narrowed to what we asked for; a peer that widens gets only that.
    let local_ts = narrow(&initiators(&config.local_ts, config, inner), Some(ts_i));
    let remote_ts = narrow(&config.remote_ts, Some(ts_r));
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(Failure::NoTrafficSelectors);
    }
    Ok(Terms { number: chosen.number, suite, spi_out, local_ts, remote_ts })
}

/// Why a response without a child has none.
pub(crate) fn refusal(payloads: &Payloads<'_>) -> Failure {
    match payloads.error().map(|notify| notify.kind) {
        Some(NotifyType::NO_PROPOSAL_CHOSEN) => Failure::NoEspProposal,
        Some(NotifyType::TS_UNACCEPTABLE) => Failure::NoTrafficSelectors,
        Some(NotifyType::INTERNAL_ADDRESS_FAILURE) => Failure::NoAddress,
        Some(other) => Failure::Notify(other.0),
        None => Failure::NoChild,
    }
}

fn spi_of(proposal: &Proposal<'_>) -> Option<Spi> {
    Spi::new(u32::from_be_bytes(proposal.spi.try_into().ok()?))
}

/// The initiator's side of the traffic.
fn initiators(side: &[Selector], config: &ChildConfig, inner: Addresses) -> Vec<Selector> {
    if config.dynamic { narrowed(side, inner) } else { side.to_vec() }
}

/// Every non-empty intersection of ours and theirs.
fn narrow(ours: &[Selector], theirs: Option<TsPayload<'_>>) -> Box<[Selector]> {
    let theirs = theirs.into_iter().flat_map(|ts| ts.selectors());
    let mut narrowed = Vec::new();
    for theirs in theirs {
        for both in ours.iter().filter_map(|ours| ours.intersection(&theirs)) {
            if narrowed.len() < MAX_SELECTORS && !narrowed.contains(&both) {
                narrowed.push(both);
            }
        }
    }
    narrowed.into()
}

impl Child {
    /// The child with its keys, to be installed: KEYMAT = prf+(SK_d, Ni | Nr).
    pub(crate) fn spec(
        &self,
        role: Role,
        sk_d: &SkD,
        transcript: &Transcript,
        path: OuterPath,
    ) -> Box<ChildSpec> {
        let keys = sk_d.child_keys(self.terms.suite, None, transcript.nonces());
        let (outgoing, incoming) = match role {
            Role::Initiator => (keys.initiator_to_responder, keys.responder_to_initiator),
            Role::Responder => (keys.responder_to_initiator, keys.initiator_to_responder),
        };
        Box::new(ChildSpec {
            id: self.id,
            group: self.group,
            standby: false,
            inbound: HalfSpec { spi: self.spi_in, key: incoming },
            outbound: HalfSpec { spi: self.terms.spi_out, key: outgoing },
            path,
            local_ts: self.terms.local_ts.to_vec(),
            remote_ts: self.terms.remote_ts.to_vec(),
        })
    }
}
