//! The network: a client behind a router with NAT, and a gateway.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use interop::{Namespace, World};

/// The gateway's outer address.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The gateway inside the tunnel.
pub(crate) const GATEWAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 1);
/// The client inside the tunnel, wherever it is.
pub(crate) const CLIENT_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);
/// Where the client is first, and then.
pub(crate) const PLACES: [Place; 2] = [
    Place {
        name: "home",
        client: Ipv4Addr::new(192, 168, 1, 10),
        router: Ipv4Addr::new(192, 168, 1, 1),
        outside: Ipv4Addr::new(203, 0, 113, 1),
    },
    Place {
        name: "a café",
        client: Ipv4Addr::new(192, 168, 2, 10),
        router: Ipv4Addr::new(192, 168, 2, 1),
        outside: Ipv4Addr::new(203, 0, 113, 2),
    },
];
/// The device of client and gateway that leads to the router.
pub(crate) const OUTER_DEVICE: &str = "eth0";
/// The device of the daemons.
pub(crate) const INNER_DEVICE: &str = "cygnet0";

/// A network behind the router.
pub(crate) struct Place {
    /// As a person would say.
    pub(crate) name: &'static str,
    /// The client's address there.
    pub(crate) client: Ipv4Addr,
    /// The router's address there.
    pub(crate) router: Ipv4Addr,
    /// As whom the router sends what comes from there.
    pub(crate) outside: Ipv4Addr,
}

/// The three namespaces.
pub(crate) struct Ground {
    /// Begins behind the router.
    pub(crate) client: Namespace,
    router: Namespace,
    /// On the router's outside.
    pub(crate) gateway: Namespace,
}

impl Ground {
    /// Makes the network, with the client at the first place.
    pub(crate) fn make(world: &World) -> Result<Self> {
        let client = world.namespace("client")?;
        let router = world.namespace("router")?;
        let gateway = world.namespace("gateway")?;
        let [first, second] = &PLACES;
        world.link(
            (&client, OUTER_DEVICE, &format!("{}/24", first.client)),
            (&router, "inside", &format!("{}/24", first.router)),
        )?;
        world.link(
            (&router, "outside", &format!("{}/24", first.outside)),
            (&gateway, OUTER_DEVICE, &format!("{GATEWAY}/24")),
        )?;
        router.address("inside", &format!("{}/24", second.router))?;
        router.address("outside", &format!("{}/24", second.outside))?;
        client.ip(&format!("route add default via {}", first.router))?;
        // What left the gateway in clear text would be on the wire, not unroutable.
        gateway.ip(&format!("route add default via {}", first.outside))?;
        router.masquerade("outside")?;
        let ground = Self { client, router, gateway };
        ground.second_outside(second)?;
        Ok(ground)
    }

    /// Each place has an outside address of its own, as two access lines have.
    fn second_outside(&self, place: &Place) -> Result<()> {
        let Place { client, outside, .. } = place;
        let rule = format!(
            "insert rule ip nat postrouting ip saddr {client} oifname \"outside\" \
             meta l4proto udp snat to {outside}:20000-40000\n"
        );
        let mut nft = self.router.command("nft");
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft")?;
        nft.stdin.take().context("a pipe")?.write_all(rule.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refused {rule}");
        Ok(())
    }

    /// The client leaves one place and arrives at another, as a laptop does.
    pub(crate) fn move_client(&self, to: &Place) -> Result<()> {
        self.client.ip(&format!("addr flush dev {OUTER_DEVICE}"))?;
        self.client.address(OUTER_DEVICE, &format!("{}/24", to.client))?;
        self.client.ip(&format!("route add default via {}", to.router))?;
        Ok(())
    }

    /// What to type after `--keep`.
    pub(crate) fn how_to_play(&self) -> Result<String> {
        let client = interop::Cygnet::command_line(&self.client)?;
        let gateway = interop::Cygnet::command_line(&self.gateway)?;
        let (from, to) = (self.client.name(), self.gateway.name());
        let [first, _] = &PLACES;
        Ok(format!(
            "\
It is left running. A packet wakes the client's session, wherever the client is:

  {client} status office
  {client} suspend office
  ip -n {from} addr flush dev {OUTER_DEVICE}
  ip -n {from} addr add {}/24 dev {OUTER_DEVICE}
  ip -n {from} route add default via {}
  ip netns exec {from} ping {GATEWAY_INSIDE}

To watch it:

  {client} monitor
  {gateway} monitor
  ip netns exec {to} tcpdump -ni {OUTER_DEVICE}

Files and logs are beside the sockets. To remove everything: make demo ARGS=--clean",
            first.client, first.router
        ))
    }
}
