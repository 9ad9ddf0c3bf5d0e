//! A child in IKE_AUTH and CREATE_CHILD_SA: proposals, traffic selectors, keys
//! (RFC 7296 sections 2.7, 2.9 and 2.17).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crypto::{AdditionalGroups, EspSuite, Group, Nonces, SharedSecrets, SkD};
use esp::limits::Limits;
use esp::packet::Flow;
use esp::spec::{ChildId, ChildSpec, GroupId, HalfSpec, Mode, Original, OuterPath, Selector, Spi};

use crate::config::{ChildConfig, ChildIndex, Children, narrowed, narrowed_to};
use crate::event::Role;
use crate::exchange::transport::{Ends, Selected, is_for_transport};
use crate::fault::Failure;
use crate::inner::Addresses;
use crate::proposal::{ChildGroups, EspProposal};
use crate::wire::{
    MessageBuilder, NewProposal, NotifyType, Payloads, Proposal, Protected, Protocol,
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
    pub(crate) mode: Mode,
    /// In transport mode, the peer's addresses in its own eyes, if they differ.
    pub(crate) original: Option<Original>,
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

    /// Whether a child is of use on this path: in transport mode it is for the
    /// addresses that it was made with.
    pub(crate) fn fit(&self, path: &OuterPath) -> bool {
        let are_at = |side: &[Selector], end: SocketAddr| {
            side.iter().all(|it| (it.start(), it.end()) == (end.ip(), end.ip()))
        };
        match self.mode {
            Mode::Tunnel => true,
            Mode::Transport => {
                are_at(&self.local_ts, path.local) && are_at(&self.remote_ts, path.remote)
            }
        }
    }

    /// Whether they are for all the traffic that a request is for.
    fn suffice(&self, asked: &Selected) -> bool {
        let has_all = |ours: &[Selector], theirs: &[Selector]| {
            theirs.iter().all(|theirs| include(ours, theirs))
        };
        has_all(&self.remote_ts, &asked.remote) && has_all(&self.local_ts, &asked.local)
    }

    /// Whether they are for what the initiator has named first on both sides:
    /// the packet that it has, perhaps (RFC 7296 section 2.9).
    fn have_first(&self, asked: &Selected) -> bool {
        let has_first = |ours: &[Selector], theirs: &[Selector]| {
            theirs.first().is_some_and(|first| include(ours, first))
        };
        has_first(&self.remote_ts, &asked.remote) && has_first(&self.local_ts, &asked.local)
    }
}

