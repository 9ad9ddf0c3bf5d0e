//! A machine that changes networks keeps its tunnel.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::net::Ipv4Addr;

use anyhow::Result;
use control::{Gone, How, State, What};
use interop::{Capture, Cygnet, Namespace, PATIENCE, Stream, StrongSwan, story, until};

/// Behind the cygnet under test, and behind its peer.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 91, 0, 1), Ipv4Addr::new(10, 92, 0, 1)];

/// A cygnet that goes by whatever address it has.
fn cygnet_conf(remote: &str, ids: (&str, &str), inner: [u8; 2], lines: &str) -> String {
    let (own, other) = (inner[0], inner[1]);
    format!(
        r#"
[connections.dut]
{remote}
proposals = ["aes256gcm16-prfsha384-x25519"]
inner_addrs = ["10.{own}.0.1/24"]
{lines}
[connections.dut.local]
id = "{}"
[connections.dut.remote]
id = "{}"
[connections.dut.children.net]
local_ts = ["10.{own}.0.0/24"]
remote_ts = ["10.{other}.0.0/24"]
[secrets.psk]
secret = "correct horse battery staple"
"#,
        ids.0, ids.1
    )
}

fn client(lines: &str) -> String {
    cygnet_conf("remote_addrs = [\"10.77.0.2\"]", ("@dut", "@peer"), [91, 92], lines)
}

fn swanctl_conf(local: &str, remote: &str) -> String {
    format!(
        "connections {{ dut {{
            version = 2
            local_addrs = {local}
            remote_addrs = {remote}
            proposals = aes256gcm16-prfsha384-x25519
            encap = yes
            mobike = yes
            local {{ auth = psk
                     id = @peer }}
            remote {{ auth = psk
                      id = @dut }}
            children {{ net {{ local_ts = 10.92.0.0/24
                               remote_ts = 10.91.0.0/24
                               esp_proposals = aes256gcm16 }} }}
        }} }}
        secrets {{ ike-dut {{ secret = \"correct horse battery staple\" }} }}\n"
    )
}

/// It leaves one network and comes to another: for a moment it has no address.
fn change_address(namespace: &Namespace, from: &str, to: &str) -> Result<()> {
    namespace.ip(&format!("addr del {from}/24 dev eth0"))?;
    namespace.ip(&format!("addr add {to}/24 dev eth0"))?;
    Ok(())
}

fn has_ended(cygnet: &Cygnet) -> Result<bool> {
    Ok(cygnet.events()?.iter().any(|event| matches!(event, What::Down { .. })))
}

#[test]
fn a_client_that_changes_its_address_keeps_its_sa_with_strongswan() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.address("lo", "10.92.0.1/32")?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_conf("10.77.0.2", "%any"))?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &client(""))?;
        cygnet.up()?;
        dut.ping(INNER[0], INNER[1])?;

        for (from, to) in [("10.77.0.1", "10.77.0.9"), ("10.77.0.9", "10.77.0.23")] {
            change_address(&dut, from, to)?;
            let new = format!("{to}:");
            cygnet.wait_for_event("the move", |event| match event {
                What::Moved { local, .. } if local.starts_with(&new) => Some(()),
                _ => None,
            })?;
            dut.ping(INNER[0], INNER[1])?;
            peer.ping(INNER[1], INNER[0])?;
            let sas = strongswan.established()?;
            assert_eq!(sas.len(), 1);
            assert_eq!(sas[0].value("remote-host"), Some(to));
        }
        assert!(!has_ended(&cygnet)?);
        Ok(())
    })
}

#[test]
fn of_a_stream_that_goes_on_only_answers_to_the_old_address_are_lost_with_strongswan() -> Result<()>
{
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.address("lo", "10.92.0.1/32")?;
        let _strongswan = StrongSwan::start_with(&peer, &swanctl_conf("10.77.0.2", "%any"))?;
        loses_only_what_was_underway(&dut)
    })
}

#[test]
fn of_a_stream_that_goes_on_only_answers_to_the_old_address_are_lost_with_cygnet() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let gateway = cygnet_conf("", ("@peer", "@dut"), [92, 91], "");
        let _gateway = Cygnet::start_with(&peer, "dut", &gateway)?;
        loses_only_what_was_underway(&dut)
    })
}

