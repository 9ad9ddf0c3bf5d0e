//! Real peers in network namespaces, one story a test.
//!
//! A [`story`] gets a [`World`] of its own: namespaces, links, a NAT router, a directory for
//! files and logs. In it run [`Cygnet`] (the daemon under test) and its peers [`StrongSwan`]
//! (user-space ESP on this kernel) and [`Libreswan`] (a User Mode Linux guest with kernel ESP),
//! all of which describe themselves by the same [`Tunnel`]. When the story ends, also by a panic,
//! nothing of the world is left; when the test itself is killed, the next one removes it.
//!
//! ```text
//! interop/setup.sh
//! cargo build -p cygnetd -p cygnet
//! cargo nextest run -p cygnet-interop
//! ```
//!
//! Everything needs root, and what `interop/setup.sh` installs. Nothing here skips a test.

mod capture;
mod cygnet;
mod guest;
mod libreswan;
mod name_server;
mod namespace;
mod owner;
mod papers;
mod process;
mod resolver;
pub mod road_warrior;
mod stream;
mod strongswan;
mod tree;
mod tunnel;
mod vici;
mod wait;
mod world;

pub use capture::{Capture, Frame, Packet};
pub use cygnet::{Answer, Cygnet, Keys};
pub use guest::Guest;
pub use libreswan::Libreswan;
pub use name_server::NameServer;
pub use namespace::Namespace;
pub use papers::Papers;
pub use process::Process;
pub use resolver::Resolver;
pub use stream::Stream;
pub use strongswan::{Edition, StrongSwan};
pub use tunnel::{Proof, Side, Tunnel};
pub use vici::Section;
pub use wait::{PATIENCE, until};
pub use world::{World, story};
