//! The ground that the other stories stand on is real: two foreign implementations, each of
//! which is shown to carry traffic, and a wire whose records tell the truth.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use std::net::Ipv4Addr;

use anyhow::Result;
use interop::{Capture, Libreswan, PATIENCE, Packet, StrongSwan, Tunnel, story};

#[test]
fn two_strongswans_carry_pings_through_esp_and_nothing_in_clear() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let wire = Capture::start(&dut, "eth0")?;
        let client = StrongSwan::start(&dut, &tunnel)?;
        let gateway = StrongSwan::start(&peer, &tunnel.reversed())?;

        client.initiate()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;

        assert_eq!(client.child()?.value("encr-alg"), Some("AES_GCM_16"));
        assert!(gateway.child()?.number("packets-in") >= 6);
        let packets = wire.packets()?;
        assert!(packets.iter().any(|packet| matches!(packet, Packet::Esp { in_udp: true, .. })));
        assert!(!packets.iter().any(|packet| matches!(packet, Packet::Clear { .. })));

        client.terminate()?;
        gateway.wait_for_established(0)?;
        wire.wait_for(PATIENCE, "the Delete and its answer", |packets| {
            let informational =
                |packet: &&Packet| matches!(packet, Packet::Ike { exchange: 37, .. });
            packets.iter().filter(informational).count() >= 2
        })?;
        dut.no_ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn strongswan_has_the_older_algorithms_too() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256-sha512-prfsha512-modp2048", "chacha20poly1305");
        let client = StrongSwan::start(&dut, &tunnel)?;
        let gateway = StrongSwan::start(&peer, &tunnel.reversed())?;

        client.initiate()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        let sas = gateway.established()?;
        assert_eq!(sas[0].value("encr-alg"), Some("AES_CBC"));
        assert_eq!(sas[0].value("integ-alg"), Some("HMAC_SHA2_512_256"));
        assert_eq!(sas[0].value("dh-group"), Some("MODP_2048"));
        assert_eq!(gateway.child()?.value("encr-alg"), Some("CHACHA20_POLY1305"));
        Ok(())
    })
}

#[test]
fn a_strongswan_with_another_secret_is_refused_by_strongswan() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes128-sha256-ecp256", "aes128gcm16");
        let client = StrongSwan::start(&dut, &tunnel)?;
        let gateway = StrongSwan::start(&peer, &tunnel.reversed().with_secret("another"))?;

        let refusal = client.initiate().expect_err("an SA with different secrets");
        assert!(format!("{refusal:#}").contains("AUTHENTICATION_FAILED"), "{refusal:#}");
        assert!(gateway.established()?.is_empty());
        Ok(())
    })
}

#[test]
fn a_libreswan_guest_boots_initiates_and_has_esp_in_its_kernel() -> Result<()> {
    story(|world| {
        let dut = world.namespace("dut")?;
        let tunnel = Tunnel::new("", "");
        let mut libreswan = Libreswan::start(&dut, &tunnel.reversed(), "")?;
        let wire = Capture::start(&dut, "tap0")?;

        dut.ping(tunnel.local.outer, tunnel.remote.outer)?;
        libreswan.guest().ping(tunnel.remote.outer, tunnel.local.outer)?;
        libreswan.initiate()?;
        wire.wait_for(PATIENCE, "an IKE_SA_INIT request from libreswan", |packets| {
            packets.iter().any(|packet| {
                matches!(packet, Packet::Ike { from, exchange: 34, response: false, .. }
                    if *from.ip() == tunnel.remote.outer)
            })
        })?;
        let allocated = libreswan.guest().run(
            "ip xfrm state allocspi src 10.77.0.2 dst 10.77.0.1 proto esp mode tunnel \
             min 0x1000 max 0x1000",
        )?;
        assert!(allocated.contains("spi 0x00001000"), "{allocated}");
        assert_eq!(libreswan.ticket()?, None);
        assert!(libreswan.children()?.is_empty());
        Ok(())
    })
}

#[test]
fn strongswan_and_libreswan_carry_pings_to_each_other() -> Result<()> {
    story(|world| {
        let dut = world.namespace("dut")?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha512-x25519", "aes256gcm16");
        let mut libreswan = Libreswan::start(&dut, &tunnel.reversed(), "")?;
        let strongswan = StrongSwan::start(&dut, &tunnel)?;

        strongswan.initiate()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        libreswan.guest().ping(tunnel.remote.inner, tunnel.local.inner)?;
        assert_eq!(libreswan.wait_for_children(1)?.len(), 1);
        assert!(libreswan.kernel_sas()?.contains("espinudp"));

        libreswan.terminate()?;
        strongswan.wait_for_established(0)?;
        libreswan.initiate()?;
        strongswan.wait_for_established(1)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn a_router_hides_addresses_and_ports_of_what_is_behind_it() -> Result<()> {
    story(|world| {
        let (client, router) = (world.namespace("client")?, world.namespace("router")?);
        let gateway = world.namespace("gateway")?;
        world.link((&client, "eth0", "10.78.0.2/24"), (&router, "inside", "10.78.0.1/24"))?;
        world.link((&router, "outside", "10.77.0.1/24"), (&gateway, "eth0", "10.77.0.2/24"))?;
        client.ip("route add default via 10.78.0.1")?;
        router.masquerade("outside")?;
        let wire = Capture::start(&gateway, "eth0")?;

        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let mut behind = tunnel.clone();
        behind.local.outer = Ipv4Addr::new(10, 78, 0, 2);
        let strongswan = StrongSwan::start(&client, &behind)?;
        let peer = StrongSwan::start(&gateway, &tunnel.reversed())?;
        strongswan.initiate()?;
        client.ping(tunnel.local.inner, tunnel.remote.inner)?;

        assert_eq!(peer.established()?[0].value("nat-remote"), Some("yes"));
        let packets = wire.packets()?;
        let requests: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::Ike { from, response: false, .. } => Some(from),
                _ => None,
            })
            .collect();
        assert!(!requests.is_empty());
        assert!(
            requests.iter().all(|from| *from.ip() == tunnel.local.outer && from.port() >= 20000)
        );
        Ok(())
    })
}
