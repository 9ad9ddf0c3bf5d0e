//! Transport mode that strongSwan 5.9 asks for. The daemon's plane does tunnels
//! only: it gets one, between the same two hosts.

use anyhow::{Result, ensure};
use control::{Child, Role, State};
use interop::{Cygnet, Keys, Side, StrongSwan, Tunnel, story};

const IKE: &str = "aes256gcm16-prfsha384-x25519";
const ESP: &str = "aes256gcm16";

/// The tunnel's configuration with the hosts themselves for what is behind them.
fn between_hosts(tunnel: &Tunnel, config: &str) -> String {
    let host = |side: &Side| format!("{}/32", side.outer);
    config
        .replace(&tunnel.local.network(), &host(&tunnel.local))
        .replace(&tunnel.remote.network(), &host(&tunnel.remote))
}

#[test]
fn strongswan_asks_for_transport_mode_and_takes_the_tunnel_that_it_gets() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, ESP);
        let config = between_hosts(&tunnel, &Cygnet::config(&tunnel, ""));
        let cygnet = Cygnet::start_with(&dut, "dut", &config)?;
        let strongswan = StrongSwan::start_for_hosts(&peer, &tunnel.reversed())?;
        strongswan.initiate()?;
        let up = cygnet.wait_for_state(State::Up)?;
        ensure!(up.children.iter().all(|child| child.mode == "tunnel"), "{up:#?}");
        strongswan.ensure_logged("N(USE_TRANSP)")?;
        dut.ping(tunnel.local.outer, tunnel.remote.outer)?;
        peer.ping(tunnel.remote.outer, tunnel.local.outer)?;
        let through = cygnet.connection()?;
        let has_both = |child: &Child| child.packets_in >= 6 && child.packets_out >= 6;
        ensure!(through.children.iter().all(has_both), "{through:#?}");
        // strongSwan asks for transport mode each time, and the child stays a tunnel.
        strongswan.rekey_child()?;
        cygnet.wait_for_rekey(Role::Responder, Keys::Child, 1)?;
        strongswan.ensure_logged("CREATE_CHILD_SA request 2 [ N(REKEY_SA) N(USE_TRANSP)")?;
        dut.ping(tunnel.local.outer, tunnel.remote.outer)?;
        cygnet.rekey_child()?;
        cygnet.wait_for_rekey(Role::Initiator, Keys::Child, 1)?;
        peer.ping(tunnel.remote.outer, tunnel.local.outer)?;
        strongswan.terminate()?;
        cygnet.wait_for_state(State::Down).map(drop)
    })
}
