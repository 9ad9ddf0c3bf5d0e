//! Why a call was refused.

use std::fmt;

use zlink::{ReplyError, introspect};

/// The errors of the interface. Displayed as one sentence without a full stop.
///
/// Calls that are no calls are answered with errors of `org.varlink.service`:
/// `MethodNotFound`, `InvalidParameter`, `ExpectedMore`, `PermissionDenied`.
#[derive(Clone, PartialEq, Eq, Debug, ReplyError, introspect::ReplyError)]
#[zlink(interface = "net.cygnet.Control")]
pub enum Error {
    /// No connection has this name.
    NoSuchConnection {
        /// The name.
        name: String,
    },
    /// The connection has no remote_addrs: it can only answer.
    CannotInitiate {
        /// The connection's name.
        name: String,
    },
    /// There is nothing to end or to put to sleep.
    NotUp {
        /// The connection's name.
        name: String,
    },
    /// There is no session to resume.
    NotSuspended {
        /// The connection's name.
        name: String,
    },
    /// The SA holds no ticket, so that its session could not be resumed.
    NoTicket {
        /// The connection's name.
        name: String,
    },
    /// A set-up is under way.
    Busy {
        /// The connection's name.
        name: String,
    },
    /// No usable address was found of a name in remote_addrs.
    Unresolved {
        /// The connection's name.
        name: String,
        /// The name in remote_addrs.
        host: String,
    },
    /// It was tried and has failed.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchConnection { name } => write!(f, "there is no connection \"{name}\""),
            Self::CannotInitiate { name } => {
                write!(f, "connection \"{name}\" has no remote_addrs: it can only answer")
            }
            Self::NotUp { name } => write!(f, "connection \"{name}\" is not up"),
            Self::NotSuspended { name } => {
                write!(f, "connection \"{name}\" has no suspended session")
            }
            Self::NoTicket { name } => {
                write!(f, "the gateway gave no ticket for \"{name}\", or none yet for new keys: ")?;
                f.write_str("its session could not be resumed (try again, or use down instead)")
            }
            Self::Busy { name } => write!(f, "connection \"{name}\" is being set up"),
            Self::Unresolved { name, host } => {
                write!(f, "connection \"{name}\": no usable address of {host} was found")
            }
            Self::Failed { reason } => f.write_str(reason),
        }
    }
}
