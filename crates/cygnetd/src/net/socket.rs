//! One socket: its options, sending with a chosen source, and segmentation
//! offload with a way out where it is not to be had.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

use super::{NON_ESP_MARKER, NetConfig};
use crate::wake::Wake;

const IP_PROTOCOL_ESP: i32 = 50;

/// What a socket carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// IKE only.
    Ike,
    /// ESP and keepalives, beside IKE behind the marker.
    NatT,
    /// IKE behind the marker, on the port of the former.
    NatTIke,
    /// IP protocol 50.
    RawEsp,
}

pub(super) struct Port {
    socket: Socket,
    /// Receives; its sending is not used, since it gives up segmentation for
    /// good when a source address is gone.
    receiving: UdpSocketState,
    local: SocketAddr,
    kind: Kind,
    mark: Option<u32>,
    /// Cleared when the system cannot segment for this socket.
    segments: AtomicBool,
}

impl Port {
    pub(super) fn open(kind: Kind, address: SocketAddr, config: &NetConfig) -> io::Result<Self> {
        let socket = match kind {
            Kind::Ike | Kind::NatT | Kind::NatTIke => {
                Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?
            }
            Kind::RawEsp => Socket::new(
                Domain::for_address(address),
                Type::RAW,
                Some(Protocol::from(IP_PROTOCOL_ESP)),
            )?,
        };
        // A raw IPv6 socket has no other mode, and refuses the option.
        if address.is_ipv6() && kind != Kind::RawEsp {
            socket.set_only_v6(true)?;
        }
        if matches!(kind, Kind::NatT | Kind::NatTIke) {
            socket.set_reuse_port(true)?;
        }
        if let Some(mark) = config.mark {
            socket.set_mark(mark)?;
        }
        if let Some(interface) = &config.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        enlarge_buffers(&socket, config.receive_buffer);
        socket.bind(&address.into())?;
        let receiving = UdpSocketState::new(UdpSockRef::from(&socket))?;
        allow_fragmentation(&socket, address)?;
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        let segments = AtomicBool::new(kind == Kind::NatT);
        Ok(Self { socket, receiving, local, kind, mark: config.mark, segments })
    }

