//! A client and a gateway through everything that can happen to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod life;
mod limits;
mod many;
mod nats;
mod resumption;
mod set_up;
mod single_use;
