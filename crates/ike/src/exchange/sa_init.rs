//! IKE_SA_INIT (RFC 7296 section 1.2).
//!
//! ```text
//! HDR, [N(COOKIE)], SAi1, KEi, Ni, N(NAT_DETECTION_*), N(SIGNATURE_HASH_ALGORITHMS),
//!                       [N(REDIRECT_SUPPORTED) | N(REDIRECTED_FROM)] -->
//!                   <-- HDR, SAr1, KEr, Nr, [CERTREQ], N(NAT_DETECTION_*),
//!                       N(SIGNATURE_HASH_ALGORITHMS)
//!              or   <-- HDR, N(REDIRECT)
//! ```

use std::sync::Arc;

use crypto::{Group, IkeSuite, KeyAnswer, KeyExchange, Provider};

use crate::event::Path;
use crate::exchange::certificates::Wanted;
use crate::exchange::signature::HASHES;
use crate::exchange::{Shape, nat};
use crate::proposal::{Declined, IkeProposal, group_number, group_of};
use crate::sa::protection::{Spis, Unsendable};
use crate::wire::{
    ExchangeType, Flags, Header, Ke, MessageBuilder, NewProposal, Notify, NotifyType, PayloadType,
    Payloads, Protocol, SaPayload, Transform,
};

/// What a request must hold.
pub(crate) const REQUEST: Shape = Shape {
    required: &[PayloadType::SA, PayloadType::KE, PayloadType::NONCE],
    forbidden: &[PayloadType::SK, PayloadType::SKF],
};

/// What a response must hold that is not an error.
pub(crate) const RESPONSE: Shape = REQUEST;

/// What an initiator says.
pub(crate) struct Request<'a> {
    pub(crate) proposals: &'a [IkeProposal],
    pub(crate) spis: Spis,
    pub(crate) path: Path,
    pub(crate) cookie: Option<&'a [u8]>,
    pub(crate) key_exchange: &'a KeyExchange,
    pub(crate) nonce: &'a [u8],
    pub(crate) pretend_nat: bool,
    /// Whether to say that we know fragments (RFC 7383 section 2.3).
    pub(crate) fragmentation: bool,
    /// Whether to say that we have a PPK.
    pub(crate) ppk: bool,
    /// What to say of redirects.
    pub(crate) redirect: Option<(NotifyType, Vec<u8>)>,
}

impl Request<'_> {
    pub(crate) fn build(&self, provider: &mut Provider) -> Result<Arc<[u8]>, Unsendable> {
        let flags = Flags { initiator: true, response: false };
        let mut builder = start(self.spis, ExchangeType::SA_INIT, flags);
        if let Some(cookie) = self.cookie {
            builder.notify(NotifyType::COOKIE, cookie);
        }
        offer(&mut builder, self.proposals);
        builder
            .ke(group_number(self.key_exchange.group()), self.key_exchange.public())
            .nonce(self.nonce);
        nat::announce(&mut builder, provider, self.spis, &self.path, self.pretend_nat);
        hash_algorithms(&mut builder);
        announce_fragmentation(&mut builder, self.fragmentation);
        if self.proposals.iter().any(IkeProposal::has_additional) {
            builder.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]);
        }
        announce_ppk(&mut builder, self.ppk);
        announce_redirect(&mut builder, self.redirect.as_ref());
        finish(builder)
    }
}

/// What a responder says when it accepts.
pub(crate) struct Response<'a> {
    pub(crate) spis: Spis,
    pub(crate) path: Path,
    pub(crate) chosen: Chosen,
    pub(crate) key_answer: &'a KeyAnswer,
    pub(crate) nonce: &'a [u8],
    pub(crate) wanted: &'a Wanted,
    pub(crate) pretend_nat: bool,
    /// Whether to say that we know fragments (RFC 7383 section 2.3).
    pub(crate) fragmentation: bool,
    /// Whether to say that we have PPKs.
    pub(crate) ppk: bool,
    /// Whether to say that there need not be a child at first (RFC 6023).
    pub(crate) childless: bool,
}

impl Response<'_> {
    pub(crate) fn build(&self, provider: &mut Provider) -> Result<Arc<[u8]>, Unsendable> {
        let flags = Flags { initiator: false, response: true };
        let mut builder = start(self.spis, ExchangeType::SA_INIT, flags);
        let proposal = IkeProposal::of(self.chosen.suite);
        let declined = self.chosen.declined.transforms();
        let transforms: Vec<_> = proposal.transforms().chain(declined).collect();
        builder
            .sa(&[ike_proposal(self.chosen.number, &transforms)])
            .ke(group_number(self.chosen.suite.group), self.key_answer.public())
            .nonce(self.nonce);
        self.wanted.push(&mut builder);
        nat::announce(&mut builder, provider, self.spis, &self.path, self.pretend_nat);
        hash_algorithms(&mut builder);
        announce_fragmentation(&mut builder, self.fragmentation);
        if !self.chosen.suite.additional.is_empty() {
            builder.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]);
        }
        announce_ppk(&mut builder, self.ppk);
        if self.childless {
            // The one notify that names its protocol (RFC 6023 section 4).
            let kind = NotifyType::CHILDLESS_IKEV2_SUPPORTED;
            builder.notify_about(&Notify { protocol: Protocol::IKE, spi: &[], kind, data: &[] });
        }
        finish(builder)
    }
}

