//! cygnet on both ends: what no other peer does with it yet.

use anyhow::Result;
use control::{Gone, How, State, What};
use interop::{Capture, Cygnet, Packet, Tunnel, story};

const INFORMATIONAL: u8 = 37;

#[test]
fn a_client_learns_in_one_round_trip_that_its_gateway_was_killed_and_comes_back() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let mut gateway = Cygnet::start(&peer, &tunnel.reversed(), "")?;
        let mut client = Cygnet::start(&dut, &tunnel, "liveness = \"1s\"")?;
        client.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;

        let wire = Capture::start(&dut, "eth0")?;
        gateway.crash_and_restart()?;
        let why = client.wait_for_event("the SA to end", |event| match event {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::PeerRestarted);
        let connection = client.wait_for_state(State::Up)?;
        assert_eq!(connection.how, Some(How::Full), "the ticket keys died with the daemon");
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;

        let requests = wire.packets()?.into_iter().filter(|packet| {
            matches!(packet, Packet::Ike { exchange: INFORMATIONAL, response: false, .. })
        });
        assert!(requests.count() <= 3, "it did not wait for its patience to end");
        Ok(())
    })
}
