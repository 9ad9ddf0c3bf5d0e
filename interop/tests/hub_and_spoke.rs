//! Two clients of one gateway reach each other through it: out of one child, through the
//! gateway's kernel, into the other.

use anyhow::Result;
use control::{State, What};
use interop::{Capture, Cygnet, Namespace, Packet, story};

/// The gateway: one connection for every client, whatever their number.
const HUB: &str = r#"
[daemon]
[connections.spokes]
pools = ["spokes"]
[connections.spokes.local]
id = "@hub"
[connections.spokes.remote]
id = "*.spokes.example"
[connections.spokes.children.net]
local_ts = ["10.3.0.0/24", "fd03::/64"]
[pools.spokes]
addrs = ["10.3.0.0/24", "fd03::10-fd03::ff"]
[secrets.psk]
secret = "correct horse battery staple"
"#;

fn spoke(name: &str, gateway: &str) -> String {
    format!(
        r#"
[connections.hub]
remote_addrs = ["{gateway}"]
vips = ["0.0.0.0", "::"]
[connections.hub.local]
id = "@{name}.spokes.example"
[connections.hub.remote]
id = "@hub"
[connections.hub.children.net]
remote_ts = ["10.3.0.0/24", "fd03::/64"]
[secrets.psk]
secret = "correct horse battery staple"
"#
    )
}

/// A client that is up, and its inner addresses.
fn join(space: &Namespace, name: &str, gateway: &str) -> Result<(Cygnet, Vec<String>)> {
    let mut client = Cygnet::start_with(space, "hub", &spoke(name, gateway))?;
    client.up()?;
    client.wait_for_state(State::Up)?;
    let given = client.wait_for_event("its addresses", |event| match event {
        What::AddressesReceived { addresses, .. } => Some(addresses.clone()),
        _ => None,
    })?;
    Ok((client, given))
}

#[test]
fn two_clients_reach_each_other_through_their_gateway() -> Result<()> {
    story(|world| {
        let [hub, east, west] = ["hub", "east", "west"].map(|role| world.namespace(role));
        let (hub, east, west) = (hub?, east?, west?);
        world.link((&hub, "eth0", "10.77.1.1/24"), (&east, "eth0", "10.77.1.2/24"))?;
        world.link((&hub, "eth1", "10.77.2.1/24"), (&west, "eth0", "10.77.2.2/24"))?;
        hub.run("sysctl", "-q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        let _gateway = Cygnet::start_with(&hub, "spokes", HUB)?;
        let (_first, ours) = join(&east, "east", "10.77.1.1")?;
        let (_second, theirs) = join(&west, "west", "10.77.2.1")?;

        let wires = [Capture::start(&east, "eth0")?, Capture::start(&west, "eth0")?];
        for (from, to) in ours.iter().zip(&theirs) {
            east.run("ping", &format!("-n -q -c 3 -i 0.05 -w 5 -I {from} {to}"))?;
            west.run("ping", &format!("-n -q -c 3 -i 0.05 -w 5 -I {to} {from}"))?;
        }
        for wire in wires {
            let packets = wire.packets()?;
            let is_sealed = |packet: &&Packet| matches!(packet, Packet::Esp { .. });
            // Both families, both ways, three packets there and three back.
            assert!(packets.iter().filter(is_sealed).count() >= 24, "{packets:?}");
            let in_clear = |packet: &&Packet| matches!(packet, Packet::Clear { .. });
            assert_eq!(packets.iter().filter(in_clear).count(), 0, "{packets:?}");
        }
        Ok(())
    })
}
