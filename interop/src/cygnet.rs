//! The daemon under test, and the command that a person would type.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail, ensure};
use control::{Connection, Event, How, Role, State, Status, What};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::resolver::Resolver;
use crate::tunnel::{Proof, Tunnel};
use crate::wait::{PATIENCE, until};

/// A running `cygnetd` with one connection.
pub struct Cygnet {
    namespace: Namespace,
    connection: String,
    daemon: Process,
    /// `cygnet monitor --json`, from before the story begins.
    monitor: Process,
}

/// Of which SA keys are replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// The child SA.
    Child,
    /// The IKE SA.
    Ike,
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
    /// Starts the daemon in `namespace` with the tunnel as its connection `dut` with the child
    /// `net`, and waits until it answers. `extra` lines go into the connection, such as
    /// `resumption = true`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &Namespace, tunnel: &Tunnel, extra: &str) -> Result<Self> {
        Self::start_with(namespace, "dut", &Self::config(tunnel, extra))
    }

    /// Starts the daemon in `namespace` with a whole configuration, whose one connection is
    /// `connection`, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(namespace: &Namespace, connection: &str, config: &str) -> Result<Self> {
        write_config(namespace, config)?;
        let (daemon, monitor) = launch(namespace)?;
        let (namespace, connection) = (namespace.clone(), connection.to_owned());
        Ok(Self { namespace, connection, daemon, monitor })
    }

    /// What lets the daemon that is started in `namespace` next give up a silent peer within
    /// seconds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make_impatient(namespace: &Namespace) -> Result<()> {
        let folder = namespace.dir().join("conf.d");
        fs::create_dir_all(&folder)?;
        let few = "[retransmission]\ninitial = \"200ms\"\ntries = 4\n";
        Ok(fs::write(folder.join("impatient.toml"), few)?)
    }

    /// Brings the connection up, by resumption if its session is suspended.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn up(&self) -> Result<()> {
        self.succeed(&["up", &self.connection])
    }

    /// Deletes the connection's SAs and its ticket.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn down(&self) -> Result<()> {
        self.succeed(&["down", &self.connection])
    }

    /// Puts the session to sleep, silently.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn suspend(&self) -> Result<()> {
        self.succeed(&["suspend", &self.connection])
    }

    /// Brings the suspended session back.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn resume(&self) -> Result<()> {
        self.succeed(&["resume", &self.connection])
    }

    /// Has the keys of the IKE SA replaced.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn rekey(&self) -> Result<()> {
        self.succeed(&["rekey", &self.connection])
    }

    /// Has the keys of the children replaced.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn rekey_child(&self) -> Result<()> {
        self.succeed(&["rekey", &self.connection, "--child"])
    }

    /// Runs `cygnet` with these arguments, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        let output =
            command(&self.namespace).args(arguments).output().context("starting cygnet")?;
        Ok(Answer {
            code: output.status.code(),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What `cygnet status --json` prints.
    ///
    /// # Errors
    /// When the command fails or prints something else.
    pub fn status(&self) -> Result<Status> {
        let answer = self.ask(&["status", "--json"])?;
        ensure!(answer.code == Some(0), "cygnet status: {answer:?}");
        serde_json::from_str(&answer.printed).with_context(|| format!("no status: {answer:?}"))
    }

    /// The connection's entry in the status.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn connection(&self) -> Result<Connection> {
        let status = self.status()?;
        match status.connections.as_slice() {
            [connection] if connection.name == self.connection => Ok(connection.clone()),
            others => bail!("not one connection {}: {others:#?}", self.connection),
        }
    }

    /// Waits until the connection is in this state, and returns its entry.
    ///
    /// # Errors
    /// When that does not happen, with the last entry.
    pub fn wait_for_state(&self, state: State) -> Result<Connection> {
        let mut last = None;
        until(PATIENCE, format!("connection {} {state:?}", self.connection), || {
            let connection = last.insert(self.connection()?);
            Ok((connection.state == state).then(|| connection.clone()))
        })
        .with_context(|| format!("the connection was {last:#?}"))
    }

    /// What `cygnet monitor --json` has printed since the start, oldest first.
    ///
    /// # Errors
    /// When a line is no event.
    pub fn events(&self) -> Result<Vec<What>> {
        Ok(events(&self.monitor)?.into_iter().map(|event| event.what).collect())
    }

    /// As [`Cygnet::events`], with the times.
    ///
    /// # Errors
    /// When a line is no event.
    pub fn timed_events(&self) -> Result<Vec<Event>> {
        events(&self.monitor)
    }

    /// Waits for the event in which `find` finds something, and returns that.
    ///
    /// # Errors
    /// When none comes, with those that did.
    pub fn wait_for_event<T>(
        &mut self,
        what: &str,
        find: impl Fn(&What) -> Option<T>,
    ) -> Result<T> {
        self.monitor
            .wait_for(PATIENCE, what, |monitor| {
                Ok(events(monitor)?.iter().find_map(|event| find(&event.what)))
            })
            .with_context(|| format!("the events were {:#?}", self.events()))
    }

    /// Waits until the peer has resumed a session with the daemon.
    ///
    /// # Errors
    /// When that does not happen, with the events.
    pub fn wait_for_resumption_by_peer(&mut self) -> Result<()> {
        self.wait_for_event("a resumption by the peer", |what| match what {
            What::Up { role: Role::Responder, set_up, .. } => {
                (set_up.how == How::Resumed).then_some(())
            }
            _ => None,
        })
    }

    /// Waits until the daemon has told of `count` rekeys of `keys`, begun by `by`, and what
    /// was replaced is gone.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_for_rekey(&self, by: Role, keys: Keys, count: usize) -> Result<()> {
        let is_it = |what: &What| match what {
            What::ChildRekeyed { by: who, .. } => keys == Keys::Child && *who == by,
            What::Rekeyed { by: who, .. } => keys == Keys::Ike && *who == by,
            _ => false,
        };
        until(PATIENCE, format!("{keys:?} rekeyed by {by:?} for the {count}. time"), || {
            let told = self.events()?.iter().filter(|what| is_it(what)).count();
            let children = self.connection()?.children;
            let names: BTreeSet<_> = children.iter().map(|child| &*child.name).collect();
            // Each former one is gone.
            let is_over = !names.is_empty() && names.len() == children.len();
            Ok((told >= count && is_over).then_some(()))
        })
    }

    /// The daemon's entry in /proc. What starts it has become it.
    pub fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.daemon.id().to_string())
    }

    /// Asks the daemon to end and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.daemon.signal(Signal::TERM)?;
        self.daemon.wait_exit(PATIENCE)
    }

    /// Kills the daemon and starts it again on the same directories.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.daemon.signal(Signal::KILL)?;
        self.daemon.wait_exit(PATIENCE)?;
        (self.daemon, self.monitor) = launch(&self.namespace)?;
        Ok(())
    }

    /// Stops the daemon in an orderly way and starts it with another configuration of the same
    /// connection.
    ///
    /// # Errors
    /// When it does not end, or does not come up again.
    pub fn restart_with(&mut self, config: &str) -> Result<()> {
        self.daemon.signal(Signal::TERM)?;
        self.daemon.wait_exit(PATIENCE)?;
        write_config(&self.namespace, config)?;
        (self.daemon, self.monitor) = launch(&self.namespace)?;
        Ok(())
    }

    /// Writes another configuration and has the daemon read it, as `cygnet reload` does; what that
    /// said.
    ///
    /// # Errors
    /// When the file cannot be written, or the command cannot be started.
    pub fn reload_with(&self, config: &str) -> Result<Answer> {
        write_config(&self.namespace, config)?;
        self.ask(&["reload"])
    }

    /// Writes another configuration and sends the daemon SIGHUP.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn hang_up_with(&self, config: &str) -> Result<()> {
        write_config(&self.namespace, config)?;
        self.daemon.signal(Signal::HUP)
    }

    /// The configuration of [`Cygnet::start`].
    pub fn config(tunnel: &Tunnel, extra: &str) -> String {
        config(tunnel, extra)
    }

    /// The command with which a person speaks to the daemon in `namespace`.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn command_line(namespace: &Namespace) -> Result<String> {
        let program = program("CYGNET", "cygnet")?;
        Ok(format!("{} --socket {}", program.display(), socket(namespace).display()))
    }

    /// The command, for what asks no daemon.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn program() -> Result<PathBuf> {
        program("CYGNET", "cygnet")
    }

    /// Leaves the daemon running; its monitor ends.
    pub fn leave(self) {
        std::mem::forget(self.daemon);
    }

    fn succeed(&self, arguments: &[&str]) -> Result<()> {
        let answer = self.ask(arguments)?;
        ensure!(answer.code == Some(0), "cygnet {}: {answer:#?}", arguments.join(" "));
        Ok(())
    }
}

