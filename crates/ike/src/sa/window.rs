//! Requests and responses of one established SA: window size 1 each way
//! (RFC 7296 section 2.3), retransmission, and the cached last response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crypto::KeyExchange;
use esp::spec::{ChildId, Mode, Selector, Spi};

use crate::config::ChildIndex;
use crate::context::Context;
use crate::event::Path;
use crate::exchange::create_child::BothNonces;
use crate::exchange::follow_up::Unfinished;
use crate::exchange::mobike::Cookie;
use crate::exchange::rekey_ike::Successor;
use crate::fault::Discard;
use crate::sa::datagram::Datagram;
use crate::sa::fragments::Datagrams;
use crate::sa::initiating::NONCE_LEN;
use crate::sa::protection::{Protection, Unsendable};
use crate::time::Instant;
use crate::wire::{ExchangeType, Header, IkeSpi};

/// A message on its way, sent again until it is answered (RFC 7296 section 2.1).
pub(crate) struct Flight {
    message: Datagrams,
    sent: u32,
    tries_left: u32,
    wait: Duration,
    next: Instant,
}

/// Nobody answered a [`Flight`].
pub(crate) struct Unanswered;

impl Flight {
    /// Sends `message`, `tries` times at the most.
    pub(crate) fn launch(
        cx: &mut Context,
        now: Instant,
        path: Path,
        message: impl Into<Datagrams>,
        tries: u32,
    ) -> Self {
        let message = message.into();
        cx.transmit_all(path, &message);
        let wait = cx.retransmission.initial;
        let next = now + cx.jittered(wait);
        Self { message, sent: 1, tries_left: tries.saturating_sub(1), wait, next }
    }

    /// How often it was sent on the way that it goes.
    pub(crate) const fn sent(&self) -> u32 {
        self.sent
    }

    /// All parts of it.
    pub(crate) const fn message(&self) -> &Datagrams {
        &self.message
    }

    /// Goes another way from now on, as if it had never been sent before.
    pub(crate) fn reroute(&mut self, cx: &mut Context, now: Instant, path: Path, tries: u32) {
        self.sent = 1;
        self.tries_left = tries.saturating_sub(1);
        self.wait = cx.retransmission.initial;
        self.next = now + cx.jittered(self.wait);
        cx.transmit_all(path, &self.message);
    }

    /// When to look at it again.
    pub(crate) const fn due(&self) -> Instant {
        self.next
    }

    /// What is being sent, or its first fragment.
    pub(crate) const fn datagram(&self) -> &Arc<[u8]> {
        self.message.first()
    }

    /// Sends at once, because the way has changed, and waits as long again.
    pub(crate) fn resend(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.next = now + cx.jittered(self.wait);
        cx.counters.retransmissions += 1;
        cx.transmit_all(path, &self.message);
    }

    /// Sends once more if it is time. A TCP connection does that by itself
    /// (RFC 9329 section 6.2).
    pub(crate) fn retransmit(
        &mut self,
        cx: &mut Context,
        now: Instant,
        path: Path,
    ) -> Result<(), Unanswered> {
        if now < self.next {
            return Ok(());
        }
        self.tries_left = self.tries_left.checked_sub(1).ok_or(Unanswered)?;
        self.sent += 1;
        self.wait = (self.wait * 2).min(cx.retransmission.max);
        self.next = now + cx.jittered(self.wait);
        if path.stream().is_none() {
            cx.counters.retransmissions += 1;
            cx.transmit_all(path, &self.message);
        }
        Ok(())
    }
}

