//! systemd-resolved, by its interface on the system bus
//! (org.freedesktop.resolve1).

use std::net::IpAddr;

use zbus::Connection;

use super::{Device, Servers};

const SERVICE: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";

/// Tells it our servers, or that there are none any more. `false` if it does
/// not run.
pub(super) async fn tell(device: &Device, servers: &Servers) -> zbus::Result<bool> {
    let Ok(bus) = Connection::system().await else { return Ok(false) };
    if !is_running(&bus).await? {
        return Ok(false);
    }
    let link = i32::try_from(device.index).unwrap_or(0);
    if servers.servers.is_empty() {
        call(&bus, "RevertLink", &(link,)).await?;
        return Ok(true);
    }
    let addresses: Vec<_> = servers.servers.iter().map(|&server| on_bus(server)).collect();
    call(&bus, "SetLinkDNS", &(link, addresses)).await?;
    call(&bus, "SetLinkDomains", &(link, domains(servers))).await?;
    call(&bus, "SetLinkDefaultRoute", &(link, servers.domains.is_empty())).await?;
    Ok(true)
}

/// Asked of the bus itself: a call would start a service that is not wanted.
async fn is_running(bus: &Connection) -> zbus::Result<bool> {
    let (name, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    let reply = bus.call_method(Some(name), path, Some(name), "NameHasOwner", &SERVICE).await?;
    reply.body().deserialize()
}

/// Names that are only routed by, never appended: the root for all.
fn domains(servers: &Servers) -> Vec<(String, bool)> {
    if servers.domains.is_empty() {
        return vec![(".".to_owned(), true)];
    }
    servers.domains.iter().map(|domain| (domain.to_string(), true)).collect()
}

fn on_bus(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    }
}

async fn call<B>(bus: &Connection, method: &str, body: &B) -> zbus::Result<()>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, body).await?;
    Ok(())
}
