//! Redirects (RFC 5685): where a gateway sends its clients, and how far a
//! client follows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Connection;
use crate::time::Instant;
use crate::wire::{GatewayId, NotifyType, Payloads, is_host_name};

/// MAX_REDIRECTS: as many are followed in [`LOOP_PERIOD`] (RFC 5685 section 7).
const MAX_REDIRECTS: usize = 5;

/// REDIRECT_LOOP_DETECT_PERIOD (RFC 5685 section 7).
const LOOP_PERIOD: Duration = Duration::from_secs(300);

/// A gateway that clients are sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gateway {
    /// By its address.
    Address(IpAddr),
    /// By its name in the DNS.
    Name(Arc<str>),
}

/// Neither an address nor the name of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither the IP address nor the name of a host")]
pub struct BadGateway;

impl Gateway {
    /// As it goes over the wire, with the client's nonce behind it in an answer
    /// in clear.
    pub(crate) fn emit(&self, nonce: &[u8]) -> Vec<u8> {
        match self {
            Self::Address(address) => GatewayId::Address(*address),
            Self::Name(name) => GatewayId::Name(name),
        }
        .emit(nonce)
    }
}

impl From<GatewayId<'_>> for Gateway {
    fn from(id: GatewayId<'_>) -> Self {
        match id {
            GatewayId::Address(address) => Self::Address(address),
            GatewayId::Name(name) => Self::Name(name.into()),
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Gateway {
    type Err = BadGateway;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            Ok(address) if is_host(address) => Ok(Self::Address(address)),
            Ok(_) => Err(BadGateway),
            Err(_) if is_host_name(text) => Ok(Self::Name(text.into())),
            Err(_) => Err(BadGateway),
        }
    }
}

/// Where a gateway sends its clients, besides what its connections say.
#[derive(Default)]
pub(crate) struct Redirects {
    all: Option<Gateway>,
    by_name: BTreeMap<Arc<str>, Gateway>,
}

impl Redirects {
    /// Where the clients of `name`, or those of every connection, are sent from
    /// now on; `None`: where the configuration says. What is said of every
    /// connection takes the place of what was said of one.
    pub(crate) fn set(&mut self, name: Option<&Arc<str>>, to: Option<Gateway>) {
        match (name, to) {
            (None, to) => {
                self.by_name.clear();
                self.all = to;
            }
            (Some(name), Some(to)) => {
                self.by_name.insert(Arc::clone(name), to);
            }
            (Some(name), None) => {
                self.by_name.remove(name);
            }
        }
    }

    /// Where a client of `connection` is sent that has come to our address
    /// `local`; `None`: nowhere. One that has been told to come here stays
    /// (RFC 5685 section 4).
    pub(crate) fn of<'a>(
        &'a self,
        connection: &'a Connection,
        local: IpAddr,
    ) -> Option<&'a Gateway> {
        let to = self.by_name.get(&connection.name).or(self.all.as_ref());
        to.or(connection.redirect.to.as_ref()).filter(|to| **to != Gateway::Address(local))
    }
}

/// Whether a client says that it can be redirected (RFC 5685 section 3).
pub(crate) fn is_supported(payloads: &Payloads<'_>) -> bool {
    let says = |kind| payloads.notify(kind).is_some();
    says(NotifyType::REDIRECT_SUPPORTED) || says(NotifyType::REDIRECTED_FROM)
}

/// Where an authentic message sends us, if we follow.
pub(crate) fn target(connection: &Connection, payloads: &Payloads<'_>) -> Option<Gateway> {
    let notify = payloads.notify(NotifyType::REDIRECT).filter(|_| connection.redirect.follow)?;
    notify.gateway().map(|(gateway, _)| gateway.into())
}

/// Where the first request of an attempt goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Towards {
    /// Where the connection says.
    Configured,
    /// To a gateway that we had been redirected to before: the session's ticket
    /// is of it.
    Gateway(IpAddr),
    /// To a gateway that another one has redirected us to.
    Redirected {
        /// Where it is.
        to: IpAddr,
        /// Who has redirected us.
        by: IpAddr,
    },
}

impl Towards {
    /// If not where the connection says.
    pub(crate) const fn gateway(self) -> Option<IpAddr> {
        match self {
            Self::Configured => None,
            Self::Gateway(to) | Self::Redirected { to, .. } => Some(to),
        }
    }

    /// What the first request says of redirects (RFC 5685 section 3).
    pub(crate) fn notify(self) -> (NotifyType, Vec<u8>) {
        match self {
            Self::Configured | Self::Gateway(_) => (NotifyType::REDIRECT_SUPPORTED, Vec::new()),
            Self::Redirected { by, .. } => {
                (NotifyType::REDIRECTED_FROM, GatewayId::Address(by).emit(&[]))
            }
        }
    }
}

/// The redirects that a client has followed, as long as they count.
#[derive(Default)]
pub(crate) struct Followed {
    at: Vec<Instant>,
}

impl Followed {
    /// Whether another is followed (RFC 5685 section 7). It counts if so.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        self.at.retain(|at| now.since(*at) < LOOP_PERIOD);
        let admits = self.at.len() < MAX_REDIRECTS;
        if admits {
            self.at.push(now);
        }
        admits
    }
}

/// The address of a gateway, as far as the connection allows: names are those
/// that it lists.
pub(crate) fn address(connection: &Connection, gateway: &Gateway) -> Option<IpAddr> {
    match gateway {
        Gateway::Address(address) => Some(*address).filter(|it| is_host(*it)),
        Gateway::Name(name) => {
            let mut names = connection.redirect.names.iter();
            names.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, address)| *address)
        }
    }
}

/// Whether a machine can have this address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(it) if it.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_an_address_or_a_name() {
        assert_eq!("192.0.2.1".parse(), Ok(Gateway::Address([192, 0, 2, 1].into())));
        assert_eq!("gw.example".parse(), Ok(Gateway::Name("gw.example".into())));
        for text in ["", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "192.0.2", "a b", "a..b"]
        {
            assert_eq!(text.parse::<Gateway>(), Err(BadGateway), "{text}");
        }
    }

    #[test]
    fn five_redirects_are_followed_in_five_minutes() {
        let mut followed = Followed::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        assert!((0..5).all(|n| followed.admits(at(10 * n))));
        assert!(!followed.admits(at(299)));
        assert!(followed.admits(at(300)));
        assert!(!followed.admits(at(309)));
        assert!(followed.admits(at(310)));
    }
}
