//! cygnet on both ends of a network that lets nothing but TCP through.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use control::{Connection, How, State};
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
