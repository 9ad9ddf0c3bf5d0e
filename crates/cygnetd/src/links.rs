//! Inner addresses, routes and policy rules, through rtnetlink.
//!
//! ```text
//! let mut links = Links::open(&LinksConfig::default(), tun.index()).await?;   inside a tokio runtime
//! links.clean_leftovers().await?          what a killed daemon of this table left
//! links.install_rules().await?            once
//! links.add_address(address, 32).await?   links.remove_address(address, 32).await?
//! links.add_route(&selector, Some(inner_address)).await?   links.remove_route(&selector).await?
//! links.close().await                     takes all of it back
//! ```
//!
//! Routes live in a table of our own that the rule `not fwmark MARK lookup
//! TABLE` leads to. Our own sealed packets carry the mark (see
//! [`crate::net::NetConfig::mark`]) and pass it by, so that 0.0.0.0/0 can be
//! routed into the tunnel without sealed packets looping there.
//!
//! Every rule has our priority, table and protocol number, every route our
//! table and protocol number: that is how leftovers are told from what others
//! have made. Two daemons in one network namespace need different tables,
//! marks and interface names.
//!
//! Beside each route stands an unreachable one of lower preference
//! ([`LinksConfig::fail_closed`]). It does not go away with the TUN device, so
//! that after the daemon was killed packets for the tunnel fail instead of
//! leaving in clear text, until the next start cleans up.
//!
//! With strict reverse path filtering on the outer interface, a route of
//! 0.0.0.0/0 makes the system drop sealed packets: the filter does not see the
//! mark unless `net.ipv4.conf.all.src_valid_mark` is 1.

use std::collections::BTreeMap;
use std::net::IpAddr;

use esp::spec::{Prefix, Selector};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{AddressMessageBuilder, Handle, IpVersion, RouteMessageBuilder};
use tokio::task::JoinHandle;

/// Marks what is ours in the system's tables. Not assigned to any other
/// routing daemon (iproute2's `rt_protos`).
pub(crate) const PROTOCOL: u8 = 157;

/// Every real route is preferred to this metric.
const UNREACHABLE_METRIC: u32 = u32::MAX - 1;

/// Names of tables, marks and rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinksConfig {
    /// The routing table.
    pub table: u32,
    /// The mark of our own sealed packets; the one of the sockets.
    pub mark: u32,
    /// The priority of the rules.
    pub priority: u32,
    /// Whether routes outlive the device as unreachable ones.
    pub fail_closed: bool,
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self { table: 5723, mark: 0x5723, priority: 5723, fail_closed: true }
    }
}

/// A change that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct LinkError {
    action: String,
    reason: String,
    errno: Option<i32>,
}

impl LinkError {
    fn new(action: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let action = action.into();
        match error {
            rtnetlink::Error::NetlinkError(message) => {
                let io = message.to_io();
                Self { action, reason: io.to_string(), errno: io.raw_os_error() }
            }
            other => Self { action, reason: other.to_string(), errno: None },
        }
    }

    /// The error number of the system, if it gave one.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        self.errno
    }

    fn is_any_of(&self, errnos: &[i32]) -> bool {
        self.errno.is_some_and(|errno| errnos.contains(&errno))
    }
}

/// What this daemon has put into the system's tables.
pub struct Links {
    config: LinksConfig,
    interface: u32,
    handle: Handle,
    connection: JoinHandle<()>,
    /// Routes and how many connections want each.
    routes: BTreeMap<Prefix, u32>,
    addresses: BTreeMap<(IpAddr, u8), u32>,
}