/// What one side wants of a child.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Which of the configured children it is to be.
    pub(crate) which: ChildIndex,
    pub(crate) proposals: &'a [EspProposal],
    pub(crate) mode: Mode,
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
        let ChildConfig { proposals, mode, local_ts, remote_ts, .. } = children.get(which);
        Self { which, proposals, mode: *mode, local_ts, remote_ts, keyed: true }
    }

    /// For the successor of a child: the same traffic in the same mode (RFC 7296
    /// section 2.9.2).
    pub(crate) fn again(children: &'a Children, terms: &'a Terms) -> Self {
        let Terms { which, mode, local_ts, remote_ts, .. } = terms;
        Self { mode: *mode, local_ts, remote_ts, ..Self::further(children, *which) }
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

/// Appends TSi and TSr of a request, and the mode.
pub(crate) fn offer_ts(builder: &mut MessageBuilder<Protected>, wish: Wish<'_>) {
    builder.ts_i(wish.local_ts).ts_r(wish.remote_ts);
    push_mode(builder, wish.mode);
}

/// The traffic to ask for with the first child, before any inner address is given.
pub(crate) fn first_traffic(
    children: &Children,
    ends: Option<Ends>,
) -> Result<[Vec<Selector>; 2], Failure> {
    let ChildConfig { mode, local_ts, remote_ts, .. } = &children.first;
    match mode {
        Mode::Tunnel => Ok([local_ts.clone(), remote_ts.clone()]),
        Mode::Transport => askable(between(&children.first, ends), *mode, ends),
    }
}

/// A packet by reason of which a child is asked for.
pub(crate) struct Trigger {
    /// The child that is to carry it.
    pub(crate) which: ChildIndex,
    pub(crate) packet: Flow,
}

impl Trigger {
    /// The packet, if it is for this child.
    pub(crate) fn of(&self, which: ChildIndex) -> Option<Flow> {
        (self.which == which).then_some(self.packet)
    }
}

/// Names that packet first in what is asked for, so that a responder that cannot
/// take all takes this (RFC 7296 sections 2.9 and 2.23.1). What a plane has held
/// may be more than what is asked for: then it is left out.
pub(crate) fn led_by(packet: Option<Flow>, traffic: [Vec<Selector>; 2]) -> [Vec<Selector>; 2] {
    let Some(first) = packet.map(|packet| packet.selectors()) else { return traffic };
    let can_lead = |(first, side): (&Selector, &Vec<Selector>)| {
        include(side, first) && (side.len() < MAX_SELECTORS || side.contains(first))
    };
    if !first.iter().zip(&traffic).all(can_lead) {
        return traffic;
    }
    let lead = |first: Selector, side: Vec<Selector>| {
        let others = side.into_iter().filter(|it| *it != first);
        std::iter::once(first).chain(others).collect()
    };
    let ([source, destination], [local, remote]) = (first, traffic);
    [lead(source, local), lead(destination, remote)]
}

/// What may be asked for; an empty payload may not.
pub(crate) fn askable(
    traffic: [Vec<Selector>; 2],
    mode: Mode,
    ends: Option<Ends>,
) -> Result<[Vec<Selector>; 2], Failure> {
    if mode == Mode::Transport && ends.is_none() {
        return Err(Failure::NoTransportMode);
    }
    let is_empty = traffic.iter().any(Vec::is_empty);
    if is_empty { Err(Failure::NoTrafficSelectors) } else { Ok(traffic) }
}

/// Appends SA, TSi and TSr of the request for the first child, and its mode.
pub(crate) fn offer(
    builder: &mut MessageBuilder<Protected>,
    children: &Children,
    [local_ts, remote_ts]: &[Vec<Selector>; 2],
    spi: Spi,
) {
    let wish = Wish { local_ts, remote_ts, ..Wish::first(children) };
    offer_sa(builder, wish, spi);
    offer_ts(builder, wish);
}

/// What bounds the children of an SA.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    /// Ours in the IKE SA.
    pub(crate) role: Role,
    /// The inner addresses that its initiator was given.
    pub(crate) inner: Addresses,
    pub(crate) ends: Option<Ends>,
}

/// What a responder accepts of a request for the first child, or the notify
/// that says why not.
pub(crate) fn choose(
    children: &Children,
    scope: Scope,
    payloads: &Payloads<'_>,
) -> Result<Terms, NotifyType> {
    choose_by(children, scope, payloads, |wish, asked| {
        choose_for(Wish { keyed: false, ..wish }, asked, payloads, None)
    })
}

