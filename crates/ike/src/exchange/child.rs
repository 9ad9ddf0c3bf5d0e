//! A child in IKE_AUTH and CREATE_CHILD_SA: proposals, traffic selectors, keys
//! (RFC 7296 sections 2.7, 2.9 and 2.17).

use std::collections::BTreeSet;

use crypto::{AdditionalGroups, EspSuite, Group, Nonces, SharedSecrets, SkD};
use esp::limits::Limits;
use esp::spec::{ChildId, ChildSpec, GroupId, HalfSpec, OuterPath, Selector, Spi};

use crate::config::{ChildConfig, ChildIndex, Children, narrowed};
use crate::event::Role;
use crate::fault::Failure;
use crate::inner::Addresses;
use crate::proposal::{ChildGroups, EspProposal};
use crate::wire::{
    MessageBuilder, NewProposal, NotifyType, Payloads, Proposal, Protected, Protocol, TsPayload,
};

/// What a payload can hold (RFC 7296 section 3.13). More are cut off: narrowing
/// may shorten any list (section 2.9).
const MAX_SELECTORS: usize = u8::MAX as usize;

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
    /// Which of the configured children it is.
    pub(crate) which: ChildIndex,
    /// The number of the accepted proposal.
    pub(crate) number: u8,
    pub(crate) suite: EspSuite,
    /// Of the key exchanges of its own, if it has any.
    pub(crate) groups: Option<ChildGroups>,
    /// The SPI of packets to the peer.
    pub(crate) spi_out: Spi,
    pub(crate) local_ts: Box<[Selector]>,
    pub(crate) remote_ts: Box<[Selector]>,
}

impl Terms {
    /// Of the key exchange in CREATE_CHILD_SA.
    pub(crate) fn first_group(&self) -> Option<Group> {
        self.groups.map(|groups| groups.first)
    }

    /// Of those that follow it.
    pub(crate) fn additional(&self) -> AdditionalGroups {
        self.groups.map_or(AdditionalGroups::NONE, |groups| groups.additional)
    }

    /// Whether they are for all the traffic that a request is for.
    fn suffice(&self, payloads: &Payloads<'_>) -> bool {
        let has_all = |ours: &[Selector], theirs: Option<TsPayload<'_>>| {
            theirs.into_iter().flat_map(|ts| ts.selectors()).all(|theirs| ours.contains(&theirs))
        };
        has_all(&self.remote_ts, payloads.ts_i()) && has_all(&self.local_ts, payloads.ts_r())
    }
}

/// What one side wants of a child.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Which of the configured children it is to be.
    pub(crate) which: ChildIndex,
    pub(crate) proposals: &'a [EspProposal],
    pub(crate) local_ts: &'a [Selector],
    pub(crate) remote_ts: &'a [Selector],
    /// Whether there may be a key exchange: not in IKE_AUTH (RFC 7296 section 1.2).
    pub(crate) keyed: bool,
}

impl<'a> Wish<'a> {
    /// For the first child.
    fn first(children: &'a Children) -> Self {
        Self { keyed: false, ..Self::further(children, ChildIndex::FIRST) }
    }

    /// For a child in CREATE_CHILD_SA.
    pub(crate) fn further(children: &'a Children, which: ChildIndex) -> Self {
        let ChildConfig { proposals, local_ts, remote_ts, .. } = children.get(which);
        Self { which, proposals, local_ts, remote_ts, keyed: true }
    }

    /// For the successor of a child: the same traffic (RFC 7296 section 2.9.2).
    pub(crate) fn again(children: &'a Children, terms: &'a Terms) -> Self {
        let Terms { which, local_ts, remote_ts, .. } = terms;
        Self { local_ts, remote_ts, ..Self::further(children, *which) }
    }

    /// The group to send a value of at first, if there is to be a key exchange.
    pub(crate) fn first_group(&self) -> Option<Group> {
        self.proposals.iter().find_map(|p| p.groups().first().copied()).filter(|_| self.keyed)
    }

    /// Whether the peer may choose a key exchange in this group.
    pub(crate) fn allows(&self, group: Group) -> bool {
        self.keyed && self.proposals.iter().any(|p| p.groups().contains(&group))
    }

    fn agree(
        &self,
        ours: &EspProposal,
        theirs: &Proposal<'_>,
        keyed: Option<Group>,
    ) -> Option<(EspSuite, Option<ChildGroups>)> {
        let transforms: Vec<_> = theirs.transforms().collect();
        if self.keyed {
            ours.agree_with_groups(&transforms, keyed)
        } else {
            Some((ours.agree(&transforms)?, None))
        }
    }
}

