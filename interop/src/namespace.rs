//! A network namespace, and what can be done in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run;

/// A network namespace, and the directory for the files of what runs in it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    dir: PathBuf,
    /// Whether what is started here dies with who starts it.
    tied: bool,
}

impl Namespace {
    /// Makes a namespace with nothing but its loopback, and its directory.
    pub(crate) fn make(name: String, dir: PathBuf, tied: bool) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        std::fs::create_dir(&dir)?;
        let namespace = Self { name, dir, tied };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// As `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where what runs here keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run here, and die with the thread that starts it, unless this
    /// namespace is of a [kept](crate::World::kept) world.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        if self.tied {
            command.args(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        command.arg(program);
        command
    }

    /// Does something here in a thread of this process: sockets that it opens belong here.
    ///
    /// # Errors
    /// When there is no thread to be had; entering is the first that the thread may fail at.
    pub fn enter<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = Path::new("/run/netns").join(&self.name);
        let enter = move || {
            let namespace = File::open(path).context("opening the namespace")?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            task()
        };
        Ok(thread::Builder::new().name(self.name.clone()).spawn(enter)?)
    }

    /// Runs a program here to its end and returns what it printed.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn run(&self, program: &str, arguments: &str) -> Result<String> {
        run(self.command(program).args(arguments.split_whitespace()))
    }

    /// Runs `ip` on this namespace.
    ///
    /// # Errors
    /// When it complains.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Gives a device an address and brings it up.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn address(&self, device: &str, address: &str) -> Result<()> {
        self.ip(&format!("addr add {address} dev {device}"))?;
        self.ip(&format!("link set {device} up"))?;
        Ok(())
    }

    /// What a daemon that is started here later finds in its file of hosts, and no name server
    /// knows more. Can be said again while it runs.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn know_hosts(&self, lines: &str) -> Result<()> {
        // In place: the daemon has the file mounted.
        std::fs::write(self.dir.join("hosts"), lines)?;
        std::fs::write(self.dir.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        Ok(())
    }

    /// A daemon that is started here later asks `server` for names, and knows none itself.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn ask_for_names(&self, server: Ipv4Addr) -> Result<()> {
        std::fs::write(self.dir.join("hosts"), "127.0.0.1 localhost\n")?;
        std::fs::write(self.dir.join("resolv.conf"), format!("nameserver {server}\n"))?;
        Ok(())
    }

    /// Makes this namespace a router that hides what is behind its other devices behind
    /// `outside`, ports included.
    ///
    /// # Errors
    /// When the kernel has no NAT.
    pub fn masquerade(&self, outside: &str) -> Result<()> {
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(self.command("sh").args(["-c", forward]))?;
        let rules = format!(
            "table ip nat {{
                chain postrouting {{
                    type nat hook postrouting priority 100
                    oifname \"{outside}\" ip protocol udp masquerade to :20000-40000
                    oifname \"{outside}\" masquerade
                }}
            }}\n"
        );
        self.nft(&rules)
    }

    /// Gives `nft` these rules.
    ///
    /// # Errors
    /// When it refuses them.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let mut nft =
            self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft")?;
        nft.stdin.take().context("a pipe")?.write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refused {rules}");
        Ok(())
    }

    /// Sends pings until three are answered.
    ///
    /// # Errors
    /// When five seconds do not suffice.
    pub fn ping(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        self.run("ping", &format!("-n -q -c 3 -i 0.05 -w 5 -I {from} {to}")).map(drop)
    }

    /// Checks that none of three pings is answered within a second.
    ///
    /// # Errors
    /// When one is.
    pub fn no_ping(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        match self.run("ping", &format!("-n -q -c 3 -i 0.05 -W 1 -I {from} {to}")) {
            Ok(answered) => bail!("{from} reaches {to}, which it should not: {answered}"),
            Err(_) => Ok(()),
        }
    }
}
