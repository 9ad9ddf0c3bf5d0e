//! Every kind of name in a certificate, and keys that a passphrase protects, with strongSwan 5.9 in
//! both roles.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use control::{State, What};
use crypto::KeyKind;
use interop::{Cygnet, Papers, StrongSwan, Tunnel, story};

const KEY: &str = "certs = [\"x509/own.pem\"]\nkey = \"pkcs8/own.pem\"";

#[test]
fn who_goes_by_its_subject_has_an_encrypted_key() -> Result<()> {
    meet_as(["C=CH, O=Example, CN=dut", "C=CH, O=Example, CN=peer"], |dir, _| {
        encrypt(&dir.join("pkcs8/own.pem"))?;
        Ok(format!("{KEY}\npassphrase_file = \"passphrase\""))
    })
}

#[test]
fn who_goes_by_its_e_mail_address_has_key_and_certificate_in_one_file() -> Result<()> {
    meet_as(["dut@example.org", "peer@example.org"], |dir, papers| {
        let file = papers.pkcs12("dut@example.org", dir)?;
        fs::write(dir.join("own.p12"), file)?;
        fs::remove_dir_all(dir.join("pkcs8"))?;
        Ok("pkcs12 = \"own.p12\"\npassphrase_file = \"passphrase\"".into())
    })
}

#[test]
fn who_goes_by_its_address_is_known_by_its_certificate() -> Result<()> {
    meet_as(["10.77.0.1", "10.77.0.2"], |_, _| Ok(KEY.into()))
}

/// Brings a tunnel between two of these names up from either side. `keep` says where cygnet has
/// its key, when the passphrase is in a file beside it.
fn meet_as(
    [ours, theirs]: [&str; 2],
    keep: impl Fn(&Path, &Papers) -> Result<String>,
) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let mut tunnel = Tunnel::certified("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        (tunnel.local.id, tunnel.remote.id) = (ours.into(), theirs.into());
        let papers = Papers::new(&tunnel, KeyKind::EcdsaP256, 0)?;
        papers.give(theirs, &peer.dir().join("swanctl"))?;
        papers.give(ours, dut.dir())?;
        fs::write(dut.dir().join("passphrase"), Papers::PASSPHRASE)?;
        let kept = keep(dut.dir(), &papers)?;
        let config = Cygnet::config(&tunnel, "").replace(KEY, &kept);
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &config)?;

        cygnet.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        let met = cygnet.wait_for_event("up", |what| match what {
            What::Up { peer, .. } => Some(peer.clone()),
            _ => None,
        })?;
        assert_eq!(met, theirs);
        cygnet.down()?;
        strongswan.wait_for_established(0)?;

        strongswan.initiate()?;
        let up = cygnet.wait_for_state(State::Up)?;
        assert_eq!(up.remote_id.as_deref(), Some(theirs));
        strongswan.ensure_logged(&format!("authentication of '{ours}' with"))?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)
    })
}

/// Puts a key in PKCS #8 under the passphrase of [`Papers`].
fn encrypt(key: &Path) -> Result<()> {
    let made = key.with_extension("encrypted");
    let mut command = Command::new("openssl");
    command.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc"]);
    command.arg("-in").arg(key).arg("-out").arg(&made);
    command.args(["-passout", &format!("pass:{}", Papers::PASSPHRASE)]);
    let output = command.output()?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read_to_string(&made)?.contains("ENCRYPTED"), "the key is not encrypted");
    Ok(fs::rename(made, key)?)
}
