//! The cygnet command: what a person types. A thin client of `cygnetd`.

#![forbid(unsafe_code)]

mod certificates;
mod check;
mod cli;
mod commands;
mod format;
mod monitor;
mod status;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use control::ClientError;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(Problem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Whoever read has read enough.
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("cygnet: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Why the command did not do what was asked. Displayed after "cygnet: ".
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}: start it with \"systemctl start cygnetd\", or name its socket with --socket")]
    NotRunning(ClientError),
    #[error(transparent)]
    Client(ClientError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("interrupted: the daemon goes on trying (end that with \"cygnet down {0}\")")]
    Interrupted(String),
    #[error(transparent)]
    Certificates(#[from] certificates::Problem),
    #[error("cannot run {program}: {error}")]
    Program { program: String, error: io::Error },
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning(_) => Self::NotRunning(error),
            other => Self::Client(other),
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Problem> {
    match cli.command {
        Command::Check { files } => check::run(&files),
        Command::Pki { command } => {
            format::write(certificates::run(&command)?.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cygnet", &mut script);
            format::write(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(talk(&cli.socket, command))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn talk(socket: &std::path::Path, command: Command) -> Result<(), Problem> {
    let client = control::Client::connect(socket).await?;
    match command {
        Command::Up { name } => commands::up(client, &name).await,
        Command::Resume { name } => commands::resume(client, &name).await,
        Command::Down { name } => commands::down(client, &name).await,
        Command::Rekey { name, child } => commands::rekey(client, &name, child).await,
        Command::Redirect { connection, target, off: _ } => {
            commands::redirect(client, connection.as_deref(), target.as_deref()).await
        }
        Command::Reload => commands::reload(client).await,
        Command::Suspend { name } => commands::suspend(client, &name).await,
        Command::Status { name, json } => status::run(client, name.as_deref(), json).await,
        Command::Monitor { json } => monitor::run(client, json).await,
        Command::Check { .. } | Command::Pki { .. } | Command::Completions { .. } => Ok(()),
    }
}
