//! Where an attempt goes: to the addresses of the peer, one after the other
//! (RFC 4555 section 3.1).

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Connection, Host};
use crate::context::Context;
use crate::event::{Event, Path};
use crate::exchange::mobike::is_reachable;
use crate::fault::{Failure, Refusal};
use crate::inner::Domain;
use crate::redirect::Towards;
use crate::sa::dialing::Transport;
use crate::sa::{Attempt, Outcome, Start, Then};

/// Transmissions to an address while there is another one to go to. With the
/// standard waits they take 3.5 seconds: who is there has answered by then, far
/// away and after two losses, too, and TCP has had two seconds to open where it
/// is tried. And the last of eight addresses is reached within half a minute.
const TRIES_OF_ONE_ADDRESS: u32 = 3;

/// The addresses of the peer, as an attempt goes through them.
pub(crate) struct Route {
    /// Asked before all others: where the peer was last.
    first: Option<IpAddr>,
    /// All, in the configured order. A name gives way to its addresses when its
    /// turn comes.
    stops: Vec<Host>,
    /// Those that were asked in vain, and why.
    left: Vec<(IpAddr, Failure)>,
}

impl Route {
    /// From the beginning: to `first`, and then where the connection says.
    pub(crate) fn new(connection: &Connection, first: Option<IpAddr>) -> Box<Self> {
        Box::new(Self { first, stops: connection.remote_addrs.clone(), left: Vec::new() })
    }

    /// Every address that is known.
    pub(crate) fn addresses(&self, cx: &Context) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for stop in &self.stops {
            let of_stop = match stop {
                Host::Address(address) => std::slice::from_ref(address),
                Host::Name(name) => cx.lookups.known(name),
            };
            let new: Vec<_> = of_stop.iter().filter(|it| !all.contains(*it)).copied().collect();
            all.extend(new);
        }
        all
    }

    /// All that is still to be asked, the next first, of a family that the
    /// machine has, as far as that is known.
    fn ahead(&self, cx: &Context, connection: &Connection) -> impl Iterator<Item = Host> {
        let own: Vec<_> = cx.own_addresses(connection).filter(is_reachable).collect();
        let is_had = move |stop: &Host| match stop {
            Host::Address(address) => {
                own.is_empty() || own.iter().any(|own| own.is_ipv4() == address.is_ipv4())
            }
            Host::Name(_) => true,
        };
        let may_go = |stop: &Host| match stop {
            Host::Address(address) => connection.may_send_to(*address),
            Host::Name(_) => true,
        };
        let first = self.first.map(Host::Address);
        let others = self.stops.iter().filter(|stop| Some(*stop) != first.as_ref()).cloned();
        let all: Vec<_> = first.iter().cloned().chain(others).filter(may_go).collect();
        let knows_none = !all.iter().any(&is_had);
        let is_left = |stop: &Host| match stop {
            Host::Address(address) => self.left.iter().any(|(left, _)| left == address),
            Host::Name(_) => false,
        };
        all.into_iter().filter(move |stop| (knows_none || is_had(stop)) && !is_left(stop))
    }

    fn resolve(&mut self, name: &Domain, addresses: &[IpAddr]) {
        let is_it = |stop: &Host| matches!(stop, Host::Name(other) if other == name);
        while let Some(at) = self.stops.iter().position(is_it) {
            let is_new = |it: &Host| !self.stops.contains(it);
            let new: Vec<_> = addresses.iter().copied().map(Host::Address).filter(is_new).collect();
            self.stops.splice(at..=at, new);
        }
    }
}

impl Attempt {
    /// The address that is asked now, or the name whose turn it is.
    pub(crate) fn stop(&self, cx: &Context) -> Option<Host> {
        self.route.ahead(cx, &self.connection).next()
    }

    /// Whether there may be another address than this one to go to. Who was
    /// redirected goes nowhere else.
    pub(crate) fn has_more(&self, cx: &Context, than: IpAddr) -> bool {
        self.towards == Towards::Configured
            && self.route.ahead(cx, &self.connection).any(|stop| stop != Host::Address(than))
    }

    /// Transmissions to an address: `tries`, if it is the last.
    pub(crate) fn tries_of(&self, cx: &Context, address: IpAddr, tries: u32) -> u32 {
        if self.has_more(cx, address) { tries.min(TRIES_OF_ONE_ADDRESS) } else { tries }
    }

    /// A name has these addresses. Where none of them is new, the one that was
    /// asked last is the last that there is, and gets the whole patience.
    pub(crate) fn resolved(&mut self, cx: &Context, name: &Domain, addresses: &[IpAddr]) {
        self.route.resolve(name, addresses);
        if self.stop(cx).is_none() {
            self.route.left.pop();
        }
    }

    /// Nothing comes of the address of `path`, as far as anybody can say before
    /// the peer has proved who it is: the next one is asked, if there is one.
    pub(crate) fn leave(
        mut self,
        cx: &mut Context,
        path: Path,
        why: Failure,
        start: Start,
    ) -> Outcome {
        let address = path.remote.ip();
        if !self.has_more(cx, address) {
            return self.give_up(cx, path, why, start);
        }
        self.route.left.push((address, why.clone()));
        self.transport = Transport::first(self.connection.tcp, path.stream().is_some());
        let (connection, remote) = (Arc::clone(&self.connection.name), path.remote);
        cx.emit(Event::TriedInVain { connection, remote, why });
        Outcome::restart(self, start)
    }

    /// The last address was asked. While one of them may answer another time, it
    /// is not a refusal that keeps us from trying again soon.
    fn give_up(mut self, cx: &mut Context, path: Path, why: Failure, start: Start) -> Outcome {
        let mut left = std::mem::take(&mut self.route.left);
        left.push((path.remote.ip(), why.clone()));
        let hopeful = left.iter().map(|(_, why)| why).find(|why| !why.is_refusal()).cloned();
        let are_alike = left.iter().all(|(_, other)| *other == why);
        let told =
            if are_alike { Refusal::Failed(why.clone()) } else { Refusal::AllFailed(left.into()) };
        let mut outcome = self.end(cx, (Some(path.remote), why), told, start.into_session());
        if let (Then::Failed(why, _), Some(hopeful)) = (&mut outcome.then, hopeful) {
            *why = hopeful;
        }
        outcome
    }

    /// From the beginning, after a ticket was of no use: as the connection says,
    /// but at once where somebody has answered, if that is among it.
    pub(crate) fn rewind(&mut self, answered: Option<IpAddr>) {
        if answered.is_none() {
            // Where we had been redirected to, there may be nobody any more.
            self.towards = Towards::Configured;
        }
        let is_stop = |it: &IpAddr| self.route.stops.contains(&Host::Address(*it));
        self.route.first = answered.filter(is_stop);
        self.route.left.clear();
    }

    /// On another network each address may answer, and a name may have others.
    pub(crate) fn set_out_again(&mut self) {
        self.route = Route::new(&self.connection, self.route.first);
    }
}
