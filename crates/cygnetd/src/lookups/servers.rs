//! Which name servers can be asked past the tunnel.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

/// The resolver's own file (resolv.conf(5)), and where those name their servers
/// that put a forwarder on this machine into it: systemd-resolved(8) and
/// NetworkManager with dnsmasq.
pub(super) const FILES: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Servers that are asked: as many as the system's resolver asks (resolv.conf(5)).
const MAX_SERVERS: usize = 3;
/// No more of a file is read, in octets.
const MAX_FILE: u64 = 64 << 10;

const PORT: u16 = 53;

/// The servers in `files`, the preferred first. A later file is only read where
/// the ones before it lead to a forwarder on this machine, or to nobody: what a
/// forwarder asks does not go past the tunnel, either. `ours` are left out: they
/// are behind tunnels.
pub(super) fn find(files: &[impl AsRef<Path>], ours: &[IpAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for file in files {
        let named = read(file.as_ref()).unwrap_or_default();
        let usable = |server: &&SocketAddr| !is_local(server.ip()) && !ours.contains(&server.ip());
        for &server in named.iter().filter(usable) {
            if !found.contains(&server) {
                found.push(server);
            }
        }
        if !found.is_empty() && !named.iter().any(|server| is_local(server.ip())) {
            break;
        }
    }
    found.truncate(MAX_SERVERS);
    found
}

fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

fn read(file: &Path) -> io::Result<Vec<SocketAddr>> {
    let mut octets = Vec::new();
    File::open(file)?.take(MAX_FILE).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).lines().filter_map(server).collect())
}

/// What a line `nameserver ADDRESS` names.
fn server(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
    match address.split_once('%') {
        Some((address, scope)) => {
            let address = address.parse::<Ipv6Addr>().ok()?;
            Some(SocketAddrV6::new(address, PORT, 0, scope_id(scope)?).into())
        }
        None => Some(SocketAddr::new(address.parse::<IpAddr>().ok()?.to_canonical(), PORT)),
    }
}

fn scope_id(scope: &str) -> Option<u32> {
    scope.parse().ok().or_else(|| nix::net::if_::if_nametoindex(scope).ok())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn with(files: &[&str]) -> (Self, Vec<PathBuf>) {
            let dir = tempfile::tempdir().unwrap();
            let paths: Vec<_> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
            for (path, text) in paths.iter().zip(files) {
                std::fs::write(path, text).unwrap();
            }
            (Self(dir), paths)
        }
    }

    fn found(files: &[&str], ours: &[&str]) -> Vec<String> {
        let (dir, paths) = Dir::with(files);
        let ours: Vec<IpAddr> = ours.iter().map(|it| it.parse().unwrap()).collect();
        let found = find(&paths, &ours).iter().map(ToString::to_string).collect();
        drop(dir.0);
        found
    }

    #[test]
    fn servers_are_found_as_the_resolver_finds_them() {
        let file = "# nameserver 192.0.2.9\nsearch example.org\nnameserver\t192.0.2.1  # first\n\
                    nameserver 2001:db8::1\nnameserver nobody\nnameservers 192.0.2.8\n nameserver \
                    fe80::1%lo\nnameserver fe80::1%nosuchdevice\n";
        assert_eq!(found(&[file], &[]), ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(found(&[], &[]), Vec::<String>::new());
    }

    #[test]
    fn no_more_than_three_are_asked_each_once() {
        let file = "nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n\
                    nameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        assert_eq!(found(&[file], &[]), ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"]);
    }

    #[test]
    fn those_behind_a_forwarder_on_this_machine_are_found() {
        let real = "nameserver 192.0.2.1\n";
        let other = "nameserver 192.0.2.2\n";
        for stub in ["127.0.0.53", "127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
            let stub = format!("nameserver {stub}\n");
            assert_eq!(found(&[&stub, real, other], &[]), ["192.0.2.1:53"], "{stub}");
            assert_eq!(found(&[&stub, &stub, other], &[]), ["192.0.2.2:53"], "{stub}");
            assert_eq!(found(&[&stub], &[]), Vec::<String>::new());
        }
        assert_eq!(found(&[other, real], &[]), ["192.0.2.2:53"]);
    }

    #[test]
    fn servers_behind_a_tunnel_are_left_out() {
        let both = "nameserver 10.92.0.53\nnameserver 192.0.2.1\n";
        assert_eq!(found(&[both], &["10.92.0.53"]), ["192.0.2.1:53"]);
        let only = "nameserver 10.92.0.53\n";
        assert_eq!(found(&[only, both], &["10.92.0.53"]), ["192.0.2.1:53"]);
    }
}
