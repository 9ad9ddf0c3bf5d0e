//! cygnet on both ends: what no other peer does with it yet.

#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use anyhow::Result;
use control::{Connection, Gone, How, State, What};
use interop::road_warrior::{self, GIVEN, SERVER};
use interop::{Capture, Cygnet, NameServer, Packet, Tunnel, story};

const INFORMATIONAL: u8 = 37;

/// The name of a gateway.
const NAME: &str = "vpn.example.org";

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

/// A second connection to the same gateway, for other traffic.
const SECOND: &str = r#"
[connections.second]
remote_addrs = ["10.77.0.2"]
start = "on-boot"

[connections.second.local]
id = "@second"

[connections.second.remote]
id = "@peer"

[connections.second.children.net]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.93.0.0/24"]
"#;

const FOR_SECOND: &str = r#"
[connections.for-second]
[connections.for-second.local]
id = "@peer"

[connections.for-second.remote]
id = "@second"

[connections.for-second.children.net]
local_ts = ["10.93.0.0/24"]
remote_ts = ["10.91.0.0/24"]
"#;

const SECRET: &str = r#"
[secrets.second]
id = ["@second", "@peer"]
secret = "of the second connection"
"#;

/// The connection's own SA, with its SPIs.
fn entry(of: &Cygnet, name: &str) -> Result<Option<Connection>> {
    Ok(of.status()?.connections.into_iter().find(|it| it.name == name))
}

#[test]
fn a_configuration_is_read_again_and_changes_only_what_is_different_in_it() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (ours, theirs) = (Cygnet::config(&tunnel, ""), Cygnet::config(&tunnel.reversed(), ""));
        let gateway = Cygnet::start_with(&peer, "dut", &theirs)?;
        let mut client = Cygnet::start_with(&dut, "dut", &ours)?;
        client.up()?;
        let first = entry(&client, "dut")?.expect("the connection");
        let spis =
            |it: &Connection| it.children.iter().map(|c| c.spi_in.clone()).collect::<Vec<_>>();

        // A mistake is told to whoever asks, and changes nothing.
        let mistaken = format!("{ours}\n[connections.broken]\nremote_adrs = []\n");
        let answer = client.reload_with(&mistaken)?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.complaint.contains("did you mean \"remote_addrs\"?"), "{answer:?}");
        assert_eq!(client.status()?.connections.len(), 1);

        // Nobody was waited for, so that nobody could come by TCP.
        let by_tcp = || peer.run("ss", "-tlnH sport = :4500");
        assert_eq!(by_tcp()?, "");
        let answer = gateway.reload_with(&format!("{theirs}{FOR_SECOND}{SECRET}"))?;
        assert_eq!(answer.printed.trim(), "added for-second", "{answer:?}");
        assert_ne!(by_tcp()?, "");
        let answer = client.reload_with(&format!("{ours}{SECOND}{SECRET}"))?;
        assert_eq!(answer.printed.trim(), "added second", "{answer:?}");
        client.wait_for_event("the second connection", |event| match event {
            What::Up { connection, .. } if connection == "second" => Some(()),
            _ => None,
        })?;
        let after = entry(&client, "dut")?.expect("the connection");
        assert_eq!((after.sa.as_ref(), spis(&after)), (first.sa.as_ref(), spis(&first)));
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;

        client.hang_up_with(&ours)?;
        client.wait_for_event("the second connection to be taken down", |event| match event {
            What::Down { connection, why: Gone::Command, .. } if connection == "second" => Some(()),
            _ => None,
        })?;
        assert!(entry(&client, "second")?.is_none());
        let last = entry(&client, "dut")?.expect("the connection");
        assert_eq!((last.sa.as_ref(), spis(&last)), (first.sa.as_ref(), spis(&first)));
        assert_eq!(last.state, State::Up);
        dut.ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn a_gateway_is_found_by_its_name_at_each_of_its_addresses_and_where_it_has_moved_to() -> Result<()>
{
    story(|world| {
        let (dut, peer) = world.pair()?;
        let anywhere = road_warrior::gateway("").replace("listen = [\"10.77.0.2\"]", "");
        let _gateway = Cygnet::start_with(&peer, "clients", &anywhere)?;
        dut.know_hosts("127.0.0.1 localhost\n")?;
        let by_name =
            road_warrior::client("dns = false").replace("\"10.77.0.2\"", "\"vpn.example.org\"");
        let mut client = Cygnet::start_with(&dut, "dut", &by_name)?;

        let answer = client.ask(&["up", "dut"])?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        let complaint = format!("no usable address of {NAME} was found");
        assert!(answer.complaint.contains(&complaint), "{answer:?}");

        // Nobody is at the first.
        dut.know_hosts(&format!("10.77.0.3 {NAME}\n10.77.0.2 {NAME}\n"))?;
        client.up()?;
        let left = client.wait_for_event("the first address to be left", |event| match event {
            What::TriedInVain { remote, .. } => Some(remote.clone()),
            _ => None,
        })?;
        assert_eq!(left, "10.77.0.3:500");
        assert_eq!(client.connection()?.remote.as_deref(), Some("10.77.0.2:4500"));
        dut.ping(GIVEN, SERVER)?;

        client.suspend()?;
        peer.ip("addr del 10.77.0.2/24 dev eth0")?;
        peer.ip("addr add 10.77.0.9/24 dev eth0")?;
        dut.know_hosts(&format!("10.77.0.9 {NAME}\n"))?;
        client.resume()?;
        let moved = client.connection()?;
        assert_eq!(
            (moved.remote.as_deref(), moved.how),
            (Some("10.77.0.9:4500"), Some(How::Resumed))
        );
        dut.ping(GIVEN, SERVER)?;

        // The name server is not to be had any more.
        client.down()?;
        dut.know_hosts("")?;
        client.up()?;
        let known = client.wait_for_event("the lookup to fail", |event| match event {
            What::Unresolved { known, .. } if !known.is_empty() => Some(known.clone()),
            _ => None,
        })?;
        assert_eq!(known, ["10.77.0.9"]);
        dut.ping(GIVEN, SERVER)
    })
}

/// Of all traffic, through the tunnel.
const EVERYTHING: &str = "0.0.0.0/0";

#[test]
fn a_tunnel_for_all_traffic_that_holds_its_packets_finds_its_gateway_by_name() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(Tunnel::DEFAULT, "aes256gcm16");
        let (outer, inner) = (tunnel.remote.outer, tunnel.remote.inner);
        let everything = |config: String| config.replace(&tunnel.remote.network(), EVERYTHING);
        let theirs = everything(Cygnet::config(&tunnel.reversed(), ""));
        let _gateway = Cygnet::start_with(&peer, "dut", &theirs)?;
        let server = NameServer::start(&peer, outer, NAME, outer)?;

        dut.ask_for_names(outer)?;
        let ours = everything(Cygnet::config(&tunnel, "start = \"on-traffic\""));
        let by_name = ours.replace(
            &format!("remote_addrs = [\"{outer}\"]"),
            &format!("remote_addrs = [\"{NAME}\"]"),
        );
        assert_ne!(by_name, ours);
        let client = Cygnet::start_with(&dut, "dut", &by_name)?;
        // The system's resolver asks into the tunnel that this waits for.
        dut.run("ping", &format!("-n -q -c 1 -w 15 -I {} {inner}", tunnel.local.inner))?;
        let connection = client.wait_for_state(State::Up)?;
        assert_eq!(connection.remote, Some(format!("{outer}:4500")));
        assert!(server.was_asked_for(NAME)?);
        Ok(())
    })
}