fn write_config(namespace: &Namespace, config: &str) -> Result<()> {
    let file = namespace.dir().join("cygnet.toml");
    fs::write(&file, config)?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok(())
}

/// Starts the daemon, waits until it answers, and follows its events from then on.
fn launch(namespace: &Namespace) -> Result<(Process, Process)> {
    let dir = namespace.dir();
    // The machine's own resolver is none of a story's business.
    let mut daemon = namespace.command("sh");
    daemon.args(["-c", WITH_OWN_NAMES, "sh"]).arg(dir).arg("env");
    daemon.args(Resolver::environment(namespace));
    daemon.arg(program("CYGNETD", "cygnetd")?);
    daemon.arg("--config").arg(dir.join("cygnet.toml"));
    daemon.arg("--runtime-dir").arg(dir.join("run"));
    daemon.arg("--state-dir").arg(dir.join("state"));
    daemon.args(["--log", "debug"]);
    let mut daemon = Process::spawn(dir, "cygnetd", &mut daemon)?;
    daemon.wait_for(PATIENCE, "an answer on its control socket", |_| {
        let status = command(namespace).args(["status", "--json"]).output()?;
        Ok(status.status.success().then_some(()))
    })?;
    // Its first event says that it listens.
    let mut monitor =
        Process::spawn(dir, "monitor", command(namespace).args(["monitor", "--json"]))?;
    monitor.wait_for(PATIENCE, "its first event", |monitor| {
        Ok((!events(monitor)?.is_empty()).then_some(()))
    })?;
    Ok((daemon, monitor))
}