    /// Has the kernel hand IKE to the second and all else to the first socket
    /// that was bound to this address and port, so that neither waits for the
    /// other's thread. A datagram shorter than the marker goes to the first.
    pub(super) fn separate_ike(&self) -> io::Result<()> {
        const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            step(LOAD_WORD, 0, 0, 0),
            step(JUMP_IF_EQUAL, 0, 1, u32::from_ne_bytes(NON_ESP_MARKER)),
            step(RETURN, 0, 0, 1),
            step(RETURN, 0, 0, 0),
        ];
        let len = program.len() as u16;
        let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        setsockopt(&self.socket, AttachReusePortCbpf, &filter)?;
        Ok(())
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The bound address and port.
    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.receiving.recv(UdpSockRef::from(&self.socket), buffers, meta)
    }

    /// Asks the routes by connecting a socket that never sends.
    pub(super) fn source_towards(&self, remote: SocketAddr) -> io::Result<IpAddr> {
        if !self.local.ip().is_unspecified() {
            return Ok(self.local.ip());
        }
        let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        socket.connect(&remote.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(local.ip())
    }

    /// One datagram, from `source` unless that is unspecified.
    pub(super) fn send(
        &self,
        source: IpAddr,
        remote: SocketAddr,
        parts: &[&[u8]],
    ) -> Result<(), Errno> {
        let [first, second] = [0, 1].map(|n| IoSlice::new(parts.get(n).copied().unwrap_or(&[])));
        self.send_message(source, remote, &[first, second], None, 0)
    }

    /// Equal segments with one call where the system segments, else one by one.
    pub(super) fn send_segments(
        &self,
        source: IpAddr,
        remote: SocketAddr,
        packets: &[u8],
        segment: usize,
        ecn: u8,
        stop: &Wake,
    ) -> Result<(), Errno> {
        if packets.len() > segment && self.segments.load(Ordering::Relaxed) {
            let size = u16::try_from(segment).map_err(|_| Errno::EMSGSIZE)?;
            match self.send_waiting(source, remote, packets, Some(size), ecn, stop) {
                // The device cannot compute checksums, so it will not segment.
                Err(Errno::EIO) => self.segments.store(false, Ordering::Relaxed),
                // Segments larger than the path's MTU are not segmented, but
                // single ones are fragmented.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => {}
                result => return result,
            }
        }
        packets
            .chunks(segment.max(1))
            .try_for_each(|packet| self.send_waiting(source, remote, packet, None, ecn, stop))
    }

    fn send_waiting(
        &self,
        source: IpAddr,
        remote: SocketAddr,
        octets: &[u8],
        segment: Option<u16>,
        ecn: u8,
        stop: &Wake,
    ) -> Result<(), Errno> {
        loop {
            let sent = self.send_message(source, remote, &[IoSlice::new(octets)], segment, ecn);
            match sent {
                Err(Errno::EAGAIN) if self.wait_for_room(stop) => {}
                result => return result,
            }
        }
    }

    /// `false` when there is no point in waiting any longer.
    fn wait_for_room(&self, stop: &Wake) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT), PollFd::new(stop, PollFlags::IN)];
        let polled = poll(&mut fds, None);
        let is_stopping = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let goes_on = matches!(polled, Ok(_) | Err(rustix::io::Errno::INTR));
        goes_on && !is_stopping
    }

    fn send_message(
        &self,
        source: IpAddr,
        remote: SocketAddr,
        parts: &[IoSlice<'_>],
        segment: Option<u16>,
        ecn: u8,
    ) -> Result<(), Errno> {
        let mut remote = remote;
        if self.kind == Kind::RawEsp {
            remote.set_port(0);
        }
        let source = Source::new(source);
        let class = i32::from(ecn);
        let mut control = arrayvec::ArrayVec::<ControlMessage<'_>, 3>::new();
        match &source {
            Source::V4(info) => control.push(ControlMessage::Ipv4PacketInfo(info)),
            Source::V6(info) => control.push(ControlMessage::Ipv6PacketInfo(info)),
            Source::Any => {}
        }
        if ecn != 0 {
            control.push(match remote {
                SocketAddr::V4(_) => ControlMessage::Ipv4Tos(&ecn),
                SocketAddr::V6(_) => ControlMessage::Ipv6TClass(&class),
            });
        }
        if let Some(segment) = &segment {
            control.push(ControlMessage::UdpGsoSegments(segment));
        }
        let to = SockaddrStorage::from(remote);
        loop {
            let fd = self.socket.as_raw_fd();
            match sendmsg(fd, parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The source address as a control message takes it.
enum Source {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
    Any,
}

impl Source {
    fn new(address: IpAddr) -> Self {
        match address {
            address if address.is_unspecified() => Self::Any,
            IpAddr::V4(address) => Self::V4(libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            }),
            IpAddr::V6(address) => Self::V6(libc::in6_pktinfo {
                ipi6_ifindex: 0,
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
            }),
        }
    }
}

/// Larger buffers help and are not vital: without the privilege to pass the
/// system's limit, the limit is taken.
fn enlarge_buffers(socket: &Socket, octets: usize) {
    if sockopt::set_socket_recv_buffer_size_force(socket, octets).is_err() {
        let _ = socket.set_recv_buffer_size(octets);
    }
    let _ = socket.set_send_buffer_size(octets);
}

/// Takes back the "don't fragment" that the receiving half has set.
fn allow_fragmentation(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
        return Ok(());
    }
    sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
    setsockopt(socket, nix::sys::socket::sockopt::Ipv6DontFrag, &false)?;
    Ok(())
}
