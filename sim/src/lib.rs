//! A deterministic world for the core: virtual time, links that lose and
//! alter, NATs, clocks that jump, a data plane that objects, and [`Pair`], a
//! client and a gateway in it.
//!
//! Nothing here sleeps, opens a socket or asks a clock: the same seed gives the
//! same octets on every wire.
//!
//! ```
//! use sim::{Pair, Scene};
//!
//! let mut pair = Pair::new(Scene::default());
//! pair.up().unwrap();
//! pair.suspend().unwrap();
//! pair.resume().unwrap();
//! pair.assert_joined();
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a world that cannot go on has failed its test"
)]

pub mod certificates;
pub mod chance;
pub mod clock;
#[doc(hidden)]
pub mod fuzzing;
mod host;
pub mod link;
pub mod meddle;
pub mod names;
pub mod nat;
pub mod node;
pub mod packet;
pub mod pair;
pub mod plane;
pub mod profile;
pub mod script;
pub mod tcp;
pub mod wire;
pub mod world;

pub use chance::Chance;
pub use clock::Time;
pub use link::Link;
pub use names::Names;
pub use nat::Nat;
pub use node::{Node, NodeId};
pub use pair::{Pair, Scene};
pub use plane::ModelPlane;
pub use profile::Profile;
pub use tcp::Tcp;
pub use wire::{Arrival, Content, Datagram, Sent};
pub use world::World;
