//! What gateways have given our connections, as the machine sees it: addresses
//! on the TUN device, name servers with the resolver.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ike::inner::{Assignment, Domain};

use crate::config;
use crate::names::{Names, Servers};
use crate::routes::Routes;

/// All that was given, by connection.
pub struct Inner {
    names: Names,
    settings: BTreeMap<Arc<str>, config::Names>,
    given: BTreeMap<Arc<str>, Arc<Assignment>>,
}

impl Inner {
    /// Nothing was given yet.
    #[must_use]
    pub const fn new(names: Names, settings: BTreeMap<Arc<str>, config::Names>) -> Self {
        Self { names, settings, given: BTreeMap::new() }
    }

    /// A connection has this from now on, in place of what it had. Addresses
    /// that it keeps are not touched: sockets are bound to them.
    pub fn set(&mut self, routes: &mut Routes, name: Arc<str>, given: Option<Arc<Assignment>>) {
        let new = given.clone();
        let old = match given {
            Some(given) => self.given.insert(name, given),
            None => self.given.remove(&name),
        };
        let (old, new) = (addresses(old.as_deref()), addresses(new.as_deref()));
        for &address in new.iter().filter(|address| !old.contains(address)) {
            if let Err(error) = routes.add_address(address, host_prefix(address)) {
                tracing::error!("the inner address is not on the device: {error}");
            }
        }
        for &address in old.iter().filter(|address| !new.contains(address)) {
            if let Err(error) = routes.remove_address(address, host_prefix(address)) {
                tracing::warn!("the inner address is still on the device: {error}");
            }
        }
        self.names.set(self.servers());
    }

    /// Connections let their gateways say something else about names from now on.
    pub fn reconfigure(&mut self, settings: BTreeMap<Arc<str>, config::Names>) {
        self.settings = settings;
        self.names.set(self.servers());
    }

    /// All name servers behind our tunnels, also those that the resolver is not told of.
    #[must_use]
    pub fn name_servers(&self) -> Vec<IpAddr> {
        self.given.values().flat_map(|given| given.network.dns.iter().copied()).collect()
    }

    /// Takes everything back but the addresses, which go with the routes.
    pub fn close(self) {
        self.names.close();
    }

    /// The servers of all connections together. Those that are to be asked for
    /// some domains only are not asked for all because of others.
    fn servers(&self) -> Servers {
        let mut all = Servers::default();
        let mut unbounded = Vec::new();
        for (name, given) in &self.given {
            let Some(settings) = self.settings.get(name).filter(|names| names.enabled) else {
                continue;
            };
            let domains = claimed(&settings.claims, &given.network.domains);
            if domains.is_empty() {
                unbounded.extend_from_slice(&given.network.dns);
            } else {
                all.servers.extend_from_slice(&given.network.dns);
                all.domains.extend(domains);
            }
        }
        if all.domains.is_empty() { Servers { servers: unbounded, ..all } } else { all }
    }
}

fn claimed(claims: &config::Claims, domains: &[Domain]) -> Vec<Domain> {
    let may_claim = |domain: &&Domain| match claims {
        config::Claims::Any => true,
        config::Claims::Within(list) => list.iter().any(|of| domain.is_within(of)),
    };
    domains.iter().filter(may_claim).cloned().collect()
}

fn addresses(given: Option<&Assignment>) -> Vec<IpAddr> {
    given.map_or_else(Vec::new, |given| given.addresses.iter().collect())
}

const fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_claims_only_what_it_may() {
        let domain = |text: &str| text.parse::<Domain>().unwrap();
        let said = [domain("corp.example"), domain("lab.corp.example"), domain("bank.example")];
        let within = |list: &[&str]| {
            let list = list.iter().map(|text| domain(text)).collect();
            claimed(&config::Claims::Within(list), &said)
        };
        assert_eq!(claimed(&config::Claims::Any, &said), said);
        assert_eq!(within(&["corp.example"]), said[..2]);
        assert_eq!(within(&[]), []);
    }
}
