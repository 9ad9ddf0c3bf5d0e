//! The daemon under test, and the command that a person would type.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::Process;
use crate::tunnel::Tunnel;
use crate::wait::{PATIENCE, until};
use crate::world::Namespace;

/// A running `cygnetd` with one connection, `dut`, and its child `net`.
pub struct Cygnet {
    namespace: Namespace,
    process: Process,
}

/// What `cygnet` said.
#[derive(Debug)]
pub struct Answer {
    /// How it ended: 0 done, 1 refused or failed.
    pub code: Option<i32>,
    /// Its standard output.
    pub printed: String,
    /// Its standard error, where the reason of a failure is.
    pub complaint: String,
}

impl Cygnet {
    /// Starts the daemon in `namespace` with the tunnel, and waits until it answers. `extra`
    /// lines go into the connection, such as `resumption = true`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &Namespace, tunnel: &Tunnel, extra: &str) -> Result<Self> {
        let dir = namespace.dir();
        fs::write(dir.join("cygnet.toml"), config(tunnel, extra))?;
        let process = spawn(namespace)?;
        let mut cygnet = Self { namespace: namespace.clone(), process };
        cygnet.wait_until_ready()?;
        Ok(cygnet)
    }

    /// Brings the connection up, by resumption if its session is suspended.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn up(&self) -> Result<()> {
        self.succeed(&["up", "dut"])
    }

    /// Deletes the connection's SAs and its ticket.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn down(&self) -> Result<()> {
        self.succeed(&["down", "dut"])
    }

    /// Puts the session to sleep, silently.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn suspend(&self) -> Result<()> {
        self.succeed(&["suspend", "dut"])
    }

    /// Brings the suspended session back.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn resume(&self) -> Result<()> {
        self.succeed(&["resume", "dut"])
    }

    /// Runs `cygnet` with these arguments, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        let output = self.command().args(arguments).output().context("starting cygnet")?;
        Ok(Answer {
            code: output.status.code(),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// `cygnet status --json`.
    ///
    /// # Errors
    /// When the command fails or does not print JSON.
    pub fn status(&self) -> Result<Value> {
        let answer = self.ask(&["status", "--json"])?;
        ensure!(answer.code == Some(0), "cygnet status: {answer:?}");
        serde_json::from_str(&answer.printed).with_context(|| format!("not JSON: {answer:?}"))
    }

    /// The connection's entry in the status.
    ///
    /// # Errors
    /// When there is none.
    pub fn connection(&self) -> Result<Connection> {
        let status = self.status()?;
        let connections = status.get("connections").and_then(Value::as_array);
        connections
            .into_iter()
            .flatten()
            .find(|connection| connection.get("name").and_then(Value::as_str) == Some("dut"))
            .map(|connection| Connection(connection.clone()))
            .with_context(|| format!("no connection dut in {status:#}"))
    }

    /// Waits until the connection is in this state, and returns its entry.
    ///
    /// # Errors
    /// When that does not happen, with the last entry.
    pub fn wait_for_state(&self, state: &str) -> Result<Connection> {
        let mut last = None;
        until(PATIENCE, format!("connection dut {state}"), || {
            let connection = last.insert(self.connection()?);
            Ok((connection.state() == state).then(|| connection.clone()))
        })
        .with_context(|| format!("the connection was {last:#?}"))
    }

    /// Begins to follow the daemon's events.
    ///
    /// # Errors
    /// When the command does not start.
    pub fn monitor(&self) -> Result<Monitor> {
        let mut command = self.command();
        command.args(["monitor", "--json"]);
        let process = Process::spawn(self.namespace.dir(), "monitor", &mut command)?;
        Ok(Monitor { process })
    }

    /// Asks the daemon to end and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(PATIENCE)
    }

    /// Kills the daemon and starts it again on the same directories.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait_exit(PATIENCE)?;
        self.process = spawn(&self.namespace)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let Self { namespace, process } = self;
        process.wait_for(PATIENCE, "an answer on its control socket", |_| {
            let status = command(namespace).args(["status", "--json"]).output()?;
            Ok(status.status.success().then_some(()))
        })
    }

    fn succeed(&self, arguments: &[&str]) -> Result<()> {
        let answer = self.ask(arguments)?;
        ensure!(answer.code == Some(0), "cygnet {}: {answer:#?}", arguments.join(" "));
        Ok(())
    }

    fn command(&self) -> Command {
        command(&self.namespace)
    }
}

/// A connection's entry in `cygnet status --json`.
#[derive(Clone, Debug)]
pub struct Connection(Value);

impl Connection {
    /// `down`, `connecting`, `up`, `suspended` or `ending`.
    pub fn state(&self) -> &str {
        self.text("/state")
    }

