//! The parts of the cygnet daemon, for its `main` and its tests.

pub mod cli;
pub mod config;
pub mod serve;
pub mod net;
pub mod tun;
pub mod userspace;
pub mod wake;
