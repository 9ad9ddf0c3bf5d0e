//! One attempt to come back with a ticket, from its first datagram to its end.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::ResumeAuth;

use super::record::{AuthMethod, Resumable};
use super::suspended::SuspendedSession;

/// Which octets AUTH covers after a resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthForm {
    /// Message, nonce and identity (RFC 5723 section 4.3.3).
    Rfc5723,
    /// The message alone: libreswan 5.2 to 5.4. Nonce and identity are bound
    /// only through SK_p and the comparison with the ticket.
    MessageOnly,
}

impl AuthForm {
    const fn other(self) -> Self {
        match self {
            Self::Rfc5723 => Self::MessageOnly,
            Self::MessageOnly => Self::Rfc5723,
        }
    }
}

/// A session on its way back. It ends in exactly one of three ways, each of
/// which consumes it: [`established`](Self::established),
/// [`refused`](Self::refused), [`unanswered`](Self::unanswered).
pub struct ResumeAttempt {
    session: SuspendedSession,
    form: AuthForm,
    setting: ResumeAuth,
    second: bool,
}

impl ResumeAttempt {
    /// Begins with the form that the gateway accepted last, or that of the RFC.
    #[must_use]
    pub fn new(session: SuspendedSession, setting: ResumeAuth) -> Self {
        let form = match setting {
            ResumeAuth::Rfc5723 => AuthForm::Rfc5723,
            ResumeAuth::Libreswan => AuthForm::MessageOnly,
            ResumeAuth::Auto => session.form.unwrap_or(AuthForm::Rfc5723),
        };
        Self { session, form, setting, second: false }
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &SuspendedSession {
        &self.session
    }

    /// The form of AUTH in this attempt.
    #[must_use]
    pub const fn form(&self) -> AuthForm {
        self.form
    }

    /// After a *protected* refusal of AUTH: the same ticket with the other
    /// form, once. It was not used, since no SA came of it (B3).
    ///
    /// # Errors
    /// The attempt itself, when the setting or a try before forbids it.
    pub fn with_other_form(self) -> Result<Self, Self> {
        if self.second || self.setting != ResumeAuth::Auto {
            return Err(self);
        }
        Ok(Self { form: self.form.other(), second: true, ..self })
    }

    /// An SA stands: the ticket is used up (B3). What the SA takes over from
    /// the session's past is all that remains of it.
    #[must_use]
    pub fn established(self) -> (AuthMethod, SystemTime, Option<Arc<str>>) {
        let Resumable { method, authenticated_at, ppk, .. } = self.session.state;
        (method, authenticated_at, ppk)
    }

    /// The gateway refused under protection: the session is over.
    pub fn refused(self) {
        drop(self);
    }

    /// Nobody answered, or only with what anybody could have sent: the session
    /// is given back (B3, F9).
    #[must_use]
    pub fn unanswered(self) -> SuspendedSession {
        self.session
    }
}
