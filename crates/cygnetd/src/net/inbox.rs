//! IKE datagrams on their way from the sockets to the engine.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ike::event::Port;

use crate::wake::Wake;

/// Datagrams that wait at most.
const MAX_DATAGRAMS: usize = 4096;
/// Octets that wait at most.
const MAX_OCTETS: usize = 8 << 20;

/// One IKE message as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeDatagram {
    /// Our address and port. The address is that of the datagram, also on a
    /// wildcard socket.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The message, without the marker of RFC 3948.
    pub octets: Vec<u8>,
    /// What it came by.
    pub port: Port,
}

/// A bounded queue; what does not fit is dropped and counted.
pub struct Inbox {
    queue: Mutex<Queue>,
    dropped: AtomicU64,
    ready: Wake,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<IkeDatagram>,
    octets: usize,
    /// Whether `ready` is raised: raising and lowering cost a system call each.
    is_raised: bool,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), dropped: AtomicU64::new(0), ready: Wake::new()? })
    }

    /// `wakes` whoever waits for datagrams; its own thread need not be woken.
    pub(super) fn push(&self, datagram: IkeDatagram, wakes: bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let octets = queue.octets + datagram.octets.len();
        if queue.datagrams.len() >= MAX_DATAGRAMS || octets > MAX_OCTETS {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.octets = octets;
        queue.datagrams.push_back(datagram);
        if wakes && !std::mem::replace(&mut queue.is_raised, true) {
            self.ready.raise();
        }
    }

    /// The oldest datagram.
    pub fn pop(&self) -> Option<IkeDatagram> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let datagram = queue.datagrams.pop_front();
        match &datagram {
            Some(datagram) => queue.octets -= datagram.octets.len(),
            None if std::mem::take(&mut queue.is_raised) => self.ready.lower(),
            None => {}
        }
        datagram
    }

    /// Datagrams that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Readable while datagrams wait. Pop until `None`: that lowers it.
impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
