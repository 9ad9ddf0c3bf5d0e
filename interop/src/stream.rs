//! A steady stream of packets with answers, of which each can be missed.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::PATIENCE;

/// A hundred pings a second.
pub struct Stream {
    process: Process,
}

impl Stream {
    /// Begins to ping, and waits for the first answers.
    ///
    /// # Errors
    /// When there are none.
    pub fn start(namespace: &Namespace, from: Ipv4Addr, to: Ipv4Addr) -> Result<Self> {
        let arguments = format!("-n -i 0.01 -I {from} {to}");
        let mut command = namespace.command("ping");
        command.args(arguments.split_whitespace());
        let process = Process::spawn(namespace.dir(), &format!("stream-{to}"), &mut command)?;
        let mut stream = Self { process };
        stream.wait_for_more()?;
        Ok(stream)
    }

    /// Waits for twenty more answers.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_for_more(&mut self) -> Result<()> {
        let before = answered(&self.process)?.len();
        self.process.wait_for(PATIENCE, "twenty more answers", |process| {
            Ok((answered(process)?.len() >= before + 20).then_some(()))
        })
    }

    /// Ends it: how many packets it has sent, and the numbers, from 1, of those
    /// that were answered, in the order of the answers.
    ///
    /// # Errors
    /// When it does not end, or does not say what it did.
    pub fn stop(mut self) -> Result<(usize, Vec<u32>)> {
        self.process.signal(Signal::INT)?;
        self.process.wait_exit(PATIENCE)?;
        let output = self.process.output()?;
        let sent = output.lines().find_map(|line| line.split_once(" packets transmitted"));
        let (sent, _) = sent.with_context(|| format!("no summary: {output}"))?;
        Ok((sent.parse()?, answered(&self.process)?))
    }

    /// Ends it, and checks that each packet before the last answer was answered, once.
    ///
    /// # Errors
    /// When one was lost or doubled, or an answer is not one.
    pub fn finish(self) -> Result<()> {
        let (_, mut answers) = self.stop()?;
        answers.sort_unstable();
        let first = answers.first().copied().context("an answer")?;
        let all: Vec<_> = (first..).take(answers.len()).collect();
        ensure!(answers == all, "not each of the stream was answered once: {answers:?}");
        Ok(())
    }
}

/// The numbers of the packets that were answered, in whole lines of the output.
fn answered(ping: &Process) -> Result<Vec<u32>> {
    let output = ping.output()?;
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let number = |line: &str| {
        let (_, rest) = line.split_once("icmp_seq=")?;
        rest.split_once(' ')?.0.parse().ok()
    };
    Ok(whole.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect())
}
