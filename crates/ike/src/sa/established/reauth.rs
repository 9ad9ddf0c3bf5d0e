//! How long a proof of identity is good (RFC 4478). Who began an SA proves itself
//! again in time, in another SA beside this one, which takes its place. Who
//! answered says until when, and ends the SA after that.

use std::time::{Duration, SystemTime};

use esp::plane::Command;

use super::Established;
use super::children::State;
use crate::context::Context;
use crate::event::{Gone, Role};
use crate::exchange::lifetime;
use crate::lifetime::{Deadlines, Lifetime};
use crate::sa::protection::Unsendable;
use crate::sa::window::{Intent, Task};
use crate::sa::{Attempt, IkeSa, Outcome, Start};
use crate::time::{Instant, Now};

/// No sooner after an SA came up is another proof begun, whatever the responder
/// says: each costs both sides a full exchange (RFC 4478 section 5).
const SOONEST: Duration = Duration::from_secs(10);

/// An initiator begins a tenth to two tenths before the responder's time is
/// over, and no more than once or twice this: there must be time to try again,
/// and the clients of one gateway must not come together.
const MARGIN: Duration = Duration::from_secs(600);

/// On both sides.
impl Established {
    /// The last full authentication counts. A resumption is none: what comes of
    /// it has only the time that was left.
    pub(crate) fn begin_proof(&mut self, cx: &mut Context, now: Now) {
        let age = now.wall.duration_since(self.base.authenticated_at).unwrap_or_default();
        let reauth = self.base.connection.reauth;
        let Deadlines { rekey_at, ends_at } = reauth.since(cx, now.instant, age);
        self.reauth_at = match self.role() {
            Role::Initiator => rekey_at.map(|at| at.max(now.instant + SOONEST)),
            Role::Responder => rekey_at,
        };
        self.ends = ends_at.map(|at| (at, Gone::AuthExpired));
    }

    /// A proof is good for another time from now on. If that is less, it counts
    /// for this SA, too, and the initiator is told; if it is more, the next SA
    /// has it.
    pub(crate) fn hasten_proof(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        reauth: Lifetime<Duration>,
    ) -> Outcome {
        let age = now.wall.duration_since(self.base.authenticated_at).unwrap_or_default();
        let Deadlines { rekey_at, ends_at } = reauth.since(cx, now.instant, age);
        let (Some(prove_at), Some(ends_at)) = (rekey_at, ends_at) else {
            return Outcome::keep(IkeSa::Established(self));
        };
        // Whoever is late at once has as long as after any other deadline.
        let grace =
            reauth.life.unwrap_or_default().saturating_sub(reauth.rekey.unwrap_or_default());
        let ends_at = ends_at.max(now.instant + grace);
        if self.ends.is_some_and(|(at, _)| at <= ends_at) {
            return Outcome::keep(IkeSa::Established(self));
        }
        self.ends = Some((ends_at, Gone::AuthExpired));
        let soonest = match self.role() {
            Role::Initiator => self.up.map_or(now.instant, |(_, since)| since) + SOONEST,
            Role::Responder => now.instant,
        };
        let prove_at = prove_at.max(soonest);
        self.reauth_at = Some(self.reauth_at.map_or(prove_at, |own| own.min(prove_at)));
        // When that is over, it is told what is left, as ever.
        if self.role() == Role::Responder && prove_at > now.instant {
            self.base.channel.window.push(Intent::TellLifetime);
        }
        if self.up.is_none() {
            // Its IKE_AUTH is not answered yet.
            return Outcome::keep(IkeSa::Established(self));
        }
        self.go_on(cx, now)
    }

    pub(super) fn proof_due(&self) -> Option<Instant> {
        let ends = self.ends.map(|(at, _)| at);
        [self.reauth_at, self.prefer_at, ends]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| self.up.is_some())
    }

    /// Whether the SA is over; only once.
    pub(super) fn take_end(&mut self, now: Instant) -> Option<Gone> {
        self.up?;
        self.ends.take_if(|(at, _)| *at <= now).map(|(_, why)| why)
    }

    /// The SA is over. Who began it begins the next one, and proves itself.
    pub(super) fn out_of_time(self: Box<Self>, cx: &mut Context, now: Now, why: Gone) -> Outcome {
        let attempt = self.successor(now);
        let outcome = self.delete(cx, now, why, Vec::new());
        match attempt {
            Some(attempt) => {
                let Outcome { then, .. } = Outcome::restart(attempt, Start::Fresh { parked: None });
                outcome.then(then)
            }
            None => outcome,
        }
    }

    /// The attempt at the SA that takes the place of this one, if it is time.
    /// Who answered can only ask for one.
    pub(super) fn reauthenticate_if_due(&mut self, now: Now) -> Option<Attempt> {
        self.up?;
        self.reauth_at.take_if(|at| *at <= now.instant)?;
        match self.role() {
            Role::Initiator => Some(Attempt { beside: true, ..self.successor(now)? }),
            Role::Responder => {
                self.base.channel.window.push(Intent::TellLifetime);
                None
            }
        }
    }
}

/// Of an initiator.
impl Established {
    /// The responder wants another proof by then. It may change its mind; but
    /// what we have begun to plan stays, since proving more often is our affair
    /// (RFC 4478 section 5).
    pub(crate) fn obey(&mut self, cx: &mut Context, now: Now, until: Option<SystemTime>) {
        let Some(until) = until else { return };
        let left = until.duration_since(now.wall).unwrap_or_default();
        let margin = (left / 10).min(MARGIN);
        let chance = cx.up_to(u64::try_from(margin.as_nanos()).unwrap_or(u64::MAX));
        let early = margin + Duration::from_nanos(chance);
        let since = self.up.map_or(now.instant, |(_, since)| since);
        let at = (now.instant + left.saturating_sub(early)).max(since + SOONEST);
        self.prove_by = Some(until);
        self.reauth_at = Some(self.reauth_at.map_or(at, |own| own.min(at)));
    }

    /// The SA that was to come did not: another follows.
    pub(crate) fn reauthenticate_at(&mut self, at: Instant) {
        self.reauth_at = Some(at);
    }
}

/// Of a responder.
impl Established {
    /// How long until the initiator should prove itself again.
    pub(crate) fn auth_lifetime(&self, now: Now) -> Option<Duration> {
        self.reauth_at.map(|at| at.since(now.instant))
    }

    /// Tells the initiator how much time is left: until it should prove itself,
    /// or, when that is over, until the end.
    pub(super) fn tell_lifetime(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let end = self.ends.map_or(Duration::ZERO, |(at, _)| at.since(now.instant));
        let left = self.auth_lifetime(now).unwrap_or(end);
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, Task::TellLifetime, |_, builder| {
            lifetime::push(builder, left);
        })
    }

    /// The peer has our answer by now, and its machine does not end its other SA:
    /// our packets go by this one, as its own do.
    pub(super) fn serve_if_due(&mut self, cx: &mut Context, now: Instant) {
        if self.prefer_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for sa in &self.children {
            match sa.state {
                State::Up if !self.is_unconfirmed(sa.child.id) => {
                    cx.submit(Command::Prefer(sa.child.id));
                }
                State::Replaced { .. } => {
                    cx.submit(Command::Prefer(sa.child.id));
                }
                State::Up | State::Installing(..) | State::Deleting | State::Lingering { .. } => {}
            }
        }
    }

    /// The peer has another SA, and ends this one by itself, or we do.
    pub(crate) fn end_at(&mut self, at: Instant, why: Gone) {
        let sooner = self.ends.is_none_or(|(other, _)| at < other);
        if sooner {
            self.ends = Some((at, why));
        }
    }
}
