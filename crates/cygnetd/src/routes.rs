//! Which routes lead into the TUN device, and when.
//!
//! A selector is routed while anything needs it: a group that holds packets
//! back, or a child. Connections that only answer have theirs from the start,
//! so that ten thousand clients cost no route each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Context as _;
use esp::plane::{Command, Hold};
use esp::spec::{ChildId, GroupId, Selector};
use tokio::runtime::Runtime;

use crate::links::{Links, LinksConfig};

/// The routes of a daemon. Changes are awaited: a command that has been
/// answered finds its routes in place.
pub struct Routes {
    runtime: Runtime,
    links: Links,
    inner: Vec<IpAddr>,
    always: Vec<Selector>,
    groups: BTreeMap<GroupId, Vec<Selector>>,
    children: BTreeMap<ChildId, Vec<Selector>>,
}

/// Routes that come and go with one command of the plane.
#[derive(Default)]
pub struct Change {
    local: Vec<Selector>,
    add: Vec<Selector>,
    remove: Vec<Selector>,
}

impl Routes {
    /// Cleans up after a daemon that was killed, and makes the rules.
    /// `interface` is the index of the device.
    ///
    /// # Errors
    /// What the system refused.
    pub fn prepare(config: &LinksConfig, interface: u32) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let links = runtime.block_on(async {
            let links = Links::open(config, interface).context("cannot open netlink")?;
            let cleaned = links.clean_leftovers().await?;
            if cleaned > 0 {
                tracing::info!("removed {cleaned} rules and routes of an earlier daemon");
            }
            links.install_rules().await?;
            anyhow::Ok(links)
        })?;
        let (inner, always) = (Vec::new(), Vec::new());
        let (groups, children) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { runtime, links, inner, always, groups, children })
    }

    /// Puts an inner address on the device.
    ///
    /// # Errors
    /// What the system refused.
    pub fn add_address(&mut self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        self.runtime.block_on(self.links.add_address(address, prefix))?;
        self.inner.push(address);
        Ok(())
    }

    /// Takes one [`Routes::add_address`] back.
    ///
    /// # Errors
    /// What the system refused.
    pub fn remove_address(&mut self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        if let Some(place) = self.inner.iter().position(|inner| *inner == address) {
            self.inner.remove(place);
        }
        Ok(self.runtime.block_on(self.links.remove_address(address, prefix))?)
    }

    /// Routes what is between each of these pairs, local and remote, in place
    /// of those of the last call. Children that they cover have none of their
    /// own, and the others have.
    pub fn keep<'a>(
        &mut self,
        pairs: &[(&[Selector], &[Selector])],
        children: impl Iterator<Item = (ChildId, &'a [Selector], &'a [Selector])>,
    ) {
        for (local, remote) in pairs {
            self.add(&Change { local: local.to_vec(), add: remote.to_vec(), remove: Vec::new() });
        }
        let always = pairs.iter().flat_map(|(_, remote)| remote.iter().copied()).collect();
        let former = std::mem::replace(&mut self.always, always);
        for (child, local, remote) in children {
            let add = self.uncovered(remote);
            let remove = self.children.insert(child, add.clone()).unwrap_or_default();
            let change = Change { local: local.to_vec(), add, remove };
            self.add(&change);
            self.remove(&change);
        }
        self.remove(&Change::removing(former));
    }

    /// What a command means for routes.
    pub fn change_for(&mut self, command: &Command) -> Change {
        match command {
            Command::Hold(Hold { group, local_ts, remote_ts, .. }) => {
                let remove = self.groups.insert(*group, remote_ts.clone()).unwrap_or_default();
                Change { local: local_ts.clone(), add: remote_ts.clone(), remove }
            }
            Command::Release(group) => {
                Change::removing(self.groups.remove(group).unwrap_or_default())
            }
            Command::Install(spec) => {
                let add = self.uncovered(&spec.remote_ts);
                let remove = self.children.insert(spec.id, add.clone()).unwrap_or_default();
                Change { local: spec.local_ts.clone(), add, remove }
            }
            Command::Remove(child) => {
                Change::removing(self.children.remove(child).unwrap_or_default())
            }
            Command::Prefer(_) | Command::Move(..) | Command::Discard(_) => Change::default(),
        }
    }

    /// Makes the new routes.
    pub fn add(&mut self, change: &Change) {
        for selector in &change.add {
            let source = self.source(&change.local, selector);
            let added = self.runtime.block_on(self.links.add_route(selector, source));
            if let Err(error) = added {
                tracing::error!("{selector} is not routed into the tunnel: {error}");
            }
        }
    }

    /// Takes back those that nobody needs any more.
    pub fn remove(&mut self, change: &Change) {
        for selector in &change.remove {
            if let Err(error) = self.runtime.block_on(self.links.remove_route(selector)) {
                tracing::warn!("{selector} is still routed into the tunnel: {error}");
            }
        }
    }

    /// Takes all of it back.
    pub fn close(self) {
        if let Err(error) = self.runtime.block_on(self.links.close()) {
            tracing::warn!("not everything was taken back: {error}");
        }
    }

    fn uncovered(&self, selectors: &[Selector]) -> Vec<Selector> {
        let covered =
            |s: &Selector| self.always.iter().any(|a| a.intersection(s).as_ref() == Some(s));
        selectors.iter().filter(|selector| !covered(selector)).copied().collect()
    }

    /// The inner address that the other end expects as a source.
    fn source(&self, local: &[Selector], remote: &Selector) -> Option<IpAddr> {
        let family = remote.start().is_ipv4();
        let expected = |address: &IpAddr| {
            address.is_ipv4() == family
                && local.iter().any(|s| s.contains(*address, s.protocol(), Some(s.ports().0)))
        };
        self.inner.iter().copied().find(expected)
    }
}

impl Change {
    fn removing(remove: Vec<Selector>) -> Self {
        Self { remove, ..Self::default() }
    }
}