/// Appends SA of a request.
pub(crate) fn offer_sa(builder: &mut MessageBuilder<Protected>, wish: Wish<'_>, spi: Spi) {
    let spi = spi.get().to_be_bytes();
    let offer = |p: &EspProposal| -> Vec<_> {
        if wish.keyed { p.keyed_transforms().collect() } else { p.transforms().collect() }
    };
    let transforms: Vec<Vec<_>> = wish.proposals.iter().map(offer).collect();
    let proposals: Vec<_> = (1..)
        .zip(&transforms)
        .map(|(number, transforms)| NewProposal {
            number,
            protocol: Protocol::ESP,
            spi: &spi,
            transforms,
        })
        .collect();
    builder.sa(&proposals);
}

/// Appends SA, TSi and TSr of the request for the first child.
pub(crate) fn offer(builder: &mut MessageBuilder<Protected>, children: &Children, spi: Spi) {
    let wish = Wish::first(children);
    offer_sa(builder, wish, spi);
    builder.ts_i(wish.local_ts).ts_r(wish.remote_ts);
}

/// What a responder accepts of a request for the first child, or the notify
/// that says why not. The peer was given these inner addresses.
pub(crate) fn choose(
    children: &Children,
    inner: Addresses,
    payloads: &Payloads<'_>,
) -> Result<Terms, NotifyType> {
    choose_by(children, (Role::Responder, inner), payloads, |wish| {
        choose_for(Wish { keyed: false, ..wish }, payloads, None)
    })
}

