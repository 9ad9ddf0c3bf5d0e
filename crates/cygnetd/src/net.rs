//! The sockets of the daemon: IKE, ESP in UDP, and ESP as IP protocol 50.
//!
//! ```text
//! let net = Arc::new(Net::bind(&NetConfig::default())?);
//! net.send_ike(local, remote, &message)        any thread; never blocks
//! net.inbox().pop()                            IKE datagrams; net.inbox().as_fd() is readable while there are some
//! net.counters()                               what was dropped, and why
//! ```
//!
//! Two lanes, each read by one thread through its [`Receiver`]. The kernel
//! tells IKE from ESP on the port that they share (`SO_ATTACH_REUSEPORT_CBPF`),
//! so packets do not wait for negotiation, nor does negotiation wait for a
//! thread to be woken by another. ESP goes to an [`EspSink`] in batches, IKE
//! into the [`Inbox`], which drops when it is full.
//!
//! - On the NAT traversal port a datagram that begins with four zero octets is
//!   IKE, a single 0xff is a keepalive, all else is ESP (RFC 3948 section 2).
//! - The local address of a datagram is known and its reply leaves from it,
//!   also on wildcard sockets.
//! - DF is clear on everything sent: IKE must get through paths with a small
//!   MTU (RFC 7296 section 2), and so should sealed packets.
//! - IKE and ESP may also come by TCP (RFC 9329): see [`Streams`].
//! - A mark, if configured, keeps our own packets out of our own routes (see
//!   [`crate::links`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use esp::spec::{Encapsulation, OuterPath, StreamId};

mod inbox;
mod receive;
mod socket;
mod streams;

pub use inbox::{IkeDatagram, Inbox};
pub use receive::{EspRun, EspSink, Lane, Receiver};
pub use streams::{Heard, Streams};

use crate::clock;
use crate::wake::Wake;
use socket::{Kind, Port};

/// Before IKE on the NAT traversal port (RFC 3948 section 2.2).
pub(crate) const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The keepalive of RFC 3948 section 2.3.
const NAT_KEEPALIVE: [u8; 1] = [0xff];

/// What to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetConfig {
    /// Local addresses; empty for all addresses of both families.
    pub listen: Vec<IpAddr>,
    /// The IKE port, 500 by default; 0 lets the system choose.
    pub port: u16,
    /// The NAT traversal port, 4500 by default; 0 lets the system choose.
    pub nat_port: u16,
    /// The TCP port to accept connections on; 0 lets the system choose. `None`:
    /// none are accepted.
    pub tcp_port: Option<u16>,
    /// `SO_MARK` on everything sent.
    pub mark: Option<u32>,
    /// Only this interface (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// Whether to carry ESP as IP protocol 50 too; needs `CAP_NET_RAW`.
    pub plain_esp: bool,
    /// Octets that the system should keep for us while we are busy.
    pub receive_buffer: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            port: 500,
            nat_port: 4500,
            tcp_port: None,
            mark: None,
            interface: None,
            plain_esp: true,
            receive_buffer: 4 << 20,
        }
    }
}

/// What the sockets have dropped since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NetCounters {
    /// Sends that the system refused.
    pub send_failures: u64,
    /// Receives that the system refused.
    pub receive_failures: u64,
    /// IKE datagrams that found the inbox full.
    pub inbox_full: u64,
    /// NAT keepalives; nothing is wrong with them.
    pub keepalives: u64,
    /// Datagrams and messages too short for anything.
    pub runts: u64,
    /// TCP connections whose octets made no sense.
    pub corrupt_streams: u64,
    /// TCP connections that were not accepted, because there were too many.
    pub streams_refused: u64,
}

#[derive(Default)]
struct Counters {
    send_failures: AtomicU64,
    receive_failures: AtomicU64,
    keepalives: AtomicU64,
    runts: AtomicU64,
    corrupt_streams: AtomicU64,
}

