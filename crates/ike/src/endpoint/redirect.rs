//! Redirects (RFC 5685): those that a client follows, and those that a gateway
//! gives.

use std::sync::Arc;

use super::Endpoint;
use crate::event::{Event, Path, RedirectFault, Shown};
use crate::fault::{Failure, Refusal};
use crate::redirect::{Gateway, Towards, address};
use crate::sa::dialing::Transport;
use crate::sa::established::Established;
use crate::sa::{Attempt, IkeSa, Outcome, Redirection, Then};
use crate::time::Now;
use crate::wire::IkeSpi;

/// What has come of a command to send peers elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Redirected {
    /// The SAs whose peers were told to go.
    pub told: usize,
    /// Those whose peers cannot be redirected: they stay.
    pub staying: usize,
}

impl Endpoint {
    /// Sends the clients of a connection, or those of all, to another gateway:
    /// those that come from now on, and those that are here. `None`: from now on
    /// it is again as the configuration says.
    ///
    /// # Errors
    /// [`Refusal::UnknownConnection`].
    pub fn redirect(
        &mut self,
        now: Now,
        name: Option<&str>,
        to: Option<Gateway>,
    ) -> Result<Redirected, Refusal> {
        let name = match name.map(|name| self.line_of(name)) {
            None => None,
            Some(index) => {
                let line = index.and_then(|index| self.lines.get(index));
                Some(Arc::clone(&line.ok_or(Refusal::UnknownConnection)?.connection.name))
            }
        };
        self.cx.redirects.set(name.as_ref(), to.clone());
        let Some(to) = to else { return Ok(Redirected::default()) };
        let mut sent = Redirected::default();
        for (spi, can_go) in self.peers_to_send(name.as_deref(), &to) {
            if can_go {
                self.change_established(now, spi, |sa, cx| sa.redirect(cx, now, to.clone()));
                sent.told += 1;
            } else {
                sent.staying += 1;
            }
        }
        Ok(sent)
    }

    /// The SAs that peers have begun, elsewhere than where they are to go, and
    /// whether these can be redirected.
    fn peers_to_send(&self, name: Option<&str>, to: &Gateway) -> Vec<(IkeSpi, bool)> {
        let is_meant = |sa: &&Established| {
            sa.line().is_none()
                && name.is_none_or(|name| *sa.connection().name == *name)
                && *to != Gateway::Address(sa.path().local.ip())
        };
        let of = |(spi, sa): (IkeSpi, &IkeSa)| {
            let sa = sa.established().filter(is_meant)?;
            Some((spi, sa.is_redirectable()))
        };
        self.table.iter().filter_map(of).collect()
    }

    /// What follows of a redirect: an attempt with the other gateway, or none.
    pub(super) fn direct(&mut self, now: Now, then: Then) -> Then {
        match then {
            Then::Redirect(redirection) => {
                let Redirection { attempt, start, path, to } = *redirection;
                match self.judge(now, attempt, path, &to) {
                    Ok(attempt) => Outcome::restart(attempt, start).then,
                    Err(attempt) => {
                        let session = start.into_session();
                        attempt.fail(&mut self.cx, path, Failure::Redirected, session).then
                    }
                }
            }
            Then::Leave(redirection) => {
                let Redirection { attempt, path, to, .. } = *redirection;
                match self.judge(now, attempt, path, &to) {
                    Ok(attempt) => {
                        self.drop_coming(now, attempt.line);
                        Then::Reauthenticate(Box::new(attempt))
                    }
                    Err(_) => Then::Nothing,
                }
            }
            other => other,
        }
    }

    /// What was to take the place of an SA would be with the same gateway.
    fn drop_coming(&mut self, now: Now, index: usize) {
        let coming = self.lines.get_mut(index).and_then(|line| line.coming.take());
        if let Some(coming) = coming {
            self.change(now, coming, |sa, cx| sa.end(cx, now, Vec::new()));
        }
    }

    /// The attempt with the other gateway, if the redirect is followed: by UDP
    /// first (RFC 9329 section 7.2).
    fn judge(
        &mut self,
        now: Now,
        mut attempt: Attempt,
        path: Path,
        to: &Gateway,
    ) -> Result<Attempt, Attempt> {
        let Some(line) = self.lines.get_mut(attempt.line) else { return Err(attempt) };
        let connection = Arc::clone(&attempt.connection.name);
        let (from, shown) = (path.remote.ip(), Shown(to.clone()));
        let why = match address(&attempt.connection, to) {
            None => RedirectFault::UnknownGateway,
            Some(_) if !line.followed.admits(now.instant) => RedirectFault::TooMany,
            Some(to) => {
                attempt.transport = Transport::first(attempt.connection.tcp, false);
                attempt.towards = Towards::Redirected { to, by: from };
                self.cx.emit(Event::Redirected { connection, from, to: shown });
                return Ok(attempt);
            }
        };
        self.cx.emit(Event::RedirectRefused { connection, from, to: shown, why });
        Err(attempt)
    }
}
