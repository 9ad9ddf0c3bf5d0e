//! Inner addresses from a pool, cygnet and strongSwan 5.9 in both roles.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use anyhow::Result;
use control::{State, What};
use interop::road_warrior::{self, GIVEN, SERVER};
use interop::{Cygnet, Namespace, StrongSwan, story};

/// The IPv4 addresses on cygnet's device.
fn on_device(namespace: &Namespace) -> Result<Vec<String>> {
    let listed = namespace.ip("-4 -o addr show dev cygnet0")?;
    let address = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    Ok(listed.lines().filter_map(address).collect())
}

#[test]
fn cygnet_gets_an_address_from_strongswan_and_gives_it_back() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.address("lo", &format!("{SERVER}/32"))?;
        let _strongswan = StrongSwan::start_with(&peer, &road_warrior::swanctl_gateway())?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &road_warrior::client(""))?;

        cygnet.up()?;
        let (given, dns) = cygnet.wait_for_event("addresses", |what| match what {
            What::AddressesReceived { addresses, dns, .. } => {
                Some((addresses.clone(), dns.clone()))
            }
            _ => None,
        })?;
        assert_eq!(given, [GIVEN.to_string()]);
        assert_eq!(dns, ["10.92.0.53"]);
        assert_eq!(on_device(&dut)?, [format!("{GIVEN}/32")]);
        dut.ping(GIVEN, SERVER)?;
        // The route has it for its source.
        dut.run("ping", &format!("-n -q -c 1 -w 5 {SERVER}"))?;
        let connection = cygnet.connection()?;
        assert_eq!(connection.inner, [GIVEN.to_string()]);
        assert_eq!(connection.children[0].local_ts, [format!("{GIVEN}/32")]);

        cygnet.down()?;
        assert!(on_device(&dut)?.is_empty());
        assert!(cygnet.connection()?.inner.is_empty());
        Ok(())
    })
}

#[test]
fn strongswan_gets_the_same_address_again_after_cygnet_was_killed() -> Result<()> {
    story(|world| {
        let (client, gateway) = world.pair()?;
        let strongswan = StrongSwan::start_with(&client, &road_warrior::swanctl_client())?;
        let mut cygnet = Cygnet::start_with(&gateway, "clients", &road_warrior::gateway(""))?;

        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        assert_eq!(cygnet.connection()?.inner, [GIVEN.to_string()]);
        client.ping(GIVEN, SERVER)?;
        gateway.ping(SERVER, GIVEN)?;
        strongswan.terminate()?;
        cygnet.wait_for_state(State::Down)?;

        cygnet.crash_and_restart()?;
        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        assert_eq!(cygnet.connection()?.inner, [GIVEN.to_string()]);
        client.ping(GIVEN, SERVER)
    })
}

#[test]
fn the_address_stays_on_the_device_while_the_session_is_suspended() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let mut gateway = Cygnet::start_with(&peer, "clients", &road_warrior::gateway(""))?;
        let client = Cygnet::start_with(&dut, "dut", &road_warrior::client(""))?;

        client.up()?;
        dut.ping(GIVEN, SERVER)?;
        client.suspend()?;
        assert_eq!(on_device(&dut)?, [format!("{GIVEN}/32")]);
        dut.no_ping(GIVEN, SERVER)?;
        client.resume()?;
        dut.ping(GIVEN, SERVER)?;
        let connection = client.connection()?;
        assert_eq!(
            (connection.how, connection.inner),
            (Some(control::How::Resumed), vec![GIVEN.to_string()])
        );

        let peer_of_it = gateway.wait_for_event("address given", |what| match what {
            What::AddressesGiven { peer, .. } => Some(peer.clone()),
            _ => None,
        })?;
        assert_eq!(peer_of_it, "@dut");
        client.down()?;
        assert!(on_device(&dut)?.is_empty());
        Ok(())
    })
}