/// A suite, and the number of the proposal that it was chosen from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) number: u8,
    pub(crate) suite: IkeSuite,
    pub(crate) declined: Declined,
}

/// The suite that a responder chooses: the best of ours that is on offer.
/// Additional key exchanges need IKE_INTERMEDIATE (RFC 9370 section 2.2.1).
pub(crate) fn choose(
    ours: &[IkeProposal],
    offered: SaPayload<'_>,
    keyed: Option<Group>,
    intermediate: bool,
) -> Option<Chosen> {
    let agree = |ours: &IkeProposal| {
        offered.offered().ok()?.filter(|p| p.protocol == Protocol::IKE).find_map(|theirs| {
            let transforms: Vec<_> = theirs.transforms().collect();
            let suite = ours.agree(&transforms, keyed)?;
            (intermediate || suite.additional.is_empty()).then_some(())?;
            let declined = Declined::of(&transforms, suite.additional);
            Some(Chosen { number: theirs.number, suite, declined })
        })
    };
    ours.iter().find_map(agree)
}

/// The suite in a response, if it is one that we offered.
pub(crate) fn accepted(ours: &[IkeProposal], answer: SaPayload<'_>) -> Option<IkeSuite> {
    let chosen = answer.accepted().ok()?;
    let offered = ours.get(usize::from(chosen.number).checked_sub(1)?)?;
    let transforms: Vec<_> = chosen.transforms().collect();
    let one_of_each = transforms
        .iter()
        .enumerate()
        .all(|(i, t)| transforms.iter().skip(i + 1).all(|other| other.kind != t.kind));
    let acceptable = one_of_each && chosen.protocol == Protocol::IKE;
    acceptable.then(|| offered.agree(&transforms, None)).flatten()
}

/// The group and value in a Key Exchange payload, if the group is one of ours.
pub(crate) fn key_share<'a>(payloads: &Payloads<'a>) -> Option<(Group, &'a [u8])> {
    let Ke { group, data } = payloads.ke()?;
    Some((group_of(group)?, data))
}

/// An initial message that ends an exchange without state: a notify alone.
pub(crate) fn bare_answer(
    request: &Header,
    kind: NotifyType,
    data: &[u8],
) -> Result<Arc<[u8]>, Unsendable> {
    let flags = Flags { initiator: false, response: true };
    let spis = (request.spi_i, request.spi_r);
    let header = Header::new(spis, request.exchange, flags, request.message_id);
    let mut builder = MessageBuilder::new(Vec::new(), header);
    builder.notify(kind, data);
    finish(builder)
}

/// The answer to a request of an SA that is lost: it copies SPIs, exchange and
/// message id (RFC 7296 section 1.5, RFC 6290 section 4.5).
pub(crate) fn lost_sa(request: &Header, token: &[u8]) -> Result<Arc<[u8]>, Unsendable> {
    let flags = Flags { initiator: !request.flags.initiator, response: true };
    let spis = (request.spi_i, request.spi_r);
    let header = Header::new(spis, request.exchange, flags, request.message_id);
    let mut builder = MessageBuilder::new(Vec::new(), header);
    builder.notify(NotifyType::INVALID_IKE_SPI, &[]);
    builder.notify(NotifyType::QUICK_CRASH_DETECTION, token);
    finish(builder)
}

pub(super) fn start(spis: Spis, exchange: ExchangeType, flags: Flags) -> MessageBuilder {
    let header = Header::new((spis.initiator, spis.responder), exchange, flags, 0);
    MessageBuilder::new(Vec::with_capacity(512), header)
}

pub(super) fn finish(builder: MessageBuilder) -> Result<Arc<[u8]>, Unsendable> {
    builder.finish().map(Into::into).map_err(|_| Unsendable)
}

pub(super) fn announce_fragmentation(builder: &mut MessageBuilder, is_known: bool) {
    if is_known {
        builder.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);
    }
}

/// In the first request, whatever its exchange is (RFC 5685 section 3).
pub(super) fn announce_redirect(
    builder: &mut MessageBuilder,
    redirect: Option<&(NotifyType, Vec<u8>)>,
) {
    if let Some((kind, data)) = redirect {
        builder.notify(*kind, data);
    }
}

fn announce_ppk(builder: &mut MessageBuilder, is_used: bool) {
    if is_used {
        builder.notify(NotifyType::USE_PPK, &[]);
    }
}

/// Whether the peer knows fragments.
pub(crate) fn knows_fragmentation(payloads: &Payloads<'_>) -> bool {
    payloads.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
}

/// Whether the peer knows IKE_INTERMEDIATE (RFC 9242 section 3.1).
pub(crate) fn knows_intermediate(payloads: &Payloads<'_>) -> bool {
    payloads.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some()
}

fn offer(builder: &mut MessageBuilder, proposals: &[IkeProposal]) {
    let transforms: Vec<Vec<_>> = proposals.iter().map(|p| p.transforms().collect()).collect();
    let numbered: Vec<_> = (1..).zip(&transforms).map(|(n, t)| ike_proposal(n, t)).collect();
    builder.sa(&numbered);
}

const fn ike_proposal(number: u8, transforms: &[Transform]) -> NewProposal<'_> {
    NewProposal { number, protocol: Protocol::IKE, spi: &[], transforms }
}

fn hash_algorithms(builder: &mut MessageBuilder) {
    let octets: Vec<u8> = HASHES.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
    builder.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS, &octets);
}
