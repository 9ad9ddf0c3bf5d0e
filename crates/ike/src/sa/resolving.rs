//! An SA that we want with a peer that is known by name: its addresses are being
//! looked up. Nothing has been asked of it yet.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::event::{Event, LookupFault, LookupId};
use crate::fault::{Failure, Refusal};
use crate::inner::Domain;
use crate::sa::{Attempt, IkeSa, Outcome, Start, Why};
use crate::time::{Instant, Now};
use crate::wire::IkeSpi;

/// How long the addresses of a name are waited for. After that those are taken
/// that it had before: the name servers may be behind the tunnel that is to be
/// set up. A resolver asks its first server for as long before it asks the
/// second; what comes later than this serves the next attempt.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Resolving {
    pub(crate) attempt: Attempt,
    start: Start,
    name: Domain,
    lookup: LookupId,
    until: Instant,
}

impl Resolving {
    /// Asks for the addresses of `name`, for the SA with this SPI.
    pub(crate) fn start(
        cx: &mut Context,
        now: Now,
        (spi, name): (IkeSpi, Domain),
        attempt: Attempt,
        start: Start,
    ) -> IkeSa {
        let lookup = cx.look_up(&name, spi);
        let until = now.instant + PATIENCE;
        IkeSa::Resolving(Box::new(Self { attempt, start, name, lookup, until }))
    }

    /// What was asked for has come, or has failed.
    pub(crate) fn looked_up(
        self: Box<Self>,
        cx: &mut Context,
        lookup: LookupId,
        has_addresses: bool,
    ) -> Outcome {
        if lookup != self.lookup {
            return Outcome::keep(IkeSa::Resolving(self));
        }
        self.go_on(cx, (!has_addresses).then_some(LookupFault::NoAddress))
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.until, Why::Lookup)
    }

    pub(crate) fn timeout(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if now.instant < self.until {
            return Outcome::keep(IkeSa::Resolving(self));
        }
        self.go_on(cx, Some(LookupFault::NoAnswer))
    }

    /// With the addresses that the name has, or had when it was last known.
    fn go_on(self: Box<Self>, cx: &mut Context, fault: Option<LookupFault>) -> Outcome {
        let Self { mut attempt, start, name, .. } = *self;
        let known = cx.lookups.known(&name).to_vec();
        attempt.resolved(cx, &name, &known);
        if let Some(why) = fault {
            let (connection, name) = (Arc::clone(&attempt.connection.name), name.clone());
            cx.emit(Event::Unresolved { connection, name, why, known });
        }
        if attempt.stop(cx).is_some() {
            return Outcome::restart(attempt, start);
        }
        let told = Refusal::Unresolved(name);
        attempt.end(cx, (None, Failure::Unresolved), told, start.into_session())
    }

    /// Ended by a command.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) {
        let Self { attempt, start, .. } = *self;
        attempt.abandon(cx, start.into_session());
    }
}
