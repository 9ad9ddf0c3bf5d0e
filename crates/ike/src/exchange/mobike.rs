//! MOBIKE (RFC 4555): what IKE_AUTH and INFORMATIONAL say of addresses.
//!
//! ```text
//! IKE_AUTH, both ways:  N(MOBIKE_SUPPORTED), [N(ADDITIONAL_*_ADDRESS)+]
//!
//! HDR, SK { N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*), N(COOKIE2) } -->
//!      <-- HDR, SK { N(NAT_DETECTION_*), N(COOKIE2) }
//! or   <-- HDR, SK { N(UNACCEPTABLE_ADDRESSES), N(COOKIE2) }
//!
//! HDR, SK { N(ADDITIONAL_*_ADDRESS)+ | N(NO_ADDITIONAL_ADDRESSES) } -->
//!      <-- HDR, SK { }
//! ```
//! Without NAT traversal each of these requests holds N(NO_NATS_ALLOWED), too.

use std::net::{IpAddr, SocketAddr};

use crypto::{Provider, same_octets};

use crate::event::Path;
use crate::exchange::nat::Hashes;
use crate::wire::{MessageBuilder, NotifyType, Payloads, Protected};

/// Addresses of one side that are told, or remembered: a peer must not make us
/// send to the whole world.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Octets of a COOKIE2 (RFC 4555 section 4.2.5).
const COOKIE_LEN: std::ops::RangeInclusive<usize> = 8..=64;

/// Appends our side of IKE_AUTH: our addresses besides the one that it is sent
/// from, and the way that it goes if addresses must not be rewritten.
pub(crate) fn offer(
    builder: &mut MessageBuilder<Protected>,
    additional: &[IpAddr],
    no_nats: Option<&Path>,
) {
    builder.notify(NotifyType::MOBIKE_SUPPORTED, &[]);
    push_additional(builder, additional);
    forbid_nats(builder, no_nats);
}

/// The peer's other addresses, if it knows MOBIKE.
pub(crate) fn accepted(payloads: &Payloads<'_>) -> Option<Vec<IpAddr>> {
    payloads.notify(NotifyType::MOBIKE_SUPPORTED)?;
    Some(additional(payloads).unwrap_or_default())
}

/// Appends all addresses but the one that the message is sent from: the whole
/// list every time (RFC 4555 section 3.6).
pub(crate) fn push_all<State>(builder: &mut MessageBuilder<State>, addresses: &[IpAddr]) {
    push_additional(builder, addresses);
    if addresses.is_empty() {
        builder.notify(NotifyType::NO_ADDITIONAL_ADDRESSES, &[]);
    }
}

fn push_additional<State>(builder: &mut MessageBuilder<State>, addresses: &[IpAddr]) {
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match address {
            IpAddr::V4(it) => builder.notify(NotifyType::ADDITIONAL_IP4_ADDRESS, &it.octets()),
            IpAddr::V6(it) => builder.notify(NotifyType::ADDITIONAL_IP6_ADDRESS, &it.octets()),
        };
    }
}

/// Appends NO_NATS_ALLOWED (RFC 4555 section 3.9).
pub(crate) fn forbid_nats<State>(builder: &mut MessageBuilder<State>, path: Option<&Path>) {
    if let Some(path) = path {
        builder.notify(NotifyType::NO_NATS_ALLOWED, &ends(path.local, path.remote));
    }
}

/// Whether the peer forbids NATs and there is one: the addresses that it names
/// are not those that its message has come by.
pub(crate) fn is_rewritten(payloads: &Payloads<'_>, path: &Path) -> bool {
    let claim = payloads.notify(NotifyType::NO_NATS_ALLOWED);
    claim.is_some_and(|claim| claim.data != ends(path.remote, path.local))
}

/// The data of NO_NATS_ALLOWED (RFC 4555 section 4.2.6).
fn ends(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()];
    [octets(source.ip()), octets(destination.ip()), ports.concat()].concat()
}

/// By which the receiver of a request shows that it has seen it: we know then
/// that it is where the request was sent (RFC 4555 section 3.7).
pub(crate) struct Cookie([u8; 16]);

impl Cookie {
    pub(crate) fn new(provider: &mut Provider) -> Self {
        Self(provider.array())
    }

    /// Appends it.
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>) {
        builder.notify(NotifyType::COOKIE2, &self.0);
    }

    /// Whether a response has brought it back.
    pub(crate) fn is_in(&self, payloads: &Payloads<'_>) -> bool {
        let shown = payloads.notify(NotifyType::COOKIE2);
        shown.is_some_and(|shown| same_octets(shown.data, &self.0))
    }
}

/// What a request says of addresses.
pub(crate) struct Told<'a> {
    /// Move to the addresses that this has come by.
    pub(crate) update: bool,
    /// All of the sender's addresses besides that one; `None`: as before.
    pub(crate) additional: Option<Vec<IpAddr>>,
    /// The sender wants to know how its address looks from here.
    pub(crate) detects_nat: bool,
    cookie: Option<&'a [u8]>,
}

