//! The table at the end, and the same as JSON.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What is to be reached.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A value of ours that is not to be exceeded.
    AtMost(f64),
    /// How many times better than the peer we are to be.
    Times(f64),
}

/// One line of the table.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    cygnet: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    /// How many times better than the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Peer {
    name: &'static str,
    value: f64,
}

/// Which direction is the better one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Better {
    /// Less is better: time, memory.
    Less,
    /// More is better: throughput.
    More,
}

impl Row {
    /// A measured value of ours.
    #[must_use]
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, cygnet: f64) -> Self {
        let (peer, ratio, target, met) = (None, None, None, None);
        Self { what: what.into(), unit, cygnet, peer, ratio, target, met }
    }

    /// Beside a peer's, measured in the same run.
    #[must_use]
    pub(crate) fn beside(mut self, name: &'static str, value: f64, better: Better) -> Self {
        self.peer = Some(Peer { name, value });
        self.ratio = Some(match better {
            Better::Less => value / self.cygnet,
            Better::More => self.cygnet / value,
        });
        self
    }

    /// Against a target.
    #[must_use]
    pub(crate) fn against(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.met = Some(match target {
            Target::AtMost(limit) => self.cygnet <= limit,
            Target::Times(factor) => self.ratio.is_some_and(|ratio| ratio >= factor),
        });
        self
    }

    fn cells(&self) -> [String; 6] {
        let peer = self.peer.as_ref();
        [
            self.what.clone(),
            format!("{} {}", number(self.cygnet), self.unit),
            peer.map(|p| format!("{} ({})", number(p.value), p.name)).unwrap_or_default(),
            self.ratio.map(|ratio| format!("{ratio:.1}x")).unwrap_or_default(),
            match self.target {
                Some(Target::AtMost(limit)) => format!("<= {}", number(limit)),
                Some(Target::Times(factor)) => format!(">= {factor}x"),
                None => String::new(),
            },
            match self.met {
                Some(true) => "met".into(),
                Some(false) => "MISSED".into(),
                None => String::new(),
            },
        ]
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Microseconds.
#[must_use]
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Milliseconds.
#[must_use]
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Everything that was measured, and where.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// What it was measured on.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// Processes that wanted a CPU when the run began, over one minute.
    load: f64,
}

impl Report {
    /// An empty report of this machine.
    ///
    /// # Errors
    /// When the system does not tell what it is.
    pub(crate) fn new() -> Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let load = fs::read_to_string("/proc/loadavg")?;
        let machine = Machine {
            cpu: model.unwrap_or("unknown").trim_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split_whitespace().next().context("no load")?.parse()?,
        };
        Ok(Self { machine, rows: Vec::new(), notes: Vec::new() })
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// Whether no target was missed.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.met != Some(false))
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "it is what the program is for")]
    pub(crate) fn print(&self) {
        let head = ["what", "cygnet", "peer", "ratio", "target", ""].map(str::to_owned);
        let lines: Vec<_> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let widths = (0..6).map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let widths: Vec<_> = widths.collect();
        println!();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        let Machine { cpu, cores, kernel, load } = &self.machine;
        println!("\n{cores} x {cpu}, Linux {kernel}, load {load} at the start");
        self.notes.iter().for_each(|note| println!("- {note}"));
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let what = || format!("writing {}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(what)?;
        }
        fs::write(path, serde_json::to_vec_pretty(self)?).with_context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_time_and_more_throughput_are_better() {
        let time = Row::new("a", "us", 10.0).beside("peer", 30.0, Better::Less);
        let rate = Row::new("b", "Gbit/s", 10.0).beside("peer", 5.0, Better::More);
        assert_eq!((time.ratio, rate.ratio), (Some(3.0), Some(2.0)));
    }

    #[test]
    fn a_target_is_met_at_its_limit_and_missed_beyond() {
        let row = |value| Row::new("a", "us", value).against(Target::AtMost(60.0));
        assert_eq!((row(60.0).met, row(60.1).met), (Some(true), Some(false)));
        let row = Row::new("b", "Gbit/s", 1.0);
        assert_eq!(row.against(Target::Times(2.0)).met, Some(false), "no peer, no ratio");
    }
}
