//! The userspace data plane: ESP between the TUN device and the sockets.
//!
//! ```text
//! let plane = Userspace::start(Arc::new(tun), Arc::clone(&net))?;    two threads run from here
//! plane.submit(id, command); plane.poll_event()                      see esp::plane::Dataplane
//! plane.as_fd()                readable while poll_event has something
//! plane.discards()             dropped packets by reason
//! drop(plane)                  stops the threads; sealed and opened packets in hand are still delivered
//! ```
//!
//! Threads and tables. One thread receives (sockets -> open -> TUN), one sends
//! (TUN -> policy -> seal -> sockets).
//! Both read one table behind a read-write lock. It is taken once for a batch,
//! never across a system call, and held for at most one batch of cryptography
//! (tens of microseconds). Commands take it for writing and change entries in
//! place, so an install costs the same among 10,000 children as alone, and
//! when a command has had the lock no thread can be using what it took out:
//! `Completed` is true when it is queued. A table for each thread, fed through
//! queues, would cost every install two wake-ups and need a copy for every
//! further thread; the lock lets threads be added.
//!
//! Nothing leaves in clear text: what the TUN device hands over is sealed,
//! waits for a child of a held group, or is dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use esp::discard::{Discard, Discards};
use esp::plane::{Capabilities, Command, CommandId, Dataplane, Fault, Hold, PlaneEvent, Traffic};
use esp::spec::{ChildId, ChildSpec, Encapsulation, GroupId, Mode, OuterPath};

mod child;
mod events;
mod receiving;
mod sending;
mod stranded;
mod tables;

use crate::net::Net;
use crate::tun::Tun;
use crate::wake::Wake;
use child::Child;
use events::Events;
use tables::Tables;

/// Whether this plane can do transport mode: it has a device for whole packets,
/// and the host's own go another way.
pub(crate) const TRANSPORT: bool = false;

/// The userspace plane. Its threads end when it is dropped.
pub struct Userspace {
    shared: Arc<Shared>,
    /// Ours alone: looking at counters disturbs no thread.
    children: BTreeMap<ChildId, Arc<Child>>,
    /// Commands are carried out at once; their ends wait here to be asked for.
    completed: VecDeque<PlaneEvent>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Shared {
    tables: Tables,
    events: Events,
    discards: Discards,
    /// Packets that waited for a child that is there now.
    released: Mutex<Vec<Box<[u8]>>>,
    released_ready: Wake,
    /// Raised once, never lowered.
    stop: Wake,
    net: Arc<Net>,
    tun: Arc<Tun>,
}

impl Userspace {
    /// Starts the threads, without any child or group.
    ///
    /// # Errors
    /// When the system gives no thread or file descriptor.
    pub fn start(tun: Arc<Tun>, net: Arc<Net>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            tables: Tables::default(),
            events: Events::new()?,
            discards: Discards::default(),
            released: Mutex::default(),
            released_ready: Wake::new()?,
            stop: Wake::new()?,
            net,
            tun,
        });
        let (children, completed, threads) = Default::default();
        let mut plane = Self { shared, children, completed, threads };
        plane.spawn("cygnet-in", receiving::run)?;
        plane.spawn("cygnet-out", sending::run)?;
        Ok(plane)
    }

    fn spawn(&mut self, name: &str, body: fn(&Arc<Shared>)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || body(&shared))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Packets dropped since the start, by reason.
    #[must_use]
    pub fn discards(&self) -> &Discards {
        &self.shared.discards
    }

    /// How many children are installed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether no child is installed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Fault> {
        match command {
            Command::Install(spec) => self.install(*spec),
            Command::Prefer(id) => self.shared.tables.prefer(id),
            Command::Remove(id) => self.remove(id),
            Command::Move(id, path) => self.move_to(id, path),
            Command::Hold(hold) => self.hold(hold),
            Command::Discard(group) => self.give_up(Tables::discard, group),
            Command::Release(group) => self.give_up(Tables::release, group),
        }
    }

    fn install(&mut self, spec: ChildSpec) -> Result<(), Fault> {
        self.check_path(&spec.path)?;
        if spec.mode == Mode::Transport {
            return Err(Fault::Unsupported);
        }
        let child = Arc::new(Child::new(spec));
        let waited = self.shared.tables.install(&child)?;
        self.children.insert(child.id(), child);
        self.shared.release(waited);
        Ok(())
    }

    fn remove(&mut self, id: ChildId) -> Result<(), Fault> {
        self.shared.tables.remove(id)?;
        self.children.remove(&id);
        // What waits for another way of it waits in vain.
        self.shared.released_ready.raise();
        Ok(())
    }

    fn move_to(&mut self, id: ChildId, path: OuterPath) -> Result<(), Fault> {
        self.check_path(&path)?;
        self.children.get(&id).ok_or(Fault::Unknown)?.move_to(path);
        // What could not leave by the way before may by this one.
        self.shared.released_ready.raise();
        Ok(())
    }

    fn hold(&mut self, hold: Hold) -> Result<(), Fault> {
        let group = hold.group;
        if let Some(flow) = self.shared.tables.hold(hold)? {
            self.shared.events.push(PlaneEvent::Acquire(group, flow));
        }
        Ok(())
    }

    /// Counts the packets that have waited in vain.
    fn give_up(
        &self,
        packets: fn(&Tables, GroupId) -> Result<u64, Fault>,
        group: GroupId,
    ) -> Result<(), Fault> {
        let waited = packets(&self.shared.tables, group)?;
        self.shared.discards.count_many(Discard::WaitedInVain, waited);
        Ok(())
    }

    fn check_path(&self, path: &OuterPath) -> Result<(), Fault> {
        let is_one_family = path.local.is_ipv4() == path.remote.is_ipv4();
        let is_carried = match path.encapsulation {
            Encapsulation::Udp | Encapsulation::Tcp(_) => true,
            Encapsulation::Plain => self.shared.net.has_plain_esp(),
        };
        if is_one_family && is_carried { Ok(()) } else { Err(Fault::Unsupported) }
    }
}

impl Dataplane for Userspace {
    fn submit(&mut self, id: CommandId, command: Command) {
        let result = self.carry_out(command);
        self.completed.push_back(PlaneEvent::Completed(id, result));
    }

    fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.completed.pop_front().or_else(|| self.shared.events.pop())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { plain_esp: self.shared.net.has_plain_esp(), transport: TRANSPORT }
    }

    fn traffic(&self, child: ChildId) -> Option<Traffic> {
        self.children.get(&child).map(|child| child.traffic())
    }
}

/// Readable while [`Dataplane::poll_event`] has something that the threads have
/// to say. Poll until `None`: that lowers it. The end of a command is there as
/// soon as [`Dataplane::submit`] returns, and does not raise it.
impl AsFd for Userspace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.events.as_fd()
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.shared.stop.raise();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Hands packets that waited to the sending thread.
    fn release(&self, packets: Vec<Box<[u8]>>) {
        if packets.is_empty() {
            return;
        }
        self.released.lock().unwrap_or_else(PoisonError::into_inner).extend(packets);
        self.released_ready.raise();
    }
}
