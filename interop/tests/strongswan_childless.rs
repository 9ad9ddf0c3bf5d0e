//! SAs that come up without a child (RFC 6023) with strongSwan 5.9, in both roles.

use anyhow::{Result, ensure};
use control::State;
use interop::{Cygnet, StrongSwan, Tunnel, story};

const IKE: &str = "aes256gcm16-prfsha384-x25519";
const ESP: &str = "aes256gcm16";

#[test]
fn cygnet_begins_without_a_child_and_asks_for_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, ESP);
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let cygnet = Cygnet::start(&dut, &tunnel, "childless = \"prefer\"")?;
        cygnet.up()?;
        strongswan.ensure_logged("parsed CREATE_CHILD_SA request")?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        strongswan.wait_for_established(1)?;
        cygnet.down()?;
        strongswan.wait_for_established(0)
    })
}

#[test]
fn both_insist() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, ESP);
        let lines = "childless = force";
        let strongswan = StrongSwan::start_saying(&peer, &tunnel.reversed(), lines)?;
        let cygnet = Cygnet::start(&dut, &tunnel, "childless = \"force\"")?;
        cygnet.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        cygnet.down()?;
        strongswan.wait_for_established(0)?;
        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn who_insists_gets_no_sa_with_one_that_does_not_do_so() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, ESP);
        let lines = "childless = never";
        let strongswan = StrongSwan::start_saying(&peer, &tunnel.reversed(), lines)?;
        let cygnet = Cygnet::start(&dut, &tunnel, "childless = \"force\"")?;
        let refusal = format!("{:#}", cygnet.up().expect_err("an SA with a child"));
        ensure!(refusal.contains("does not set up an SA without a child"), "{refusal}");
        let refusal = strongswan.initiate().expect_err("an SA with a child");
        ensure!(format!("{refusal:#}").contains("INVALID_SYNTAX"), "{refusal:#}");
        strongswan.wait_for_established(0)?;
        cygnet.wait_for_state(State::Down).map(drop)
    })
}

#[test]
fn strongswan_begins_without_a_child_and_asks_for_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, ESP);
        let lines = "childless = force";
        let strongswan = StrongSwan::start_saying(&peer, &tunnel.reversed(), lines)?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        strongswan.ensure_logged("parsed CREATE_CHILD_SA response")?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        strongswan.terminate()?;
        cygnet.wait_for_state(State::Down).map(drop)
    })
}
