//! Another configuration: the machine's side of it.

use std::path::PathBuf;
use std::sync::Arc;

use esp::spec::Selector;
use ike::Changes;
use ike::config::Connection;

use super::Engine;
use crate::clock;
use crate::config::{ConnectionSettings, DaemonConfig, DaemonSettings, InnerAddress, Start};
use crate::daemon::tcp_port;
use crate::leases::LeaseStore;

/// What is in force, as far as the endpoint does not know it.
pub struct Running {
    /// What concerns the daemon as a whole.
    pub daemon: DaemonSettings,
    /// The machine's side of each connection.
    pub connections: Vec<ConnectionSettings>,
    /// Where that is kept which outlives a restart.
    pub state_dir: PathBuf,
}

impl Running {
    fn connection(&self, name: &str) -> Option<&ConnectionSettings> {
        self.connections.iter().find(|it| &*it.name == name)
    }

    fn inner_addresses(&self) -> Vec<InnerAddress> {
        inner_addresses(&self.connections)
    }
}

impl Engine {
    /// Goes on with another configuration: see [`ike::Endpoint::reconfigure`].
    /// What the machine needs for it is there before anything else happens.
    pub(super) fn reconfigure(&mut self, config: DaemonConfig) -> Result<Changes, String> {
        let DaemonConfig { daemon, connections, ike, .. } = config;
        if daemon != self.running.daemon {
            return Err("what is in [daemon] has changed: that takes a restart".to_owned());
        }
        self.listen(tcp_port(&daemon, &ike.connections))?;
        let leases = self.open_leases(!ike.pools.is_empty())?;
        let new_addresses = inner_addresses(&connections);
        self.add_addresses(&new_addresses)?;

        let answering: Vec<_> = ike.connections.iter().map(Arc::clone).collect();
        let changes = self.endpoint.reconfigure(clock::now(), ike);
        self.endpoint.restore_leases(&leases);
        let names = connections.iter().map(|it| (Arc::clone(&it.name), it.names.clone()));
        self.inner.reconfigure(names.collect());
        self.start(&connections);
        self.carry_out();

        self.keep_routes(&answering);
        let old_addresses = self.running.inner_addresses();
        self.running.connections = connections;
        self.remove_addresses(&old_addresses);
        Ok(changes)
    }

    /// The first configuration, of which the machine has the addresses already.
    pub fn begin(&mut self, machine: Vec<ConnectionSettings>, connections: &[Arc<Connection>]) {
        self.keep_routes(connections);
        self.start(&machine);
        self.running.connections = machine;
    }

    /// When each connection is brought up, where that has changed.
    fn start(&mut self, connections: &[ConnectionSettings]) {
        for ConnectionSettings { name, start, .. } in connections {
            let before = self.running.connection(name).map_or(Start::Manual, |it| it.start);
            if before == *start {
                continue;
            }
            self.endpoint.let_go(name);
            match start {
                Start::Manual => {}
                Start::OnBoot => self.endpoint.keep_up(clock::now(), name),
                Start::OnTraffic => self.endpoint.arm(name),
            }
        }
    }

    /// The first connection that waits for peers opens the TCP port for them. It
    /// stays open: whoever comes to nobody is sent away.
    fn listen(&self, tcp_port: Option<u16>) -> Result<(), String> {
        let Some(port) = tcp_port else { return Ok(()) };
        let opened = self.net.streams().listen(port);
        opened.map_err(|error| format!("cannot open TCP port {port}: {error}"))
    }

    /// A gateway that gives addresses from now on keeps their leases.
    fn open_leases(&mut self, is_needed: bool) -> Result<Vec<ike::pool::Lease>, String> {
        if !is_needed || self.leases.is_some() {
            return Ok(Vec::new());
        }
        let opened = LeaseStore::open(&self.running.state_dir);
        let (store, leases) = opened.map_err(|error| format!("{error:#}"))?;
        self.leases = Some(store);
        Ok(leases)
    }

    /// All of them, or none.
    fn add_addresses(&mut self, addresses: &[InnerAddress]) -> Result<(), String> {
        for (count, inner) in addresses.iter().enumerate() {
            if let Err(error) = self.routes.add_address(inner.address, inner.prefix) {
                self.remove_addresses(addresses.get(..count).unwrap_or_default());
                return Err(format!("{error:#}"));
            }
        }
        Ok(())
    }

    fn remove_addresses(&mut self, addresses: &[InnerAddress]) {
        for inner in addresses {
            if let Err(error) = self.routes.remove_address(inner.address, inner.prefix) {
                tracing::warn!("an inner address is still on the device: {error:#}");
            }
        }
    }

    /// Connections that only answer have routes as long as they are configured.
    fn keep_routes(&mut self, connections: &[Arc<Connection>]) {
        let answering = connections.iter().filter(|it| it.remote_addrs.is_empty());
        let kept = answering.flat_map(|it| it.children.iter());
        let kept: Vec<(&[Selector], &[Selector])> =
            kept.map(|(_, child)| (&*child.local_ts, &*child.remote_ts)).collect();
        let status = self.endpoint.status();
        let sas = status.connections.iter().filter_map(|it| it.sa.as_ref());
        let children = sas.flat_map(|sa| &sa.children);
        let children = children.map(|it| (it.id, &*it.local_ts, &*it.remote_ts));
        self.routes.keep(&kept, children);
    }
}

fn inner_addresses(connections: &[ConnectionSettings]) -> Vec<InnerAddress> {
    connections.iter().flat_map(|it| it.inner_addrs.iter().copied()).collect()
}
