//! Telling the peer that an SA is over.

use std::sync::Arc;

use crypto::SkD;

use super::{Closed, answer_last};
use crate::config::Connection;
use crate::context::Context;
use crate::event::{Path, RequestId, Role};
use crate::exchange::follow_up::Unfinished;
use crate::exchange::rekey_ike::Successor;
use crate::sa::channel::{Channel, Refused};
use crate::sa::datagram::Datagram;
use crate::sa::protection::{OpenFault, Unsendable};
use crate::sa::window::{Intent, Task, Window};
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::time::{Instant, Now};
use crate::wire::IkeSpi;

/// Transmissions of a Delete: a peer that is gone must not keep us waiting for
/// as long as one that may only be slow.
const DELETE_TRIES: u32 = 4;

/// We are telling the peer that it is over. The child is already gone.
pub(crate) struct Deleting {
    connection: Arc<str>,
    channel: Channel,
    lineage: Option<Lineage>,
    waiting: Vec<RequestId>,
}

/// What the successor of an SA descends from.
struct Lineage {
    connection: Arc<Connection>,
    sk_d: SkD,
}

impl Deleting {
    /// Sends the end of it, or waits with it until the window is open.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Now,
        connection: Arc<str>,
        channel: Channel,
        farewell: Intent,
        waiting: Vec<RequestId>,
    ) -> Option<IkeSa> {
        let sa = Box::new(Self { connection, channel, lineage: None, waiting });
        sa.say(cx, now, farewell)
    }

    /// Sends a Delete for an SA of which we may just be making a successor.
    pub(crate) fn begin_with_successor(
        cx: &mut Context,
        now: Now,
        (connection, sk_d): (Arc<Connection>, SkD),
        channel: Channel,
        waiting: Vec<RequestId>,
    ) -> Option<IkeSa> {
        let is_expecting = channel.window.task().is_some_and(Task::is_rekey_ike);
        let name = Arc::clone(&connection.name);
        let lineage = is_expecting.then_some(Lineage { connection, sk_d });
        let sa = Box::new(Self { connection: name, channel, lineage, waiting });
        sa.say(cx, now, Intent::Delete)
    }

    fn say(mut self: Box<Self>, cx: &mut Context, now: Now, farewell: Intent) -> Option<IkeSa> {
        self.channel.window.clear_queue();
        self.channel.window.push(farewell);
        self.go_on(cx, now)
    }

    pub(crate) const fn connection(&self) -> &Arc<str> {
        &self.connection
    }

    pub(crate) const fn path(&self) -> &Path {
        &self.channel.path
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.channel.rejoin(cx, now, path);
    }

    /// Whoever else wants to know of the end.
    pub(crate) fn wait(&mut self, waiting: Vec<RequestId>) {
        self.waiting.extend(waiting);
    }

    fn go_on(mut self: Box<Self>, cx: &mut Context, now: Now) -> Option<IkeSa> {
        match self.channel.pump(cx, now.instant, DELETE_TRIES) {
            Ok(_) => Some(IkeSa::Deleting(self)),
            Err(Unsendable) => {
                self.over(cx);
                None
            }
        }
    }

    fn over(self: Box<Self>, cx: &mut Context) {
        cx.reply(self.waiting, Ok(()));
    }

    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if datagram.header.flags.response {
            self.receive_response(cx, now, datagram)
        } else {
            self.receive_request(cx, now, datagram)
        }
    }

    fn receive_response(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        let (task, message) = match self.channel.receive_response(datagram) {
            Ok(answered) => answered,
            Err(OpenFault::Peer(_)) => {
                self.over(cx);
                return Outcome::gone();
            }
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Deleting(self));
            }
        };
        match task {
            Task::Delete | Task::Reject => {
                self.over(cx);
                Outcome::gone()
            }
            Task::RekeyIke(task) => {
                let (own, theirs) = match &self.lineage {
                    Some(of) => task.answered(&of.connection.proposals, message.payloads()),
                    None => (None, None),
                };
                self.delete_successors(cx, now, own, theirs)
            }
            Task::FollowUp(task) => {
                let own = task.answered(message.payloads()).ok();
                self.delete_successors(cx, now, own, None)
            }
            Task::Liveness
            | Task::AskTicket
            | Task::CreateChild(_)
            | Task::DeleteChild(_)
            | Task::DeleteLoser(_)
            | Task::UpdateAddresses(_)
            | Task::TellAddresses
            | Task::TellLifetime
            | Task::CheckPath(_)
            | Task::CheckMapping
            | Task::GiveToken
            | Task::Redirect
            | Task::Moot(_) => Outcome { sa: self.go_on(cx, now), then: Then::Nothing },
        }
    }

    /// The peer goes on with a successor of the SA if there is one by now, and
    /// does not lose that with the SA. Of two it deletes the one of its own that
    /// has lost (RFC 7296 section 2.8.2), or we do: what is deleted twice is gone.
    fn delete_successors(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        own: Option<Unfinished>,
        theirs: Option<Box<Successor>>,
    ) -> Outcome {
        let own = own.and_then(|own| self.lineage.take()?.successor(own, &self.channel));
        let all = own.into_iter().chain(theirs.map(|theirs| *theirs));
        let heirs = all.filter_map(|heir| self.delete_successor(cx, now, heir)).collect();
        Outcome { sa: self.go_on(cx, now), then: Then::Rekeyed(heirs) }
    }

    fn delete_successor(
        &mut self,
        cx: &mut Context,
        now: Now,
        Successor { keys, .. }: Successor,
    ) -> Option<(IkeSpi, IkeSa)> {
        let spi = keys.protection.our_spi();
        let window = Window::new(0, 0);
        let channel = Channel { protection: keys.protection, path: self.channel.path, window };
        // It is over when the peer has no SA any more.
        let waiting = std::mem::take(&mut self.waiting);
        let name = Arc::clone(&self.connection);
        Some((spi, Self::begin(cx, now, name, channel, Intent::Delete, waiting)?))
    }

    /// Both sides may end it at once (RFC 7296 section 1.4.1); all else that
    /// the peer still asks for is declined.
    fn receive_request(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        match answer_last(&mut self.channel, cx, datagram) {
            Ok(false) => Outcome::keep(IkeSa::Deleting(self)),
            Err(Refused::Discard(why)) => Outcome::discard(cx, why, IkeSa::Deleting(self)),
            Err(Refused::Peer(_)) => {
                self.over(cx);
                Outcome::gone()
            }
            Ok(true) | Err(Refused::Unsendable) => {
                let Self { channel, waiting, .. } = *self;
                cx.reply(waiting, Ok(()));
                Outcome { sa: Closed::after(channel, now), then: Then::Nothing }
            }
        }
    }

    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        self.channel.due().map(|due| (due, Why::Retransmit))
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if self.channel.retransmit(cx, now.instant).is_ok() {
            return Outcome::keep(IkeSa::Deleting(self));
        }
        self.over(cx);
        Outcome::gone()
    }
}

impl Lineage {
    /// What has come of all its key exchanges, if they are over.
    fn successor(self, own: Unfinished, former: &Channel) -> Option<Successor> {
        own.successor(Role::Initiator, &self.sk_d, former.protection.room())
    }
}
