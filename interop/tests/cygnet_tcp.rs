//! cygnet on both ends of networks that let nothing but TCP through.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Result, anyhow, ensure};
use control::{Connection, How, State, What};
use interop::{Cygnet, Namespace, PATIENCE, Tunnel, story, until};

/// Drops all that is neither TCP nor ICMP, in both directions.
const WALL: &str = "table inet wall {
    chain in {
        type filter hook input priority 0
        iifname \"eth0\" meta l4proto != { tcp, icmp, ipv6-icmp } drop
    }
    chain out {
        type filter hook output priority 0
        oifname \"eth0\" meta l4proto != { tcp, icmp, ipv6-icmp } drop
    }
}
";

/// Breaks every connection to the gateway at its next packet.
const BREAK: &str = "table inet break {
    chain in {
        type filter hook input priority 0
        tcp dport 4500 reject with tcp reset
    }
}
";

/// A gateway that waits for anybody: it listens on TCP without being told.
const GATEWAY: &str = r#"
[connections.dut]
local_addrs = ["10.77.0.2"]
inner_addrs = ["10.92.0.1/24"]
resumption = true

[connections.dut.local]
auth = "psk"
id = "@peer"

[connections.dut.remote]
auth = "psk"
id = "@dut"

[connections.dut.children.net]
local_ts = ["10.92.0.0/24"]
remote_ts = ["10.91.0.0/24"]

[secrets.psk]
secret = "correct horse battery staple"
"#;

/// A client that goes by whatever address it has.
const CLIENT: &str = r#"
[connections.dut]
remote_addrs = ["10.77.0.2"]
inner_addrs = ["10.91.0.1/24"]

[connections.dut.local]
id = "@dut"

[connections.dut.remote]
id = "@peer"

[connections.dut.children.net]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.92.0.0/24"]

[secrets.psk]
secret = "correct horse battery staple"
"#;

/// Networks that differ in their addresses, and in what they let through.
const OPEN: &str = "10.77.0.1";
const WALLED: [&str; 2] = ["10.77.0.9", "10.77.0.23"];

/// From these networks nothing but TCP and ICMP gets through.
const WALLS: &str = "table inet walls {
    chain in {
        type filter hook input priority 0
        ip saddr { 10.77.0.9, 10.77.0.23 } meta l4proto != { tcp, icmp } drop
    }
}
";

/// Leaves one network for another.
fn change_address(namespace: &Namespace, from: &str, to: &str) -> Result<()> {
    namespace.ip(&format!("addr del {from}/24 dev eth0"))?;
    namespace.ip(&format!("addr add {to}/24 dev eth0"))?;
    Ok(())
}

/// A socket of this namespace.
fn within<T: Send + 'static>(namespace: &Namespace, open: fn() -> io::Result<T>) -> Result<T> {
    let opened = namespace.enter(move || Ok(open()?))?.join();
    opened.map_err(|_| anyhow!("opening a socket panicked"))?
}

fn is_by_tcp(connection: &Connection) -> bool {
    connection.children.first().is_some_and(|child| child.tcp)
}

/// As many large packets as a window holds, all of them answered.
fn traffic(from: &Namespace, tunnel: &Tunnel) -> Result<()> {
    let (ours, theirs): (Ipv4Addr, Ipv4Addr) = (tunnel.local.inner, tunnel.remote.inner);
    from.run("ping", &format!("-n -q -c 300 -i 0.002 -s 1300 -w 20 -I {ours} {theirs}")).map(drop)
}

#[test]
fn where_only_tcp_gets_through_a_tunnel_comes_up_by_it_and_is_mended_when_it_breaks() -> Result<()>
{
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.nft(WALL)?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let _gateway = Cygnet::start_with(&peer, "dut", GATEWAY)?;
        let client = Cygnet::start(&dut, &tunnel, "resumption = true\nliveness = \"2s\"")?;

        client.up()?;
        ensure!(is_by_tcp(&client.connection()?), "{:#?}", client.connection()?);
        traffic(&dut, &tunnel)?;

        peer.nft(BREAK)?;
        let failed = dut.run("ping", "-n -q -c 3 -i 0.05 -W 1 -I 10.91.0.1 10.92.0.1");
        ensure!(failed.is_err(), "the connection is not broken");
        peer.nft("delete table inet break\n")?;
        let before = client.connection()?;
        until(PATIENCE, "the way through to be found again", || {
            Ok(dut.ping(tunnel.local.inner, tunnel.remote.inner).ok())
        })?;
        let after = client.connection()?;
        ensure!(is_by_tcp(&after));
        ensure!(before.sa == after.sa, "it is another SA: {before:#?} {after:#?}");
        traffic(&dut, &tunnel)?;

        client.suspend()?;
        client.wait_for_state(State::Suspended)?;
        client.resume()?;
        let resumed = client.wait_for_state(State::Up)?;
        ensure!(resumed.how == Some(How::Resumed) && is_by_tcp(&resumed), "{resumed:#?}");
        traffic(&dut, &tunnel)?;

        // Where UDP gets through again, it is taken again.
        client.suspend()?;
        peer.nft("delete table inet wall\n")?;
        client.resume()?;
        let resumed = client.wait_for_state(State::Up)?;
        ensure!(resumed.how == Some(How::Resumed) && !is_by_tcp(&resumed), "{resumed:#?}");
        traffic(&dut, &tunnel)?;
        client.down()
    })
}

#[test]
fn an_sa_moves_between_udp_and_tcp_as_networks_change_and_connections_in_it_go_on() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        peer.nft(WALLS)?;
        let _gateway = Cygnet::start_with(&peer, "dut", GATEWAY)?;
        let mut client = Cygnet::start_with(&dut, "dut", CLIENT)?;
        client.up()?;
        let before = client.connection()?;
        ensure!(!is_by_tcp(&before), "{before:#?}");

        let inside = within(&peer, || TcpListener::bind("10.92.0.1:7777"))?;
        let mut ours = within(&dut, || TcpStream::connect("10.92.0.1:7777"))?;
        let (mut theirs, _) = inside.accept()?;
        theirs.set_read_timeout(Some(PATIENCE))?;
        let networks = [OPEN, WALLED[0], WALLED[1], OPEN];
        for (from, to) in networks.iter().zip(&networks[1..]) {
            change_address(&dut, from, to)?;
            let is_walled = WALLED.contains(to);
            let new = format!("{to}:");
            client.wait_for_event("the move", |event| match event {
                What::Moved { local, tcp, .. } => {
                    (local.starts_with(&new) && *tcp == is_walled).then_some(())
                }
                _ => None,
            })?;
            // It waits, retransmits and arrives.
            ours.write_all(to.as_bytes())?;
            let mut heard = vec![0; to.len()];
            theirs.read_exact(&mut heard)?;
            ensure!(heard == to.as_bytes());
            dut.ping(Ipv4Addr::new(10, 91, 0, 1), Ipv4Addr::new(10, 92, 0, 1))?;
            peer.ping(Ipv4Addr::new(10, 92, 0, 1), Ipv4Addr::new(10, 91, 0, 1))?;
            let after = client.connection()?;
            ensure!(before.sa == after.sa, "it is another SA: {before:#?} {after:#?}");
            ensure!(is_by_tcp(&after) == is_walled, "{after:#?}");
        }
        until(PATIENCE, "the last connection to be closed", || {
            let open = dut.run("ss", "-tnH state established dport = :4500")?;
            Ok(open.trim().is_empty().then_some(()))
        })?;
        client.down()
    })
}