/// As [`choose`], for a further child. The peer has sent a value of this group.
pub(crate) fn choose_further(
    children: &Children,
    side: (Role, Addresses),
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Terms, NotifyType> {
    choose_by(children, side, payloads, |wish| choose_for(wish, payloads, keyed))
}

/// Which of the children it is to be: one for all the traffic that is asked for,
/// or else the first that may carry some of it.
fn choose_by(
    children: &Children,
    (role, inner): (Role, Addresses),
    payloads: &Payloads<'_>,
    answer: impl Fn(Wish<'_>) -> Result<Terms, NotifyType>,
) -> Result<Terms, NotifyType> {
    let mut chosen = Err(NotifyType::TS_UNACCEPTABLE);
    for (which, config) in children.iter() {
        let [local_ts, remote_ts] = &traffic(config, role, inner);
        let wish = Wish { local_ts, remote_ts, ..Wish::further(children, which) };
        match answer(wish) {
            Ok(terms) if terms.suffice(payloads) => return Ok(terms),
            Ok(terms) if chosen.is_err() => chosen = Ok(terms),
            // The traffic would do.
            Err(NotifyType::NO_PROPOSAL_CHOSEN) if chosen.is_err() => {
                chosen = Err(NotifyType::NO_PROPOSAL_CHOSEN);
            }
            Ok(_) | Err(_) => {}
        }
    }
    chosen
}

/// What a responder accepts of a request, or the notify that says why not.
pub(crate) fn choose_for(
    wish: Wish<'_>,
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Terms, NotifyType> {
    let remote_ts = narrow(wish.remote_ts, payloads.ts_i());
    let local_ts = narrow(wish.local_ts, payloads.ts_r());
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(NotifyType::TS_UNACCEPTABLE);
    }
    let (number, (suite, groups), spi_out) =
        choose_suite(wish, payloads, keyed).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
    Ok(Terms { which: wish.which, number, suite, groups, spi_out, local_ts, remote_ts })
}

fn choose_suite(
    wish: Wish<'_>,
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Option<(u8, (EspSuite, Option<ChildGroups>), Spi)> {
    let offered = payloads.sa()?;
    let agree = |ours: &EspProposal| {
        offered.offered().ok()?.filter(|p| p.protocol == Protocol::ESP).find_map(|theirs| {
            Some((theirs.number, wish.agree(ours, &theirs, keyed)?, spi_of(&theirs)?))
        })
    };
    wish.proposals.iter().find_map(agree)
}

/// Appends SA, TSi and TSr of the response for the first child.
pub(crate) fn answer(builder: &mut MessageBuilder<Protected>, child: &Child) {
    answer_sa(builder, child);
    answer_ts(builder, child);
}

/// Appends TSi and TSr of a response.
pub(crate) fn answer_ts(builder: &mut MessageBuilder<Protected>, child: &Child) {
    answer_ts_for(builder, &child.terms);
}

/// See [`answer_sa_for`].
pub(crate) fn answer_ts_for(builder: &mut MessageBuilder<Protected>, terms: &Terms) {
    builder.ts_i(&terms.remote_ts).ts_r(&terms.local_ts);
}

/// Appends SA of a response.
pub(crate) fn answer_sa(builder: &mut MessageBuilder<Protected>, child: &Child) {
    answer_sa_for(builder, &child.terms, child.spi_in);
}

/// Appends SA of a response about a child with these terms, which may not be
/// there yet.
pub(crate) fn answer_sa_for(builder: &mut MessageBuilder<Protected>, terms: &Terms, spi_in: Spi) {
    let Terms { suite, groups, .. } = *terms;
    let transforms: Vec<_> = EspProposal::of(suite).transforms_with(groups).collect();
    let proposal = NewProposal {
        number: terms.number,
        protocol: Protocol::ESP,
        spi: &spi_in.get().to_be_bytes(),
        transforms: &transforms,
    };
    builder.sa(&[proposal]);
}

/// What an initiator finds in the response about the first child. It was given
/// these inner addresses.
pub(crate) fn accept(
    children: &Children,
    inner: Addresses,
    payloads: &Payloads<'_>,
) -> Result<Terms, Failure> {
    let config = &children.first;
    let local_ts = &initiators(&config.local_ts, config, inner);
    accept_for(Wish { local_ts, ..Wish::first(children) }, payloads)
}

/// What an initiator finds in the response.
pub(crate) fn accept_for(wish: Wish<'_>, payloads: &Payloads<'_>) -> Result<Terms, Failure> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (payloads.sa(), payloads.ts_i(), payloads.ts_r())
    else {
        return Err(refusal(payloads));
    };
    let chosen = sa.accepted().map_err(|_| Failure::Protocol)?;
    let offered = usize::from(chosen.number)
        .checked_sub(1)
        .and_then(|index| wish.proposals.get(index))
        .ok_or(Failure::Protocol)?;
    let (suite, groups) = wish.agree(offered, &chosen, None).ok_or(Failure::NoEspProposal)?;
    let spi_out = spi_of(&chosen).ok_or(Failure::Protocol)?;
    // Narrowed to what we asked for; a peer that widens gets only that.
    let local_ts = narrow(wish.local_ts, Some(ts_i));
    let remote_ts = narrow(wish.remote_ts, Some(ts_r));
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(Failure::NoTrafficSelectors);
    }
    let (which, number) = (wish.which, chosen.number);
    Ok(Terms { which, number, suite, groups, spi_out, local_ts, remote_ts })
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

/// The traffic that a child of an SA may carry, whose initiator was given these
/// inner addresses: ours, and the peer's.
pub(crate) fn traffic(config: &ChildConfig, role: Role, inner: Addresses) -> [Vec<Selector>; 2] {
    let ChildConfig { local_ts, remote_ts, .. } = config;
    match role {
        Role::Initiator => [initiators(local_ts, config, inner), remote_ts.clone()],
        Role::Responder => [local_ts.clone(), initiators(remote_ts, config, inner)],
    }
}

/// The initiator's side of the traffic.
fn initiators(side: &[Selector], config: &ChildConfig, inner: Addresses) -> Vec<Selector> {
    if config.dynamic { narrowed(side, inner) } else { side.to_vec() }
}

/// Every non-empty intersection of ours and theirs.
fn narrow(ours: &[Selector], theirs: Option<TsPayload<'_>>) -> Box<[Selector]> {
    let theirs = theirs.into_iter().flat_map(|ts| ts.selectors());
    let mut seen = BTreeSet::new();
    let both = theirs.flat_map(|theirs| ours.iter().filter_map(move |it| it.intersection(&theirs)));
    both.filter(|both| seen.insert(*both)).take(MAX_SELECTORS).collect()
}

/// What the keys of a child are made of, besides SK_d.
pub(crate) struct KeySource<'a> {
    /// Who sent the request of the exchange that makes it.
    pub(crate) role: Role,
    pub(crate) nonces: Nonces<'a>,
    pub(crate) shared: Option<SharedSecrets>,
}

impl Child {
    /// The child with its keys, to be installed: KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr),
    /// and then the secrets of additional key exchanges.
    pub(crate) fn spec(
        &self,
        sk_d: &SkD,
        source: KeySource<'_>,
        (path, limits): (OuterPath, Limits),
        standby: bool,
    ) -> Box<ChildSpec> {
        let KeySource { role, nonces, shared } = source;
        let keys = sk_d.child_keys(self.terms.suite, shared, nonces);
        let (outgoing, incoming) = match role {
            Role::Initiator => (keys.initiator_to_responder, keys.responder_to_initiator),
            Role::Responder => (keys.responder_to_initiator, keys.initiator_to_responder),
        };
        Box::new(ChildSpec {
            id: self.id,
            group: self.group,
            standby,
            inbound: HalfSpec { spi: self.spi_in, key: incoming },
            outbound: HalfSpec { spi: self.terms.spi_out, key: outgoing },
            path,
            local_ts: self.terms.local_ts.to_vec(),
            remote_ts: self.terms.remote_ts.to_vec(),
            limits,
        })
    }
}
