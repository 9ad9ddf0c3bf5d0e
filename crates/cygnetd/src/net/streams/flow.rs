//! The IPv6 flow label of a connection of ours: it stays when the connection is
//! opened anew, so that routers that spread flows over several paths by it keep
//! to one (RFC 9329 section 6.1).

use std::io;
use std::net::SocketAddr;

use crypto::{Provider, sha256};
use esp::spec::StreamId;
use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::Socket;

sockopt_impl!(
    /// The flow label that an address names is to be used.
    SendFlowInfo,
    SetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_FLOWINFO_SEND,
    bool
);

/// Labels of a flow have 20 bits (RFC 8200 section 3). The upper half of them is
/// not leased out by Linux (`net.ipv6.flowlabel_state_ranges`).
const UNLEASED: u32 = 0x8_0000;

/// What makes labels that nobody can guess (RFC 6437 section 3).
pub(super) struct Labels([u8; 16]);

impl Labels {
    pub(super) fn new() -> Self {
        Self(Provider::system().array())
    }

    /// Begins to connect, with the label of this connection by IPv6.
    pub(super) fn connect(
        &self,
        socket: &Socket,
        id: StreamId,
        remote: SocketAddr,
    ) -> io::Result<()> {
        let labelled = match (remote, id) {
            (SocketAddr::V6(mut to), StreamId::Ours(number)) => {
                to.set_flowinfo(self.of(number).to_be());
                to
            }
            (SocketAddr::V4(_), _) | (_, StreamId::Theirs(_)) => {
                return socket.connect(&remote.into());
            }
        };
        setsockopt(socket, SendFlowInfo, &true)?;
        match socket.connect(&SocketAddr::V6(labelled).into()) {
            // Where somebody has leased a label for himself alone, no other is
            // free without a lease: then the system chooses.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                socket.connect(&remote.into())
            }
            connected => connected,
        }
    }

    fn of(&self, number: u64) -> u32 {
        let [a, b, c, ..] = sha256(&[&self.0[..], &number.to_be_bytes()].concat());
        UNLEASED | (u32::from_be_bytes([0, a, b, c]) & (UNLEASED - 1))
    }
}
