//! The codec against a real session, against itself, and against bad input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod capture;
mod corpora;
mod emitting;
mod errors;
mod properties;
