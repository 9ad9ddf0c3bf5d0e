//! The parts of the cygnet daemon, for its `main` and its tests.

pub mod cli;
pub mod clock;
pub mod config;
pub mod crls;
pub mod daemon;
pub mod engine;
pub mod inner;
pub mod leases;
pub mod links;
pub mod log;
pub mod lookups;
pub mod names;
pub mod net;
pub mod reload;
pub mod routes;
pub mod serve;
pub mod state;
pub mod tun;
pub mod userspace;
pub mod wake;
pub mod watch;
