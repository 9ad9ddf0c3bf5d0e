//! What survives when an SA is put to sleep (RFC 5723 section 5).

pub mod attempt;
pub mod evidence;
#[doc(hidden)]
pub mod fuzzing;
pub mod record;
pub mod suspended;
pub mod ticket;

pub use attempt::{AuthForm, ResumeAttempt};
pub use evidence::{Evidence, SecretMark};
pub use record::{AuthMethod, Resumable};
pub use suspended::{Grant, SessionKey, SessionStore, SuspendedSession, Ticket};
pub use ticket::{ConnectionMark, Origin, Presented, TicketIssuer};