/// A client changes its address under a stream. Every packet of it goes out, by
/// the old way or the new one, also those that come while there is no way. What
/// the peer answers to the old address, since it does not know better yet, is
/// underway on a way that is gone. That is missing, with what the peer itself
/// drops in that moment: before the first answer to the new address, nowhere else.
fn loses_only_what_was_underway(dut: &Namespace) -> Result<()> {
    const OLD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
    let mut cygnet = Cygnet::start_with(dut, "dut", &client(""))?;
    cygnet.up()?;
    let wire = Capture::start(dut, "eth0")?;
    let mut stream = Stream::start(dut, INNER[0], INNER[1])?;
    dut.ip("addr del 10.77.0.1/24 dev eth0")?;
    let sealed = || Ok::<_, anyhow::Error>(cygnet.connection()?.children[0].packets_out);
    let before = sealed()?;
    until(PATIENCE, "twenty packets for which there is no way", || {
        Ok((sealed()? >= before + 20).then_some(()))
    })?;
    dut.ip("addr add 10.77.0.9/24 dev eth0")?;
    cygnet.wait_for_event("the move", |event| match event {
        What::Moved { local, .. } if local.starts_with("10.77.0.9:") => Some(()),
        _ => None,
    })?;
    stream.wait_for_more()?;
    let (sent, mut answered) = stream.stop()?;

    answered.sort_unstable();
    let last = answered.last().copied().unwrap_or_default();
    // The answers to the new address are to the last packets. All of them have come, and of the
    // others the first ones, up to the moment at which the address went. What was sent last may
    // be seen a little later.
    until(PATIENCE, format!("of {sent} packets, answers to {answered:?} on the wire"), || {
        let seen = wire.equal_esp()?;
        let there = count(&seen, |[from, _]| [OLD, NEW].contains(&from));
        let to_new = count(&seen, |[_, to]| to == NEW);
        let first_to_new = u32::try_from(sent.saturating_sub(to_new))? + 1;
        let (by_old, by_new): (Vec<u32>, Vec<u32>) =
            answered.iter().partition(|number| **number < first_to_new);
        let is_all = by_new == (first_to_new..=last).collect::<Vec<_>>();
        let is_first = by_old == (1..).take(by_old.len()).collect::<Vec<_>>();
        Ok((there == sent && to_new > 0 && is_all && is_first).then_some(()))
    })?;
    assert!(!has_ended(&cygnet)?);
    Ok(())
}

/// From where to where, and how many packets.
type Ways = ([Ipv4Addr; 2], usize);

fn count(seen: &[Ways], is_it: impl Fn([Ipv4Addr; 2]) -> bool) -> usize {
    seen.iter().filter(|(way, _)| is_it(*way)).map(|(_, packets)| packets).sum()
}

#[test]
fn a_strongswan_that_changes_its_address_keeps_its_sa_with_a_gateway() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.address("lo", "10.92.0.1/32")?;
        let gateway = cygnet_conf("", ("@dut", "@peer"), [91, 92], "");
        let mut cygnet = Cygnet::start_with(&dut, "dut", &gateway)?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_conf("%any", "10.77.0.1"))?;
        strongswan.initiate()?;
        peer.ping(INNER[1], INNER[0])?;

        change_address(&peer, "10.77.0.2", "10.77.0.9")?;
        cygnet.wait_for_event("the move", |event| match event {
            What::Moved { remote, .. } if remote.starts_with("10.77.0.9:") => Some(()),
            _ => None,
        })?;
        peer.ping(INNER[1], INNER[0])?;
        dut.ping(INNER[0], INNER[1])?;
        assert_eq!(strongswan.established()?.len(), 1);
        assert!(!has_ended(&cygnet)?);
        Ok(())
    })
}

#[test]
fn without_mobike_a_client_that_changes_its_address_is_resumed_at_once() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let gateway = cygnet_conf("", ("@peer", "@dut"), [92, 91], "mobike = false");
        let _gateway = Cygnet::start_with(&peer, "dut", &gateway)?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &client("liveness = \"0s\""))?;
        cygnet.up()?;
        dut.ping(INNER[0], INNER[1])?;

        change_address(&dut, "10.77.0.1", "10.77.0.9")?;
        let why = cygnet.wait_for_event("the SA to end", |event| match event {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::Moved);
        let connection = cygnet.wait_for_state(State::Up)?;
        assert_eq!(connection.how, Some(How::Resumed));
        dut.ping(INNER[0], INNER[1])
    })
}
