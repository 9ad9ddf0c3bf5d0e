//! The names of peers, and what is known of their addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{Connection, Host};
use crate::context::Context;
use crate::event::{LookupId, Output};
use crate::inner::Domain;
use crate::redirect::is_host;
use crate::wire::IkeSpi;

/// More addresses than this are not taken of a name: each may cost some seconds.
const MAX_ADDRESSES: usize = 8;

#[derive(Default)]
pub(crate) struct Lookups {
    last: u64,
    /// Those under way: of which name, and for which SA. It may be gone.
    pending: BTreeMap<LookupId, (Domain, IkeSpi)>,
    /// What the names of connections had when it was last known.
    known: BTreeMap<Domain, Vec<IpAddr>>,
}

impl Lookups {
    /// The addresses that a name had when it was looked up last; none, if that
    /// was never or in vain.
    pub(crate) fn known(&self, name: &Domain) -> &[IpAddr] {
        self.known.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names that no connection has any more are forgotten.
    pub(crate) fn retain(&mut self, connections: &[impl AsRef<Connection>]) {
        self.known.retain(|name, _| is_name_of(connections, name));
    }
}

impl Context {
    /// Asks for the addresses of a name, for the SA with this SPI.
    pub(crate) fn look_up(&mut self, name: &Domain, spi: IkeSpi) -> LookupId {
        self.lookups.last += 1;
        let id = LookupId(self.lookups.last);
        self.lookups.pending.insert(id, (name.clone(), spi));
        self.outputs.push_back(Output::Lookup(id, name.clone()));
        id
    }

    /// The end of a lookup: for which SA it was, and whether it has led to
    /// addresses. These are remembered, also when nobody waits for them any more.
    pub(crate) fn looked_up(
        &mut self,
        id: LookupId,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Option<(IkeSpi, bool)> {
        let (name, spi) = self.lookups.pending.remove(&id)?;
        let mut found = Vec::new();
        for address in addresses {
            if is_host(address) && !found.contains(&address) && found.len() < MAX_ADDRESSES {
                found.push(address);
            }
        }
        let has_addresses = !found.is_empty();
        if has_addresses && is_name_of(&self.connections, &name) {
            self.lookups.known.insert(name, found);
        }
        Some((spi, has_addresses))
    }
}

fn is_name_of(connections: &[impl AsRef<Connection>], name: &Domain) -> bool {
    let is_it = |host: &Host| matches!(host, Host::Name(other) if other == name);
    connections.iter().any(|it| it.as_ref().remote_addrs.iter().any(is_it))
}
