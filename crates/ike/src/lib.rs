//! IKEv2 (RFC 7296) with session resumption (RFC 5723): datagrams, timers and
//! commands in; datagrams and effects out. No IO, no clock, no thread.
#![forbid(unsafe_code)]

pub mod config;
pub mod event;
pub mod fault;
pub mod identity;
pub mod proposal;
pub mod status;
pub mod time;
pub mod wire;
