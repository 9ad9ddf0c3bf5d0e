//! The log: what happens, in the words that `cygnet monitor` uses.

use ike::event::Event;

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

/// Writes an event down.
pub fn event(event: &Event) {
    let words = words(event);
    match event {
        Event::Failed { .. } | Event::FellBack { .. } | Event::SessionLost { .. } => {
            tracing::warn!(target: "cygnetd::event", "{words}");
        }
        // Anybody can cause these.
        Event::TicketRefused { .. } => tracing::debug!(target: "cygnetd::event", "{words}"),
        _ => tracing::info!(target: "cygnetd::event", "{words}"),
    }
}
