//! strongSwan 5.9 initiates, cygnet answers.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use anyhow::Result;
use control::{Failure, Gone, How, Role, State, What};
use interop::{Cygnet, Namespace, StrongSwan, Tunnel, World, story};

#[test]
fn what_both_sides_take_by_default_fits() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(Tunnel::DEFAULT, "aes256gcm16");
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let _cygnet = Cygnet::start(&dut, &tunnel, "")?;
        strongswan.initiate()?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)
    })
}

#[test]
fn aes_gcm_with_x25519_carries_pings_both_ways() -> Result<()> {
    carries_pings_both_ways("aes256gcm16-prfsha384-x25519", "aes256gcm16")
}

#[test]
fn aes_cbc_with_p256_carries_pings_both_ways() -> Result<()> {
    carries_pings_both_ways("aes128-sha256-prfsha256-ecp256", "aes128gcm16")
}

#[test]
fn aes_cbc_with_modp2048_carries_pings_in_chacha20() -> Result<()> {
    carries_pings_both_ways("aes256-sha512-prfsha512-modp2048", "chacha20poly1305")
}

#[test]
fn the_peer_is_asked_for_a_key_share_of_a_group_that_we_accept() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let ours = Tunnel::new("aes256gcm16-prfsha384-ecp256", "aes256gcm16");
        let theirs = Tunnel::new("aes256gcm16-prfsha384-x25519-ecp256", "aes256gcm16").reversed();
        let cygnet = Cygnet::start(&dut, &ours, "")?;
        let strongswan = StrongSwan::start(&peer, &theirs)?;

        strongswan.initiate()?;
        peer.ping(ours.remote.inner, ours.local.inner)?;
        assert_eq!(cygnet.connection()?.suite, Some(ours.ike));
        Ok(())
    })
}

#[test]
fn a_delete_from_the_initiator_takes_the_connection_down() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (_peer, mut cygnet, strongswan) = initiated(world, &tunnel)?;

        strongswan.terminate()?;
        let why = cygnet.wait_for_event("down", |what| match what {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::PeerDeleted);
        cygnet.wait_for_state(State::Down).map(drop)
    })
}

#[test]
fn down_at_the_responder_deletes_the_sa_at_the_initiator() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (peer, cygnet, strongswan) = initiated(world, &tunnel)?;

        cygnet.down()?;
        strongswan.wait_for_established(0)?;
        peer.no_ping(tunnel.remote.inner, tunnel.local.inner)
    })
}

#[test]
fn a_peer_that_vanishes_is_noticed_and_may_return() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        Cygnet::make_impatient(&dut)?;
        let mut cygnet = Cygnet::start(&dut, &tunnel, "liveness = \"1s\"")?;
        let mut strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;

        strongswan.kill()?;
        let why = cygnet.wait_for_event("down", |what| match what {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::Unanswered);
        assert!(cygnet.wait_for_state(State::Down)?.children.is_empty());
        strongswan.start_again()?;
        strongswan.initiate()?;
        let connection = cygnet.wait_for_state(State::Up)?;
        assert_eq!((connection.role, connection.children.len()), (Some(Role::Responder), 1));
        assert_eq!(strongswan.established()?.len(), 1);
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn another_secret_gets_authentication_failed() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let theirs = tunnel.reversed().with_secret("another");
        is_refused(world, &tunnel, &theirs, Failure::PeerNotAuthentic)
    })
}

#[test]
fn an_unknown_identity_gets_authentication_failed() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let mut theirs = tunnel.reversed();
        theirs.local.id = "@stranger".into();
        is_refused(world, &tunnel, &theirs, Failure::WrongIdentity)
    })
}

/// Brings the tunnel up from strongSwan.
fn initiated(world: &World, tunnel: &Tunnel) -> Result<(Namespace, Cygnet, StrongSwan)> {
    let (dut, peer) = world.pair()?;
    let cygnet = Cygnet::start(&dut, tunnel, "")?;
    let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
    strongswan.initiate()?;
    cygnet.wait_for_state(State::Up)?;
    Ok((peer, cygnet, strongswan))
}

fn carries_pings_both_ways(ike: &str, esp: &str) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(ike, esp);
        let mut cygnet = Cygnet::start(&dut, &tunnel, "")?;
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;

        strongswan.initiate()?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;

        let (role, how) = cygnet.wait_for_event("up", |what| match what {
            What::Up { role, set_up, .. } => Some((*role, set_up.how)),
            _ => None,
        })?;
        assert_eq!((role, how), (Role::Responder, How::Full));
        let connection = cygnet.connection()?;
        assert_eq!(connection.suite.as_deref(), Some(ike));
        assert_eq!(connection.children[0].suite, esp);
        assert!(strongswan.child()?.number("packets-in") >= 6);
        Ok(())
    })
}

fn is_refused(world: &World, ours: &Tunnel, theirs: &Tunnel, failure: Failure) -> Result<()> {
    let (dut, peer) = world.pair()?;
    let mut cygnet = Cygnet::start(&dut, ours, "")?;
    let strongswan = StrongSwan::start(&peer, theirs)?;

    let refusal = strongswan.initiate().expect_err("an SA with a stranger");
    assert!(format!("{refusal:#}").contains("AUTHENTICATION_FAILED"), "{refusal:#}");
    let why = cygnet.wait_for_event("failed", |what| match what {
        What::Failed { why, .. } => Some(why.clone()),
        _ => None,
    })?;
    assert_eq!(why, failure);
    assert_eq!(cygnet.connection()?.state, State::Down);
    Ok(())
}
