//! IKEv2 (RFC 7296) with session resumption (RFC 5723): datagrams, timers and
//! commands in; datagrams and effects out. No IO, no clock, no thread.
#![forbid(unsafe_code)]

mod accept;
pub mod config;
mod context;
mod cookie;
mod crash;
mod endpoint;
pub mod event;
mod exchange;
pub mod fault;
pub mod identity;
pub mod inner;
mod lifetime;
mod lookups;
mod peers;
pub mod pool;
pub mod proposal;
pub mod redirect;
mod sa;
#[doc(hidden)]
pub mod fuzzing {
    //! What the fuzz targets of the exchanges and the SAs run.
    pub use crate::exchange::signature::fuzzing::signature;
    pub use crate::sa::fragments::fuzzing::fragments;
}
pub mod session;
pub mod status;
mod streams;
mod table;
pub mod time;
pub mod wire;

pub use endpoint::{Changes, Endpoint, Redirected};
pub use sa::Why;
