//! Certificates with libreswan 5.2 in both roles, and a resumption after each: it asks for none
//! of them again.
#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use anyhow::Result;
use control::{How, State};
use crypto::KeyKind;
use interop::{Capture, Cygnet, Libreswan, Namespace, Packet, Papers, Tunnel, World, story};

const X25519: &str = "aes256gcm16-prfsha512-x25519";
const MODP: &str = "aes256gcm16-prfsha512-modp2048";

#[test]
fn rsa_signs_for_both_with_cygnet_as_client() -> Result<()> {
    cygnet_initiates(KeyKind::Rsa, X25519, 0)
}

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_client() -> Result<()> {
    cygnet_initiates(KeyKind::EcdsaP384, X25519, 0)
}

#[test]
fn a_chain_of_four_comes_in_fragments_over_modp_2048_with_cygnet_as_client() -> Result<()> {
    cygnet_initiates(KeyKind::Rsa, MODP, 2)
}

#[test]
fn rsa_signs_for_both_with_cygnet_as_gateway() -> Result<()> {
    libreswan_initiates(KeyKind::Rsa, X25519, 0)
}

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_gateway() -> Result<()> {
    libreswan_initiates(KeyKind::EcdsaP384, X25519, 0)
}

#[test]
fn a_chain_of_four_comes_in_fragments_over_modp_2048_with_cygnet_as_gateway() -> Result<()> {
    libreswan_initiates(KeyKind::Rsa, MODP, 2)
}

fn cygnet_initiates(kind: KeyKind, ike: &str, between: usize) -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::certified(ike, "aes256gcm16");
        let extra = "resumption = true\nresume_auth = \"libreswan\"";
        let (dut, cygnet, mut libreswan) = start(world, &tunnel, kind, between, extra)?;
        let wire = Capture::start(&dut, "tap0")?;

        cygnet.up()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        assert_eq!(cygnet.connection()?.how, Some(How::Full));
        assert_in_fragments(&wire.packets()?, between);

        cygnet.suspend()?;
        cygnet.resume()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let connection = cygnet.connection()?;
        assert_eq!((connection.state, connection.how), (State::Up, Some(How::Resumed)));
        Ok(())
    })
}

fn libreswan_initiates(kind: KeyKind, ike: &str, between: usize) -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::certified(ike, "aes256gcm16");
        let (dut, mut cygnet, mut libreswan) =
            start(world, &tunnel, kind, between, "resumption = true")?;
        let wire = Capture::start(&dut, "tap0")?;

        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        cygnet.wait_for_state(State::Up)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        assert_in_fragments(&wire.packets()?, between);
        assert!(libreswan.ticket()?.is_some(), "a ticket");

        libreswan.suspend()?;
        libreswan.wait_for_children(0)?;
        libreswan.initiate()?;
        libreswan.wait_for_children(1)?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        cygnet.wait_for_resumption_by_peer()
    })
}

fn start(
    world: &World,
    tunnel: &Tunnel,
    kind: KeyKind,
    between: usize,
    extra: &str,
) -> Result<(Namespace, Cygnet, Libreswan)> {
    let dut = world.namespace("dut")?;
    let papers = Papers::new(tunnel, kind, between)?;
    let libreswan =
        Libreswan::start_certified(&dut, &tunnel.reversed(), &papers, &extra_for(kind))?;
    papers.give(&tunnel.local.id, dut.dir())?;
    Ok((dut.clone(), Cygnet::start(&dut, tunnel, extra)?, libreswan))
}

/// It must be told what its own key is, and to send more than its own certificate.
fn extra_for(kind: KeyKind) -> String {
    let method = if kind == KeyKind::Rsa { "rsasig" } else { "ecdsa" };
    format!("authby={method}\nsendca=all")
}

/// A chain is too long for one message, in both directions.
fn assert_in_fragments(packets: &[Packet], between: usize) {
    const IKE_AUTH: u8 = 35;
    let sent = |whose: bool| {
        let is_his = |packet: &&Packet| matches!(packet, Packet::Ike { exchange: IKE_AUTH, response, .. } if *response == whose);
        packets.iter().filter(is_his).count()
    };
    let least = if between > 0 { 3 } else { 1 };
    let (requests, responses) = (sent(false), sent(true));
    assert!(requests >= least && responses >= least, "{requests} and {responses}");
}

fn ping_both_ways(dut: &Namespace, libreswan: &mut Libreswan, tunnel: &Tunnel) -> Result<()> {
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    libreswan.guest().ping(tunnel.remote.inner, tunnel.local.inner)
}
