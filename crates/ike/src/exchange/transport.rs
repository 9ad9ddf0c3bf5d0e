//! The traffic that a message is about, in either mode. In transport mode it is
//! that of the two ends of the SA, whose addresses NATs rewrite in packets and
//! not in traffic selectors (RFC 7296 sections 1.3.1 and 2.23.1).

use std::net::{IpAddr, SocketAddr};

use esp::spec::{Mode, Original, Selector};

use crate::context::Context;
use crate::event::Role;
use crate::exchange::nat::Nat;
use crate::wire::{NotifyType, Payloads};

/// The two ends of an SA, which are all that a child in transport mode is for.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) nat: Nat,
}

impl Ends {
    /// Local and remote end; `None` if the plane cannot do transport mode.
    pub(crate) fn of(
        cx: &Context,
        (local, remote): (SocketAddr, SocketAddr),
        nat: Nat,
    ) -> Option<Self> {
        let (local, remote) = (local.ip(), remote.ip());
        cx.capabilities.transport.then_some(Self { local, remote, nat })
    }

    /// Whether the peer may have written these addresses and mean us both: where
    /// an end is not behind a NAT, it must be its own. Who is behind one cannot
    /// tell whether the other is, too.
    fn may_be(self, written: Original) -> bool {
        let Original { source, destination } = written;
        match self.nat {
            Nat::Detected { ours: true } => true,
            Nat::Detected { ours: false } => destination == self.local,
            Nat::None | Nat::NotSupported => (source, destination) == (self.remote, self.local),
        }
    }
}

/// The traffic that a message is about, as its receiver sees it.
pub(crate) struct Selected {
    pub(crate) mode: Mode,
    /// Of the receiver's side.
    pub(crate) local: Vec<Selector>,
    /// Of the sender's.
    pub(crate) remote: Vec<Selector>,
    /// The addresses that were there before, if others took their place.
    pub(crate) original: Option<Original>,
}

impl Selected {
    /// As it is written in a message to this role: for tunnel mode.
    pub(crate) fn written(payloads: &Payloads<'_>, receiver: Role) -> Self {
        let [of_initiator, of_responder] = [payloads.ts_i(), payloads.ts_r()]
            .map(|ts| ts.into_iter().flat_map(|ts| ts.selectors()).collect());
        let (local, remote) = match receiver {
            Role::Initiator => (of_initiator, of_responder),
            Role::Responder => (of_responder, of_initiator),
        };
        Self { mode: Mode::Tunnel, local, remote, original: None }
    }

    /// For transport mode, if the message is for it, and about both ends alone.
    pub(crate) fn between(
        ends: Option<Ends>,
        payloads: &Payloads<'_>,
        receiver: Role,
    ) -> Option<Self> {
        if is_for_transport(payloads) { Self::written(payloads, receiver).of(ends?) } else { None }
    }

    /// The same traffic with the addresses that its packets have here.
    fn of(self, ends: Ends) -> Option<Self> {
        let written = Original { source: sole(&self.remote)?, destination: sole(&self.local)? };
        if !ends.may_be(written) {
            return None;
        }
        let Ends { local, remote, .. } = ends;
        let is_rewritten = written != Original { source: remote, destination: local };
        Some(Self {
            mode: Mode::Transport,
            local: self.local.into_iter().map(|selector| selector.at(local)).collect(),
            remote: self.remote.into_iter().map(|selector| selector.at(remote)).collect(),
            original: is_rewritten.then_some(written),
        })
    }
}

/// Whether the message asks for transport mode, or agrees to it.
pub(crate) fn is_for_transport(payloads: &Payloads<'_>) -> bool {
    payloads.notify(NotifyType::USE_TRANSPORT_MODE).is_some()
}

/// The one address of all of these.
fn sole(selectors: &[Selector]) -> Option<IpAddr> {
    let address = selectors.first()?.start();
    let is_it = |selector: &Selector| (selector.start(), selector.end()) == (address, address);
    selectors.iter().all(is_it).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7296 section 2.23.1: a client behind NAT A, a server
    // behind NAT B.
    const IP1: &str = "192.168.1.2";
    const IPN1: &str = "203.0.113.7";
    const IPN2: &str = "198.51.100.1";
    const IP2: &str = "10.0.0.2";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn selector(text: &str, port: u16) -> Selector {
        Selector::new(address(text), address(text), 6, (port, port)).unwrap()
    }

    fn written(local: &[Selector], remote: &[Selector]) -> Selected {
        let (local, remote) = (local.to_vec(), remote.to_vec());
        Selected { mode: Mode::Tunnel, local, remote, original: None }
    }

    fn ends(local: &str, remote: &str, nat: Nat) -> Ends {
        Ends { local: address(local), remote: address(remote), nat }
    }

    #[test]
    fn both_ends_put_the_addresses_that_they_see_in_place_of_those_that_were_sent() {
        let behind = Nat::Detected { ours: true };
        let at_server = written(&[selector(IPN2, 80)], &[selector(IP1, 1), selector(IP1, 2)]);
        let at_server = at_server.of(ends(IP2, IPN1, behind)).unwrap();
        assert_eq!(at_server.mode, Mode::Transport);
        assert_eq!(at_server.local, [selector(IP2, 80)]);
        assert_eq!(at_server.remote, [selector(IPN1, 1), selector(IPN1, 2)]);
        let sent = Original { source: address(IP1), destination: address(IPN2) };
        assert_eq!(at_server.original, Some(sent));

        // The answer has the server's view.
        let at_client = written(&at_server.remote, &at_server.local);
        let at_client = at_client.of(ends(IP1, IPN2, behind)).unwrap();
        assert_eq!(at_client.local, [selector(IP1, 1), selector(IP1, 2)]);
        assert_eq!(at_client.remote, [selector(IPN2, 80)]);
        let sent = Original { source: address(IP2), destination: address(IPN1) };
        assert_eq!(at_client.original, Some(sent));
    }

    #[test]
    fn without_a_nat_only_the_addresses_of_the_sa_will_do() {
        for nat in [Nat::None, Nat::NotSupported] {
            let ours = written(&[selector(IP2, 80)], &[selector(IPN1, 1)]);
            let ours = ours.of(ends(IP2, IPN1, nat)).unwrap();
            assert_eq!((ours.local, ours.original), (vec![selector(IP2, 80)], None));
            for (local, remote) in [(IPN2, IPN1), (IP2, IP1)] {
                let other = written(&[selector(local, 80)], &[selector(remote, 1)]);
                assert!(other.of(ends(IP2, IPN1, nat)).is_none());
            }
        }
    }

    #[test]
    fn the_address_of_an_end_that_is_not_behind_a_nat_is_not_replaced() {
        let theirs = Nat::Detected { ours: false };
        let client = written(&[selector(IP2, 80)], &[selector(IP1, 1)]);
        assert!(client.of(ends(IP2, IPN1, theirs)).is_some());
        let server = written(&[selector(IPN2, 80)], &[selector(IP1, 1)]);
        assert!(server.of(ends(IP2, IPN1, theirs)).is_none());
    }

    #[test]
    fn who_has_more_than_one_address_is_no_end() {
        let net = Selector::subnet(address("10.0.0.0"), 8);
        let behind = Nat::Detected { ours: true };
        for remote in [&[net][..], &[selector(IP1, 1), selector(IP2, 1)], &[]] {
            assert!(written(&[selector(IPN2, 80)], remote).of(ends(IP2, IPN1, behind)).is_none());
        }
    }
}
