//! One TCP stream through two daemons with ESP in user space, UDP encapsulated.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use interop::{Cygnet, Namespace, PATIENCE, Process, StrongSwan, Tunnel, World, story};

use crate::client::IKE;
use crate::gateway::pid_of;

/// Of the devices that lead into the tunnels, so that both send the same packets.
const MTU: u32 = 1400;

/// Where processes run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// Where the system puts them.
    Free,
    /// Each side on a CPU of its own: a daemon, and its end of the stream.
    Pinned,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a> {
    /// The ESP suite, in the spelling of strongSwan and cygnet.
    pub(crate) esp: &'a str,
    /// Where processes run.
    pub(crate) placement: Placement,
    /// How long it sends.
    pub(crate) seconds: u32,
}

/// Two daemons of one kind, with a tunnel between them.
struct Tunnelled {
    /// Keeps the daemons running.
    _daemons: Box<dyn std::any::Any>,
    daemon: &'static str,
    device: &'static str,
}

/// Gbit/s of payload through two cygnetd.
///
/// # Errors
/// When there is no tunnel, or no stream through it.
pub(crate) fn cygnet(stream: Stream<'_>) -> Result<f64> {
    measure(stream, |tunnel, dut, peer| {
        let answering = Cygnet::start(peer, &tunnel.reversed(), "")?;
        let asking = Cygnet::start(dut, tunnel, "")?;
        asking.up()?;
        let daemons = Box::new((asking, answering));
        Ok(Tunnelled { _daemons: daemons, daemon: "cygnetd", device: "cygnet0" })
    })
}

/// Gbit/s of payload through two charons with kernel-libipsec.
///
/// # Errors
/// When there is no tunnel, or no stream through it.
pub(crate) fn charon(stream: Stream<'_>) -> Result<f64> {
    measure(stream, |tunnel, dut, peer| {
        let answering = StrongSwan::start(peer, &tunnel.reversed())?;
        let asking = StrongSwan::start(dut, tunnel)?;
        asking.initiate()?;
        let daemons = Box::new((asking, answering));
        Ok(Tunnelled { _daemons: daemons, daemon: "charon-systemd", device: "ipsec0" })
    })
}

type SetUp = fn(&Tunnel, &Namespace, &Namespace) -> Result<Tunnelled>;

fn measure(stream: Stream<'_>, set_up: SetUp) -> Result<f64> {
    let mut rate = None;
    story(|world: &World| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new(IKE, stream.esp);
        let tunnelled = set_up(&tunnel, &dut, &peer)?;
        for (cpu, space) in [(0, &dut), (1, &peer)] {
            space.ip(&format!("link set {} mtu {MTU}", tunnelled.device))?;
            if stream.placement == Placement::Pinned {
                pin(pid_of(space, tunnelled.daemon)?, cpu)?;
            }
        }
        rate = Some(send(&tunnel, stream, &dut, &peer)?);
        Ok(())
    })?;
    rate.context("nothing was measured")
}

/// Keeps all threads of a process on a CPU.
fn pin(pid: i32, cpu: u32) -> Result<()> {
    let mut command = Command::new("taskset");
    let output = command.args(["-a", "-c", "-p", &cpu.to_string(), &pid.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn send(tunnel: &Tunnel, stream: Stream<'_>, dut: &Namespace, peer: &Namespace) -> Result<f64> {
    let mut server = iperf3(peer, stream.placement, 1);
    server.args(["--server", "--one-off", "--forceflush", "--bind"]);
    server.arg(tunnel.remote.inner.to_string());
    let mut server = Process::spawn(peer.dir(), "iperf3-server", &mut server)?;
    server.wait_for_line("Server listening", PATIENCE)?;

    let mut client = iperf3(dut, stream.placement, 0);
    client.args(["--json", "--time", &stream.seconds.to_string()]);
    client.args(["--client", &tunnel.remote.inner.to_string()]);
    client.args(["--bind", &tunnel.local.inner.to_string()]);
    let mut client = Process::spawn(dut.dir(), "iperf3-client", &mut client)?;
    let limit = PATIENCE + Duration::from_secs(stream.seconds.into());
    ensure!(client.wait_exit(limit)?.success(), "iperf3: {}", client.output()?);
    let result: serde_json::Value = serde_json::from_str(&client.output()?)?;
    let rate = result.pointer("/end/sum_received/bits_per_second");
    let rate = rate.and_then(serde_json::Value::as_f64).context("iperf3 shows no rate")?;
    Ok(rate / 1e9)
}

fn iperf3(namespace: &Namespace, placement: Placement, cpu: u32) -> Command {
    match placement {
        Placement::Free => namespace.command("iperf3"),
        Placement::Pinned => {
            let mut command = namespace.command("taskset");
            command.args(["-c", &cpu.to_string(), "iperf3"]);
            command
        }
    }
}
