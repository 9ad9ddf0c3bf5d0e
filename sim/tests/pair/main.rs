//! A client and a gateway through everything that can happen to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod addresses;
mod authentic;
mod certificates;
mod childless;
mod choosing;
mod corpus;
mod follow_up;
mod fragments;
mod hostile;
mod keeping;
mod life;
mod lifetimes;
mod limits;
mod losses;
mod many;
mod mobike;
mod nats;
mod ppk;
mod reauth;
mod reconfigure;
mod redirect;
mod rekey;
mod remotes;
mod resumption;
mod scenarios;
mod schedules;
mod set_up;
mod several;
mod single_use;
mod tcp;
mod traffic;
mod transport;
mod transports;
mod triggers;
mod unique;
