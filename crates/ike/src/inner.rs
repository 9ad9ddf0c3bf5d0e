//! What an initiator is given for the inside of the tunnel: addresses, name
//! servers, domains (RFC 7296 section 2.19, RFC 8598).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use esp::spec::{Prefix, Selector};
use serde::{Serialize, Serializer};

#[doc(hidden)]
pub use crate::exchange::configuration::fuzz;

/// At most one address of each family. Where addresses are asked for, an
/// unspecified one stands for any.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Addresses {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Neither.
    pub const NONE: Self = Self { v4: None, v6: None };

    /// Whether there is neither.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// Those that there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Takes an address in the place of its family.
    pub const fn set(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4 = Some(address),
            IpAddr::V6(address) => self.v6 = Some(address),
        }
    }

    /// These families, but with the addresses of `earlier` where it has any:
    /// what a session asks for to be reached where it was (RFC 5723 section 5).
    #[must_use]
    pub fn preferring(self, earlier: Self) -> Self {
        Self {
            v4: self.v4.map(|any| earlier.v4.unwrap_or(any)),
            v6: self.v6.map(|any| earlier.v6.unwrap_or(any)),
        }
    }

    /// All traffic of exactly these addresses.
    pub fn selectors(&self) -> impl Iterator<Item = Selector> + use<> {
        self.iter().map(|address| Selector::subnet(address, u8::MAX))
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(list: I) -> Self {
        let mut addresses = Self::NONE;
        list.into_iter().for_each(|address| addresses.set(address));
        addresses
    }
}

/// Whether a host can have this address inside a tunnel, or be asked there.
#[must_use]
pub fn is_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast)
}

/// A domain name: letters, digits, `-` and `_`, without a final dot, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Text that is no domain name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a domain name")]
pub struct BadDomain;

impl Domain {
    /// The longest name, in octets (RFC 1035 section 2.3.4).
    pub const MAX: usize = 253;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `other` or a part of it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let rest = self.0.strip_suffix(&*other.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for Domain {
    type Err = BadDomain;

    fn from_str(text: &str) -> Result<Self, BadDomain> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_good);
        if name.len() > Self::MAX || !name.split('.').all(is_label) {
            return Err(BadDomain);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a gateway tells its clients besides an address.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Network {
    /// Name servers, the preferred first.
    pub dns: Vec<IpAddr>,
    /// The domains that these servers are to be asked for; empty: all.
    pub domains: Vec<Domain>,
    /// What lies behind the gateway.
    pub subnets: Vec<Prefix>,
}

impl Network {
    /// More than this of each kind is neither sent nor taken.
    pub const MAX_ITEMS: usize = 32;
}

/// What a client was given.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Assignment {
    /// Its addresses: at least one.
    pub addresses: Addresses,
    /// The rest.
    pub network: Network,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Result<Domain, BadDomain> {
        text.parse()
    }

    #[test]
    fn a_domain_is_labels_without_surprises() {
        assert_eq!(domain("Corp.Example.").unwrap().as_str(), "corp.example");
        for bad in ["", ".", "a..b", "a b", "a\0", "a\n", "exämple", &"a".repeat(64)] {
            assert_eq!(domain(bad), Err(BadDomain), "{bad:?}");
        }
        assert!(domain(&vec!["abc"; 63].join(".")).is_ok());
        assert_eq!(domain(&vec!["abc"; 64].join(".")), Err(BadDomain));
    }

    #[test]
    fn a_domain_is_within_itself_and_its_parents() {
        let within = |a, b| domain(a).unwrap().is_within(&domain(b).unwrap());
        assert!(within("corp.example", "corp.example"));
        assert!(within("a.corp.example", "corp.example"));
        assert!(!within("notcorp.example", "corp.example"));
        assert!(!within("example", "corp.example"));
    }

    #[test]
    fn only_families_that_are_wanted_prefer_an_earlier_address() {
        let wanted = Addresses { v4: Some(Ipv4Addr::UNSPECIFIED), v6: None };
        let earlier = ["10.3.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let earlier: Addresses = earlier.into_iter().collect();
        assert_eq!(wanted.preferring(earlier), Addresses { v4: earlier.v4, v6: None });
        assert_eq!(wanted.preferring(Addresses::NONE), wanted);
    }
}