    /// The IKE suite in strongSwan's spelling, empty when there is no SA.
    pub fn suite(&self) -> &str {
        self.text("/sa/suite")
    }

    /// `full` or `resumed`, empty when there is no SA.
    pub fn how(&self) -> &str {
        self.text("/sa/set_up/how")
    }

    /// Requests that were answered until the SA was up.
    pub fn round_trips(&self) -> u64 {
        self.number("/sa/set_up/round_trips")
    }

    /// Octets of the ticket that is held, 0 when there is none.
    pub fn ticket(&self) -> u64 {
        self.number("/ticket/len")
    }

    /// The child's ESP suite, empty when there is no child.
    pub fn child_suite(&self) -> &str {
        self.text("/sa/children/0/suite")
    }

    /// Whether the child's ESP travels in UDP.
    pub fn child_in_udp(&self) -> bool {
        self.0.pointer("/sa/children/0/udp").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Octets that came and went through the child.
    pub fn child_bytes(&self) -> (u64, u64) {
        (self.number("/sa/children/0/bytes_in"), self.number("/sa/children/0/bytes_out"))
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// A running `cygnet monitor --json`.
pub struct Monitor {
    process: Process,
}

impl Monitor {
    /// The events so far, oldest first.
    ///
    /// # Errors
    /// When a line is not JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        events(&self.process)
    }

    /// Waits for an event of this name, and returns the first.
    ///
    /// # Errors
    /// When none comes, with those that did.
    pub fn wait_for(&mut self, name: &str) -> Result<Value> {
        self.wait_for_nth(name, 1)
    }

    /// Waits for the `nth` event of this name, counted from 1, and returns it.
    ///
    /// # Errors
    /// When it does not come, with those that did.
    pub fn wait_for_nth(&mut self, name: &str, nth: usize) -> Result<Value> {
        self.process
            .wait_for(PATIENCE, &format!("event {name}, the {nth}."), |process| {
                Ok(named(&events(process)?, name).nth(nth - 1).cloned())
            })
            .with_context(|| format!("events: {:#?}", self.events()))
    }

    /// How many events of this name there were.
    ///
    /// # Errors
    /// When a line is not JSON.
    pub fn count(&self, name: &str) -> Result<usize> {
        Ok(named(&self.events()?, name).count())
    }
}

fn named<'a>(events: &'a [Value], name: &str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event.get("event").and_then(Value::as_str) == Some(name))
}

/// Whole lines only: the last may be still being written.
fn events(monitor: &Process) -> Result<Vec<Value>> {
    let output = monitor.output()?;
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"));
    whole.lines().map(parse).collect()
}

fn spawn(namespace: &Namespace) -> Result<Process> {
    let dir = namespace.dir();
    let mut command = namespace.command(program("CYGNETD", "cygnetd")?);
    command.arg("--config").arg(dir.join("cygnet.toml"));
    command.arg("--runtime-dir").arg(dir.join("run"));
    command.arg("--state-dir").arg(dir.join("state"));
    command.args(["--log", "debug"]);
    Process::spawn(dir, "cygnetd", &mut command)
}

fn command(namespace: &Namespace) -> Command {
    // A missing program has been reported when the daemon was started.
    let cygnet = program("CYGNET", "cygnet").unwrap_or_else(|_| "cygnet".into());
    let mut command = namespace.command(cygnet);
    command.arg("--socket").arg(namespace.dir().join("run/control.sock"));
    command
}

/// The program that the environment names, or the one that was built with this test.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    // PROFILE/deps/TEST-HASH
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).context("no build directory")?.join(name);
    ensure!(
        built.exists(),
        "no {}: build it with `cargo build -p {name}`, or set {variable}",
        built.display()
    );
    Ok(built)
}

fn config(tunnel: &Tunnel, extra: &str) -> String {
    let Tunnel { local, remote, ike, esp, secret } = tunnel;
    format!(
        r#"[daemon]
listen = ["{}"]

[connections.dut]
local_addrs = ["{}"]
remote_addrs = ["{}"]
proposals = ["{ike}"]
inner_addrs = ["{}/24"]
{extra}

[connections.dut.local]
auth = "psk"
id = "{}"

[connections.dut.remote]
auth = "psk"
id = "{}"

[connections.dut.children.net]
local_ts = ["{}"]
remote_ts = ["{}"]
esp_proposals = ["{esp}"]

[secrets.psk]
id = ["{}", "{}"]
secret = "{secret}"
"#,
        local.outer,
        local.outer,
        remote.outer,
        local.inner,
        local.id,
        remote.id,
        local.network(),
        remote.network(),
        local.id,
        remote.id
    )
}
