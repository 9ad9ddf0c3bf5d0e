//! What should be, in the end. It knows of a connection only whether it is up,
//! asleep or down, and nothing of messages, timers or keys.

use std::collections::BTreeSet;

use ike::event::How;

use crate::case::{Act, Making, Side};

/// Where the client's connection stands when all is quiet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stand {
    Down,
    Asleep,
    Up,
}

use Stand::{Asleep, Down, Up};

/// What should be after something has happened.
#[derive(Debug)]
pub(crate) struct Expected {
    /// One of these.
    pub(crate) stands: BTreeSet<Stand>,
    /// How an SA that came up in the meantime came up, if one must have.
    pub(crate) how: Option<How>,
    /// Whether the command is done, if it was one and that is certain.
    pub(crate) done: Option<bool>,
    /// One side notices only by the other's silence.
    pub(crate) takes_long: bool,
}

/// The two sides as they should be.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    making: Making,
    /// Where the client's connection stands.
    pub(crate) stand: Stand,
    /// Which sides are switched on.
    pub(crate) is_on: [bool; 2],
    /// Whether the gateway would take the client's ticket.
    ticket: Option<bool>,
    /// The client's ticket may end any moment.
    may_expire: bool,
    /// Whether the client would believe a gateway that says that it has lost the SA.
    crash_token: Option<bool>,
    /// Whether the gateway may have an SA that the client has left.
    pub(crate) is_stale: bool,
    /// No command has ended a kept connection.
    is_wanted: bool,
    /// A packet waits that brings the connection up.
    is_missed: bool,
}

impl Reference {
    /// Nothing has happened yet.
    pub(crate) fn new(making: Making) -> Self {
        Self {
            making,
            stand: Down,
            is_on: [true; 2],
            ticket: None,
            may_expire: false,
            crash_token: None,
            is_stale: false,
            is_wanted: making.kept,
            is_missed: false,
        }
    }

    /// Whether this side is switched on.
    pub(crate) fn is_on(&self, side: Side) -> bool {
        self.is_on[side as usize]
    }

    /// Whether somebody is there to do it.
    pub(crate) fn can(&self, act: Act) -> bool {
        match act {
            Act::Up | Act::Resume | Act::Suspend | Act::Move(_) => self.is_on(Side::Client),
            Act::Down(side) | Act::RekeyChild(side) | Act::RekeyIke(side) => self.is_on(side),
            Act::Packet(side) => self.is_on(side),
            Act::VoidTickets => self.is_on(Side::Gateway),
            Act::Rebind => self.making.nat,
            Act::Kill(_) | Act::Restart(_) | Act::Clock(..) | Act::Replay(..) => true,
        }
    }

    /// Whether the client does not rest before the connection is up.
    pub(crate) fn is_restless(&self) -> bool {
        self.is_on(Side::Client) && (self.is_wanted || self.is_missed)
    }

    /// Whether no packet of the connection may leave in clear text.
    pub(crate) fn is_claimed(&self) -> bool {
        self.stand != Down || self.is_restless()
    }

    /// What should be after `act`, when nothing else happens and the network is mild.
    pub(crate) fn after(&self, act: Act) -> Expected {
        let mut expected = self.after_alone(act);
        let gateway_is_on = match act {
            Act::Kill(Side::Gateway) => false,
            Act::Restart(Side::Gateway) => true,
            _ => self.is_on(Side::Gateway),
        };
        let is_restless = self.is_restless() || self.would_be_restless(act);
        if self.would_be_restless(act) {
            expected.takes_long |= expected.stands != only(Up) || self.stand != Up;
            if gateway_is_on {
                expected.stands = only(Up);
            }
        }
        if self.may_expire && expected.stands.contains(&Asleep) {
            expected.stands.insert(Down);
        }
        let ends = matches!(act, Act::Down(Side::Client) | Act::Kill(Side::Client));
        if is_restless && !gateway_is_on && !ends {
            // Between two attempts, or in one, and who knows what it has left.
            expected.stands.extend([Down, Asleep]);
            expected.done = None;
            expected.takes_long = true;
        }
        expected
    }

