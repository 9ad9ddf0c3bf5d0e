//! The configuration check, which the daemon does.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::Problem;

/// Runs `cygnetd --check` for each file, or once for the standard one.
pub(crate) fn run(files: &[PathBuf]) -> Result<ExitCode, Problem> {
    let daemon = daemon();
    let mut all_good = true;
    if files.is_empty() {
        all_good = is_good(Command::new(&daemon).arg("--check"))?;
    }
    for file in files {
        all_good &= is_good(Command::new(&daemon).arg("--check").arg("--config").arg(file))?;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The daemon beside this command; else that in PATH.
fn daemon() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("cygnetd"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "cygnetd".into())
}

fn is_good(command: &mut Command) -> Result<bool, Problem> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| Problem::Program { program, error })?;
    Ok(status.success())
}
