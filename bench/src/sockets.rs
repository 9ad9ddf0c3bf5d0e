//! The two UDP sockets of all clients: each client has an outer address of its own, which is the
//! source or the destination of its datagrams.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use ike::event::{Path, Port};
use interop::Namespace;
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn,
    bind, recvmsg, sendmsg, setsockopt, socket, sockopt,
};

use crate::client::OUTER;

/// Before IKE on the NAT traversal port (RFC 3948 section 2.2).
const MARKER: [u8; 4] = [0; 4];

/// No IKE message here is longer.
const MAX_DATAGRAM: usize = 4096;

/// One socket a port.
pub(crate) struct Sockets {
    ike: OwnedFd,
    nat_traversal: OwnedFd,
}

/// A datagram for a client.
pub(crate) struct Received {
    /// The way it came.
    pub(crate) path: Path,
    /// An IKE message, without the marker.
    pub(crate) octets: Vec<u8>,
}

impl Sockets {
    /// Opens the sockets in a namespace, in which all of [`OUTER`] becomes local.
    ///
    /// # Errors
    /// Without root, or when the ports are taken.
    pub(crate) fn open(namespace: &Namespace) -> Result<Self> {
        namespace.ip(&format!("route add local {}/{} dev lo", OUTER.0, OUTER.1))?;
        let name = format!("/run/netns/{}", namespace.name());
        let opener = std::thread::spawn(move || {
            // A thread of its own: it never leaves the namespace again.
            let namespace =
                std::fs::File::open(&name).with_context(|| format!("opening {name}"))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(Self { ike: udp(500)?, nat_traversal: udp(4500)? })
        });
        match opener.join() {
            Ok(sockets) => sockets,
            Err(_) => bail!("the sockets could not be opened"),
        }
    }

    /// Sends an IKE message.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn send(&self, path: Path, message: &[u8]) -> Result<()> {
        let (IpAddr::V4(source), SocketAddr::V4(destination)) = (path.local.ip(), path.remote)
        else {
            bail!("only IPv4 is measured")
        };
        let marker: &[u8] = match path.port {
            Port::Ike => &[],
            Port::NatTraversal => &MARKER,
            Port::Tcp(_) => bail!("only UDP is measured"),
        };
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let parts = [IoSlice::new(marker), IoSlice::new(message)];
        let control = [ControlMessage::Ipv4PacketInfo(&source)];
        let to = SockaddrIn::from(destination);
        let socket = self.of(path.port).as_raw_fd();
        sendmsg(socket, &parts, &control, MsgFlags::empty(), Some(&to))
            .with_context(|| format!("sending to {destination}"))?;
        Ok(())
    }

    /// Takes a datagram, if there is one. What is no IKE message is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn receive(&self) -> Result<Option<Received>> {
        for port in [Port::Ike, Port::NatTraversal] {
            while let Some(mut received) = receive_from(self.of(port), port)? {
                match port {
                    Port::Ike => {}
                    Port::NatTraversal if received.octets.starts_with(&MARKER) => {
                        received.octets.drain(..MARKER.len());
                    }
                    Port::NatTraversal | Port::Tcp(_) => continue,
                }
                return Ok(Some(received));
            }
        }
        Ok(None)
    }

    const fn of(&self, port: Port) -> &OwnedFd {
        match port {
            Port::Ike => &self.ike,
            Port::NatTraversal | Port::Tcp(_) => &self.nat_traversal,
        }
    }
}

fn udp(port: u16) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))
        .with_context(|| format!("UDP port {port}"))?;
    Ok(socket)
}

fn receive_from(socket: &OwnedFd, port: Port) -> Result<Option<Received>> {
    let mut octets = vec![0; MAX_DATAGRAM];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(&mut octets)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let (len, remote, local) =
        match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => {
                let local = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr.s_addr),
                    _ => None,
                });
                (message.bytes, message.address, local)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error).context("receiving"),
        };
    octets.truncate(len);
    let remote = remote.context("a datagram from nowhere")?;
    let local = Ipv4Addr::from(u32::from_be(local.context("a datagram to nowhere")?));
    let number = match port {
        Port::Ike => 500,
        Port::NatTraversal | Port::Tcp(_) => 4500,
    };
    let path = Path {
        local: SocketAddr::new(local.into(), number),
        remote: SocketAddr::new(remote.ip().into(), remote.port()),
        port,
    };
    Ok(Some(Received { path, octets }))
}
