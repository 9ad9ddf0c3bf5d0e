//! A long TCP transfer inside the tunnel. Its content is known to both ends: the receiver
//! compares every octet, and the sender compares the receiver's digest with its own.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use interop::{Namespace, PATIENCE, until};

/// Every record begins with this, so that clear text can be told on the wire.
pub(crate) const MARKER: &[u8; 16] = b"cygnet demo data";

const RECORD: usize = 1024;
/// What the sender sends at a time, and how often: about 1.6 MB/s.
const BURST: u64 = 16;
const INTERVAL: Duration = Duration::from_millis(10);

/// A transfer that is under way.
pub(crate) struct Transfer {
    sender: JoinHandle<Result<Sum>>,
    receiver: JoinHandle<Result<Sum>>,
    received: Arc<AtomicU64>,
    stop: Sender<()>,
    ends: Ends,
}

/// The addresses and ports of both ends: what names a TCP connection.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.client, self.server)
    }
}

/// What one end counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Octets in all.
    pub(crate) octets: u64,
    /// Of all octets in their order.
    pub(crate) digest: u64,
}

impl Transfer {
    /// Starts a server at `to` in one namespace and a client in the other, which begins to send.
    pub(crate) fn start(
        client: &Namespace,
        gateway: &Namespace,
        to: Ipv4Addr,
        seed: u64,
    ) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = channel();
        let (is_listening, listening) = channel();
        let (has_connected, connected) = channel();
        let count = Arc::clone(&received);
        let receiver = gateway.enter(move || receive(to, seed, &is_listening, &count))?;
        let at = listening.recv_timeout(PATIENCE).context("the server does not listen")?;
        let sender = client.enter(move || send(at, seed, &has_connected, &stopped))?;
        let ends = connected.recv_timeout(PATIENCE).context("the client does not connect")?;
        Ok(Self { sender, receiver, received, stop, ends })
    }

    /// What names the connection.
    pub(crate) fn ends(&self) -> Ends {
        self.ends
    }

    /// Octets that have arrived, each as it was sent.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until more than `octets` have arrived.
    pub(crate) fn wait_for(&self, octets: u64) -> Result<()> {
        until(PATIENCE, format!("{octets} octets of the transfer"), || {
            let ended = self.sender.is_finished() || self.receiver.is_finished();
            match (self.received() > octets, ended) {
                (true, _) => Ok(Some(())),
                (false, false) => Ok(None),
                (false, true) => bail!("the TCP connection broke after {}", self.received()),
            }
        })
    }

    /// Lets the sender end, and returns what sender and receiver counted.
    pub(crate) fn finish(self) -> Result<(Sum, Sum)> {
        // A sender that has failed says so itself.
        let _ = self.stop.send(());
        let of = |end: JoinHandle<Result<Sum>>| {
            until(PATIENCE, "end of the transfer", || Ok(end.is_finished().then_some(())))?;
            end.join().map_err(|_| anyhow!("a panic in the transfer"))?
        };
        Ok((of(self.sender).context("the sender")?, of(self.receiver).context("the receiver")?))
    }
}

/// Sends records until told to stop; then asks the receiver what it has got.
fn send(
    to: SocketAddr,
    seed: u64,
    connected: &Sender<Ends>,
    stopped: &Receiver<()>,
) -> Result<Sum> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    connected.send(Ends { client: stream.local_addr()?, server: stream.peer_addr()? })?;
    let mut sum = Sum::EMPTY;
    let mut records = 0;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
        for number in records..records + BURST {
            let record = record(seed, number);
            stream.write_all(&record)?;
            sum.add(&record);
        }
        records += BURST;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut theirs = [0; 16];
    stream.read_exact(&mut theirs).context("the receiver's digest")?;
    ensure!(theirs == sum.octets(), "the receiver got something else than was sent");
    Ok(sum)
}

/// Accepts one connection and compares what comes with what must come.
fn receive(
    at: Ipv4Addr,
    seed: u64,
    listening: &Sender<SocketAddr>,
    received: &AtomicU64,
) -> Result<Sum> {
    let listener = TcpListener::bind((at, 0))?;
    listening.send(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    // Nobody can connect a second time.
    drop(listener);
    let mut sum = Sum::EMPTY;
    let mut expected = Vec::new();
    let mut records = 0;
    let mut buffer = vec![0; 64 * RECORD];
    loop {
        let length = stream.read(&mut buffer)?;
        let got = buffer.get(..length).unwrap_or_default();
        if got.is_empty() {
            break;
        }
        while expected.len() < length {
            expected.extend_from_slice(&record(seed, records));
            records += 1;
        }
        ensure!(expected.starts_with(got), "wrong data after {} octets", sum.octets);
        expected.drain(..length);
        sum.add(got);
        received.store(sum.octets, Ordering::Relaxed);
    }
    stream.write_all(&sum.octets())?;
    Ok(sum)
}

impl Sum {
    /// Of nothing.
    const EMPTY: Self = Self { octets: 0, digest: 0xcbf2_9ce4_8422_2325 };

    /// FNV-1a.
    fn add(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        for octet in octets {
            self.digest = (self.digest ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn octets(self) -> [u8; 16] {
        ((u128::from(self.octets) << 64) | u128::from(self.digest)).to_be_bytes()
    }
}

/// The marker, the number, and what follows from them and the seed (splitmix64).
fn record(seed: u64, number: u64) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD);
    record.extend_from_slice(MARKER);
    record.extend_from_slice(&number.to_be_bytes());
    let mut state = seed ^ number.rotate_left(32);
    while record.len() < RECORD {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        record.extend_from_slice(&(word ^ (word >> 31)).to_be_bytes());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_differ_by_seed_and_number_and_have_one_length() {
        let first = record(1, 0);
        assert_eq!(first.len(), RECORD);
        assert_eq!(first, record(1, 0));
        assert!(first.starts_with(MARKER));
        assert_ne!(first, record(1, 1));
        assert_ne!(first[24..], record(2, 0)[24..]);
    }
}
