//! resolvconf, or openresolv under that name.
//!
//! It has no notion of routing by domain: with it, domains are searched, and the
//! servers are asked for everything.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::{Command, Stdio};

use super::{Device, Servers};

/// Tells it our servers, or that there are none any more.
pub(super) fn tell(device: &Device, servers: &Servers) {
    let done = if servers.servers.is_empty() { remove(device) } else { add(device, servers) };
    match done {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !servers.servers.is_empty() {
                tracing::warn!(
                    "the name servers of the tunnel are not used: \
                     neither systemd-resolved nor resolvconf is there"
                );
            }
        }
        Err(error) => tracing::error!("resolvconf does not take name servers: {error}"),
    }
}

/// What a daemon with this device has left that was killed.
pub(super) fn remove_leftovers(device: &Device) {
    match remove(device) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!("resolvconf may still know our name servers: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}

fn add(device: &Device, servers: &Servers) -> io::Result<()> {
    let record = record(device);
    let mut arguments = vec!["-a", &record];
    if servers.domains.is_empty() {
        // Exclusive: a name must not be asked for outside because an answer was slow.
        arguments.push("-x");
    }
    run(&arguments, &text(servers))
}

fn remove(device: &Device) -> io::Result<()> {
    // Last, where only openresolv looks: it fails otherwise when there is no such record.
    run(&["-d", &record(device), "-f"], "")
}

/// openresolv puts a "vpn" before the other networks of the machine, whose servers would be asked
/// first otherwise and know nothing of ours.
fn record(device: &Device) -> String {
    format!("vpn.{}", device.name)
}

/// In the words of resolv.conf(5).
fn text(servers: &Servers) -> String {
    let mut text = String::new();
    for server in &servers.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !servers.domains.is_empty() {
        let names: Vec<_> = servers.domains.iter().map(|domain| domain.as_str()).collect();
        let _ = writeln!(text, "search {}", names.join(" "));
    }
    text
}

/// Everybody reads what it writes, and Debian's leaves that to its caller, who writes secrets.
const READABLE: &str = r#"umask 022 && exec resolvconf "$@""#;

/// What a shell says of a program that is not there.
const NOT_FOUND: i32 = 127;

fn run(arguments: &[&str], input: &str) -> io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", READABLE, "resolvconf"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let status = child.wait()?;
    match status.code() {
        Some(0) => written,
        Some(NOT_FOUND) => Err(ErrorKind::NotFound.into()),
        _ => Err(io::Error::other(status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_domains_are_written_as_in_resolv_conf() {
        let servers = Servers {
            servers: vec!["10.2.0.53".parse().unwrap(), "fd00::53".parse().unwrap()],
            domains: vec!["corp.example".parse().unwrap(), "lab.example".parse().unwrap()],
        };
        let expected =
            "nameserver 10.2.0.53\nnameserver fd00::53\nsearch corp.example lab.example\n";
        assert_eq!(text(&servers), expected);
    }
}
