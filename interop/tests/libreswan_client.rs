//! libreswan 5.2 with its kernel's ESP is the client, cygnet the gateway.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use anyhow::Result;
use control::{Gone, How, State, TicketFault, What};
use interop::{Cygnet, Libreswan, Namespace, PATIENCE, Tunnel, World, story, until};

#[test]
fn it_gets_a_small_ticket_suspends_and_resumes() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, mut cygnet, mut libreswan) = initiated(world, &tunnel)?;
        let ticket = libreswan.ticket()?.expect("a ticket");
        assert!(ticket <= 256, "{ticket} octets");

        libreswan.suspend()?;
        libreswan.wait_for_children(0)?;
        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        cygnet.wait_for_resumption_by_peer()?;
        assert!(libreswan.ticket()?.is_some(), "the next ticket came with the resumed SA");
        Ok(())
    })
}

#[test]
fn a_ticket_of_a_gateway_that_lost_its_keys_falls_back_to_a_full_exchange() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, mut cygnet, mut libreswan) = initiated(world, &tunnel)?;

        libreswan.suspend()?;
        libreswan.wait_for_children(0)?;
        cygnet.crash_and_restart()?;
        libreswan.initiate()?;
        let why = cygnet.wait_for_event("ticket refused", |what| match what {
            What::TicketRefused { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, TicketFault::UnknownKey);
        libreswan.wait_for_children(1)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        assert_eq!(cygnet.connection()?.how, Some(How::Full));
        Ok(())
    })
}

#[test]
fn a_delete_from_the_client_takes_the_connection_down() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, mut cygnet, mut libreswan) = initiated(world, &tunnel)?;

        libreswan.terminate()?;
        assert_eq!(gone(&mut cygnet)?, Gone::PeerDeleted);
        cygnet.wait_for_state(State::Down)?;
        dut.no_ping(tunnel.local.inner, tunnel.remote.inner)?;
        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)
    })
}

#[test]
fn down_at_the_gateway_deletes_the_sa_and_the_client_comes_back() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, mut cygnet, mut libreswan) = initiated(world, &tunnel)?;
        let deleted = cygnet.connection()?.children[0].spi_out.clone();
        assert!(libreswan.kernel_sas()?.contains(&deleted));

        cygnet.down()?;
        assert_eq!(gone(&mut cygnet)?, Gone::Command);
        until(PATIENCE, "the end of the old SA in libreswan's kernel", || {
            Ok((!libreswan.kernel_sas()?.contains(&deleted)).then_some(()))
        })?;
        // It was told to keep this connection up, and does.
        libreswan.wait_for_children(1)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)
    })
}

/// Why the first SA that went is gone.
fn gone(cygnet: &mut Cygnet) -> Result<Gone> {
    cygnet.wait_for_event("down", |what| match what {
        What::Down { why, .. } => Some(*why),
        _ => None,
    })
}

fn tunnel() -> Tunnel {
    Tunnel::new("aes256gcm16-prfsha512-x25519", "aes256gcm16")
}

/// Brings the tunnel up from libreswan, by a full exchange, and pings through it.
fn initiated(world: &World, tunnel: &Tunnel) -> Result<(Namespace, Cygnet, Libreswan)> {
    let dut = world.namespace("dut")?;
    let mut libreswan = Libreswan::start(&dut, &tunnel.reversed(), "")?;
    let cygnet = Cygnet::start(&dut, tunnel, "resumption = true")?;
    libreswan.initiate()?;
    libreswan.wait_for_children(1)?;
    cygnet.wait_for_state(State::Up)?;
    ping_both_ways(&dut, &mut libreswan, tunnel)?;
    Ok((dut, cygnet, libreswan))
}

fn ping_both_ways(dut: &Namespace, libreswan: &mut Libreswan, tunnel: &Tunnel) -> Result<()> {
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    libreswan.guest().ping(tunnel.remote.inner, tunnel.local.inner)
}
