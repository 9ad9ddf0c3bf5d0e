//! The configuration: TOML files in, values that cannot be wrong out.
//!
//! Every mistake is reported with file, line, column, the line itself and the
//! nearest valid name; as many at once as can be found. A line that may hold a
//! secret is never shown.

mod connection;
mod credential;
mod daemon;
mod diagnostic;
mod lifetime;
mod load;
mod mode;
mod pool;
mod reader;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ike::inner::Domain;

pub use self::diagnostic::ConfigErrors;
pub use self::load::{Environment, load};

/// What the fuzz target runs on each input: any text is either good or
/// refused with at least one sentence.
#[doc(hidden)]
pub fn fuzz(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // A configuration may name files, which are no business of a fuzz target.
    if ["file", "cert", "key", "crl"].iter().any(|word| text.contains(word)) {
        return;
    }
    let text = zeroize::Zeroizing::new(text.to_owned());
    let source = source::Source::new("fuzz.toml".to_owned(), text, false);
    if let Err(errors) = load::assemble(&[source], &Environment::default()) {
        assert!(errors.iter().all(|error| !error.is_empty()), "an error without words");
        assert!(errors.iter().next().is_some(), "refused without a reason");
    }
}

/// All that a daemon is told.
pub struct DaemonConfig {
    /// What concerns the daemon as a whole.
    pub daemon: DaemonSettings,
    /// The tickets that we hand out.
    pub tickets: Tickets,
    /// What concerns the machine's side of each connection, in the order of
    /// [`ike::config::Config::connections`].
    pub connections: Vec<ConnectionSettings>,
    /// What the endpoint is told.
    pub ike: ike::config::Config,
    /// What is not wrong but unwise, each ready to be shown.
    pub warnings: Vec<String>,
}

/// What concerns the daemon as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonSettings {
    /// Our outer addresses; empty means all.
    pub listen: Vec<IpAddr>,
    /// The only interface that outer packets use; `None`: any.
    pub listen_interface: Option<String>,
    /// The UDP port of IKE.
    pub port: u16,
    /// The UDP port of IKE and ESP behind NATs.
    pub nat_port: u16,
    /// The TCP port of both (RFC 9329), 0 for none; `None`: 4500 on a gateway,
    /// which has a connection that only answers, and none elsewhere.
    pub tcp_port: Option<u16>,
    /// The name of the TUN: 1 to 15 octets.
    pub interface: String,
    /// The TUN's MTU in octets, [`crate::tun::MIN_MTU`] or more; `None`: the default.
    pub mtu: Option<u16>,
    /// The routing table of our routes: never one of the system's.
    pub table: u32,
    /// The mark of our own outer packets, by which they avoid our routes. Never 0.
    pub mark: u32,
    /// Whether revocation lists are fetched from where certificates say.
    pub fetch_crls: bool,
    /// The group whose members may use the control interface.
    pub control_group: Option<String>,
}

/// The tickets that a gateway hands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tickets {
    /// How long one is good.
    pub lifetime: Duration,
    /// How long a key seals new ones; at least `lifetime`.
    pub rotate: Duration,
}

/// The machine's side of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses on the TUN.
    pub inner_addrs: Vec<InnerAddress>,
    /// When it is brought up.
    pub start: Start,
    /// What of the name servers that its gateway names is used.
    pub names: Names,
}

/// What a connection lets its gateway say about names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// Whether its name servers are used at all.
    pub enabled: bool,
    /// The domains that the gateway may claim (RFC 8598 section 5): those in
    /// these, or any. Without one, its servers are asked for everything.
    pub claims: Claims,
}

/// Domains that a gateway may claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claims {
    /// Any.
    Any,
    /// These and what is in them.
    Within(Vec<Domain>),
}

/// An address on the TUN and the network around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InnerAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of the network's prefix: at most 32 or 128.
    pub prefix: u8,
}

/// When a connection is brought up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// By a command, or by the peer.
    Manual,
    /// When the daemon starts.
    OnBoot,
    /// When a packet wants to leave.
    OnTraffic,
}
