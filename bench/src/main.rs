//! What cygnet costs, beside its peers, measured in the same run on the same machine.
//!
//! ```text
//! make bench                        everything, and a table at the end
//! make bench ARGS=handshakes        CPU and time of full exchanges and resumptions
//! make bench ARGS=memory            what SAs and suspended sessions keep
//! make bench ARGS=throughput        one TCP stream through userspace ESP
//! ```
//!
//! Needs root, `interop/setup.sh` and `bench/setup.sh`, and a machine that does nothing else.

mod client;
mod clock;
mod fleet;
mod gateway;
mod heap;
mod in_process;
mod load;
mod pluto;
mod report;
mod sockets;
mod throughput;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use report::{Better, Report, Row, Target, micros, millis};
use throughput::{Placement, Stream};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// How many SAs a charon under measurement has at most. Its data plane looks through lists of
/// them at every set-up: with few, its exchanges cost the least.
const CROWD: u32 = 200;

#[derive(Debug, Parser)]
#[command(name = "cygnet-bench", about = "What cygnet costs, beside its peers")]
struct Cli {
    /// What to measure.
    #[arg(default_value = "all")]
    what: What,
    /// Exchanges of each kind with cygnetd.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=500_000))]
    count: u32,
    /// Exchanges with charon.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=500_000))]
    charon: u32,
    /// Exchanges of each kind with libreswan.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    libreswan: u32,
    /// How long each TCP stream sends.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Where the table goes as JSON; beside the build if not given.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    All,
    Handshakes,
    Memory,
    Throughput,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        // A target was missed, as the table says.
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("cygnet-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every target was met.
fn run(cli: &Cli) -> Result<bool> {
    let mut report = Report::new()?;
    let wants = |what| cli.what == What::All || cli.what == what;
    if wants(What::Handshakes) || wants(What::Memory) {
        exchanges(cli, &mut report, wants(What::Handshakes), wants(What::Memory))?;
    }
    if wants(What::Throughput) {
        streams(cli, &mut report)?;
    }
    report.print();
    let json = match &cli.json {
        Some(path) => path.clone(),
        None => build_dir()?.join("bench/latest.json"),
    };
    report.write(&json)?;
    Ok(report.is_good())
}

fn exchanges(cli: &Cli, report: &mut Report, times: bool, memory: bool) -> Result<()> {
    progress(format!("{} exchanges of each kind in this process", cli.count));
    let core = in_process::measure(cli.count)?;
    progress(format!("{} exchanges of each kind with cygnetd", cli.count));
    let plan = load::Plan { busy: cli.count, single: cli.count / 10, crowd: None };
    let cygnetd = load::cygnetd(plan).context("cygnetd")?;
    progress(format!("{} exchanges with charon", cli.charon));
    let plan = load::Plan { busy: cli.charon, single: cli.charon / 4, crowd: Some(CROWD) };
    let charon = load::charon(plan).context("charon")?;
    if times {
        progress(format!("{} exchanges of each kind with libreswan", cli.libreswan));
        let pluto = pluto::measure(cli.libreswan).context("libreswan")?;
        full_exchanges(report, &core, &cygnetd, &charon, &pluto);
        resumptions(report, &core, &cygnetd, &pluto)?;
        notes_on_times(report, &cygnetd, &charon, &pluto);
    }
    if memory {
        kept(report, &core, &cygnetd, &charon);
    }
    Ok(())
}

fn full_exchanges(
    report: &mut Report,
    core: &in_process::Findings,
    cygnetd: &load::Findings,
    charon: &load::Findings,
    pluto: &pluto::Findings,
) {
    let ours = &cygnetd.full;
    let row = Row::new("full exchange, gateway CPU", "us", micros(ours.cpu));
    report.push(
        row.clone()
            .beside("charon", micros(charon.full.cpu), Better::Less)
            .against(Target::AtMost(200.0)),
    );
    report.push(row.beside("libreswan", micros(pluto.full), Better::Less));
    let alone = Row::new("  one at a time", "us", micros(ours.cpu_alone));
    report.push(alone.beside("charon", micros(charon.full.cpu_alone), Better::Less));
    report.push(Row::new("  of it, negotiation alone", "us", micros(core.full)));
    report.push(Row::new("  of it, keys and policy of the child", "us", micros(core.install)));
    let median = Row::new("full exchange, wall, median", "ms", millis(ours.median));
    report.push(median.beside("charon", millis(charon.full.median), Better::Less));
    let p99 = Row::new("full exchange, wall, 99 of 100", "ms", millis(ours.p99));
    report.push(p99.beside("charon", millis(charon.full.p99), Better::Less));
}

fn resumptions(
    report: &mut Report,
    core: &in_process::Findings,
    cygnetd: &load::Findings,
    pluto: &pluto::Findings,
) -> Result<()> {
    let ours = cygnetd.resume.as_ref().context("cygnetd did not resume")?;
    let row = Row::new("resumption, gateway CPU", "us", micros(ours.cpu));
    let peer = micros(pluto.resume);
    report.push(row.beside("libreswan", peer, Better::Less).against(Target::AtMost(60.0)));
    let alone = Row::new("  one at a time", "us", micros(ours.cpu_alone));
    report.push(alone.beside("libreswan", peer, Better::Less));
    report.push(Row::new("  of it, negotiation alone", "us", micros(core.resume)));
    report.push(Row::new("resumption, wall, median", "ms", millis(ours.median)));
    report.push(Row::new("resumption, wall, 99 of 100", "ms", millis(ours.p99)));
    let ticket = cygnetd.ticket.context("no ticket was granted")?;
    let row = Row::new("ticket", "octets", ticket as f64);
    let row = row.beside("libreswan", pluto.ticket as f64, Better::Less);
    report.push(row.against(Target::AtMost(256.0)));
    let resent = cygnetd.full.retransmissions + ours.retransmissions;
    if resent > 0 {
        report.note(format!("{resent} requests to cygnetd were sent again: disturbed?"));
    }
    Ok(())
}

fn notes_on_times(
    report: &mut Report,
    cygnetd: &load::Findings,
    charon: &load::Findings,
    pluto: &pluto::Findings,
) {
    let (ike, esp) = (client::IKE, client::ESP);
    report.note(format!("PSK, {ike}, ESP {esp}; initiators over UDP and a veth pair"));
    report.note(format!(
        "CPU is that of the gateway's process, user and kernel: {} exchanges of each kind with \
         cygnetd (log level info, that many SAs), {} with charon (no log, at most {CROWD} SAs), \
         {} with libreswan; the first two are medians of rounds, \
         with initiators that do not sleep and come in bursts",
        cygnetd.full.count, charon.full.count, pluto.count
    ));
    report.note(
        "libreswan has no ESP on this kernel: its numbers are without a child, and its initiator \
         is libreswan",
    );
}

fn kept(
    report: &mut Report,
    core: &in_process::Findings,
    cygnetd: &load::Findings,
    charon: &load::Findings,
) {
    let rss = Row::new("SA with a child, resident", "octets", cygnetd.sa.rss);
    let rss = rss.beside("charon", charon.sa.rss, Better::Less);
    report.push(rss.against(Target::AtMost(6.0 * 1024.0)));
    let pss = Row::new("  proportional", "octets", cygnetd.sa.pss);
    report.push(pss.beside("charon", charon.sa.pss, Better::Less));
    report.push(Row::new("  of it, heap of the IKE SA", "octets", core.sa));
    report.push(Row::new("  of it, heap of the child", "octets", core.child));
    report.push(Row::new("used ticket, gateway heap", "octets", core.used_ticket));
    report.push(Row::new("suspended session, client heap", "octets", core.session));
}

fn streams(cli: &Cli, report: &mut Report) -> Result<()> {
    for (esp, name) in [("aes128gcm16", "AES-128-GCM"), ("aes256gcm16", "AES-256-GCM")] {
        for (placement, place) in [(Placement::Free, ""), (Placement::Pinned, ", pinned")] {
            progress(format!("TCP through {name}{place}"));
            let stream = Stream { esp, placement, seconds: cli.seconds };
            let ours = throughput::cygnet(stream).context("cygnetd")?;
            let theirs = throughput::charon(stream).context("charon")?;
            let row = Row::new(format!("TCP, {name}{place}"), "Gbit/s", ours);
            let row = row.beside("kernel-libipsec", theirs, Better::More);
            report.push(row.against(Target::Times(2.0)));
        }
    }
    report.note("TCP: iperf3, one stream, UDP-encapsulated ESP in user space, MTU 1400 inside");
    Ok(())
}

/// Where this was built, above the profile.
fn build_dir() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.ancestors().nth(2).context("no build directory")?.to_owned())
}

fn progress(what: String) {
    eprintln!("cygnet-bench: {what}");
}
