//! Set up and deleted again and again: nothing grows, and nothing is left.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use control::State;
use interop::road_warrior::{self, GIVEN};
use interop::{Cygnet, Namespace, StrongSwan, Tunnel, story, until};

/// Before the first look: buffers and allocators have their size by then.
const WARM_UP: usize = 20;

/// Between the two looks.
const ROUNDS: usize = 200;

/// Allowed between the two looks, for fragmentation of the heap, and for what
/// is remembered of an SA until the repetitions of its last messages are over.
const GROWTH_KIB: u64 = 2048;

/// What a daemon has of the machine.
struct Held {
    descriptors: usize,
    /// Addresses, rules and routes of its namespace.
    network: String,
    resident_kib: u64,
}

impl Held {
    /// Waits for the kernel's own addresses: it gives them when it has noticed that the cable is
    /// there, and tries them for a while.
    fn by(cygnet: &Cygnet, namespace: &Namespace) -> Result<Self> {
        until(interop::PATIENCE, "addresses that are no duplicates", || {
            let shown = namespace.ip("addr")?;
            Ok((!shown.contains("NO-CARRIER") && !shown.contains("tentative")).then_some(()))
        })?;
        Ok(Self {
            descriptors: descriptors(cygnet)?,
            network: network(namespace)?,
            resident_kib: resident_kib(cygnet)?,
        })
    }

    /// Waits for the descriptors: the command that was asked last may not be gone yet.
    fn is_what_is_held(&self, cygnet: &Cygnet, namespace: &Namespace) -> Result<()> {
        until(interop::PATIENCE, format!("{} descriptors", self.descriptors), || {
            Ok((descriptors(cygnet)? == self.descriptors).then_some(()))
        })?;
        let now = network(namespace)?;
        ensure!(now == self.network, "before:\n{}\nnow:\n{now}", self.network);
        let grown = resident_kib(cygnet)?.saturating_sub(self.resident_kib);
        ensure!(grown <= GROWTH_KIB, "grown by {grown} KiB from {} KiB", self.resident_kib);
        Ok(())
    }
}

fn descriptors(cygnet: &Cygnet) -> Result<usize> {
    Ok(fs::read_dir(cygnet.proc().join("fd"))?.count())
}

fn network(namespace: &Namespace) -> Result<String> {
    let looks = ["addr", "rule", "-6 rule", "route show table all", "-6 route show table all"];
    looks.iter().map(|look| namespace.ip(look)).collect()
}

fn resident_kib(cygnet: &Cygnet) -> Result<u64> {
    let status = fs::read_to_string(cygnet.proc().join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

fn up_and_down(client: &Cygnet, times: usize) -> Result<()> {
    for round in 0..times {
        client.up().with_context(|| format!("round {round}"))?;
        client.down().with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// With one address to give, which nobody else gets unless it has been given back.
fn gateway_of_one(extra: &str) -> String {
    road_warrior::gateway(extra).replace("10.3.0.0/24", &format!("{GIVEN}/32"))
}

#[test]
fn two_hundred_set_ups_leave_nothing_behind_on_either_side() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let gateway = Cygnet::start_with(&peer, "clients", &gateway_of_one("resumption = true"))?;
        let config = road_warrior::client("resumption = true");
        let mut client = Cygnet::start_with(&dut, "dut", &config)?;

        up_and_down(&client, WARM_UP)?;
        let before = [Held::by(&client, &dut)?, Held::by(&gateway, &peer)?];
        up_and_down(&client, ROUNDS)?;
        let [ours, theirs] = before;
        ours.is_what_is_held(&client, &dut).context("the client")?;
        theirs.is_what_is_held(&gateway, &peer).context("the gateway")?;
        client.restart_with(&config.replace("@dut", "@another"))?;
        client.up()
    })
}

#[test]
fn two_hundred_set_ups_with_strongswan_leave_nothing_behind() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let client = Cygnet::start(&dut, &tunnel, "")?;

        up_and_down(&client, WARM_UP)?;
        let before = Held::by(&client, &dut)?;
        up_and_down(&client, ROUNDS)?;
        before.is_what_is_held(&client, &dut)?;
        strongswan.wait_for_established(0)
    })
}

#[test]
fn two_hundred_set_ups_by_strongswan_leave_nothing_behind() -> Result<()> {
    story(|world| {
        let (client, dut) = world.pair()?;
        let gateway = Cygnet::start_with(&dut, "clients", &gateway_of_one(""))?;
        let config = road_warrior::swanctl_client();
        let strongswan = StrongSwan::start_with(&client, &config)?;

        come_and_go(&strongswan, &gateway, WARM_UP)?;
        let before = Held::by(&gateway, &dut)?;
        come_and_go(&strongswan, &gateway, ROUNDS)?;
        before.is_what_is_held(&gateway, &dut)?;
        drop(strongswan);
        let another = StrongSwan::start_with(&client, &config.replace("@dut", "@another"))?;
        come_and_go(&another, &gateway, 1)
    })
}

/// Each time with the address.
fn come_and_go(strongswan: &StrongSwan, gateway: &Cygnet, times: usize) -> Result<()> {
    for round in 0..times {
        strongswan.initiate().with_context(|| format!("round {round}"))?;
        let inner = gateway.wait_for_state(State::Up)?.inner;
        ensure!(inner == [GIVEN.to_string()], "{inner:?} in round {round}");
        strongswan.terminate().with_context(|| format!("round {round}"))?;
        gateway.wait_for_state(State::Down)?;
    }
    Ok(())
}
