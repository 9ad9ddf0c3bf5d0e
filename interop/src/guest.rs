//! A User Mode Linux guest: another kernel, with ESP, as an ordinary process on a TAP device.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, bail, ensure};

use crate::namespace::Namespace;
use crate::process::Process;
use crate::tree::{tree, xstate};
use crate::wait::PATIENCE;

/// A booted guest whose device `eth0` is a cable to the TAP device it was started on.
pub struct Guest {
    process: Process,
    dir: PathBuf,
    jobs: u32,
    /// Held as long as the guest lives.
    _cpu: Option<File>,
}

impl Guest {
    /// Boots a guest on a new TAP device in `namespace`. `name` is that of the device, too.
    ///
    /// # Errors
    /// When `interop/setup.sh` has not run, or the guest does not boot.
    pub fn boot(namespace: &Namespace, name: &str, address: &str) -> Result<Self> {
        let dir = namespace.dir().join(name);
        fs::create_dir_all(dir.join("jobs"))?;
        fs::write(dir.join("init.sh"), include_str!("guest/init.sh"))?;
        fs::set_permissions(dir.join("init.sh"), Permissions::from_mode(0o755))?;
        namespace.ip(&format!("tuntap add {name} mode tap"))?;
        namespace.ip(&format!("link set {name} up"))?;

        let (cpu, lock) = claim_cpu()?;
        let mut process = start(namespace, name, &dir, cpu)?;
        let booted = dir.join("booted");
        process.wait_for(PATIENCE, "its first process", |_| Ok(booted.exists().then_some(())))?;
        let mut guest = Self { process, dir, jobs: 0, _cpu: lock };
        guest.run(&format!(
            "ip link set vec0 name eth0 && ip addr add {address} dev eth0 && ip link set eth0 up"
        ))?;
        Ok(guest)
    }

    /// Runs a shell script in the guest and returns what it printed.
    ///
    /// # Errors
    /// When it does not exit with 0, or the guest has died.
    pub fn run(&mut self, script: &str) -> Result<String> {
        self.jobs += 1;
        let job = self.dir.join("jobs").join(self.jobs.to_string());
        fs::write(&job, script)?;
        writeln!(self.process.input().context("no console")?, "{}", self.jobs)?;
        let status = job.with_extension("status");
        let status = self.process.wait_for(PATIENCE, script, |_| {
            Ok(status.exists().then(|| fs::read_to_string(&status)).transpose()?)
        })?;
        let printed = fs::read_to_string(job.with_extension("out"))?;
        match status.trim() {
            "0" => Ok(printed),
            code => bail!("in the guest, {script:?} exited with {code}:\n{printed}"),
        }
    }

    /// Puts a file where the guest sees it, and returns its path there. The guest caches what it
    /// has read, so a name can be used once.
    ///
    /// # Errors
    /// When there is a file of that name.
    pub fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<String> {
        let path = self.dir.join(name);
        ensure!(!path.exists(), "{name} has been put before");
        fs::write(path, contents)?;
        Ok(format!("/host/{name}"))
    }

    /// Pings from the guest until three are answered.
    ///
    /// # Errors
    /// When five seconds do not suffice.
    pub fn ping(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        self.run(&format!("ping -n -q -c 3 -i 0.05 -w 5 -I {from} {to}")).map(drop)
    }
}

const KERNEL: &str = "linux.uml";

fn start(namespace: &Namespace, name: &str, share: &Path, cpu: usize) -> Result<Process> {
    // `ip netns exec` gave this shell a mount namespace of its own.
    let script = r#"mount --bind "$1" "$2/host" && shift 2 && exec "$@""#;
    let (tree, library) = (tree("trixie")?, xstate()?);
    let mut command = namespace.command("sh");
    command.args(["-c", script, "sh"]).arg(share).arg(&tree);
    command.args(["env", &format!("LD_PRELOAD={}", library.display())]);
    command.args(["taskset", "-c", &cpu.to_string(), KERNEL, "mem=256M", "umid=guest", "quiet"]);
    command.args(["root=/dev/root", "rootfstype=hostfs", "ro", "init=/host/init.sh"]);
    command.args(["con=null", "ssl=null", "con0=fd:0,fd:1"]);
    command.arg(format!("rootflags={}", tree.display()));
    command.arg(format!("uml_dir={}/", share.display()));
    command.arg(format!("share={}", share.display()));
    command.arg(format!("vec0:transport=tap,ifname={name},depth=128,gro=1"));
    Process::spawn(share, "console", command.stdin(Stdio::piped()))
}

/// A CPU that no other guest is pinned to, or the first if there is none. Unpinned, each system
/// call in a guest takes six times as long, since it goes back and forth between two processes.
fn claim_cpu() -> Result<(usize, Option<File>)> {
    for cpu in (0..available_parallelism()?.get()).rev() {
        let path = std::env::temp_dir().join(format!("cygnet-interop.cpu{cpu}"));
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        if file.try_lock().is_ok() {
            return Ok((cpu, Some(file)));
        }
    }
    Ok((0, None))
}
