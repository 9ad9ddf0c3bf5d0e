//! The guide's first tunnel with certificates: two commands for each, and two daemons.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use control::{CertificateFault, CertificateRefused, Failure, How, TicketFault, What};
use interop::{Cygnet, Tunnel, story};

#[test]
fn certificates_made_by_the_command_set_up_a_tunnel_until_they_are_revoked() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::certified(Tunnel::DEFAULT, "aes256gcm16");
        let desk = world.dir().join("desk");
        fs::create_dir(&desk)?;
        pki(&desk, "ca --out root")?;
        for side in [&tunnel.local, &tunnel.remote] {
            pki(&desk, &format!("issue --ca root.pem --out own{0} --id {0}", side.id))?;
        }
        give(&desk, &tunnel.local.id, dut.dir())?;
        give(&desk, &tunnel.remote.id, peer.dir())?;
        let mut gateway = Cygnet::start(&peer, &tunnel.reversed(), "")?;
        let mut client = Cygnet::start(&dut, &tunnel, "")?;

        client.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        assert_eq!(client.connection()?.how, Some(How::Full));
        client.suspend()?;
        client.resume()?;
        assert_eq!(client.connection()?.how, Some(How::Resumed));
        client.suspend()?;

        pki(&desk, &format!("revoke --ca root.pem own{}.pem", tunnel.local.id))?;
        fs::copy(desk.join("root.crl"), peer.dir().join("root.crl"))?;
        let file = peer.dir().join("cygnet.toml");
        let trust = "cacerts = [\"x509ca/root.pem\"]";
        let config = fs::read_to_string(file)?;
        let strict = format!("{trust}\ncrls = [\"root.crl\"]\nrevocation = \"strict\"");
        let answer = gateway.reload_with(&config.replace(trust, &strict))?;
        assert_eq!(answer.code, Some(0), "{answer:?}");
        ensure!(client.resume().is_err(), "a revoked certificate has convinced");
        let why = gateway.wait_for_event("ticket refused", |what| match what {
            What::TicketRefused { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, TicketFault::Distrusted);
        let why = gateway.wait_for_event("failed", |what| match what {
            What::Failed { why, .. } => Some(why.clone()),
            _ => None,
        })?;
        let Failure::Certificate(CertificateRefused { check, subject }) = why else {
            bail!("not for its certificate: {why}")
        };
        assert_eq!(check, CertificateFault::Revoked);
        let subject = subject.context("the event names no certificate")?;
        assert!(subject.contains(tunnel.local.id.trim_start_matches('@')), "{subject}");
        let told = client.wait_for_event("failed", |what| match what {
            What::Failed { why, .. } => Some(why.clone()),
            _ => None,
        })?;
        assert_eq!(told, Failure::RefusedByPeer, "the peer is not told why");
        Ok(())
    })
}

fn pki(desk: &Path, arguments: &str) -> Result<()> {
    let mut command = Command::new(Cygnet::program()?);
    let output =
        command.current_dir(desk).arg("pki").args(arguments.split_whitespace()).output()?;
    ensure!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Puts what the command has made where the tunnel's configuration looks for it.
fn give(desk: &Path, id: &str, dir: &Path) -> Result<()> {
    let files = [
        ("root.pem".to_owned(), "x509ca/root.pem"),
        (format!("own{id}.pem"), "x509/own.pem"),
        (format!("own{id}.key"), "pkcs8/own.pem"),
    ];
    for (from, to) in files {
        let to = dir.join(to);
        fs::create_dir_all(to.parent().context("a folder")?)?;
        fs::copy(desk.join(from), to)?;
    }
    Ok(())
}
