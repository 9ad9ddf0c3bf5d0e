//! Gateways under load: cygnetd and charon, each in a namespace of its own with nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use interop::{Namespace, PATIENCE, Process, World, until};

use crate::client::{BEHIND_GATEWAY, ESP, GATEWAY, GATEWAY_ID, IKE, INNER, OUTER, SECRET};
use crate::usage::Watched;

/// A gateway that serves every client.
pub(crate) struct Gateway {
    /// For looking at what it uses.
    pub(crate) watched: Watched,
    /// Runs until this is dropped.
    _process: Process,
}

/// The namespaces of the clients and of their gateway, on one cable.
///
/// # Errors
/// When the network cannot be made.
pub(crate) fn ground(world: &World) -> Result<(Namespace, Namespace)> {
    let (clients, gateway) = (world.namespace("clients")?, world.namespace("gateway")?);
    let address = format!("{GATEWAY}/24");
    world.link((&clients, "eth0", "10.77.0.1/24"), (&gateway, "eth0", &address))?;
    gateway.ip(&format!("route add {}/{} via 10.77.0.1", OUTER.0, OUTER.1))?;
    Ok((clients, gateway))
}

impl Gateway {
    /// Starts cygnetd with its default limits and log.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn cygnetd(namespace: &Namespace) -> Result<Self> {
        let dir = namespace.dir();
        let file = dir.join("cygnet.toml");
        fs::write(&file, cygnet_toml())?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let mut command = namespace.command(program("cygnetd")?);
        command.arg("--config").arg(file);
        command.arg("--runtime-dir").arg(dir.join("run"));
        command.arg("--state-dir").arg(dir.join("state"));
        let mut process = Process::spawn(dir, "cygnetd", &mut command)?;
        process.wait_for_line("ready", PATIENCE)?;
        Self::watch(namespace, "cygnetd", process)
    }

    /// Starts charon as it serves many clients best: hash tables for them, no limits, no log.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn charon(namespace: &Namespace) -> Result<Self> {
        // It makes a route into the tunnel for each child, from an address behind the gateway.
        let [a, b, ..] = BEHIND_GATEWAY.0.octets();
        namespace.address("lo", &format!("{a}.{b}.0.1/32"))?;
        let dir = namespace.dir();
        fs::create_dir(dir.join("swanctl"))?;
        fs::write(dir.join("strongswan.conf"), strongswan_conf(namespace))?;
        fs::write(dir.join("swanctl/swanctl.conf"), swanctl_conf())?;
        let mut command = namespace.command("charon-systemd");
        command.env("STRONGSWAN_CONF", dir.join("strongswan.conf"));
        let process = Process::spawn(dir, "charon", &mut command)?;
        until(PATIENCE, "charon to answer", || Ok(swanctl(namespace, "--stats")?.then_some(())))?;
        ensure!(swanctl(namespace, "--load-all --noprompt")?, "charon refuses its configuration");
        Self::watch(namespace, "charon-systemd", process)
    }

    fn watch(namespace: &Namespace, name: &str, process: Process) -> Result<Self> {
        let pid = pid_of(namespace, name)?;
        Ok(Self { watched: Watched::new(pid)?, _process: process })
    }
}

/// The only process of a namespace with this name.
///
/// # Errors
/// When there is none.
pub(crate) fn pid_of(namespace: &Namespace, name: &str) -> Result<i32> {
    let output = Command::new("ip").args(["netns", "pids", namespace.name()]).output()?;
    let listed = String::from_utf8(output.stdout)?;
    let mut pids = listed.lines().filter_map(|pid| pid.trim().parse::<i32>().ok());
    let named = |pid: &i32| {
        // The kernel keeps 15 octets of a name.
        let own = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        own.trim_end() == name.get(..15).unwrap_or(name)
    };
    pids.find(named).with_context(|| format!("no {name} in {}", namespace.name()))
}

/// The program that was built beside this one.
///
/// # Errors
/// When there is none.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let built = std::env::current_exe()?.with_file_name(name);
    ensure!(built.exists(), "no {}: build it with `cargo build --release`", built.display());
    Ok(built)
}

fn swanctl(namespace: &Namespace, arguments: &str) -> Result<bool> {
    let dir = namespace.dir();
    let mut command = Command::new("swanctl");
    command.args(arguments.split_whitespace());
    command.arg("--uri").arg(format!("unix://{}", dir.join("vici").display()));
    command.env("STRONGSWAN_CONF", dir.join("strongswan.conf"));
    command.env("SWANCTL_DIR", dir.join("swanctl"));
    Ok(command.output().context("starting swanctl")?.status.success())
}

fn cygnet_toml() -> String {
    format!(
        r#"[daemon]
listen = ["{GATEWAY}"]

[connections.clients]
local_addrs = ["{GATEWAY}"]
proposals = ["{IKE}"]
liveness = "0s"

[connections.clients.local]
id = "{GATEWAY_ID}"

[connections.clients.remote]
id = "%any"

[connections.clients.children.net]
local_ts = ["{}/{}"]
remote_ts = ["{}/{}"]
esp_proposals = ["{ESP}"]

[secrets.everybody]
secret = "{SECRET}"
"#,
        BEHIND_GATEWAY.0, BEHIND_GATEWAY.1, INNER.0, INNER.1
    )
}

fn strongswan_conf(namespace: &Namespace) -> String {
    let dir = namespace.dir().display();
    format!(
        "charon-systemd {{
            load = random nonce openssl aes sha1 sha2 hmac kdf gcm curve25519 kernel-libipsec \
                   kernel-netlink socket-default vici
            plugins {{ vici {{ socket = unix://{dir}/vici }} }}
            syslog {{ daemon {{ default = -1 }} }}
            journal {{ default = -1 }}
            dos_protection = no
            cookie_threshold = 0
            block_threshold = 0
            init_limit_half_open = 0
            ikesa_table_size = 16384
            ikesa_table_segments = 16
        }}
        swanctl {{ load = random openssl }}\n"
    )
}

fn swanctl_conf() -> String {
    format!(
        "connections {{ clients {{
            version = 2
            local_addrs = {GATEWAY}
            proposals = {IKE}
            encap = yes
            mobike = no
            local {{ auth = psk
                     id = {GATEWAY_ID} }}
            remote {{ auth = psk
                      id = %any }}
            children {{ net {{ local_ts = {}/{}
                               remote_ts = {}/{}
                               esp_proposals = {ESP}
                               mode = tunnel }} }}
        }} }}
        secrets {{ ike-everybody {{ secret = \"{SECRET}\" }} }}\n",
        BEHIND_GATEWAY.0, BEHIND_GATEWAY.1, INNER.0, INNER.1
    )
}