/// What is to be asked of the peer when its turn comes. Whether it still makes
/// sense is seen then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    /// An empty INFORMATIONAL (RFC 7296 section 2.4).
    Liveness,
    /// Delete of the IKE SA.
    Delete,
    /// The peer's AUTH was wrong, which it must learn (RFC 7296 section 2.21.2).
    Reject,
    /// TICKET_REQUEST, after a TICKET_ACK (A4) or a rekey (D9).
    AskTicket,
    /// A child from scratch.
    CreateChild(ChildIndex),
    /// A successor of a child.
    RekeyChild(ChildId),
    /// Delete of a child.
    DeleteChild(ChildId),
    /// Delete of an SA that has lost against another one, by our SPI; the plane
    /// has never heard of it.
    DeleteLoser(Spi),
    /// A successor of the IKE SA.
    RekeyIke,
    /// UPDATE_SA_ADDRESSES (RFC 4555 section 3.5).
    UpdateAddresses,
    /// Our other addresses are not what they were (RFC 4555 section 3.6).
    TellAddresses,
    /// AUTH_LIFETIME: until when we want another proof (RFC 4478 section 2).
    TellLifetime,
    /// Whether the peer is where it says (RFC 4555 section 3.7).
    CheckPath,
    /// A liveness check that shows how our address looks from there
    /// (RFC 4555 section 3.8).
    CheckMapping,
    /// The peer is to go to another gateway (RFC 5685 section 5).
    Redirect,
    /// The token by which we can prove later that we have lost the SA
    /// (RFC 6290 section 4.3).
    GiveToken,
}

/// What was asked of the peer, with all that the answer needs.
pub(crate) enum Task {
    /// See [`Intent::Liveness`].
    Liveness,
    /// See [`Intent::Delete`].
    Delete,
    /// See [`Intent::Reject`].
    Reject,
    /// See [`Intent::AskTicket`].
    AskTicket,
    /// A child, from scratch or as a successor.
    CreateChild(Box<ChildTask>),
    /// See [`Intent::DeleteChild`].
    DeleteChild(ChildId),
    /// See [`Intent::DeleteLoser`].
    DeleteLoser(Spi),
    /// A successor of the IKE SA.
    RekeyIke(Box<IkeTask>),
    /// An additional key exchange of a child or a successor.
    FollowUp(Box<FollowUpTask>),
    /// See [`Intent::UpdateAddresses`].
    UpdateAddresses(Box<PathTask>),
    /// See [`Intent::TellAddresses`].
    TellAddresses,
    /// See [`Intent::TellLifetime`].
    TellLifetime,
    /// See [`Intent::CheckPath`].
    CheckPath(Box<PathTask>),
    /// See [`Intent::CheckMapping`].
    CheckMapping,
    /// See [`Intent::GiveToken`].
    GiveToken,
    /// See [`Intent::Redirect`].
    Redirect,
    /// Whoever asked does not care any more.
    Moot(ExchangeType),
}

/// A child that we have asked for.
pub(crate) struct ChildTask {
    /// Which of the configured children it is.
    pub(crate) which: ChildIndex,
    /// The child that it is to replace.
    pub(crate) replaces: Option<ChildId>,
    pub(crate) spi_in: Spi,
    pub(crate) mode: Mode,
    /// The traffic that it is for: ours, and the peer's.
    pub(crate) traffic: [Box<[Selector]>; 2],
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) key_exchange: Option<KeyExchange>,
    /// What the peer has made meanwhile for the same purpose
    /// (RFC 7296 section 2.8.1).
    pub(crate) rival: Option<(ChildId, BothNonces)>,
    /// What the peer has taken away meanwhile, by its SPIs, and was not known to
    /// us: maybe this, if its answer is late.
    pub(crate) gone: Vec<u32>,
}

/// An IKE SA that we have asked for.
pub(crate) struct IkeTask {
    pub(crate) spi: IkeSpi,
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) key_exchange: KeyExchange,
    /// What the peer has made meanwhile for the same purpose
    /// (RFC 7296 section 2.8.2).
    pub(crate) rival: Option<Box<Successor>>,
}

/// What we have asked for, in the middle of its key exchanges.
pub(crate) struct FollowUpTask {
    pub(crate) of: Unfinished,
    pub(crate) key_exchange: KeyExchange,
    /// The child that the peer has made meanwhile for the same purpose, and
    /// which has lost.
    pub(crate) rival: Option<ChildId>,
}

/// A way that we have asked about, by itself.
pub(crate) struct PathTask {
    pub(crate) path: Path,
    pub(crate) cookie: Cookie,
}

