//! libreswan's gateway, driven by libreswan's client, both on this kernel.
//!
//! Where the kernel has no ESP the gateway answers `IKE_AUTH` without a child and keeps the IKE
//! SA, so what is measured is the IKE part of its exchanges: the least that they can cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use interop::{Namespace, PATIENCE, Process, World, story, until};

use crate::client::SECRET;
use crate::gateway::pid_of;
use crate::usage::Watched;

/// What its exchanges cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Findings {
    /// How many of each were measured.
    pub(crate) count: u32,
    /// CPU time of the gateway for a full exchange.
    pub(crate) full: Duration,
    /// CPU time of the gateway for a resumption.
    pub(crate) resume: Duration,
    /// Octets of a ticket.
    pub(crate) ticket: usize,
}

/// Sets up an SA `rounds` times by a full exchange and as often by resumption.
///
/// # Errors
/// When `interop/setup.sh` has not run, or one of these does not happen.
pub(crate) fn measure(rounds: u32) -> Result<Findings> {
    let mut findings = None;
    story(|world: &World| {
        let (client, gateway) = world.pair()?;
        let mut pair = Pair { gateway: Pluto::start(&gateway)?, client: Pluto::start(&client)? };
        findings = Some(pair.measure(rounds)?);
        Ok(())
    })?;
    findings.context("nothing was measured")
}

struct Pair {
    gateway: Pluto,
    client: Pluto,
}

impl Pair {
    fn measure(&mut self, count: u32) -> Result<Findings> {
        // Once unmeasured: what is only made once is there then.
        self.up()?;
        let mut full = Duration::ZERO;
        for _ in 0..count {
            self.client.suspend()?;
            // Loading the connection anew makes it forget the ticket.
            self.client.load()?;
            full += self.up()?;
        }
        let ticket = self.client.ticket()?;
        let mut resume = Duration::ZERO;
        for _ in 0..count {
            self.client.suspend()?;
            resume += self.up()?;
        }
        let resumed = self.gateway.process.output()?.matches("authby=session-resume").count();
        ensure!(resumed == count as usize, "{resumed} of {count} were resumptions");
        Ok(Findings { count, full: full / count, resume: resume / count, ticket })
    }

    /// The gateway's CPU time for the exchange.
    fn up(&self) -> Result<Duration> {
        let before = self.gateway.watched.cpu()?;
        self.client.run("whack", "--name bench --initiate --asynchronous")?;
        self.client.wait_for_sa(true)?;
        Ok(self.gateway.watched.cpu()? - before)
    }
}

/// A pluto with one connection, `bench`.
struct Pluto {
    watched: Watched,
    process: Process,
    tree: PathBuf,
}

impl Pluto {
    fn start(namespace: &Namespace) -> Result<Self> {
        let tree = tree()?;
        let dir = namespace.dir();
        fs::create_dir_all(dir.join("run/pluto"))?;
        fs::create_dir(dir.join("nss"))?;
        fs::write(dir.join("ipsec.conf"), ipsec_conf())?;
        fs::write(dir.join("ipsec.secrets"), format!(": PSK \"{SECRET}\"\n"))?;
        // `ip netns exec` gave this shell a mount namespace of its own.
        let script = "cp $1/var/lib/ipsec/nss/* $2/nss && mount -t proc proc $1/proc &&
            mount --bind /dev $1/dev && mount -t sysfs sysfs $1/sys &&
            mount --bind $2/run $1/run && mount --bind $2/nss $1/var/lib/ipsec/nss &&
            mount --bind $2/ipsec.conf $1/etc/ipsec.conf &&
            mount --bind $2/ipsec.secrets $1/etc/ipsec.secrets &&
            exec chroot $1 /usr/libexec/ipsec/pluto --nofork --stderrlog --config /etc/ipsec.conf";
        let mut command = namespace.command("sh");
        command.args(["-c", script, "sh"]).arg(&tree).arg(dir);
        let mut process = Process::spawn(dir, "pluto", &mut command)?;
        let socket = dir.join("run/pluto/pluto.ctl");
        process.wait_for(PATIENCE, "its socket", |_| Ok(socket.exists().then_some(())))?;
        let watched = Watched::new(pid_of(namespace, "pluto")?)?;
        let pluto = Self { watched, process, tree };
        until(PATIENCE, "pluto to answer", || Ok(pluto.run("whack", "--showstates").ok()))?;
        pluto.load()?;
        Ok(pluto)
    }

    fn load(&self) -> Result<()> {
        self.run("addconn", "--config /etc/ipsec.conf bench").map(drop)
    }

    /// Forgets the SA and keeps the ticket.
    fn suspend(&self) -> Result<()> {
        self.run("whack", "--suspend --name bench")?;
        self.wait_for_sa(false)
    }

    fn wait_for_sa(&self, wanted: bool) -> Result<()> {
        until(PATIENCE, format!("an SA, {wanted}"), || {
            let is_there = self.run("whack", "--showstates")?.contains("ESTABLISHED_IKE_SA");
            Ok((is_there == wanted).then_some(()))
        })
    }

    fn ticket(&self) -> Result<usize> {
        let status = self.run("whack", "--status")?;
        let (_, length) = status.split_once("ticket: length: ").context("it has no ticket")?;
        let digits = length.split_whitespace().next().context("no length")?;
        Ok(digits.parse()?)
    }

    /// Runs one of its programs in its own view of the file system.
    fn run(&self, program: &str, arguments: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.watched.pid().to_string(), "-m", "-n", "chroot"]);
        command.arg(&self.tree).arg(Path::new("/usr/libexec/ipsec").join(program));
        let output = command.args(arguments.split_whitespace()).output()?;
        ensure!(output.status.success(), "{command:?}: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The tree that `interop/setup.sh` made.
fn tree() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = from("CYGNET_INTEROP_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("cygnet-interop")))
        .or_else(|| Some(from("HOME")?.join(".cache/cygnet-interop")))
        .context("no home directory")?;
    let tree = cache.join("trixie");
    ensure!(tree.join(".made").exists(), "no {}: run interop/setup.sh", tree.display());
    Ok(tree)
}

/// The same for both: pluto finds out which end it is.
fn ipsec_conf() -> &'static str {
    "config setup
\tdnssec-enable=no
conn bench
\tleft=10.77.0.1
\tleftid=@client.bench.example
\tleftsubnet=10.91.0.0/24
\tleftupdown=%disabled
\tright=10.77.0.2
\trightid=@gateway.bench.example
\trightsubnet=10.92.0.0/24
\trightupdown=%disabled
\tike=aes_gcm256-sha2_256-dh31
\tesp=aes_gcm256
\tauthby=secret
\tsession-resumption=yes
\tauto=ignore
"
}