/// As [`choose`], for a further child. The peer has sent a value of this group.
pub(crate) fn choose_further(
    children: &Children,
    scope: Scope,
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Terms, NotifyType> {
    choose_by(children, scope, payloads, |wish, asked| choose_for(wish, asked, payloads, keyed))
}

/// As [`choose_further`], for the successor of a child with these terms.
pub(crate) fn choose_again(
    children: &Children,
    (terms, ends): (&Terms, Option<Ends>),
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Terms, NotifyType> {
    let asked = match terms.mode {
        Mode::Tunnel => Some(Selected::written(payloads, Role::Responder)),
        Mode::Transport => Selected::between(ends, payloads, Role::Responder),
    };
    let asked = asked.ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
    choose_for(Wish::again(children, terms), &asked, payloads, keyed)
}

/// Which of the children it is to be: one for all the traffic that is asked for,
/// or else one for what is named first, or else the first that may carry some of
/// it (RFC 7296 section 2.9). If there is none in transport mode for who asks for
/// that, one in tunnel mode (section 2.23.1).
fn choose_by(
    children: &Children,
    scope: Scope,
    payloads: &Payloads<'_>,
    answer: impl Fn(Wish<'_>, &Selected) -> Result<Terms, NotifyType>,
) -> Result<Terms, NotifyType> {
    let between = Selected::between(scope.ends, payloads, Role::Responder);
    let written = Selected::written(payloads, Role::Responder);
    let mut chosen = Err(NotifyType::TS_UNACCEPTABLE);
    for asked in between.into_iter().chain([written]) {
        let is_better = |terms: &Terms, chosen: &Result<Terms, NotifyType>| match chosen {
            Ok(chosen) => terms.have_first(&asked) && !chosen.have_first(&asked),
            Err(_) => true,
        };
        for (which, config) in children.iter() {
            let [local_ts, remote_ts] = &traffic(config, scope);
            let wish = Wish { local_ts, remote_ts, ..Wish::further(children, which) };
            match answer(wish, &asked) {
                Ok(terms) if terms.suffice(&asked) => return Ok(terms),
                Ok(terms) if is_better(&terms, &chosen) => chosen = Ok(terms),
                // The traffic would do.
                Err(NotifyType::NO_PROPOSAL_CHOSEN) if chosen.is_err() => {
                    chosen = Err(NotifyType::NO_PROPOSAL_CHOSEN);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if chosen.is_ok() {
            break;
        }
    }
    chosen
}

/// What a responder accepts of a request, or the notify that says why not. That
/// the mode is another has none of its own (RFC 7296 section 3.10.1).
fn choose_for(
    wish: Wish<'_>,
    asked: &Selected,
    payloads: &Payloads<'_>,
    keyed: Option<Group>,
) -> Result<Terms, NotifyType> {
    let remote_ts = narrow(wish.remote_ts, &asked.remote);
    let local_ts = narrow(wish.local_ts, &asked.local);
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(NotifyType::TS_UNACCEPTABLE);
    }
    let Selected { mode, original, .. } = *asked;
    let suite = choose_suite(wish, payloads, keyed).filter(|_| mode == wish.mode);
    let (number, (suite, groups), spi_out) = suite.ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
    let which = wish.which;
    Ok(Terms { which, number, suite, groups, spi_out, mode, original, local_ts, remote_ts })
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

/// Appends TSi and TSr of a response, and the mode.
fn answer_ts(builder: &mut MessageBuilder<Protected>, child: &Child) {
    answer_ts_for(builder, &child.terms);
}

/// See [`answer_sa_for`].
pub(crate) fn answer_ts_for(builder: &mut MessageBuilder<Protected>, terms: &Terms) {
    builder.ts_i(&terms.remote_ts).ts_r(&terms.local_ts);
    push_mode(builder, terms.mode);
}

fn push_mode(builder: &mut MessageBuilder<Protected>, mode: Mode) {
    match mode {
        Mode::Tunnel => {}
        Mode::Transport => {
            builder.notify(NotifyType::USE_TRANSPORT_MODE, &[]);
        }
    }
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
    (inner, ends): (Addresses, Option<Ends>),
    payloads: &Payloads<'_>,
) -> Result<Terms, Failure> {
    let scope = Scope { role: Role::Initiator, inner, ends };
    let [local_ts, remote_ts] = &traffic(&children.first, scope);
    accept_for(Wish { local_ts, remote_ts, ..Wish::first(children) }, ends, payloads)
}

/// What an initiator finds in the response. It goes without a child rather than
/// with one in another mode than it wants (RFC 7296 section 1.3.1).
pub(crate) fn accept_for(
    wish: Wish<'_>,
    ends: Option<Ends>,
    payloads: &Payloads<'_>,
) -> Result<Terms, Failure> {
    let (Some(sa), Some(_), Some(_)) = (payloads.sa(), payloads.ts_i(), payloads.ts_r()) else {
        return Err(refusal(payloads));
    };
    let answer = match (wish.mode, is_for_transport(payloads)) {
        (Mode::Tunnel, false) => Some(Selected::written(payloads, Role::Initiator)),
        (Mode::Transport, true) => Selected::between(ends, payloads, Role::Initiator),
        (Mode::Transport, false) => return Err(Failure::NoTransportMode),
        (Mode::Tunnel, true) => return Err(Failure::Protocol),
    };
    let answer = answer.ok_or(Failure::NoTrafficSelectors)?;
    let chosen = sa.accepted().map_err(|_| Failure::Protocol)?;
    let offered = usize::from(chosen.number)
        .checked_sub(1)
        .and_then(|index| wish.proposals.get(index))
        .ok_or(Failure::Protocol)?;
    let (suite, groups) = wish.agree(offered, &chosen, None).ok_or(Failure::NoEspProposal)?;
    let spi_out = spi_of(&chosen).ok_or(Failure::Protocol)?;
    // Narrowed to what we asked for; a peer that widens gets only that.
    let local_ts = narrow(wish.local_ts, &answer.local);
    let remote_ts = narrow(wish.remote_ts, &answer.remote);
    if local_ts.is_empty() || remote_ts.is_empty() {
        return Err(Failure::NoTrafficSelectors);
    }
    let Selected { mode, original, .. } = answer;
    let (which, number) = (wish.which, chosen.number);
    Ok(Terms { which, number, suite, groups, spi_out, mode, original, local_ts, remote_ts })
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

/// The traffic that a child of an SA may carry: ours, and the peer's.
pub(crate) fn traffic(config: &ChildConfig, scope: Scope) -> [Vec<Selector>; 2] {
    let ChildConfig { mode, local_ts, remote_ts, .. } = config;
    let Scope { role, inner, ends } = scope;
    match (mode, role) {
        (Mode::Transport, _) => between(config, ends),
        (Mode::Tunnel, Role::Initiator) => [initiators(local_ts, config, inner), remote_ts.clone()],
        (Mode::Tunnel, Role::Responder) => [local_ts.clone(), initiators(remote_ts, config, inner)],
    }
}

/// What of it is between the ends of the SA; nothing where transport mode is not
/// to be had.
fn between(config: &ChildConfig, ends: Option<Ends>) -> [Vec<Selector>; 2] {
    match ends {
        Some(Ends { local, remote, .. }) => {
            [narrowed_to(&config.local_ts, &[local]), narrowed_to(&config.remote_ts, &[remote])]
        }
        None => [Vec::new(), Vec::new()],
    }
}

/// The initiator's side of the traffic.
fn initiators(side: &[Selector], config: &ChildConfig, inner: Addresses) -> Vec<Selector> {
    if config.dynamic { narrowed(side, inner) } else { side.to_vec() }
}

/// Every non-empty intersection of ours and theirs, but for what is within
/// another: a packet that is named first is no entry of its own. In the order of
/// theirs, so that what is cut off is not what they name first.
fn narrow(ours: &[Selector], theirs: &[Selector]) -> Box<[Selector]> {
    let mut seen = BTreeSet::new();
    let theirs = theirs.iter();
    let both = theirs.flat_map(|theirs| ours.iter().filter_map(|it| it.intersection(theirs)));
    let both: Vec<_> = both.filter(|both| seen.insert(*both)).take(MAX_SELECTORS).collect();
    let is_within_another = |it: &Selector| both.iter().any(|by| by != it && by.includes(it));
    both.iter().filter(|it| !is_within_another(it)).copied().collect()
}

/// Whether one of these selects all that `one` does.
fn include(side: &[Selector], one: &Selector) -> bool {
    side.iter().any(|it| it.includes(one))
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
            mode: self.terms.mode,
            original: self.terms.original,
            path,
            local_ts: self.terms.local_ts.to_vec(),
            remote_ts: self.terms.remote_ts.to_vec(),
            limits,
        })
    }
}
