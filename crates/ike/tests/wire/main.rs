//! The codec against a real session, against itself, and against bad input.

mod capture;
mod corpora;
mod emitting;
mod errors;
mod properties;
