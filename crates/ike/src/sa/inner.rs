//! The inner addresses of an SA: asked for, given, given back.

use std::sync::Arc;

use crate::config::Connection;
use crate::context::Context;
use crate::event::{Event, Output, SaId, Shown};
use crate::exchange::child::{self, Terms};
use crate::exchange::configuration::{self, Request};
use crate::exchange::transport::Ends;
use crate::fault::Failure;
use crate::identity::Id;
use crate::inner::{Addresses, Assignment};
use crate::pool::{Applicant, Yields};
use crate::wire::{MessageBuilder, NotifyType, Payloads, Protected};

/// What an initiator agrees to: the child, and the addresses that it was given
/// if it has asked for some.
pub(crate) fn accept(
    connection: &Connection,
    (wanted, ends): (Addresses, Option<Ends>),
    payloads: &Payloads<'_>,
) -> Result<(Terms, Option<Assignment>), Failure> {
    let children = &connection.children;
    if wanted.is_empty() {
        return Ok((child::accept(children, (Addresses::NONE, ends), payloads)?, None));
    }
    let Some(given) = configuration::assignment(payloads, wanted) else {
        return Err(match payloads.error() {
            Some(_) => child::refusal(payloads),
            None => Failure::NoAddress,
        });
    };
    Ok((child::accept(children, (given.addresses, ends), payloads)?, Some(given)))
}

/// As [`accept`], where there is no child yet (RFC 6023).
pub(crate) fn accept_childless(
    wanted: Addresses,
    payloads: &Payloads<'_>,
) -> Result<Option<Assignment>, Failure> {
    if payloads.error().is_some() {
        return Err(child::refusal(payloads));
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    configuration::assignment(payloads, wanted).map(Some).ok_or(Failure::NoAddress)
}

/// What a responder has given.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) addresses: Addresses,
    reply: Option<(Request, Assignment)>,
}

/// A peer that may want addresses.
pub(crate) struct Asking<'a> {
    pub(crate) peer: &'a Id,
    /// Its SA, as we call it.
    pub(crate) sa: SaId,
    /// Which of its other SAs give up their addresses.
    pub(crate) yields: Yields<'a>,
    /// What it had in the session that it resumes.
    pub(crate) earlier: Addresses,
}

impl Given {
    /// Gives the peer what it asks for, or what it had if it is silent after a
    /// resume. The notify says why it cannot have a child.
    pub(crate) fn to(
        cx: &mut Context,
        connection: &Connection,
        asking: &Asking<'_>,
        payloads: &Payloads<'_>,
    ) -> Result<Self, NotifyType> {
        if connection.pools.is_empty() {
            return Ok(Self::default());
        }
        let request = Request::of(payloads);
        let wanted = request.map_or(asking.earlier, |it| it.wanted.preferring(asking.earlier));
        if wanted.is_empty() {
            let is_needed = connection.children.iter().any(|(_, child)| child.dynamic);
            return if is_needed {
                Err(NotifyType::FAILED_CP_REQUIRED)
            } else {
                Ok(Self::default())
            };
        }
        let applicant =
            Applicant { owner: asking.peer, holder: asking.sa, wanted, yields: asking.yields };
        let (name, peer) = (Arc::clone(&connection.name), Shown(asking.peer.clone()));
        let Some(assignment) = cx.give_addresses(connection, applicant) else {
            cx.emit(Event::PoolExhausted { connection: name, peer });
            return Err(NotifyType::INTERNAL_ADDRESS_FAILURE);
        };
        let addresses = assignment.addresses;
        let list = addresses.iter().collect();
        cx.emit(Event::AddressesGiven { connection: name, peer, addresses: list });
        Ok(Self { addresses, reply: request.map(|request| (request, assignment)) })
    }

    /// Appends CFG_REPLY, if there was a request.
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>) {
        if let Some((request, assignment)) = &self.reply {
            configuration::push_reply(builder, *request, assignment);
        }
    }
}

/// Of an initiator.
impl Context {
    /// A connection of ours was given something.
    pub(crate) fn receive_addresses(&mut self, connection: &Connection, given: Assignment) {
        let name = Arc::clone(&connection.name);
        self.emit(Event::AddressesReceived {
            connection: Arc::clone(&name),
            addresses: given.addresses.iter().collect(),
            dns: given.network.dns.clone(),
            domains: given.network.domains.clone(),
        });
        let given = Arc::new(given);
        let before = self.assigned.insert(Arc::clone(&name), Arc::clone(&given));
        if before.as_ref() != Some(&given) {
            self.outputs.push_back(Output::Inner(name, Some(given)));
        }
    }

    /// The connection has neither an SA nor a session any more.
    pub(crate) fn forget_addresses(&mut self, name: &Arc<str>) {
        if self.assigned.remove(name).is_some() {
            self.outputs.push_back(Output::Inner(Arc::clone(name), None));
        }
    }
}

/// Of a responder.
impl Context {
    fn give_addresses(
        &mut self,
        connection: &Connection,
        applicant: Applicant<'_>,
    ) -> Option<Assignment> {
        let mut changes = Vec::new();
        let assignment = self.pools.assign(&connection.pools, applicant, &mut changes);
        self.outputs.extend(changes.into_iter().map(Output::Lease));
        assignment
    }

    /// An SA gives back what it holds.
    pub(crate) fn take_addresses_back(
        &mut self,
        connection: &Connection,
        sa: SaId,
        addresses: Addresses,
    ) {
        let mut changes = Vec::new();
        self.pools.release(&connection.pools, sa, addresses, &mut changes);
        self.outputs.extend(changes.into_iter().map(Output::Lease));
    }
}