    /// Without what the client does of its own accord.
    fn after_alone(&self, act: Act) -> Expected {
        let gateway = self.is_on(Side::Gateway);
        match act {
            Act::Resume if self.stand == Down && !self.is_missed => self.refused(),
            Act::Up | Act::Resume => self.after_up(gateway).done(gateway),
            Act::Suspend => match self.stand {
                Down => self.refused(),
                Asleep => self.same().done(true),
                Up if self.may_expire => becomes([Asleep, Up]),
                Up => becomes([Asleep]).done(true),
            },
            Act::Down(Side::Client) => becomes([Down]).long(!gateway),
            Act::Down(Side::Gateway) if self.stand == Up => becomes([Down]),
            Act::RekeyChild(side) | Act::RekeyIke(side) => match self.stand {
                Up => self.same().done(true),
                Down | Asleep if side == Side::Client => self.refused(),
                Down | Asleep => self.same(),
            },
            Act::Move(_) if self.stand == Up => self.after_loss().or(Up),
            Act::Rebind if self.stand == Up => self.same().long(true),
            Act::Kill(Side::Client) | Act::Restart(Side::Client) => {
                becomes([Down]).long(self.stand == Up)
            }
            Act::Kill(Side::Gateway) if self.stand == Up => self.after_loss(),
            Act::Restart(Side::Gateway) if self.stand == Up => self.after_crash(),
            Act::Clock(Side::Client, _) if self.stand == Asleep => self.same().or(Down),
            Act::Packet(Side::Client) if self.stand == Asleep && self.making.on_traffic => {
                self.after_up(gateway)
            }
            Act::Down(Side::Gateway)
            | Act::Move(_)
            | Act::Rebind
            | Act::Kill(Side::Gateway)
            | Act::Restart(Side::Gateway)
            | Act::VoidTickets
            | Act::Clock(..)
            | Act::Packet(_)
            | Act::Replay(..) => self.same(),
        }
    }

    fn after_up(&self, gateway: bool) -> Expected {
        match (self.stand, gateway) {
            (Up, _) => self.same(),
            (Down | Asleep, false) => self.same().long(true),
            (Down, true) => Expected { how: Some(How::Full), ..becomes([Up]) },
            (Asleep, true) => Expected {
                how: self.ticket.map(|good| if good { How::Resumed } else { How::Full }),
                ..becomes([Up])
            },
        }
    }

    /// The gateway is back and has lost the SA: a client that can believe that
    /// sets up another at once, since its ticket is void.
    fn after_crash(&self) -> Expected {
        match self.crash_token {
            Some(true) => Expected { how: Some(How::Full), ..becomes([Up]).long(true) },
            Some(false) | None => self.after_loss().or(Up),
        }
    }

    /// The gateway is not heard any more.
    fn after_loss(&self) -> Expected {
        becomes([Asleep]).long(true)
    }

    /// Something has happened, and this is where the connection stands now.
    pub(crate) fn happened(&mut self, act: Act, stand: Stand, is_refused: bool, is_new: bool) {
        if self.after(act).takes_long {
            self.is_stale = false;
        }
        self.is_stale |= self.stand == Up && stand != Up;
        // What is refused changes nothing.
        let is_moot = is_refused && matches!(act, Act::Suspend);
        let restless = if is_moot { self.is_restless() } else { self.would_be_restless(act) };
        match act {
            Act::Up | Act::Resume | Act::Down(Side::Client) | Act::Suspend if !is_moot => {
                self.is_wanted = restless && self.making.kept;
            }
            Act::Kill(side) => self.is_on[side as usize] = false,
            Act::Restart(side) => self.is_on[side as usize] = true,
            _ => {}
        }
        match act {
            Act::Kill(Side::Client) | Act::Restart(Side::Client) => {
                self.is_wanted = self.making.kept;
            }
            Act::Kill(Side::Gateway) | Act::Restart(Side::Gateway) => {
                (self.ticket, self.crash_token) = (Some(false), Some(false));
            }
            Act::VoidTickets => self.ticket = Some(false),
            Act::Clock(side, _) => {
                self.ticket = None;
                self.may_expire |= side == Side::Client;
            }
            Act::Down(Side::Gateway) => self.ticket = None,
            Act::RekeyIke(side) if stand == Up => {
                self.ticket = Some(true);
                self.crash_token = Some(true).filter(|_| side == Side::Client);
            }
            _ => {}
        }
        self.is_wanted |= self.making.kept && stand == Up;
        self.is_missed = restless && stand != Up;
        if is_new {
            self.came_up();
        }
        self.is_stale &= stand != Up;
        self.stand = stand;
    }

    /// An SA has come up, with all that it brings.
    pub(crate) fn came_up(&mut self) {
        (self.ticket, self.crash_token) = (Some(true), Some(true));
        self.may_expire = false;
    }