impl Task {
    /// What is still to be asked if this was asked of an SA that has a
    /// successor now: which way it goes is nothing that it may forget.
    pub(crate) const fn of_paths(&self) -> Option<Intent> {
        match self {
            Self::UpdateAddresses(_) => Some(Intent::UpdateAddresses),
            Self::TellAddresses => Some(Intent::TellAddresses),
            Self::CheckPath(_) => Some(Intent::CheckPath),
            Self::GiveToken => Some(Intent::GiveToken),
            Self::Redirect => Some(Intent::Redirect),
            Self::Liveness
            | Self::Delete
            | Self::Reject
            | Self::AskTicket
            | Self::CreateChild(_)
            | Self::DeleteChild(_)
            | Self::DeleteLoser(_)
            | Self::RekeyIke(_)
            | Self::FollowUp(_)
            | Self::TellLifetime
            | Self::CheckMapping
            | Self::Moot(_) => None,
        }
    }

    /// Whether it asks for a successor of the IKE SA.
    pub(crate) const fn is_rekey_ike(&self) -> bool {
        match self {
            Self::RekeyIke(_) => true,
            Self::FollowUp(task) => task.of.is_ike(),
            Self::Liveness
            | Self::Delete
            | Self::Reject
            | Self::AskTicket
            | Self::CreateChild(_)
            | Self::DeleteChild(_)
            | Self::DeleteLoser(_)
            | Self::UpdateAddresses(_)
            | Self::TellAddresses
            | Self::TellLifetime
            | Self::CheckPath(_)
            | Self::CheckMapping
            | Self::GiveToken
            | Self::Redirect
            | Self::Moot(_) => false,
        }
    }

    /// The exchange that its request belongs to.
    pub(crate) const fn exchange(&self) -> ExchangeType {
        match self {
            Self::Liveness
            | Self::Delete
            | Self::Reject
            | Self::AskTicket
            | Self::DeleteChild(_)
            | Self::DeleteLoser(_)
            | Self::UpdateAddresses(_)
            | Self::TellAddresses
            | Self::TellLifetime
            | Self::CheckPath(_)
            | Self::CheckMapping
            | Self::GiveToken
            | Self::Redirect => ExchangeType::INFORMATIONAL,
            Self::CreateChild(_) | Self::RekeyIke(_) => ExchangeType::CREATE_CHILD_SA,
            Self::FollowUp(_) => ExchangeType::FOLLOWUP_KE,
            Self::Moot(exchange) => *exchange,
        }
    }
}

/// A request that waits for its response.
pub(crate) struct InFlight {
    pub(crate) id: u32,
    pub(crate) task: Task,
    pub(crate) flight: Flight,
}

/// The last request that was answered, and how.
pub(crate) struct Answered {
    id: u32,
    response: Datagrams,
}

impl Answered {
    pub(crate) const fn new(id: u32, response: Datagrams) -> Self {
        Self { id, response }
    }

    /// Sends the response again, if this is that request again, or the first
    /// fragment of it (RFC 7383 section 2.6.1). Only an authentic one is: nobody
    /// else can make us send anything. No such datagram goes any further.
    pub(crate) fn repeat(
        &self,
        cx: &mut Context,
        protection: &Protection,
        datagram: &mut Datagram<'_>,
    ) -> Discard {
        let Header { flags, message_id, .. } = datagram.header;
        if flags.response || message_id != self.id {
            return Discard::OutsideWindow;
        }
        match protection.verify_first(datagram) {
            Ok(()) => {
                cx.transmit_all(datagram.path, &self.response);
                Discard::Retransmission
            }
            Err(why) => why,
        }
    }
}

/// Where a request stands against the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The next one.
    Next,
    /// Answered, or being answered.
    Before,
    /// Anything else.
    Outside,
}

/// Both windows of an SA.
pub(crate) struct Window {
    /// `None` when all are used: none is used again (RFC 7296 section 2.2).
    next_id: Option<u32>,
    pub(crate) in_flight: Option<InFlight>,
    queue: VecDeque<Intent>,
    /// As `next_id`, of the peer.
    expected: Option<u32>,
    pub(crate) answered: Option<Answered>,
}

impl Window {
    /// After the initial exchanges: our next request has the id `next_id`, and
    /// the peer's next is expected to have `expected`.
    pub(crate) const fn new(next_id: u32, expected: u32) -> Self {
        let (next_id, expected) = (Some(next_id), Some(expected));
        Self { next_id, in_flight: None, queue: VecDeque::new(), expected, answered: None }
    }

