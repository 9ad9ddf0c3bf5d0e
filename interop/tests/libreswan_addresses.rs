//! Inner addresses from a pool, cygnet and libreswan 5.2 in both roles.

use anyhow::Result;
use control::{How, State, What};
use interop::road_warrior::{GIVEN, NAME_SERVER, SECRET, SERVER, client, gateway};
use interop::{Cygnet, Libreswan, Namespace, Tunnel, story};

const RESUMPTION: &str = "resumption = true\nresume_auth = \"libreswan\"";

#[test]
fn cygnet_gets_an_address_from_libreswan_and_gives_it_back() -> Result<()> {
    story(|world| {
        let dut = world.namespace("dut")?;
        let mut tunnel = Tunnel::new(Tunnel::DEFAULT, "").with_secret(SECRET).reversed();
        tunnel.remote.inner = GIVEN;
        let lines = format!(
            "leftsubnet=10.92.0.0/24
             leftmodecfgserver=yes
             rightmodecfgclient=yes
             rightaddresspool=10.3.0.1-10.3.0.254
             modecfgdns={NAME_SERVER}
             modecfgdomains=corp.example"
        );
        let mut libreswan = Libreswan::start_with(&dut, &tunnel, &lines)?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &client(RESUMPTION))?;

        cygnet.up()?;
        let received = cygnet.wait_for_event("addresses", |what| match what {
            What::AddressesReceived { addresses, dns, domains, .. } => {
                Some((addresses.clone(), dns.clone(), domains.clone()))
            }
            _ => None,
        })?;
        let text = |address: std::net::Ipv4Addr| vec![address.to_string()];
        assert_eq!(received, (text(GIVEN), text(NAME_SERVER), vec!["corp.example".to_owned()]));
        dut.ping(GIVEN, SERVER)?;
        libreswan.guest().ping(SERVER, GIVEN)?;

        cygnet.suspend()?;
        cygnet.resume()?;
        let connection = cygnet.connection()?;
        assert_eq!((connection.how, connection.inner), (Some(How::Resumed), text(GIVEN)));
        dut.ping(GIVEN, SERVER)?;

        cygnet.down()?;
        assert!(!on_device(&dut)?);
        Ok(())
    })
}

#[test]
fn libreswan_gets_the_same_address_again_after_cygnet_was_killed() -> Result<()> {
    story(|world| {
        let peer = world.namespace("peer")?;
        let mut tunnel = Tunnel::new(Tunnel::DEFAULT, "").with_secret(SECRET);
        // On its inner device from the start: its script for that is disabled.
        tunnel.local.inner = GIVEN;
        let lines = "leftsubnet=0.0.0.0/0
                     leftmodecfgclient=yes
                     rightmodecfgserver=yes
                     modecfgpull=yes
                     rightsubnet=10.92.0.0/24";
        let mut libreswan = Libreswan::start_with(&peer, &tunnel, lines)?;
        let mut cygnet = Cygnet::start_with(&peer, "clients", &gateway(RESUMPTION))?;

        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        assert_eq!(libreswan.given()?, Some(GIVEN));
        libreswan.guest().ping(GIVEN, SERVER)?;
        peer.ping(SERVER, GIVEN)?;

        libreswan.suspend()?;
        libreswan.wait_for_children(0)?;
        cygnet.wait_for_state(State::Down)?;
        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        let connection = cygnet.wait_for_state(State::Up)?;
        assert_eq!(
            (connection.how, connection.inner),
            (Some(How::Resumed), vec![GIVEN.to_string()])
        );
        libreswan.guest().ping(GIVEN, SERVER)?;

        libreswan.terminate()?;
        cygnet.crash_and_restart()?;
        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        cygnet.wait_for_state(State::Up)?;
        assert_eq!(cygnet.connection()?.inner, [GIVEN.to_string()]);
        libreswan.guest().ping(GIVEN, SERVER)
    })
}

/// Whether the address that was given is on cygnet's device.
fn on_device(namespace: &Namespace) -> Result<bool> {
    Ok(namespace.ip("-4 -o addr show dev cygnet0")?.contains(&GIVEN.to_string()))
}
