//! The machine's addresses and routes, as others change them: a laptop that
//! comes to another network takes its connections along.
//!
//! ```text
//! let mut watch = Watch::open(tun.index())?;   inside a tokio runtime
//! remote.tell_addresses(watch.addresses().await?);
//! watch.changed().await                         and again
//! ```

use std::io;
use std::net::IpAddr;

use futures_util::stream::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;

/// What is listened to.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Listens to what the system tells of its links, addresses and routes.
pub struct Watch {
    /// The TUN device, which is our own business.
    interface: u32,
    handle: Handle,
    connection: JoinHandle<()>,
    messages: Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Unpin>,
}

impl Watch {
    /// Begins to listen; what changes from here on is told. `interface` is the
    /// index of the TUN device. The current tokio runtime drives it.
    ///
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open(interface: u32) -> io::Result<Self> {
        let (connection, handle, messages) = new_multicast_connection(&GROUPS)?;
        let connection = tokio::spawn(connection);
        let messages = Box::new(messages.map(|(message, _)| message));
        Ok(Self { interface, handle, connection, messages })
    }

    /// All addresses of the machine that may be used now, but the inner ones.
    ///
    /// # Errors
    /// The system refused to list them.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, rtnetlink::Error> {
        let all = self.handle.address().get().execute();
        let ours: Vec<_> = all
            .try_filter_map(|message| std::future::ready(Ok(self.usable(&message))))
            .try_collect()
            .await?;
        Ok(ours)
    }

    fn usable(&self, message: &AddressMessage) -> Option<IpAddr> {
        let of = |pick: fn(&AddressAttribute) -> Option<IpAddr>| {
            message.attributes.iter().find_map(pick)
        };
        let local = of(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            of(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        address.filter(|_| message.header.index != self.interface && !is_tentative(message))
    }

    /// Waits until something has changed that is not ours. What changes at once
    /// is told once.
    pub async fn changed(&mut self) {
        loop {
            let Some(first) = self.messages.next().await else {
                // The socket is closed: nothing more will be told.
                return std::future::pending().await;
            };
            let mut matters = self.matters(&first);
            while let Some(Some(next)) = futures_util::FutureExt::now_or_never(self.messages.next())
            {
                matters |= self.matters(&next);
            }
            if matters {
                return;
            }
        }
    }

    fn matters(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
        use RouteNetlinkMessage as M;
        match &message.payload {
            NetlinkPayload::InnerMessage(M::NewAddress(it) | M::DelAddress(it)) => {
                it.header.index != self.interface
            }
            NetlinkPayload::InnerMessage(M::NewLink(it) | M::DelLink(it)) => {
                it.header.index != self.interface
            }
            NetlinkPayload::InnerMessage(M::NewRoute(it) | M::DelRoute(it)) => !self.is_ours(it),
            // Something was told faster than we listened.
            NetlinkPayload::Overrun(_) => true,
            _ => false,
        }
    }

    fn is_ours(&self, route: &RouteMessage) -> bool {
        let leads_to_us = route.attributes.contains(&RouteAttribute::Oif(self.interface));
        leads_to_us || route.header.protocol == crate::links::PROTOCOL.into()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Whether another machine on the link may have the address, too.
fn is_tentative(message: &AddressMessage) -> bool {
    let bad = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    let more = message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Flags(flags) => {
            flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
        }
        _ => false,
    });
    message.header.flags.intersects(bad) || more
}
