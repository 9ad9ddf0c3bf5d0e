//! Repeated authentication (RFC 4478) with strongSwan 5.9: whoever answered says by when, whoever
//! began sets up another IKE SA beside the first, and a steady stream loses nothing.

use anyhow::{Result, ensure};
use control::{Gone, Role, State, What};
use interop::road_warrior::{self, GIVEN, SECRET, SERVER};
use interop::{Cygnet, PATIENCE, Stream, StrongSwan, Tunnel, story, until};

const IKE: &str = "aes256gcm16-prfsha384-x25519";

/// How often a peer was authenticated, and how the SAs before the last one have ended.
fn told(cygnet: &Cygnet) -> Result<(usize, Vec<Gone>)> {
    let events = cygnet.events()?;
    let ups = events.iter().filter(|what| matches!(what, What::Up { .. })).count();
    let why = |what: &What| match what {
        What::Down { why, .. } => Some(*why),
        _ => None,
    };
    Ok((ups, events.iter().filter_map(why).collect()))
}

/// After so many authentications, all SAs but the last have ended for this reason.
fn wait_for(cygnet: &Cygnet, ups: usize, why: Gone) -> Result<()> {
    until(3 * PATIENCE, format!("authentication {ups}"), || {
        Ok((told(cygnet)? == (ups, vec![why; ups - 1])).then_some(()))
    })
}

/// A gateway with a pool: strongSwan begins the next SA of other peers by itself.
fn strongswan_gateway(times: &str) -> String {
    format!(
        "connections {{ dut {{
            version = 2
            local_addrs = 10.77.0.2
            remote_addrs = 10.77.0.1
            proposals = {IKE}
            encap = yes
            mobike = no
            pools = clients
            {times}
            local {{ auth = psk
                     id = @peer }}
            remote {{ auth = psk
                      id = @dut }}
            children {{ net {{ local_ts = 10.92.0.0/24
                               esp_proposals = aes256gcm16
                               mode = tunnel }} }}
        }} }}
        pools {{ clients {{ addrs = 10.3.0.0/24 }} }}
        secrets {{ ike-dut {{ secret = \"{SECRET}\" }} }}\n"
    )
}

#[test]
fn cygnet_authenticates_again_when_strongswan_wants_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.address("lo", &format!("{SERVER}/32"))?;
        let times = "reauth_time = 15s\nover_time = 30s\nrand_time = 0s";
        let strongswan = StrongSwan::start_with(&peer, &strongswan_gateway(times))?;
        let cygnet = Cygnet::start_with(&dut, "dut", &road_warrior::client(""))?;
        cygnet.up()?;
        dut.ping(GIVEN, SERVER)?;
        let mut stream = Stream::start(&dut, GIVEN, SERVER)?;
        for ups in [2, 3] {
            wait_for(&cygnet, ups, Gone::Replaced)?;
            strongswan.wait_for_established(1)?;
            stream.wait_for_more()?;
            assert_eq!(cygnet.connection()?.inner, [GIVEN.to_string()]);
        }
        // strongSwan sends by the SA that comes before it has answered: what arrives before the
        // answer cannot be opened, and nothing else may be missing.
        let (_, answers) = stream.stop()?;
        let last = answers.iter().max().copied().unwrap_or(0);
        let missing = (1..=last).filter(|number| !answers.contains(number)).count() as u64;
        let early = cygnet.status()?.plane_drops.get("unknown_spi").copied().unwrap_or(0);
        ensure!(missing == early && early < 100, "{missing} are missing, {early} came early");
        cygnet.down()?;
        strongswan.wait_for_established(0)
    })
}

#[test]
fn a_cygnet_client_authenticates_again_when_its_gateway_wants_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let times = "reauth_time = \"15s\"\nover_time = \"30s\"\nrand_time = \"1s\"";
        let gateway = Cygnet::start_with(&peer, "clients", &road_warrior::gateway(times))?;
        let cygnet = Cygnet::start_with(&dut, "dut", &road_warrior::client(""))?;
        cygnet.up()?;
        dut.ping(GIVEN, SERVER)?;
        let mut stream = Stream::start(&dut, GIVEN, SERVER)?;
        for ups in [2, 3] {
            wait_for(&cygnet, ups, Gone::Replaced)?;
            wait_for(&gateway, ups, Gone::PeerDeleted)?;
            stream.wait_for_more()?;
            assert_eq!(cygnet.connection()?.inner, [GIVEN.to_string()]);
        }
        stream.finish()
    })
}

#[test]
fn strongswan_authenticates_again_when_cygnet_wants_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, "aes256gcm16");
        let times = "reauth_time = \"20s\"\nover_time = \"40s\"\nrand_time = \"1s\"";
        let cygnet = Cygnet::start(&dut, &tunnel, times)?;
        let soon = "over_time = 8s\nrand_time = 0s";
        let strongswan = StrongSwan::start_saying(&peer, &tunnel.reversed(), soon)?;
        strongswan.initiate()?;
        cygnet.wait_for_state(State::Up)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        let mut stream = Stream::start(&dut, tunnel.local.inner, tunnel.remote.inner)?;
        for ups in [2, 3] {
            wait_for(&cygnet, ups, Gone::PeerDeleted)?;
            strongswan.wait_for_established(1)?;
            stream.wait_for_more()?;
        }
        let is_theirs = |what: &What| matches!(what, What::Up { role: Role::Responder, .. });
        ensure!(cygnet.events()?.iter().filter(|what| is_theirs(what)).count() == 3);
        // strongSwan ends the SA before as soon as the next is there: what is still on its way by
        // that may come too late, a packet for each of the two, and nothing else may be missing.
        let (_, answers) = stream.stop()?;
        let last = answers.iter().max().copied().unwrap_or(0);
        let missing: Vec<_> = (1..=last).filter(|number| !answers.contains(number)).collect();
        ensure!(missing.len() <= 2, "{missing:?} are missing");
        Ok(())
    })
}
