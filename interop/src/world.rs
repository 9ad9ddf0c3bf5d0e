//! The ground that a story stands on: its network and its files.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Namespace;
use crate::owner::Owner;
use crate::process::run;
use crate::wait::until;

/// Tells a story in a world of its own. If it fails, what its processes wrote goes to stderr.
///
/// # Errors
/// Those of the story, and when the world cannot be made.
pub fn story(tell: impl FnOnce(&World) -> Result<()>) -> Result<()> {
    let world = World::new()?;
    let told = tell(&world);
    if told.is_err() {
        world.print_logs();
    }
    told
}

/// Namespaces and files that only one story uses. All of it is gone after the drop; set
/// `CYGNET_INTEROP_KEEP` to keep the files.
pub struct World {
    name: String,
    dir: PathBuf,
    tied: bool,
}

impl World {
    /// Makes an empty world, and removes those whose owner has died.
    ///
    /// # Errors
    /// Without root, or when the directory cannot be made.
    pub fn new() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "the interop stories need root");
        remove_leftovers()?;
        Self::make(Owner::this_process()?.next_name(), true)
    }

    /// Makes an empty world with a name of its own, whose processes may outlive this one: see
    /// [`World::leave`].
    ///
    /// # Errors
    /// Without root, or when there is one of that name already.
    pub fn kept(name: &str) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
        Self::make(name.to_owned(), false)
    }

    fn make(name: String, tied: bool) -> Result<Self> {
        let dir = directory(&name);
        // For root alone: the files hold secrets.
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("making {}", dir.display()))?;
        Ok(Self { name, dir, tied })
    }

    /// Leaves a kept world as it is, with all that runs in it, until [`World::remove`].
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// Removes the world of this name, whoever made it: its processes, namespaces and files.
    ///
    /// # Errors
    /// When a process does not end.
    pub fn remove(name: &str) -> Result<()> {
        remove_namespaces(|namespace| namespace.starts_with(&format!("{name}-")))?;
        match fs::remove_dir_all(directory(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What the names of its namespaces begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A network namespace with nothing but its loopback.
    ///
    /// # Errors
    /// When there is one of this role already.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        Namespace::make(format!("{}-{role}", self.name), self.dir.join(role), self.tied)
    }

    /// Joins two namespaces by a cable; each end is a device name and an address with prefix.
    ///
    /// # Errors
    /// When a device of that name is there already.
    pub fn link(&self, a: (&Namespace, &str, &str), b: (&Namespace, &str, &str)) -> Result<()> {
        let ((a_space, a_device, a_address), (b_space, b_device, b_address)) = (a, b);
        a_space.ip(&format!(
            "link add {a_device} type veth peer name {b_device} netns {}",
            b_space.name()
        ))?;
        a_space.address(a_device, a_address)?;
        b_space.address(b_device, b_address)
    }

    /// Two namespaces on one cable, `eth0` at each end, with [`Tunnel`](crate::Tunnel)'s outer
    /// addresses.
    ///
    /// # Errors
    /// When the network cannot be made.
    pub fn pair(&self) -> Result<(Namespace, Namespace)> {
        let (dut, peer) = (self.namespace("dut")?, self.namespace("peer")?);
        self.link((&dut, "eth0", "10.77.0.1/24"), (&peer, "eth0", "10.77.0.2/24"))?;
        Ok((dut, peer))
    }

    /// The last of what every process of this world has written, to stderr.
    pub fn print_logs(&self) {
        const LINES: usize = 100;
        for log in logs(&self.dir) {
            let bytes = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(LINES));
            eprintln!("--- {}", log.display());
            last.for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        if let Err(error) = remove_namespaces(|name| name.starts_with(&format!("{}-", self.name))) {
            eprintln!("{error:#}");
        }
        if std::env::var_os("CYGNET_INTEROP_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Removes the worlds whose owner was killed before it could.
fn remove_leftovers() -> Result<()> {
    let abandoned = |name: &str| Owner::parse(name).is_some_and(|owner| owner.is_dead());
    remove_namespaces(abandoned)?;
    for dir in names_in(&std::env::temp_dir()).into_iter().filter(|name| abandoned(name)) {
        let _ = fs::remove_dir_all(std::env::temp_dir().join(dir));
    }
    Ok(())
}

/// Ends what runs in the chosen namespaces, and removes them with all their devices. Another test
/// may be at it at the same time, so what is gone is not an error.
fn remove_namespaces(chosen: impl Fn(&str) -> bool) -> Result<()> {
    for name in names_in(Path::new("/run/netns")).into_iter().filter(|name| chosen(name)) {
        until(Duration::from_secs(5), format!("end of all processes in {name}"), || {
            let pids = processes_in(&name);
            for pid in &pids {
                let _ = kill_process(*pid, Signal::KILL);
            }
            Ok(pids.is_empty().then_some(()))
        })?;
        let _ = run(Command::new("ip").args(["netns", "del", &name]));
    }
    Ok(())
}

fn processes_in(namespace: &str) -> Vec<Pid> {
    let listed = run(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    listed.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)).collect()
}

fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(logs(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_world_takes_its_processes_with_it() {
        let world = World::new().unwrap();
        let space = world.namespace("peer").unwrap();
        let mut sleeper =
            Process::spawn(&std::env::temp_dir(), &world.name, space.command("sleep").arg("60"))
                .unwrap();
        until(Duration::from_secs(5), "the sleeper", || {
            Ok((!processes_in(space.name()).is_empty()).then_some(()))
        })
        .unwrap();
        fs::remove_file(std::env::temp_dir().join(format!("{}.log", world.name))).unwrap();

        drop(world);
        assert!(!sleeper.wait_exit(Duration::from_secs(5)).unwrap().success());
        assert!(!Path::new("/run/netns").join(space.name()).exists());
        assert!(!space.dir().exists());
    }

    #[test]
    fn the_world_of_a_living_owner_is_left_alone() {
        let world = World::new().unwrap();
        let space = world.namespace("peer").unwrap();
        let _next = World::new().unwrap();
        assert!(Path::new("/run/netns").join(space.name()).exists());
        assert!(world.dir.exists());
    }
}
