//! Requests and responses of one established SA: window size 1 each way
//! (RFC 7296 section 2.3), retransmission, and the cached last response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::event::Path;
use crate::fault::Discard;
use crate::sa::fragments::{Datagram, Datagrams};
use crate::sa::protection::Protection;
use crate::time::Instant;
use crate::wire::Header;

/// A message on its way, sent again until it is answered (RFC 7296 section 2.1).
pub(crate) struct Flight {
    message: Datagrams,
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
        Self { message, tries_left: tries.saturating_sub(1), wait, next }
    }

    /// When to look at it again.
    pub(crate) const fn due(&self) -> Instant {
        self.next
    }

    /// What is being sent, or its first fragment.
    pub(crate) const fn datagram(&self) -> &Arc<[u8]> {
        self.message.first()
    }

    /// Sends once more if it is time.
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
        self.wait = (self.wait * 2).min(cx.retransmission.max);
        self.next = now + cx.jittered(self.wait);
        cx.counters.retransmissions += 1;
        cx.transmit_all(path, &self.message);
        Ok(())
    }
}

/// What an established SA asks of its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// An empty INFORMATIONAL (RFC 7296 section 2.4).
    Liveness,
    /// Delete of the IKE SA.
    Delete,
    /// The peer's AUTH was wrong, which it must learn (RFC 7296 section 2.21.2).
    Reject,
    /// TICKET_REQUEST, after a TICKET_ACK (A4).
    AskTicket,
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

    /// The response to send again, if this is that request again, or the first
    /// fragment of it (RFC 7383 section 2.6.1). Only an authentic one is: nobody
    /// else can make us send anything.
    pub(crate) fn again(
        &self,
        protection: &Protection,
        header: &Header,
        datagram: &mut Datagram<'_>,
    ) -> Result<&Datagrams, Discard> {
        if header.flags.response || header.message_id != self.id {
            return Err(Discard::OutsideWindow);
        }
        protection.verify_first(header, datagram)?;
        Ok(&self.response)
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
    next_id: u32,
    pub(crate) in_flight: Option<InFlight>,
    queue: VecDeque<Task>,
    expected: u32,
    pub(crate) answered: Option<Answered>,
}

impl Window {
    /// After the initial exchanges: our next request has the id `next_id`, and
    /// the peer's next is expected to have `expected`.
    pub(crate) const fn new(next_id: u32, expected: u32) -> Self {
        Self { next_id, in_flight: None, queue: VecDeque::new(), expected, answered: None }
    }

    /// Whether nothing is asked of the peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// Puts a task at the end of the queue, once.
    pub(crate) fn push(&mut self, task: Task) {
        if !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    /// Drops what waits: only the end of the SA still matters.
    pub(crate) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// The task to launch now, with its message id, if the window is open.
    pub(crate) fn next_task(&mut self) -> Option<(u32, Task)> {
        if self.in_flight.is_some() {
            return None;
        }
        let task = self.queue.pop_front()?;
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        Some((id, task))
    }

    /// The task that a response with this id ends.
    pub(crate) fn complete(&mut self, id: u32) -> Option<Task> {
        let in_flight = self.in_flight.take_if(|in_flight| in_flight.id == id)?;
        Some(in_flight.task)
    }

    /// Where a request of the peer stands.
    pub(crate) const fn place(&self, id: u32) -> Place {
        if id == self.expected {
            Place::Next
        } else if id.wrapping_add(1) == self.expected {
            Place::Before
        } else {
            Place::Outside
        }
    }

    /// The peer's expected request has come.
    pub(crate) const fn accept(&mut self) {
        self.expected = self.expected.wrapping_add(1);
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
    fn the_ids_of_requests_go_round() {
        let mut window = Window::new(u32::MAX, u32::MAX);
        window.accept();
        assert_eq!(window.place(u32::MAX), Place::Before);
        assert_eq!(window.place(0), Place::Next);
        window.push(Task::Liveness);
        assert_eq!(window.next_task(), Some((u32::MAX, Task::Liveness)));
        window.push(Task::Delete);
        assert_eq!(window.next_task(), Some((0, Task::Delete)));
    }

    #[test]
    fn a_task_waits_once_and_in_its_turn() {
        let mut window = Window::new(2, 0);
        assert!(window.is_idle());
        for task in [Task::AskTicket, Task::Liveness, Task::AskTicket] {
            window.push(task);
        }
        assert!(!window.is_idle());
        assert_eq!(window.next_task(), Some((2, Task::AskTicket)));
        assert_eq!(window.next_task(), Some((3, Task::Liveness)));
        assert_eq!(window.next_task(), None);
    }
}
