//! What lies between two peers, and what goes through it: strongSwan 5.9 in both roles, both peers
//! behind a NAT; IPv4 in IPv6, and IPv6 in IPv4.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::net::Ipv4Addr;

use anyhow::Result;
use control::{Role, State};
use interop::{Capture, Cygnet, Namespace, Packet, Stream, StrongSwan, World, story};

/// Behind the cygnet under test, and behind its peer.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 91, 0, 1), Ipv4Addr::new(10, 92, 0, 1)];
const INNER_V6: [&str; 2] = ["fd91::1", "fd92::1"];

/// Traffic of one family, as each side writes its own net.
const IPV4: [&str; 2] = ["10.91.0.0/24", "10.92.0.0/24"];
const IPV6: [&str; 2] = ["fd91::/64", "fd92::/64"];

fn cygnet_conf(remote: &str, nets: [&str; 2]) -> String {
    let [own, other] = nets;
    let inner = if own.contains(':') { "fd91::1/64" } else { "10.91.0.1/24" };
    format!(
        r#"
[connections.dut]
remote_addrs = ["{remote}"]
proposals = ["aes256gcm16-prfsha384-x25519"]
inner_addrs = ["{inner}"]
[connections.dut.local]
id = "@dut"
[connections.dut.remote]
id = "@peer"
[connections.dut.children.net]
local_ts = ["{own}"]
remote_ts = ["{other}"]
[secrets.psk]
secret = "correct horse battery staple"
"#
    )
}

fn swanctl_conf(remote: &str, nets: [&str; 2]) -> String {
    let [other, own] = nets;
    format!(
        "connections {{ dut {{
            version = 2
            remote_addrs = {remote}
            proposals = aes256gcm16-prfsha384-x25519
            encap = yes
            local {{ auth = psk
                     id = @peer }}
            remote {{ auth = psk
                      id = @dut }}
            children {{ net {{ local_ts = {own}
                               remote_ts = {other}
                               esp_proposals = aes256gcm16 }} }}
        }} }}
        secrets {{ ike-dut {{ secret = \"correct horse battery staple\" }} }}\n"
    )
}

/// Each peer behind a router that hides it and lets strangers through to its IKE ports, as a home
/// router with forwarded ports does. Gives the cable between the routers, too.
struct BehindNats {
    dut: Namespace,
    peer: Namespace,
    between: Namespace,
}

/// The routers as the other side sees them.
const ROUTERS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

impl BehindNats {
    fn make(world: &World) -> Result<Self> {
        let (dut, peer) = (world.namespace("dut")?, world.namespace("peer")?);
        let routers = [world.namespace("near")?, world.namespace("far")?];
        let [near, far] = &routers;
        let outside = ROUTERS.map(|address| format!("{address}/24"));
        world.link((near, "outside", &outside[0]), (far, "outside", &outside[1]))?;
        for ((host, router), net) in
            [&dut, &peer].into_iter().zip(&routers).zip(["10.1.0", "10.2.0"])
        {
            let (at_host, at_router) = (format!("{net}.2/24"), format!("{net}.1/24"));
            world.link((host, "eth0", &at_host), (router, "inside", &at_router))?;
            host.ip(&format!("route add default via {net}.1"))?;
            router.masquerade("outside")?;
            router.nft(&format!(
                "table ip forwarded {{
                    chain prerouting {{
                        type nat hook prerouting priority -100
                        iifname outside udp dport {{ 500, 4500 }} dnat to {net}.2
                    }}
                }}\n"
            ))?;
        }
        peer.address("lo", &format!("{}/32", INNER[1]))?;
        let [near, _] = routers;
        Ok(Self { dut, peer, between: near })
    }
}

#[test]
fn both_peers_may_be_behind_a_nat_and_cygnet_begins() -> Result<()> {
    both_behind_nats(Role::Initiator)
}

#[test]
fn both_peers_may_be_behind_a_nat_and_strongswan_begins() -> Result<()> {
    both_behind_nats(Role::Responder)
}

fn both_behind_nats(role: Role) -> Result<()> {
    story(|world| {
        let BehindNats { dut, peer, between } = BehindNats::make(world)?;
        let wire = Capture::start(&between, "outside")?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &cygnet_conf(ROUTERS[1], IPV4))?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_conf(ROUTERS[0], IPV4))?;
        set_up(&mut cygnet, &strongswan, role)?;
        let sas = strongswan.established()?;
        for side in ["nat-local", "nat-remote"] {
            assert_eq!(sas[0].value(side), Some("yes"), "{side}");
        }

        dut.ping(INNER[0], INNER[1])?;
        let mut stream = Stream::start(&dut, INNER[0], INNER[1])?;
        cygnet.rekey()?;
        stream.wait_for_more()?;
        stream.finish()?;
        peer.ping(INNER[1], INNER[0])?;
        assert!(wire.packets()?.iter().all(|packet| !matches!(packet, Packet::Clear { .. })));
        cygnet.down()
    })
}

fn set_up(cygnet: &mut Cygnet, strongswan: &StrongSwan, role: Role) -> Result<()> {
    match role {
        Role::Initiator => cygnet.up()?,
        Role::Responder => strongswan.initiate()?,
    }
    cygnet.wait_for_state(State::Up)?;
    strongswan.wait_for_established(1)
}

/// Two hosts on a cable, with an outer address of this family each, `1` and `2` at its end.
fn on_a_cable(world: &World, [near, far]: [&str; 2]) -> Result<(Namespace, Namespace)> {
    let (dut, peer) = (world.namespace("dut")?, world.namespace("peer")?);
    world.link((&dut, "eth0", near), (&peer, "eth0", far))?;
    Ok((dut, peer))
}

#[test]
fn ipv4_goes_in_ipv6_whoever_begins() -> Result<()> {
    for role in [Role::Initiator, Role::Responder] {
        story(|world| {
            let (dut, peer) = on_a_cable(world, ["fd77::1/64 nodad", "fd77::2/64 nodad"])?;
            peer.address("lo", &format!("{}/32", INNER[1]))?;
            let mut cygnet = Cygnet::start_with(&dut, "dut", &cygnet_conf("fd77::2", IPV4))?;
            let strongswan = StrongSwan::start_with(&peer, &swanctl_conf("fd77::1", IPV4))?;
            set_up(&mut cygnet, &strongswan, role)?;
            dut.ping(INNER[0], INNER[1])?;
            peer.ping(INNER[1], INNER[0])
        })?;
    }
    Ok(())
}

#[test]
fn ipv6_goes_in_ipv4_whoever_begins() -> Result<()> {
    for role in [Role::Initiator, Role::Responder] {
        story(|world| {
            let (dut, peer) = on_a_cable(world, ["10.77.0.1/24", "10.77.0.2/24"])?;
            peer.address("lo", &format!("{}/128 nodad", INNER_V6[1]))?;
            let mut cygnet = Cygnet::start_with(&dut, "dut", &cygnet_conf("10.77.0.2", IPV6))?;
            let strongswan = StrongSwan::start_with(&peer, &swanctl_conf("10.77.0.1", IPV6))?;
            set_up(&mut cygnet, &strongswan, role)?;
            let [own, other] = INNER_V6;
            dut.run("ping", &format!("-6 -n -q -c 3 -i 0.05 -w 5 -I {own} {other}"))?;
            peer.run("ping", &format!("-6 -n -q -c 3 -i 0.05 -w 5 -I {other} {own}")).map(drop)
        })?;
    }
    Ok(())
}