impl<'a> Told<'a> {
    pub(crate) fn of(payloads: &Payloads<'a>) -> Self {
        let cookie = payloads.notify(NotifyType::COOKIE2).map(|notify| notify.data);
        Self {
            update: payloads.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some(),
            additional: additional(payloads),
            detects_nat: payloads.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).is_some(),
            cookie: cookie.filter(|cookie| COOKIE_LEN.contains(&cookie.len())),
        }
    }

    /// Whether it is about addresses that we should use.
    pub(crate) const fn is_about_addresses(&self) -> bool {
        self.update || self.additional.is_some()
    }

    /// The answer.
    pub(crate) const fn reply(
        &self,
        refusal: Option<NotifyType>,
        hashes: Option<Hashes>,
    ) -> Reply<'a> {
        Reply { refusal, hashes, cookie: self.cookie }
    }
}

/// What is answered to [`Told`].
#[derive(Default)]
pub(crate) struct Reply<'a> {
    refusal: Option<NotifyType>,
    hashes: Option<Hashes>,
    cookie: Option<&'a [u8]>,
}

impl Reply<'_> {
    /// Appends it.
    pub(crate) fn push(&self, builder: &mut MessageBuilder<Protected>) {
        if let Some(refusal) = self.refusal {
            builder.notify(refusal, &[]);
        }
        if let Some(hashes) = &self.hashes {
            hashes.push(builder);
        }
        if let Some(cookie) = self.cookie {
            builder.notify(NotifyType::COOKIE2, cookie);
        }
    }
}

/// The addresses in a message besides the one that it was sent from; `None` if
/// nothing is said of them.
fn additional(payloads: &Payloads<'_>) -> Option<Vec<IpAddr>> {
    let addresses = payloads.notifies().filter_map(|notify| notify.address());
    let addresses: Vec<_> = addresses.filter(is_reachable).take(MAX_ADDRESSES).collect();
    let none = payloads.notify(NotifyType::NO_ADDITIONAL_ADDRESSES);
    (!addresses.is_empty() || none.is_some()).then_some(addresses)
}

/// Whether this may be the address of a machine on another network.
pub(crate) const fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            !(it.is_unspecified()
                || it.is_loopback()
                || it.is_link_local()
                || it.is_multicast()
                || it.is_broadcast())
        }
        IpAddr::V6(it) => {
            !(it.is_unspecified()
                || it.is_loopback()
                || it.is_unicast_link_local()
                || it.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Port;
    use crate::wire::{ExchangeType, Flags, Header, IkeSpi, Message};

    fn message(fill: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
        let flags = Flags { initiator: true, response: false };
        let spis = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        let header = Header::new(spis, ExchangeType::INFORMATIONAL, flags, 2);
        let mut builder = MessageBuilder::new(Vec::new(), header);
        fill(&mut builder);
        builder.finish().unwrap()
    }

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap(), port: Port::Ike }
    }

    #[test]
    fn where_nats_are_forbidden_every_other_end_is_noticed() {
        for (ours, theirs, other) in [
            ("192.0.2.1:500", "198.51.100.1:500", "203.0.113.1:500"),
            ("[2001:db8::1]:500", "[2001:db8::2]:500", "[2001:db8::3]:500"),
        ] {
            let sent = message(|builder| forbid_nats(builder, Some(&path(ours, theirs))));
            let sent = Message::parse(&sent).unwrap();
            assert!(!is_rewritten(&sent.payloads, &path(theirs, ours)));
            assert!(is_rewritten(&sent.payloads, &path(theirs, other)));
            assert!(is_rewritten(&sent.payloads, &path(other, ours)));
            let port = theirs.replace(":500", ":501");
            assert!(is_rewritten(&sent.payloads, &path(&port, ours)));
        }
        let silent = message(|_| {});
        let silent = Message::parse(&silent).unwrap();
        assert!(!is_rewritten(&silent.payloads, &path("192.0.2.1:1", "192.0.2.2:2")));
    }

    #[test]
    fn a_list_of_addresses_is_whole_and_bounded() {
        let told = |addresses: &[IpAddr]| {
            let sent = message(|builder| push_all(builder, addresses));
            additional(&Message::parse(&sent).unwrap().payloads)
        };
        let some: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(told(&some), Some(some.to_vec()));
        assert_eq!(told(&[]), Some(Vec::new()), "NO_ADDITIONAL_ADDRESSES");
        let silent = message(|_| {});
        assert_eq!(additional(&Message::parse(&silent).unwrap().payloads), None);
        let useless = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "ff02::1"];
        let useless = useless.map(|text| text.parse().unwrap());
        assert_eq!(told(&useless), None);
        let many: Vec<_> = (0..20).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        let sent = message(|builder| {
            for address in &many {
                push_additional(builder, std::slice::from_ref(address));
            }
        });
        let heard = additional(&Message::parse(&sent).unwrap().payloads);
        assert_eq!(heard.map(|heard| heard.len()), Some(MAX_ADDRESSES));
    }
}
