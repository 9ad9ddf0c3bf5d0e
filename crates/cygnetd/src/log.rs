//! The log: what happens, in the words that `cygnet monitor` uses.

use std::fmt::Write as _;
use std::io::Write as _;

use ike::event::{Event, Gone};
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::serve::words;

const TARGET: &str = "cygnetd::event";

/// Octets of lines that are written at once at the latest.
const LINES: usize = 16 << 10;

/// Begins to log to standard error, where a service manager reads it.
/// `filter` is as in `info,cygnetd=debug`.
///
/// # Errors
/// When the filter is not one.
pub fn start(filter: &str) -> anyhow::Result<()> {
    let filter = filter
        .parse::<tracing_subscriber::EnvFilter>()
        .map_err(|error| anyhow::anyhow!("--log {filter}: {error}"))?;
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // The journal has its own time stamps.
    if by_journal() {
        format.without_time().init();
    } else {
        format.init();
    }
    Ok(())
}

/// Events as lines of the log, written together: a gateway to which a thousand
/// clients come back should not pay a system call for each.
#[derive(Default)]
pub struct EventLog {
    lines: String,
    stamped: bool,
}

impl EventLog {
    /// Nothing is written yet.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: String::new(), stamped: !by_journal() }
    }

    /// Puts an event down, if its level is wanted.
    pub fn put(&mut self, event: &Event) {
        let level = level(event);
        let is_wanted = match level {
            Level::WARN => tracing::enabled!(target: TARGET, Level::WARN),
            Level::INFO => tracing::enabled!(target: TARGET, Level::INFO),
            _ => tracing::enabled!(target: TARGET, Level::DEBUG),
        };
        if is_wanted {
            // A string takes everything that is written to it.
            let _ = self.line(level, event);
        }
        if self.lines.len() >= LINES {
            self.flush();
        }
    }

    /// Writes what was put down.
    pub fn flush(&mut self) {
        if !self.lines.is_empty() {
            // There is nobody to tell.
            let _ = std::io::stderr().write_all(self.lines.as_bytes());
            self.lines.clear();
        }
    }

    /// As `tracing` writes lines.
    fn line(&mut self, level: Level, event: &Event) -> std::fmt::Result {
        if self.stamped {
            SystemTime.format_time(&mut Writer::new(&mut self.lines))?;
            self.lines.push(' ');
        }
        writeln!(self.lines, "{level:>5} {TARGET}: {}", words(event))
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn by_journal() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

const fn level(event: &Event) -> Level {
    match event {
        Event::Failed { .. }
        | Event::TriedInVain { .. }
        | Event::Unresolved { .. }
        | Event::FellBack { .. }
        | Event::RekeyFailed { .. }
        | Event::ChildFailed { .. }
        | Event::SessionLost { .. }
        | Event::PoolExhausted { .. }
        | Event::RedirectRefused { .. } => Level::WARN,
        // Anybody can cause the first; the others say nothing that another
        // event does not say at the same time.
        Event::TicketRefused { .. }
        | Event::TicketIssued { .. }
        | Event::AddressesGiven { .. }
        | Event::ChildUp { .. }
        | Event::ChildDown { .. }
        | Event::Down { why: Gone::Replaced, .. } => Level::DEBUG,
        Event::Started { .. }
        | Event::Up { .. }
        | Event::Rekeyed { .. }
        | Event::ChildRekeyed { .. }
        | Event::Down { .. }
        | Event::Suspended { .. }
        | Event::TicketGranted { .. }
        | Event::TicketDenied { .. }
        | Event::AddressesReceived { .. }
        | Event::Reconfigured { .. }
        | Event::Moved { .. }
        | Event::Redirected { .. }
        | Event::PeerRedirected { .. } => Level::INFO,
    }
}