/// The sockets. Shared by threads; no method takes a lock or blocks, but where
/// it says so.
pub struct Net {
    ports: Vec<Port>,
    streams: Streams,
    inbox: Inbox,
    counters: Counters,
    nat_port: u16,
    mark: Option<u32>,
}

/// A batch that was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system did not take the packets")]
pub struct NotSent;

impl Net {
    /// Opens the sockets.
    ///
    /// Of wildcard sockets, a family that the machine does not have is left out.
    ///
    /// # Errors
    /// An address or port that cannot be had, equal ports, or missing privilege.
    pub fn bind(config: &NetConfig) -> io::Result<Self> {
        if config.port == config.nat_port && config.port != 0 {
            let message = "port and nat_port must differ: only the latter carries ESP";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut ports = Vec::new();
        let mut nat_port = config.nat_port;
        for address in listen_addresses(config) {
            match open_all(config, address, nat_port) {
                Ok(opened) => {
                    // A port that the system chose is the same for all addresses.
                    nat_port = opened
                        .iter()
                        .find(|port| port.kind() == Kind::NatT)
                        .map_or(nat_port, |port| port.local().port());
                    ports.extend(opened);
                }
                Err(error) if is_missing_family(&error) && config.listen.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        if ports.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let mut addresses: Vec<_> = ports.iter().map(|port| port.local().ip()).collect();
        addresses.dedup();
        let streams = Streams::bind(config, &addresses)?;
        let (inbox, counters) = (Inbox::new()?, Counters::default());
        Ok(Self { ports, streams, inbox, counters, nat_port, mark: config.mark })
    }

    /// The TCP connections.
    #[must_use]
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The port that ESP and IKE share.
    #[must_use]
    pub const fn nat_port(&self) -> u16 {
        self.nat_port
    }

    /// `SO_MARK` of everything sent.
    #[must_use]
    pub const fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// The IKE port of the sockets of this address's family.
    #[must_use]
    pub fn ike_port(&self, family_of: IpAddr) -> Option<u16> {
        self.find(Kind::Ike, family_of).map(|port| port.local().port())
    }

    /// Whether ESP can travel as IP protocol 50.
    #[must_use]
    pub fn has_plain_esp(&self) -> bool {
        self.ports.iter().any(|port| port.kind() == Kind::RawEsp)
    }

    /// IKE datagrams that have come.
    #[must_use]
    pub const fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The address that packets to `remote` leave from, as routes say now;
    /// nothing is sent.
    ///
    /// # Errors
    /// No route, or no socket of that family.
    pub fn source_towards(&self, remote: SocketAddr) -> io::Result<IpAddr> {
        let port = self.find(Kind::Ike, remote.ip()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        port.source_towards(remote)
    }

    /// Sends one IKE message. `local` chooses the socket by its port, and the
    /// source address unless it is unspecified; on the NAT traversal port the
    /// marker of RFC 3948 is put in front.
    ///
    /// A failure is counted and otherwise like loss on the way.
    pub fn send_ike(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        let sent = if local.port() == self.nat_port {
            self.send(Kind::NatT, local, remote, &[&NON_ESP_MARKER, message])
        } else {
            self.send(Kind::Ike, local, remote, &[message])
        };
        if sent.is_err() {
            self.count(|counters| &counters.send_failures);
        }
    }

    /// Sends one IKE message by a TCP connection. A failure is counted and
    /// otherwise like loss on the way.
    pub fn send_ike_by(&self, stream: StreamId, message: &[u8]) {
        if self.streams.send_ike(stream, message).is_err() {
            self.count(|counters| &counters.send_failures);
        }
    }

    /// Sends one NAT keepalive (RFC 3948 section 4).
    pub fn send_keepalive(&self, local: SocketAddr, remote: SocketAddr) {
        if self.send(Kind::NatT, local, remote, &[&NAT_KEEPALIVE]).is_err() {
            self.count(|counters| &counters.send_failures);
        }
    }

    fn send(
        &self,
        kind: Kind,
        local: SocketAddr,
        remote: SocketAddr,
        parts: &[&[u8]],
    ) -> Result<(), NotSent> {
        let port = self.find_for(kind, local.ip(), remote.ip()).ok_or(NotSent)?;
        port.send(local.ip(), remote, parts).map_err(|_| NotSent)
    }

    /// Sends ESP packets of `segment` octets each, the last perhaps shorter. How
    /// many a TCP connection had no room for.
    ///
    /// Otherwise waits while the system's send buffer is full, until `stop` is raised:
    /// that slows the sender of the inner packets down instead of losing them.
    ///
    /// # Errors
    /// [`NotSent`]; it is counted.
    pub fn send_esp(
        &self,
        path: &OuterPath,
        packets: &[u8],
        segment: usize,
        ecn: u8,
        stop: &Wake,
    ) -> Result<usize, NotSent> {
        let kind = match path.encapsulation {
            Encapsulation::Udp => Kind::NatT,
            Encapsulation::Plain => Kind::RawEsp,
            Encapsulation::Tcp(stream) => return self.streams.send_esp(stream, packets, segment),
        };
        let port = self.find_for(kind, path.local.ip(), path.remote.ip()).ok_or(NotSent)?;
        let sent = port.send_segments(path.local.ip(), path.remote, packets, segment, ecn, stop);
        sent.map(|()| 0).map_err(|_| {
            self.count(|counters| &counters.send_failures);
            NotSent
        })
    }

    /// What a TCP connection has brought; see [`Streams::hear`]. Takes locks.
    pub fn hear(&self, stream: StreamId, heard: Heard) {
        if self.streams.hear(stream, heard, clock::now().instant) {
            self.count(|counters| &counters.corrupt_streams);
        }
    }

    /// What was dropped since the start.
    #[must_use]
    pub fn counters(&self) -> NetCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetCounters {
            send_failures: of(&self.counters.send_failures),
            receive_failures: of(&self.counters.receive_failures),
            inbox_full: self.inbox.dropped(),
            keepalives: of(&self.counters.keepalives),
            runts: of(&self.counters.runts),
            corrupt_streams: of(&self.counters.corrupt_streams),
            streams_refused: self.streams.refused(),
        }
    }

    fn count(&self, which: impl Fn(&Counters) -> &AtomicU64) {
        which(&self.counters).fetch_add(1, Ordering::Relaxed);
    }

    fn find(&self, kind: Kind, address: IpAddr) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.kind() == kind && port.local().is_ipv4() == address.is_ipv4())
    }

    /// The socket bound to `local`, or the wildcard one of the remote's family.
    fn find_for(&self, kind: Kind, local: IpAddr, remote: IpAddr) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.kind() == kind && port.local().ip() == local)
            .or_else(|| self.find(kind, remote))
    }
}

fn listen_addresses(config: &NetConfig) -> Vec<IpAddr> {
    if config.listen.is_empty() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        config.listen.clone()
    }
}

fn open_all(config: &NetConfig, address: IpAddr, nat_port: u16) -> io::Result<Vec<Port>> {
    let ike = Port::open(Kind::Ike, SocketAddr::new(address, config.port), config)?;
    let nat_t = Port::open(Kind::NatT, SocketAddr::new(address, nat_port), config)?;
    let nat_t_ike = Port::open(Kind::NatTIke, nat_t.local(), config)?;
    nat_t.separate_ike()?;
    let mut ports = vec![ike, nat_t, nat_t_ike];
    if config.plain_esp {
        ports.push(Port::open(Kind::RawEsp, SocketAddr::new(address, 0), config)?);
    }
    Ok(ports)
}

/// A machine without IPv6 says one or the other.
fn is_missing_family(error: &io::Error) -> bool {
    let is_unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    is_unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests;
