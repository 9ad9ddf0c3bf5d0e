//! The demonstration behind `make demo`: a session suspends, is forgotten by its gateway, moves
//! and resumes, with real daemons in network namespaces. Every claim is checked; the first that
//! does not hold ends it with exit status 1.

#![allow(clippy::print_stdout, reason = "it speaks to a person")]

mod configuration;
mod evidence;
mod ground;
mod stage;
mod story;
mod summary;
mod timeline;
mod transfer;

use std::process::{ExitCode, exit};
use std::thread;

use anyhow::{Result, ensure};
use clap::Parser;
use interop::World;
use tokio::signal::unix::{SignalKind, signal};

use crate::ground::Ground;
use crate::timeline::Timeline;

/// What a kept world is called.
const KEPT: &str = "cygnet-demo";

/// Shows a VPN session that suspends, is forgotten by its gateway, moves and resumes.
#[derive(Debug, Parser)]
#[command(name = "demo", after_help = HELP, max_term_width = 100)]
struct Cli {
    /// Leave the namespaces and daemons running afterwards, also after a failure.
    #[arg(long)]
    keep: bool,
    /// Remove what --keep has left, and do nothing else.
    #[arg(long, conflicts_with = "keep")]
    clean: bool,
}

const HELP: &str = "\
Needs root, and what interop/setup.sh installs. Changes nothing on this machine but network
namespaces of its own, which are gone afterwards.

  client                 router (NAT)                   gateway
  192.168.1.10, later    192.168.1.1 | 203.0.113.1      203.0.113.10
  192.168.2.10           192.168.2.1 | 203.0.113.2
  inside: 10.91.0.1      <========= tunnel ========>    inside: 10.92.0.1

Every line is a moment: milliseconds since the start, who, and what was seen. A line with \"ok\"
is a claim that was checked against the daemons' status, their events, or a capture of the wire.

Examples:
  make demo                      watch it
  make demo ARGS=--keep          ... and play with it
  make demo ARGS=--clean         remove what --keep has left

Exit status: 0 if every claim was checked and true, 1 if one was not, 2 for wrong usage.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = if cli.clean { World::remove(KEPT) } else { show(cli.keep) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(keep: bool) -> Result<()> {
    let world = if keep { kept_world()? } else { World::new()? };
    remove_when_interrupted(world.name())?;
    let ground = Ground::make(&world)?;
    let mut timeline = Timeline::start();
    let told = story::tell(&ground, &mut timeline, keep);
    if told.is_err() {
        world.print_logs();
    }
    if keep {
        println!("\n{}", ground.how_to_play()?);
        world.leave();
    }
    told
}

fn kept_world() -> Result<World> {
    let exists = std::env::temp_dir().join(KEPT).exists();
    ensure!(!exists, "what --keep has left is still there; remove it with --clean");
    World::kept(KEPT)
}

/// Ctrl-C leaves nothing behind either.
fn remove_when_interrupted(world: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(inside);
    let world = world.to_owned();
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        eprintln!("demo: interrupted: removing everything");
        if let Err(error) = World::remove(&world) {
            eprintln!("demo: {error:#}");
        }
        exit(1);
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}
