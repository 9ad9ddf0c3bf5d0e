//! What a person reads: moments and checked claims.

#![allow(clippy::disallowed_methods, reason = "the demonstration takes place in real time")]

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};

/// This machine's clock, by which captures are stamped: since 1970.
pub(crate) fn clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The lines so far, and how many claims were among them.
pub(crate) struct Timeline {
    start: Instant,
    claims: u32,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), claims: 0 }
    }

    /// A chapter begins.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n{title}");
    }

    /// Something happened, or was seen.
    pub(crate) fn show(&self, who: &str, what: impl Display) {
        println!("{:>6} ms  {who:8} {what}", self.elapsed().as_millis());
    }

    /// Checks a claim, and shows what it rests on.
    ///
    /// # Errors
    /// When it does not hold.
    pub(crate) fn claim(&mut self, claim: &str, holds: bool, seen: impl Display) -> Result<()> {
        if !holds {
            self.show("FAILED", format_args!("{claim}: {seen}"));
            bail!("this claim does not hold: {claim}\nseen: {seen}");
        }
        self.show("      ok", format_args!("{claim}: {seen}"));
        self.claims += 1;
        Ok(())
    }

    pub(crate) fn claims(&self) -> u32 {
        self.claims
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_does_not_hold_says_what_was_seen_and_is_not_counted() {
        let mut timeline = Timeline::start();
        timeline.claim("one is one", true, 1).unwrap();
        let error = timeline.claim("one is two", false, 1).unwrap_err();
        assert_eq!(error.to_string(), "this claim does not hold: one is two\nseen: 1");
        assert_eq!(timeline.claims(), 1);
    }
}
