//! The log: what happens, in the words that `cygnet monitor` uses.

use ike::event::{Event, Gone};
use tracing::Level;

use crate::serve::words;

/// Begins to log to standard error, where a service manager reads it.
/// `filter` is as in `info,cygnetd=debug`.
///
/// # Errors
/// When the filter is not one.
pub fn start(filter: &str) -> anyhow::Result<()> {
    let filter = filter
        .parse::<tracing_subscriber::EnvFilter>()
        .map_err(|error| anyhow::anyhow!("--log {filter}: {error}"))?;
    let by_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // The journal has its own time stamps.
    if by_journal {
        format.without_time().init();
    } else {
        format.init();
    }
    Ok(())
}

/// Writes an event down, if its level is wanted: the words cost more than a
/// gateway should pay for each of many clients.
pub fn event(event: &Event) {
    const TARGET: &str = "cygnetd::event";
    match level(event) {
        Level::WARN => tracing::warn!(target: TARGET, "{}", words(event)),
        Level::INFO => tracing::info!(target: TARGET, "{}", words(event)),
        _ => tracing::debug!(target: TARGET, "{}", words(event)),
    }
}

const fn level(event: &Event) -> Level {
    match event {
        Event::Failed { .. } | Event::FellBack { .. } | Event::SessionLost { .. } => Level::WARN,
        // Anybody can cause the first; the others say nothing that another
        // event does not say at the same time.
        Event::TicketRefused { .. }
        | Event::TicketIssued { .. }
        | Event::ChildUp { .. }
        | Event::ChildDown { .. }
        | Event::Down { why: Gone::Replaced, .. } => Level::DEBUG,
        Event::Started { .. }
        | Event::Up { .. }
        | Event::Down { .. }
        | Event::Suspended { .. }
        | Event::TicketGranted { .. }
        | Event::TicketDenied { .. }
        | Event::Moved { .. } => Level::INFO,
    }
}
