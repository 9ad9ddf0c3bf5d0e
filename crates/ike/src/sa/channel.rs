//! An authenticated peer that can be talked to: keys, way and windows. What an
//! established SA and one that is being deleted have in common.

use crate::context::Context;
use crate::event::Path;
use crate::fault::{Discard, PeerFault};
use crate::sa::datagram::Datagram;
use crate::sa::protection::{Authentic, OpenFault, Protection, Unsendable};
use crate::sa::window::{Answered, Flight, InFlight, Intent, Place, Task, Unanswered, Window};
use crate::time::Instant;
use crate::wire::{ExchangeType, Header, MessageBuilder, NotifyType, Protected};

pub(crate) struct Channel {
    pub(crate) protection: Protection,
    pub(crate) path: Path,
    pub(crate) window: Window,
}

/// A request of the peer, not yet answered.
pub(crate) struct Incoming<'d> {
    pub(crate) message: Authentic<'d>,
    pub(crate) ticket: AnswerTicket,
}

/// The right to answer one request, once.
#[derive(Clone, Copy)]
pub(crate) struct AnswerTicket {
    pub(crate) exchange: ExchangeType,
    pub(crate) id: u32,
    pub(crate) path: Path,
}

/// A request that leads to nothing more here.
pub(crate) enum Refused {
    /// It changed nothing.
    Discard(Discard),
    /// It is authentic and wrong; the peer has been told so.
    Peer(PeerFault),
    /// A message of ours could not be built.
    Unsendable,
}

impl From<Unsendable> for Refused {
    fn from(_: Unsendable) -> Self {
        Self::Unsendable
    }
}

/// What a request holds that needs nothing but the channel.
type Payload = fn(&mut MessageBuilder<Protected>);

impl Channel {
    /// Sends the next request, if the window is open and something waits. What
    /// it takes more for than the channel has is handed out: see [`Self::ask`].
    pub(crate) fn pump(
        &mut self,
        cx: &mut Context,
        now: Instant,
        tries: u32,
    ) -> Result<Option<Intent>, Unsendable> {
        let Some(intent) = self.window.next_intent() else { return Ok(None) };
        let mut ask =
            |task, fill: Payload| self.ask(cx, now, tries, task, |_, builder| fill(builder));
        match intent {
            Intent::Liveness => ask(Task::Liveness, |_| {})?,
            Intent::Delete => ask(Task::Delete, |builder| {
                builder.delete_ike();
            })?,
            Intent::Reject => ask(Task::Reject, |builder| {
                builder.notify(NotifyType::AUTHENTICATION_FAILED, &[]);
            })?,
            Intent::AskTicket => ask(Task::AskTicket, |builder| {
                builder.notify(NotifyType::TICKET_REQUEST, &[]);
            })?,
            Intent::CreateChild(_)
            | Intent::RekeyChild(_)
            | Intent::DeleteChild(_)
            | Intent::DeleteLoser(_)
            | Intent::RekeyIke
            | Intent::UpdateAddresses
            | Intent::TellAddresses
            | Intent::TellLifetime
            | Intent::CheckPath
            | Intent::CheckMapping
            | Intent::GiveToken
            | Intent::Redirect => return Ok(Some(intent)),
        }
        Ok(None)
    }

