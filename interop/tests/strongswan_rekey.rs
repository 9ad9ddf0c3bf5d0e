//! New keys of children and IKE SAs with strongSwan 5.9, asked for by either side, while a steady
//! stream runs that loses nothing.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use anyhow::{Result, ensure};
use control::{Role, State, What};
use interop::{Cygnet, Keys, Namespace, PATIENCE, Stream, StrongSwan, Tunnel, story, until};

const IKE: &str = "aes256gcm16-prfsha384-x25519";

#[test]
fn either_side_rekeys_what_cygnet_has_begun() -> Result<()> {
    either_side_rekeys(Role::Initiator, "aes256gcm16")
}

#[test]
fn either_side_rekeys_what_strongswan_has_begun() -> Result<()> {
    either_side_rekeys(Role::Responder, "aes256gcm16")
}

#[test]
fn children_get_keys_of_an_exchange_of_their_own_from_either_side() -> Result<()> {
    either_side_rekeys(Role::Initiator, "aes256gcm16-x25519")
}

/// Of cygnet, with the shortest times that it takes: strongSwan is not asked to do anything.
#[test]
fn keys_are_replaced_when_their_time_has_come() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, "aes256gcm16");
        let times = "rekey_time = \"10s\"\nover_time = \"30s\"\nrand_time = \"9s\"";
        let mut cygnet = Cygnet::start(&dut, &tunnel, times)?;
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        cygnet.up()?;
        let due = cygnet.connection()?.rekey_in;
        ensure!(due.is_some_and(|seconds| seconds <= 10.0), "due in {due:?}");
        let mut stream = start_stream(&dut, &tunnel)?;
        let by = cygnet.wait_for_event("new keys", |what| match what {
            What::Rekeyed { by, .. } => Some(*by),
            _ => None,
        })?;
        assert_eq!(by, Role::Initiator);
        stream.wait_for_more()?;
        strongswan.wait_for_established(1)?;
        stream.finish()
    })
}

fn either_side_rekeys(role: Role, esp: &str) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, esp);
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        match role {
            Role::Initiator => cygnet.up()?,
            Role::Responder => strongswan.initiate()?,
        }
        cygnet.wait_for_state(State::Up)?;
        let mut stream = start_stream(&dut, &tunnel)?;
        for round in 1..=2 {
            cygnet.rekey_child()?;
            cygnet.wait_for_rekey(Role::Initiator, Keys::Child, round)?;
            stream.wait_for_more()?;
            strongswan.rekey_child()?;
            cygnet.wait_for_rekey(Role::Responder, Keys::Child, round)?;
            stream.wait_for_more()?;
            cygnet.rekey()?;
            cygnet.wait_for_rekey(Role::Initiator, Keys::Ike, round)?;
            stream.wait_for_more()?;
            strongswan.rekey()?;
            cygnet.wait_for_rekey(Role::Responder, Keys::Ike, round)?;
            stream.wait_for_more()?;
        }
        strongswan.wait_for_established(1)?;
        until(PATIENCE, "one child", || Ok(strongswan.child().ok()))?;
        stream.finish()
    })
}

fn start_stream(dut: &Namespace, tunnel: &Tunnel) -> Result<Stream> {
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    Stream::start(dut, tunnel.local.inner, tunnel.remote.inner)
}