    /// Whether nothing is asked of the peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// Puts an intent at the end of the queue, once.
    pub(crate) fn push(&mut self, intent: Intent) {
        if !self.queue.contains(&intent) {
            self.queue.push_back(intent);
        }
    }

    /// Puts an intent before all others, once.
    pub(crate) fn push_first(&mut self, intent: Intent) {
        self.queue.retain(|waiting| *waiting != intent);
        self.queue.push_front(intent);
    }

    /// Drops what waits: only the end of the SA still matters.
    pub(crate) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// What waits, for the SA that takes the place of this one.
    pub(crate) fn take_queue(&mut self) -> VecDeque<Intent> {
        std::mem::take(&mut self.queue)
    }

    /// What to ask now, if the window is open.
    pub(crate) fn next_intent(&mut self) -> Option<Intent> {
        if self.in_flight.is_some() { None } else { self.queue.pop_front() }
    }

    /// The message id of the next request.
    ///
    /// # Errors
    /// When there is none left: the SA is over (RFC 7296 section 2.2).
    pub(crate) fn take_id(&mut self) -> Result<u32, Unsendable> {
        let id = self.next_id.ok_or(Unsendable)?;
        self.next_id = id.checked_add(1);
        Ok(id)
    }

    /// What was asked and is not answered yet.
    pub(crate) fn task(&self) -> Option<&Task> {
        self.in_flight.as_ref().map(|in_flight| &in_flight.task)
    }

    /// See [`Self::task`].
    pub(crate) fn task_mut(&mut self) -> Option<&mut Task> {
        self.in_flight.as_mut().map(|in_flight| &mut in_flight.task)
    }

    /// Takes the task away from its request, whose answer is still waited for.
    pub(crate) fn disown(&mut self) -> Option<Task> {
        let task = self.task_mut()?;
        let moot = Task::Moot(task.exchange());
        Some(std::mem::replace(task, moot))
    }

    /// The task that a response with this id ends.
    pub(crate) fn complete(&mut self, id: u32) -> Option<Task> {
        let in_flight = self.in_flight.take_if(|in_flight| in_flight.id == id)?;
        Some(in_flight.task)
    }

    /// Where a request of the peer stands.
    pub(crate) fn place(&self, id: u32) -> Place {
        if self.expected == Some(id) {
            Place::Next
        } else if id.checked_add(1) == self.expected {
            Place::Before
        } else {
            Place::Outside
        }
    }

    /// The peer's expected request has come.
    pub(crate) fn accept(&mut self) {
        self.expected = self.expected.and_then(|id| id.checked_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_request_is_new_and_only_the_last_may_be_repeated() {
        let mut window = Window::new(0, 2);
        assert_eq!(window.place(2), Place::Next);
        assert_eq!(window.place(1), Place::Before);
        for outside in [0, 3, u32::MAX] {
            assert_eq!(window.place(outside), Place::Outside);
        }
        window.accept();
        assert_eq!(window.place(2), Place::Before);
        assert_eq!(window.place(3), Place::Next);
    }

    #[test]
    fn no_id_is_used_twice_and_the_last_answer_is_still_repeated() {
        let mut window = Window::new(u32::MAX, u32::MAX);
        assert_eq!(window.place(u32::MAX), Place::Next);
        window.accept();
        assert_eq!(window.place(u32::MAX), Place::Before);
        assert_eq!(window.place(0), Place::Outside);
        assert_eq!(window.take_id().ok(), Some(u32::MAX));
        assert!(window.take_id().is_err() && window.take_id().is_err());
    }

    #[test]
    fn an_intent_waits_once_and_in_its_turn() {
        let mut window = Window::new(2, 0);
        assert!(window.is_idle());
        for intent in [Intent::AskTicket, Intent::Liveness, Intent::AskTicket] {
            window.push(intent);
        }
        assert!(!window.is_idle());
        assert_eq!(window.next_intent(), Some(Intent::AskTicket));
        assert_eq!(window.next_intent(), Some(Intent::Liveness));
        assert_eq!(window.next_intent(), None);
    }
}
