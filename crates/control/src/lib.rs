//! The control interface of a running daemon: its types, its Varlink
//! description and a client.
//!
//! The interface is [`INTERFACE`], spoken in [Varlink] over the Unix socket
//! [`DEFAULT_SOCKET`]: JSON objects, each ended by a NUL octet. It describes
//! itself ([`description`]), so `varlinkctl introspect` and `varlinkctl call`
//! work on it without this crate.
//!
//! [Varlink]: https://varlink.org

#![forbid(unsafe_code)]

mod client;
mod description;
mod error;
mod event;
mod method;
mod status;

pub use client::{Client, ClientError, Monitor};
pub use description::{INTERFACE, description};
pub use error::Error;
pub use event::{
    CertificateFault, CertificateRefused, Event, Failure, FallBack, Gone, How, LookupFault,
    RedirectFault, Role, SessionEnd, SetUp, TicketFault, What,
};
pub use method::{
    Changes, ConnectionName, Method, MonitorReply, Nothing, RedirectOf, Redirected, RekeyOf,
    StatusOf, UnknownMethod,
};
pub use status::{Child, Connection, Counters, MAX_LISTED, State, Status, Ticket};

/// Where a daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/cygnet/control.sock";

/// The longest call that a daemon reads, in octets with the NUL. A longer one
/// ends the connection. No call needs more than a name.
pub const MAX_CALL: usize = 64 * 1024;
