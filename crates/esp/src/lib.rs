//! What a child SA is, the data plane trait, and packets through an SA; no IO.
#![forbid(unsafe_code)]

pub mod plane;
pub mod spec;
