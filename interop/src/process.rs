//! A process that a story started: its output goes to a file, and it does not outlive its owner.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::until;

/// A running process, killed with its process group on drop.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output and errors going to `DIR/NAME.log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(dir: &Path, name: &str, command: &mut Command) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it has written so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits for a line of its output that contains `text`, and returns that line.
    ///
    /// # Errors
    /// When it ends before, or `limit` passes.
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait_for(limit, &format!("{text:?} in its output"), |process| {
            Ok(process.output()?.lines().find(|line| line.contains(text)).map(str::to_owned))
        })
    }

    /// Waits until `look` finds something, as long as the process runs.
    ///
    /// # Errors
    /// When it ends before, or `limit` passes, or `look` fails.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        until(limit, format!("{}: {what}", self.name), || {
            let exited = self.child.try_wait()?;
            match (look(self)?, exited) {
                (Some(found), _) => Ok(Some(found)),
                (None, None) => Ok(None),
                (None, Some(status)) => bail!(
                    "{} ended ({status}) before {what}; its output:\n{}",
                    self.name,
                    self.output()?
                ),
            }
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When `limit` passes.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        until(limit, format!("end of {}", self.name), || Ok(self.child.try_wait()?))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// The pipe to its standard input, when `spawn` was given one.
    pub fn input(&mut self) -> Option<&mut std::process::ChildStdin> {
        self.child.stdin.as_mut()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children too; failing means that all have ended.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or does not exit with 0, with what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}; has interop/setup.sh been run?"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{printed}{complaint}", output.status);
    }
    Ok(printed)
}
