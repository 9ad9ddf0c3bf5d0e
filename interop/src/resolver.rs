//! What resolves names for the programs of a namespace: systemd-resolved on a bus of its own, or
//! openresolv. Both run by chroot in the tree `names`, with a /run that is the namespace's.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;
use crate::process::{Process, run};
use crate::tree::tree;
use crate::wait::{PATIENCE, until};

/// A resolver that a daemon in the namespace finds, and programs there use.
pub struct Resolver {
    namespace: Namespace,
    _processes: Vec<Process>,
}

impl Resolver {
    /// Starts a bus and systemd-resolved. Without a tunnel, `server` is asked for everything.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn systemd_resolved(namespace: &Namespace, server: Ipv4Addr) -> Result<Self> {
        let dir = prepare(namespace)?;
        fs::create_dir_all(dir.join("systemd/resolved.conf.d"))?;
        fs::write(dir.join("systemd/resolved.conf.d/story.conf"), resolved_conf(server))?;
        fs::write(dir.join("bus.conf"), BUS)?;
        // It becomes its own user, as the tree knows it, and writes here.
        fs::create_dir(dir.join("systemd/resolve"))?;
        chown(dir.join("systemd/resolve"), Some(USER), Some(USER))?;
        symlink("systemd/resolve/stub-resolv.conf", dir.join("resolv.conf"))?;

        let arguments = "dbus-daemon --config-file=/run/bus.conf --nofork --nopidfile";
        let mut bus = start(namespace, "dbus", arguments)?;
        let socket = dir.join("bus");
        bus.wait_for(PATIENCE, "its socket", |_| Ok(socket.exists().then_some(())))?;
        let resolved = start(namespace, "resolved", "/usr/lib/systemd/systemd-resolved")?;
        let resolver = Self { namespace: namespace.clone(), _processes: vec![bus, resolved] };
        until(PATIENCE, "systemd-resolved to answer", || Ok(resolver.run("resolvectl dns").ok()))?;
        Ok(resolver)
    }

    /// Has openresolv's `resolvconf` in the daemon's path. It knows `server` from another device.
    ///
    /// # Errors
    /// When it does not take that.
    pub fn openresolv(namespace: &Namespace, server: Ipv4Addr) -> Result<Self> {
        let dir = prepare(namespace)?;
        let program = dir.join("bin/resolvconf");
        fs::create_dir(dir.join("bin"))?;
        let (enter, tree) = (dir.join("enter"), tree("names")?);
        let [enter, tree, run] = [enter.display(), tree.display(), dir.display()];
        let script = format!("exec /usr/bin/unshare -m {enter} {tree} {run} resolvconf \"$@\"");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        let resolver = Self { namespace: namespace.clone(), _processes: Vec::new() };
        resolver.run(&format!("echo nameserver {server} | resolvconf -a br0.dhcp"))?;
        Ok(resolver)
    }

    /// Variables with which a program in `namespace` finds the resolver that was started for it,
    /// and no other.
    pub(crate) fn environment(namespace: &Namespace) -> [String; 2] {
        let dir = dir(namespace);
        [
            format!("PATH={}", dir.join("bin").display()),
            format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}", dir.join("bus").display()),
        ]
    }

    /// The address that a program gets which asks for a name, if it gets one.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        let printed = self.run(&format!("getent ahostsv4 {name}")).ok()?;
        printed.split_whitespace().next()?.parse().ok()
    }

    /// Waits until a program gets this address for a name, or none any more.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_for_address(&self, name: &str, address: Option<Ipv4Addr>) -> Result<()> {
        let mut last = None;
        until(PATIENCE, format!("{name} to be {address:?}"), || {
            last = self.address(name);
            Ok((last == address).then_some(()))
        })
        .with_context(|| format!("it was {last:?}"))
    }

    /// Runs a shell script in the tree, and returns what it printed.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn run(&self, script: &str) -> Result<String> {
        run(command(&self.namespace)?.args(["sh", "-c", script]))
    }
}

/// Makes the namespace's /run in the tree its own, and enters the tree.
const ENTER: &str = r#"#!/bin/sh
tree=$1 run=$2
shift 2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
mount --bind "$run" "$tree/run" && mount --rbind /dev "$tree/dev" &&
	mount -t proc proc "$tree/proc" && exec chroot "$tree" "$@"
"#;

/// Of systemd-resolve in the tree, and its group's.
const USER: u32 = 999;

/// Who may reach the socket may do everything.
const BUS: &str = r#"<busconfig>
  <listen>unix:path=/run/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="*"/>
    <allow receive_type="*"/>
  </policy>
</busconfig>
"#;

fn resolved_conf(server: Ipv4Addr) -> String {
    format!(
        "[Resolve]
DNS={server}
FallbackDNS=
LLMNR=no
MulticastDNS=no
DNSSEC=no\n"
    )
}

fn dir(namespace: &Namespace) -> PathBuf {
    namespace.dir().join("resolver")
}

fn prepare(namespace: &Namespace) -> Result<PathBuf> {
    let dir = dir(namespace);
    fs::create_dir_all(&dir)?;
    let enter = dir.join("enter");
    fs::write(&enter, ENTER)?;
    fs::set_permissions(&enter, Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// What runs its arguments in the tree. `ip netns exec` gives it a mount namespace of its own.
fn command(namespace: &Namespace) -> Result<Command> {
    let dir = dir(namespace);
    let mut command = namespace.command(dir.join("enter"));
    command.arg(tree("names")?).arg(&dir);
    Ok(command)
}

fn start(namespace: &Namespace, name: &str, arguments: &str) -> Result<Process> {
    let mut command = command(namespace)?;
    command.args(arguments.split_whitespace());
    Process::spawn(namespace.dir(), name, &mut command)
}