/// With the files of [`Namespace::know_hosts`], if there are any, in place of the machine's. The
/// mounts are in the mount namespace that `ip netns exec` has made, and go with it.
const WITH_OWN_NAMES: &str = r#"
dir=$1
shift
for file in hosts resolv.conf; do
	[ ! -e "$dir/$file" ] || mount --bind "$dir/$file" "/etc/$file" || exit
done
exec "$@"
"#;

/// Whole lines only: the last may be still being written.
fn events(monitor: &Process) -> Result<Vec<Event>> {
    let output = monitor.output()?;
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| serde_json::from_str(line).with_context(|| format!("no event: {line}"));
    whole.lines().map(parse).collect()
}

fn command(namespace: &Namespace) -> Command {
    // A missing program is reported when the daemon is started.
    let cygnet = program("CYGNET", "cygnet").unwrap_or_else(|_| "cygnet".into());
    let mut command = namespace.command(cygnet);
    command.arg("--socket").arg(socket(namespace));
    command
}

fn socket(namespace: &Namespace) -> PathBuf {
    namespace.dir().join("run/control.sock")
}

/// The program that the environment names, or the one that was built with this one.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    // PROFILE/PROGRAM or PROFILE/deps/TEST-HASH
    let this = std::env::current_exe()?;
    let mut dirs = this.ancestors().skip(1).take(2);
    let profile = dirs.find(|dir| !dir.ends_with("deps")).context("no build directory")?;
    let built = profile.join(name);
    ensure!(
        built.exists(),
        "no {}: build it with `cargo build -p {name}`, or set {variable}",
        built.display()
    );
    Ok(built)
}

fn config(tunnel: &Tunnel, extra: &str) -> String {
    let Tunnel { local, remote, ike, esp } = tunnel;
    let proposals = match ike.as_str() {
        Tunnel::DEFAULT => String::new(),
        ike => format!("proposals = [\"{ike}\"]"),
    };
    let (auth, own) = match local.proof {
        Proof::Secret(_) => ("psk", ""),
        Proof::Certificates => ("pubkey", "certs = [\"x509/own.pem\"]\nkey = \"pkcs8/own.pem\""),
    };
    let (remote_auth, others) = match remote.proof {
        Proof::Secret(_) => ("psk", ""),
        Proof::Certificates => ("pubkey", "cacerts = [\"x509ca/root.pem\"]"),
    };
    let secret = tunnel.secret().map(|secret| {
        let owners = format!("id = [\"{}\", \"{}\"]", local.id, remote.id);
        format!("[secrets.psk]\n{owners}\nsecret = \"{secret}\"\n")
    });
    let secret = secret.unwrap_or_default();
    format!(
        r#"[daemon]
listen = ["{}"]

[connections.dut]
local_addrs = ["{}"]
remote_addrs = ["{}"]
{proposals}
inner_addrs = ["{}/24"]
{extra}

[connections.dut.local]
auth = "{auth}"
id = "{}"
{own}

[connections.dut.remote]
auth = "{remote_auth}"
id = "{}"
{others}

[connections.dut.children.net]
local_ts = ["{}"]
remote_ts = ["{}"]
esp_proposals = ["{esp}"]

{secret}"#,
        local.outer,
        local.outer,
        remote.outer,
        local.inner,
        local.id,
        remote.id,
        local.network(),
        remote.network(),
    )
}