    /// Many things have happened and it has been quiet for long: all that is
    /// known is where the connection stands.
    pub(crate) fn adopt(&mut self, stand: Stand, is_wanted: bool) {
        // Whatever has brought it up has also made it a kept one again.
        self.is_wanted = is_wanted || (self.making.kept && stand == Up);
        self.stand = stand;
        (self.ticket, self.crash_token, self.may_expire) = (None, None, true);
        (self.is_stale, self.is_missed) = (false, false);
        self.is_on = [true; 2];
    }

    /// Whether the client does not rest after this.
    fn would_be_restless(&self, act: Act) -> bool {
        let is_held = self.stand == Asleep || self.is_restless();
        match act {
            Act::Down(Side::Client) | Act::Suspend | Act::Kill(Side::Client) => false,
            Act::Restart(Side::Client) => self.making.kept,
            Act::Resume if self.stand == Down && !self.is_restless() => false,
            Act::Up | Act::Resume => self.making.kept || self.is_missed,
            Act::Packet(Side::Client) if self.making.on_traffic && is_held => true,
            _ => self.is_restless(),
        }
    }

    /// What is possible after many things that happen at once, or in bad weather.
    pub(crate) fn possible(&self, is_gentle: bool) -> Possible {
        let mut stands = only(self.stand);
        if self.is_missed {
            stands.extend([Down, Asleep, Up]);
        }
        Possible {
            making: self.making,
            stands,
            is_wanted: self.is_wanted,
            is_missed: self.is_missed,
            is_gentle,
        }
    }

    fn same(&self) -> Expected {
        becomes([self.stand])
    }

    fn refused(&self) -> Expected {
        self.same().done(false)
    }
}

/// Where the connection may stand after many things.
pub(crate) struct Possible {
    making: Making,
    stands: BTreeSet<Stand>,
    /// No command has ended a kept connection.
    pub(crate) is_wanted: bool,
    /// A packet may wait that brings the connection up.
    is_missed: bool,
    /// Nothing fails but what a command ends.
    is_gentle: bool,
}

impl Possible {
    /// Something has happened; a command was refused, or not yet.
    pub(crate) fn happened(&mut self, act: Act, is_refused: bool) {
        match act {
            Act::Up | Act::Resume if !is_refused => {
                self.is_wanted = self.making.kept;
                self.stands = only(Up);
                self.weather();
            }
            Act::Suspend if !is_refused => {
                (self.stands, self.is_wanted) = (only(Asleep), false);
                self.stands.extend(self.is_missed.then_some(Up));
            }
            Act::Down(Side::Client) => {
                (self.stands, self.is_wanted, self.is_missed) = (only(Down), false, false);
            }
            Act::Kill(Side::Client) | Act::Restart(Side::Client) => {
                (self.stands, self.is_wanted) = (only(Down), self.making.kept);
                self.is_missed = false;
            }
            Act::Packet(Side::Client) if self.making.on_traffic => {
                self.is_missed = true;
                if self.stands.contains(&Asleep) {
                    self.stands.insert(Up);
                }
            }
            _ => {}
        }
    }

    /// Where it may stand when the weather is good again and all is quiet.
    pub(crate) fn in_the_end(&mut self) -> BTreeSet<Stand> {
        self.weather();
        if self.is_wanted { only(Up) } else { self.stands.clone() }
    }

    /// Whatever is up may be lost, and whatever sleeps may be lost.
    fn weather(&mut self) {
        if !self.is_gentle && self.stands.contains(&Up) {
            self.stands.insert(Asleep);
        }
        if !self.is_gentle && self.stands.contains(&Asleep) {
            self.stands.insert(Down);
        }
    }
}

fn only(stand: Stand) -> BTreeSet<Stand> {
    BTreeSet::from([stand])
}

fn becomes<const N: usize>(stands: [Stand; N]) -> Expected {
    Expected { stands: BTreeSet::from(stands), how: None, done: None, takes_long: false }
}

impl Expected {
    fn done(self, done: bool) -> Self {
        Self { done: Some(done), ..self }
    }

    fn or(mut self, stand: Stand) -> Self {
        self.stands.insert(stand);
        self
    }

    /// Where another SA was coming while the gateway ended the one before it,
    /// that serves.
    pub(crate) fn beside(self, act: Act, has_come: bool) -> Self {
        match act {
            Act::Down(Side::Gateway) if has_come => self.or(Up),
            _ => self,
        }
    }

    fn long(self, takes_long: bool) -> Self {
        Self { takes_long: self.takes_long || takes_long, ..self }
    }
}
