//! An SA that we asked for, between the first exchange and IKE_AUTH: an
//! additional key exchange is on its way.

use crypto::{Group, IkeSuite, IntAuth, KeyExchange};

use crate::context::Context;
use crate::event::{Path, Role};
use crate::exchange::{Transcript, intermediate};
use crate::fault::{Discard, Failure};
use crate::proposal::group_number;
use crate::sa::authenticating::{Authenticating, Basis};
use crate::sa::datagram::Datagram;
use crate::sa::protection::{Keys, OpenFault, Spis};
use crate::sa::window::Flight;
use crate::sa::{Attempt, IkeSa, Outcome, Why};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Header};

pub(crate) struct Intermediate {
    pub(crate) attempt: Attempt,
    basis: Basis,
    spis: Spis,
    suite: IkeSuite,
    keys: Keys,
    transcript: Transcript,
    /// See [`Authenticating`].
    is_contested: bool,
    int_auth: Option<IntAuth>,
    key_exchange: KeyExchange,
    /// The request as AUTH covers it.
    covered: Box<[u8]>,
    flight: Flight,
}

/// What there is before an exchange.
struct Before {
    attempt: Attempt,
    basis: Basis,
    spis: Spis,
    suite: IkeSuite,
    keys: Keys,
    transcript: Transcript,
    is_contested: bool,
    int_auth: Option<IntAuth>,
}

impl Intermediate {
    /// Sends the first of the suite's additional key exchanges, or IKE_AUTH if
    /// there are none.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Now,
        attempt: Attempt,
        basis: Basis,
        spis: Spis,
        ((suite, keys), transcript): ((IkeSuite, Keys), Transcript),
    ) -> Outcome {
        let (is_contested, int_auth) = (false, None);
        let before =
            Before { attempt, basis, spis, suite, keys, transcript, is_contested, int_auth };
        before.go_on(cx, now)
    }

    pub(crate) const fn path(&self) -> Path {
        self.basis.way.path
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.basis.way.path = path;
        self.flight.resend(cx, now, path);
    }

    pub(crate) const fn suite(&self) -> IkeSuite {
        self.suite
    }

    pub(crate) fn receive(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        let Header { flags, exchange, message_id, .. } = datagram.header;
        let fits = flags.response
            && exchange == ExchangeType::INTERMEDIATE
            && message_id == self.transcript.auth_id;
        if !fits {
            self.is_contested |= self.transcript.contests(&datagram.header, datagram);
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Intermediate(self));
        }
        let local = datagram.path.local;
        let message = match self.keys.protection.open(datagram) {
            Ok(message) => message,
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Intermediate(self));
            }
            Err(OpenFault::Peer(_)) => return self.fail(cx, Failure::Protocol),
        };
        self.attempt.round_trips += 1;
        self.basis.way.path.local = local;
        if let Some(error) = message.payloads().error() {
            return self.fail(cx, Failure::Notify(error.kind.0));
        }
        let public = intermediate::share(message.payloads(), self.key_exchange.group());
        let (Some(public), Some(response)) = (public, message.covered()) else {
            return self.fail(cx, Failure::Protocol);
        };
        self.agreed(cx, now, public, &response)
    }

    /// The peer's value has come: the next keys, and the next exchange.
    fn agreed(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        public: &[u8],
        response: &[u8],
    ) -> Outcome {
        let Self {
            attempt,
            basis,
            spis,
            suite,
            keys,
            mut transcript,
            is_contested,
            int_auth,
            key_exchange,
            covered,
            ..
        } = *self;
        let path = basis.way.path;
        let Ok(shared) = key_exchange.agree(public) else {
            return attempt.fail(cx, path, Failure::BadKeyExchange, basis.origin.into_session());
        };
        let messages = (&*covered, response);
        let int_auth = intermediate::cover(int_auth, Role::Initiator, &keys, messages);
        let role = (Role::Initiator, spis, suite);
        let (keys, _) = intermediate::strengthen(keys, role, &transcript, shared);
        transcript.cover(&int_auth);
        let int_auth = Some(int_auth);
        let before =
            Before { attempt, basis, spis, suite, keys, transcript, is_contested, int_auth };
        before.go_on(cx, now)
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.flight.due(), Why::Retransmit)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let is_due = self.flight.due() <= now.instant;
        if is_due && self.is_contested && self.attempt.spend_retry() {
            return Outcome::restart(self.attempt, self.basis.origin.into_start());
        }
        let path = self.path();
        if self.flight.retransmit(cx, now.instant, path).is_ok() {
            return Outcome::keep(IkeSa::Intermediate(self));
        }
        self.fail(cx, Failure::Unanswered)
    }

    /// See [`IkeSa::roam`].
    pub(crate) fn roam(self: Box<Self>, cx: &Context) -> Outcome {
        if cx.addresses.contains(&self.path().local.ip()) {
            return Outcome::keep(IkeSa::Intermediate(self));
        }
        let Self { mut attempt, basis, .. } = *self;
        attempt.set_out_again();
        Outcome::restart(attempt, basis.origin.into_start())
    }

    fn fail(mut self: Box<Self>, cx: &mut Context, why: Failure) -> Outcome {
        let is_doubtful = self.is_contested || self.basis.hinted;
        if why != Failure::Unanswered && is_doubtful && self.attempt.spend_retry() {
            return Outcome::restart(self.attempt, self.basis.origin.into_start());
        }
        let path = self.path();
        let Self { attempt, basis, .. } = *self;
        attempt.leave(cx, path, why, basis.origin.into_start())
    }

    /// Ended by a command. The peer has no SA yet, and forgets what it has.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) {
        let Self { attempt, basis, .. } = *self;
        attempt.abandon(cx, basis.origin.into_session());
    }
}

impl Before {
    fn go_on(self, cx: &mut Context, now: Now) -> Outcome {
        let done = self.transcript.intermediate_exchanges();
        let next = self.suite.additional.iter().nth(done);
        match next {
            Some(group) => self.exchange(cx, now, group),
            None => {
                let Self { attempt, basis, suite, keys, transcript, is_contested, .. } = self;
                let agreed = ((suite, keys), transcript);
                Authenticating::begin(cx, now, attempt, (basis, is_contested), agreed)
            }
        }
    }

    fn exchange(mut self, cx: &mut Context, now: Now, group: Group) -> Outcome {
        let (path, id) = (self.basis.way.path, self.transcript.auth_id);
        let Ok(key_exchange) = cx.provider.key_exchange(group) else {
            let session = self.basis.origin.into_session();
            return self.attempt.fail(cx, path, Failure::BadKeyExchange, session);
        };
        let sealed = self.keys.protection.covered_request(&mut cx.provider, &path, id, |builder| {
            builder.ke(group_number(group), key_exchange.public());
        });
        let Ok((request, covered)) = sealed else {
            let session = self.basis.origin.into_session();
            return self.attempt.fail(cx, path, Failure::Protocol, session);
        };
        let flight = Flight::launch(cx, now.instant, path, request, cx.retransmission.tries);
        let Self { attempt, basis, spis, suite, keys, transcript, is_contested, int_auth } = self;
        Outcome::keep(IkeSa::Intermediate(Box::new(Intermediate {
            attempt,
            basis,
            spis,
            suite,
            keys,
            transcript,
            is_contested,
            int_auth,
            key_exchange,
            covered,
            flight,
        })))
    }
}