    /// Sends a request. The window must be open.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context,
        now: Instant,
        tries: u32,
        task: Task,
        fill: impl FnOnce(&Task, &mut MessageBuilder<Protected>),
    ) -> Result<(), Unsendable> {
        let id = self.window.take_id()?;
        let exchange = task.exchange();
        let datagram =
            self.protection.request(&mut cx.provider, &self.path, exchange, id, |builder| {
                fill(&task, builder);
            })?;
        let flight = Flight::launch(cx, now, self.path, datagram, tries);
        self.window.in_flight = Some(InFlight { id, task, flight });
        Ok(())
    }

    /// Sends the request in flight again if it is time.
    pub(crate) fn retransmit(&mut self, cx: &mut Context, now: Instant) -> Result<(), Unanswered> {
        match &mut self.window.in_flight {
            Some(in_flight) => in_flight.flight.retransmit(cx, now, self.path),
            None => Ok(()),
        }
    }

    /// Goes on over another TCP connection: what was asked may have been lost
    /// with the former (RFC 9329 section 6.2).
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.path = path;
        if let Some(in_flight) = &mut self.window.in_flight {
            in_flight.flight.resend(cx, now, path);
        }
    }

    /// The SA goes another way from now on, and with it what was asked and is
    /// not answered yet (RFC 4555 section 3.5).
    pub(crate) fn reroute(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.path = path;
        let tries = cx.retransmission.tries;
        if let Some(in_flight) = &mut self.window.in_flight {
            in_flight.flight.reroute(cx, now, path, tries);
        }
    }

    /// When to call [`Self::retransmit`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.window.in_flight.as_ref().map(|in_flight| in_flight.flight.due())
    }

    /// Opens a request. A repeated one is answered again from the cache.
    pub(crate) fn receive_request<'d>(
        &mut self,
        cx: &mut Context,
        datagram: &'d mut Datagram<'_>,
    ) -> Result<Incoming<'d>, Refused> {
        let Header { exchange, message_id: id, .. } = datagram.header;
        match self.window.place(id) {
            Place::Next => {}
            Place::Before => {
                let answered = self.window.answered.as_ref();
                let why = answered.map(|answered| answered.repeat(cx, &self.protection, datagram));
                return Err(Refused::Discard(why.unwrap_or(Discard::Retransmission)));
            }
            Place::Outside => return Err(Refused::Discard(Discard::OutsideWindow)),
        }
        let ticket = AnswerTicket { exchange, id, path: datagram.path };
        match self.protection.open(datagram) {
            Ok(message) => {
                self.window.accept();
                Ok(Incoming { message, ticket })
            }
            Err(OpenFault::Discard(why)) => Err(Refused::Discard(why)),
            Err(OpenFault::Peer(fault)) => {
                self.window.accept();
                self.answer_fault(cx, ticket, fault)?;
                Err(Refused::Peer(fault))
            }
        }
    }

    /// Opens a response to the request in flight.
    pub(crate) fn receive_response<'d>(
        &mut self,
        datagram: &'d mut Datagram<'_>,
    ) -> Result<(Task, Authentic<'d>), OpenFault> {
        let Header { exchange, message_id: id, .. } = datagram.header;
        let fits = |f: &InFlight| f.id == id && f.task.exchange() == exchange;
        if !self.window.in_flight.as_ref().is_some_and(fits) {
            return Err(OpenFault::Discard(Discard::Unexpected));
        }
        let message = self.protection.open(datagram)?;
        match self.window.complete(id) {
            Some(task) => Ok((task, message)),
            None => Err(OpenFault::Discard(Discard::Unexpected)),
        }
    }

    /// Answers a request and keeps the answer for when it is asked for again.
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context,
        ticket: AnswerTicket,
        fill: impl FnOnce(&mut MessageBuilder<Protected>),
    ) -> Result<(), Unsendable> {
        let AnswerTicket { exchange, id, path } = ticket;
        let response = self.protection.response(&mut cx.provider, &path, exchange, id, fill)?;
        cx.transmit_all(path, &response);
        self.window.answered = Some(Answered::new(id, response));
        Ok(())
    }

    /// Tells the peer what is wrong with its request.
    pub(crate) fn answer_fault(
        &mut self,
        cx: &mut Context,
        ticket: AnswerTicket,
        fault: PeerFault,
    ) -> Result<(), Unsendable> {
        let (kind, data) = fault.notify();
        self.answer(cx, ticket, |builder| {
            builder.notify(kind, data.as_slice());
        })
    }
}
