//! Two children of one IKE SA with strongSwan 5.9, in both roles.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use std::net::Ipv4Addr;

use anyhow::Result;
use control::{Role, State, What};
use interop::{Cygnet, Keys, Namespace, PATIENCE, StrongSwan, story, until};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);

/// Behind the other end of each child.
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 92, 0, 1), Ipv4Addr::new(10, 93, 0, 1)];

const CYGNET: &str = r#"
[daemon]
listen = ["10.77.0.1"]
[connections.dut]
local_addrs = ["10.77.0.1"]
remote_addrs = ["10.77.0.2"]
inner_addrs = ["10.91.0.1/24"]
[connections.dut.local]
id = "@dut"
[connections.dut.remote]
id = "@peer"
[connections.dut.children.net]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.92.0.0/24"]
[connections.dut.children.lab]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.93.0.0/24"]
esp_proposals = ["chacha20poly1305-x25519"]
[secrets.psk]
secret = "correct horse battery staple"
"#;

const STRONGSWAN: &str = r#"
connections { dut {
    version = 2
    local_addrs = 10.77.0.2
    remote_addrs = 10.77.0.1
    proposals = aes256gcm16-prfsha384-x25519
    encap = yes
    mobike = no
    local { auth = psk
            id = @peer }
    remote { auth = psk
             id = @dut }
    children { net { local_ts = 10.92.0.0/24
                     remote_ts = 10.91.0.0/24
                     esp_proposals = aes256gcm16 }
               lab { local_ts = 10.93.0.0/24
                     remote_ts = 10.91.0.0/24
                     esp_proposals = chacha20poly1305-x25519 } }
} }
secrets { ike-dut { secret = "correct horse battery staple" } }
"#;

fn start(dut: &Namespace, peer: &Namespace) -> Result<(Cygnet, StrongSwan)> {
    for server in SERVERS {
        peer.address("lo", &format!("{server}/32"))?;
    }
    let strongswan = StrongSwan::start_with(peer, STRONGSWAN)?;
    Ok((Cygnet::start_with(dut, "dut", CYGNET)?, strongswan))
}

/// Waits until both children are up, and uses them.
fn use_both(cygnet: &Cygnet, dut: &Namespace) -> Result<()> {
    until(PATIENCE, "two children", || {
        let children = cygnet.connection()?.children;
        let mut names: Vec<_> = children.iter().map(|child| &*child.name).collect();
        names.sort_unstable();
        Ok((names == ["lab", "net"]).then_some(()))
    })?;
    SERVERS.iter().try_for_each(|server| dut.ping(CLIENT, *server))
}

#[test]
fn cygnet_asks_for_both_children_and_each_lives_by_itself() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let (mut cygnet, strongswan) = start(&dut, &peer)?;
        cygnet.up()?;
        use_both(&cygnet, &dut)?;

        cygnet.rekey_child()?;
        cygnet.wait_for_rekey(Role::Initiator, Keys::Child, 2)?;
        use_both(&cygnet, &dut)?;
        strongswan.rekey_child_named("lab")?;
        cygnet.wait_for_rekey(Role::Responder, Keys::Child, 1)?;
        use_both(&cygnet, &dut)?;
        cygnet.rekey()?;
        cygnet.wait_for_rekey(Role::Initiator, Keys::Ike, 1)?;
        use_both(&cygnet, &dut)?;

        // What strongSwan takes away is asked for again, at once if somebody wants it.
        strongswan.terminate_child("lab")?;
        cygnet.wait_for_event("the end of lab", |what| match what {
            What::ChildDown { child, .. } if child == "lab" => Some(()),
            _ => None,
        })?;
        dut.ping(CLIENT, SERVERS[0])?;
        cygnet.up()?;
        use_both(&cygnet, &dut)?;
        strongswan.wait_for_established(1)?;
        cygnet.down()?;
        strongswan.wait_for_established(0)
    })
}

#[test]
fn strongswan_asks_for_both_children_in_any_order() -> Result<()> {
    for order in [["net", "lab"], ["lab", "net"]] {
        story(|world| {
            let (dut, peer) = world.pair()?;
            let (cygnet, strongswan) = start(&dut, &peer)?;
            for child in order {
                strongswan.initiate_child(child)?;
            }
            cygnet.wait_for_state(State::Up)?;
            use_both(&cygnet, &dut)?;
            for (count, child) in (1..).zip(order) {
                strongswan.rekey_child_named(child)?;
                cygnet.wait_for_rekey(Role::Responder, Keys::Child, count)?;
            }
            use_both(&cygnet, &dut)?;
            strongswan.wait_for_established(1)
        })?;
    }
    Ok(())
}

/// cygnet wants one child for what is two at strongSwan.
#[test]
fn strongswan_takes_the_child_that_the_first_packet_is_for() -> Result<()> {
    for (server, network) in SERVERS.into_iter().zip(["10.92.0.0/24", "10.93.0.0/24"]) {
        story(|world| {
            let (dut, peer) = world.pair()?;
            for server in SERVERS {
                peer.address("lo", &format!("{server}/32"))?;
            }
            let both_take = |conf: &str| conf.replace("chacha20poly1305-x25519", "aes256gcm16");
            let _strongswan = StrongSwan::start_with(&peer, &both_take(STRONGSWAN))?;
            let (one, _) = CYGNET.split_once("[connections.dut.children.lab]").expect("a child");
            let (_, secrets) = CYGNET.split_once("[secrets.psk]").expect("a secret");
            let config = format!("{one}[secrets.psk]{secrets}")
                .replace("[\"10.92.0.0/24\"]", "[\"10.92.0.0/15\"]")
                .replace("inner_addrs", "start = \"on-traffic\"\ninner_addrs");
            let cygnet = Cygnet::start_with(&dut, "dut", &config)?;
            dut.ping(CLIENT, server)?;
            let children = cygnet.connection()?.children;
            assert_eq!(children.len(), 1);
            assert_eq!(children[0].remote_ts, [network]);
            Ok(())
        })?;
    }
    Ok(())
}
