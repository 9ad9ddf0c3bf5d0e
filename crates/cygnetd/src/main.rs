//! `cygnetd`: the cygnet daemon.

use std::process::ExitCode;

use clap::Parser;
use cygnetd::cli::Cli;
use cygnetd::daemon;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if cli.check { check(&cli) } else { daemon::run(&cli) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cygnetd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to --check")]
fn check(cli: &Cli) -> anyhow::Result<()> {
    println!("{}", daemon::check(&cli.config)?);
    Ok(())
}
