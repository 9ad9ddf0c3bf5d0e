//! What a child SA is, the data plane trait, and packets through an SA; no IO.
//!
//! A child is described by [`spec::ChildSpec`] and carried out by an
//! implementor of [`plane::Dataplane`]. The other modules are what a userspace
//! plane is made of, in packet order:
//!
//! ```text
//! outgoing: packet::parse -> policy::Policies::lookup -> mss::clamp -> outbound::Outbound -> segments::Segments
//! incoming: inbound::spi -> inbound::Inbound (replay, open, padding, inner header, selectors) -> mss::clamp
//! ```
//!
//! What becomes of outer and inner header fields (RFC 4301 section 5.1.2):
//!
//! - ECN is copied out on encapsulation, and congestion experienced outside is
//!   copied in on decapsulation, as far as the carrier tells and takes it.
//! - DSCP is not copied out: it would tell the path which flows are inside.
//! - DF is clear outside, so a path with a small MTU fragments instead of
//!   losing; inner packets already fit the tunnel's MTU.
//! - The outer TTL is the system's; the inner one is the router's business,
//!   who has lowered it before a packet comes here.
#![forbid(unsafe_code)]

pub mod discard;
#[doc(hidden)]
pub mod fuzzing;
pub mod inbound;
pub mod limits;
pub mod mss;
pub mod outbound;
pub mod packet;
pub mod plane;
pub mod policy;
pub mod replay;
pub mod segments;
pub mod spec;
pub mod stream;
pub mod waiting;

mod range_index;