impl Links {
    /// Connects to the system; changes nothing. `interface` is the index of
    /// the TUN device. The current tokio runtime drives the connection.
    ///
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open(config: &LinksConfig, interface: u32) -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let config = config.clone();
        let (routes, addresses) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { config, interface, handle, connection, routes, addresses })
    }

    /// Removes the rules and routes of an earlier daemon with this table and
    /// priority, and nothing else. Its device and addresses went with it.
    /// Returns how many there were.
    ///
    /// # Errors
    /// The system refused to list or to remove.
    pub async fn clean_leftovers(&self) -> Result<usize, LinkError> {
        let mut removed = 0;
        for version in [IpVersion::V4, IpVersion::V6] {
            removed += self.clean_rules(version).await?;
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            removed += self.clean_routes(family).await?;
        }
        Ok(removed)
    }

    async fn clean_rules(&self, version: IpVersion) -> Result<usize, LinkError> {
        let failed = |error| LinkError::new("list policy rules", &error);
        let rules = self.handle.rule().get(version).execute();
        let ours: Vec<_> = rules
            .try_filter(|rule| std::future::ready(self.is_our_rule(rule)))
            .try_collect()
            .await
            .map_err(failed)?;
        let count = ours.len();
        for rule in ours {
            self.remove_rule(rule).await?;
        }
        Ok(count)
    }

    async fn clean_routes(&self, family: AddressFamily) -> Result<usize, LinkError> {
        let failed = |error| LinkError::new("list routes", &error);
        let mut every = RouteMessage::default();
        every.header.address_family = family;
        let routes = self.handle.route().get(every).execute();
        let ours: Vec<_> = routes
            .try_filter(|route| std::future::ready(self.is_our_route(route)))
            .try_collect()
            .await
            .map_err(failed)?;
        let count = ours.len();
        for route in ours {
            let removed = self.handle.route().del(route).execute().await;
            tolerate(removed, &[libc::ESRCH, libc::ENOENT], "remove a leftover route")?;
        }
        Ok(count)
    }

    fn is_our_rule(&self, rule: &RuleMessage) -> bool {
        let has = |wanted: &RuleAttribute| rule.attributes.contains(wanted);
        let table = rule
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RuleAttribute::Table(table) => Some(*table),
                _ => None,
            })
            .unwrap_or_else(|| rule.header.table.into());
        table == self.config.table
            && has(&RuleAttribute::Priority(self.config.priority))
            && has(&RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)))
    }

    fn is_our_route(&self, route: &RouteMessage) -> bool {
        let table = route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Table(table) => Some(*table),
                _ => None,
            })
            .unwrap_or_else(|| route.header.table.into());
        table == self.config.table && route.header.protocol == RouteProtocol::from(PROTOCOL)
    }

    /// Adds the rule that leads to our table, for both families. A machine
    /// without IPv6 gets none for it.
    ///
    /// # Errors
    /// The system refused; `EEXIST` if there are leftovers.
    pub async fn install_rules(&self) -> Result<(), LinkError> {
        self.add_rule(AddressFamily::Inet).await?;
        match self.add_rule(AddressFamily::Inet6).await {
            Err(error) if error.is_any_of(&[libc::EAFNOSUPPORT, libc::EOPNOTSUPP]) => Ok(()),
            result => result,
        }
    }

    async fn add_rule(&self, family: AddressFamily) -> Result<(), LinkError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = self.rule(family);
        let failed = |error| LinkError::new("add the policy rule", &error);
        request.execute().await.map_err(failed)
    }

    async fn remove_rule(&self, rule: RuleMessage) -> Result<(), LinkError> {
        let removed = self.handle.rule().del(rule).execute().await;
        let gone = [libc::ENOENT, libc::ESRCH, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        tolerate(removed, &gone, "remove the policy rule")
    }

    /// `not fwmark MARK lookup TABLE`
    fn rule(&self, family: AddressFamily) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = family;
        rule.header.action = RuleAction::ToTable;
        rule.header.flags = RuleFlags::Invert;
        rule.attributes = vec![
            RuleAttribute::Priority(self.config.priority),
            RuleAttribute::FwMark(self.config.mark),
            RuleAttribute::Table(self.config.table),
            RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
        ];
        rule
    }

    /// Gives the TUN device an inner address. May be called again for the same
    /// one; it stays until removed as often.
    ///
    /// # Errors
    /// The system refused.
    pub async fn add_address(&mut self, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let mut request = self.handle.address().add(self.interface, address, prefix).replace();
        // The tunnel has no neighbours to ask, and a tentative address cannot
        // be the source of a route.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        let failed = |error| LinkError::new(format!("add address {address}/{prefix}"), &error);
        request.execute().await.map_err(failed)?;
        *self.addresses.entry((address, prefix)).or_default() += 1;
        Ok(())
    }

    /// Takes one [`Links::add_address`] back.
    ///
    /// # Errors
    /// The system refused; an address that is gone already is none.
    pub async fn remove_address(&mut self, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        if !release(&mut self.addresses, (address, prefix)) {
            return Ok(());
        }
        self.delete_address(address, prefix).await
    }

    async fn delete_address(&self, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let message = address_message(self.interface, address, prefix);
        let removed = self.handle.address().del(message).execute().await;
        let gone = [libc::EADDRNOTAVAIL, libc::ENODEV];
        tolerate(removed, &gone, &format!("remove address {address}/{prefix}"))
    }

    /// Routes the addresses of a remote selector into the TUN device, with
    /// `source` as the preferred source address. Ports and protocols are the
    /// plane's business. A prefix that several want stays until all have
    /// removed it.
    ///
    /// # Errors
    /// The system refused; some of the selector's prefixes may be routed then.
    pub async fn add_route(
        &mut self,
        remote: &Selector,
        source: Option<IpAddr>,
    ) -> Result<(), LinkError> {
        for prefix in remote.prefixes() {
            self.install_route(self.unicast(prefix, source), prefix).await?;
            if self.config.fail_closed {
                self.install_route(self.unreachable(prefix), prefix).await?;
            }
            *self.routes.entry(prefix).or_default() += 1;
        }
        Ok(())
    }

    async fn install_route(
        &self,
        route: Result<RouteMessage, LinkError>,
        prefix: Prefix,
    ) -> Result<(), LinkError> {
        let request = self.handle.route().add(route?).replace();
        let failed = |error| LinkError::new(format!("add a route to {prefix}"), &error);
        request.execute().await.map_err(failed)
    }

    /// Takes one [`Links::add_route`] of the same selector back.
    ///
    /// # Errors
    /// The system refused; a route that is gone already is none.
    pub async fn remove_route(&mut self, remote: &Selector) -> Result<(), LinkError> {
        for prefix in remote.prefixes() {
            if release(&mut self.routes, prefix) {
                self.delete_route(prefix).await?;
            }
        }
        Ok(())
    }

    async fn delete_route(&self, prefix: Prefix) -> Result<(), LinkError> {
        let action = format!("remove the route to {prefix}");
        let mut routes = vec![self.unicast(prefix, None)?];
        if self.config.fail_closed {
            routes.push(self.unreachable(prefix)?);
        }
        for route in routes {
            let removed = self.handle.route().del(route).execute().await;
            tolerate(removed, &[libc::ESRCH, libc::ENOENT, libc::ENODEV], &action)?;
        }
        Ok(())
    }

    fn unicast(&self, prefix: Prefix, source: Option<IpAddr>) -> Result<RouteMessage, LinkError> {
        let source = source.filter(|source| source.is_ipv4() == prefix.address.is_ipv4());
        let route = self.route_to(prefix)?.output_interface(self.interface);
        let Some(source) = source else { return Ok(route.build()) };
        let route = route.pref_source(source).map_err(|_| invalid(prefix))?;
        Ok(route.build())
    }

    fn unreachable(&self, prefix: Prefix) -> Result<RouteMessage, LinkError> {
        let route = self.route_to(prefix)?;
        Ok(route.kind(RouteType::Unreachable).priority(UNREACHABLE_METRIC).build())
    }

    fn route_to(&self, prefix: Prefix) -> Result<RouteMessageBuilder<IpAddr>, LinkError> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.address, prefix.len)
            .map_err(|_| invalid(prefix))?;
        Ok(route.table_id(self.config.table).protocol(RouteProtocol::from(PROTOCOL)))
    }

    /// Takes everything back: routes, addresses, rules.
    ///
    /// # Errors
    /// The first thing that the system refused; the rest is taken back all the same.
    pub async fn close(mut self) -> Result<(), LinkError> {
        let mut result = Ok(());
        for (prefix, _) in std::mem::take(&mut self.routes) {
            result = result.and(self.delete_route(prefix).await);
        }
        for ((address, prefix), _) in std::mem::take(&mut self.addresses) {
            result = result.and(self.delete_address(address, prefix).await);
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            result = result.and(self.remove_rule(self.rule(family)).await);
        }
        result
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Counts one user less; `true` when that was the last.
fn release<K: Ord>(users: &mut BTreeMap<K, u32>, key: K) -> bool {
    match users.get_mut(&key) {
        Some(count) if *count > 1 => {
            *count -= 1;
            false
        }
        Some(_) => users.remove(&key).is_some(),
        None => false,
    }
}

fn tolerate(
    result: Result<(), rtnetlink::Error>,
    errnos: &[i32],
    action: &str,
) -> Result<(), LinkError> {
    match result.map_err(|error| LinkError::new(action, &error)) {
        Err(error) if error.is_any_of(errnos) => Ok(()),
        result => result,
    }
}

fn invalid(prefix: Prefix) -> LinkError {
    let reason = "not a valid route".to_owned();
    LinkError { action: format!("route {prefix}"), reason, errno: None }
}

fn address_message(interface: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<std::net::Ipv4Addr>::new().address(address, prefix).build()
        }
        IpAddr::V6(address) => {
            AddressMessageBuilder::<std::net::Ipv6Addr>::new().address(address, prefix).build()
        }
    };
    message.header.index = interface;
    message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
    message
}
