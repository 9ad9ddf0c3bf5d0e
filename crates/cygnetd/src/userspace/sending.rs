//! The sending thread: packets from the TUN device, sealed, into the sockets.

use std::sync::{Arc, PoisonError};

use esp::discard::Discard;
use esp::mss;
use esp::packet::{self, Flow};
use esp::plane::{Limit, PlaneEvent};
use esp::policy::{Decision, Held};
use esp::segments::{Pushed, Segments};
use esp::spec::{ChildId, OuterPath};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Shared;
use super::child::Child;
use super::events::Events;
use super::stranded::Strand;
use super::tables::Lookup;
use crate::tun::{Filled, TunReader};

/// Sends that are prepared under one lock.
const OUTBOX: usize = 16;

/// How long a device that does not work is left alone. It cannot say when it
/// works again.
const BROKEN_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Sends until the plane stops.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut sender = Sender { shared, outbox: Outbox::default(), strand: Strand::default() };
    let mut reader = TunReader::new(shared.tun.mtu());
    let mut is_broken = false;
    while let Ok(Ready { stop: false, released, tun }) = wait(shared, is_broken) {
        if released {
            sender.send_released();
        }
        is_broken = (tun || is_broken) && sender.send_from_tun(&mut reader);
    }
}

struct Ready {
    stop: bool,
    released: bool,
    tun: bool,
}

/// Blocks until there is something to do.
fn wait(shared: &Shared, is_broken: bool) -> rustix::io::Result<Ready> {
    let tun_events = if is_broken { PollFlags::empty() } else { PollFlags::IN };
    let mut fds = [
        PollFd::new(&shared.stop, PollFlags::IN),
        PollFd::new(&shared.released_ready, PollFlags::IN),
        PollFd::new(&*shared.tun, tun_events),
    ];
    // A broken device is always "ready": it is left out of the wait.
    let (fds, timeout) = if is_broken {
        (fds.split_at_mut(2).0, Some(&BROKEN_PAUSE))
    } else {
        (fds.as_mut_slice(), None)
    };
    match poll(fds, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let is_ready = |n: usize| fds.get(n).is_some_and(|fd| !fd.revents().is_empty());
    Ok(Ready { stop: is_ready(0), released: is_ready(1), tun: is_ready(2) })
}

struct Sender<'a> {
    shared: &'a Shared,
    outbox: Outbox,
    strand: Strand,
}

impl Sender<'_> {
    /// Packets that waited for a child, or for another way of it, go before those
    /// that come now.
    fn send_released(&mut self) {
        self.shared.released_ready.lower();
        self.strand.retry(self.shared);
        let mut packets = std::mem::take(
            &mut *self.shared.released.lock().unwrap_or_else(PoisonError::into_inner),
        );
        self.send_all(packets.iter_mut().map(AsMut::as_mut));
    }

    /// Sends until the device has nothing left. `true` if it does not work now.
    fn send_from_tun(&mut self, reader: &mut TunReader) -> bool {
        loop {
            let filled = reader.fill(&self.shared.tun);
            self.send_all(reader.packets_mut());
            match filled {
                Filled::Full => {}
                Filled::Unreadable => self.shared.discards.count(Discard::TooBig),
                Filled::Drained => return false,
                Filled::Broken => return true,
            }
        }
    }

    fn send_all<'p>(&mut self, packets: impl Iterator<Item = &'p mut [u8]>) {
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let lookup = self.shared.tables.read();
            self.seal_while_there_is_room(&lookup, &mut packets);
            drop(lookup);
            self.outbox.send(self.shared, &mut self.strand);
        }
    }

    fn seal_while_there_is_room<'p>(
        &mut self,
        lookup: &Lookup,
        packets: &mut impl Iterator<Item = &'p mut [u8]>,
    ) {
        let mut row = Row::new(&self.shared.events);
        while self.outbox.has_room() {
            let Some(packet) = packets.next() else { break };
            if let Err(reason) = self.seal(lookup, &mut row, packet) {
                self.shared.discards.count(reason);
            }
        }
        row.end();
    }

    fn seal<'l>(
        &mut self,
        lookup: &'l Lookup,
        row: &mut Row<'l>,
        packet: &mut [u8],
    ) -> Result<(), Discard> {
        let inner = packet::parse(packet).map_err(|_| Discard::BadInner)?;
        let child = match row.child_of(&inner.flow) {
            Some(child) => child,
            None => {
                if inner.flow.is_link_scope() {
                    return Err(Discard::LinkScope);
                }
                match lookup.policies.lookup(&inner.flow) {
                    Decision::Child(child) => row.begin(inner.flow, child),
                    Decision::Held(held) => return self.keep(&held, packet),
                    Decision::Unmatched => return Err(Discard::NoPolicy),
                }
            }
        };
        mss::clamp(packet, &inner, self.shared.tun.mtu());
        let octets = packet.get(..inner.total_len).ok_or(Discard::BadInner)?;
        let sequence = self.outbox.push(child, octets, inner.ecn).inspect_err(|reason| {
            if *reason == Discard::Exhausted && child.exhaust() {
                self.shared.events.push(PlaneEvent::Expired(child.id(), Limit::Hard));
            }
        })?;
        // Each number is used once, so this is told once.
        if sequence == child.outbound.soft_limit() {
            self.shared.events.push(PlaneEvent::Expired(child.id(), Limit::Soft));
        }
        row.packets += 1;
        row.octets += octets.len() as u64;
        Ok(())
    }

    fn keep(&self, held: &Held<'_>, packet: &[u8]) -> Result<(), Discard> {
        let queued = held.wait(packet);
        self.shared.discards.count_many(Discard::WaitedInVain, queued.dropped);
        if queued.acquire {
            self.shared.events.push(held.acquire());
        }
        Ok(())
    }
}

/// Packets of one flow in a row: looked up once, counted once.
struct Row<'l> {
    events: &'l Events,
    current: Option<(Flow, &'l Child)>,
    packets: u64,
    octets: u64,
}

impl<'l> Row<'l> {
    const fn new(events: &'l Events) -> Self {
        Self { events, current: None, packets: 0, octets: 0 }
    }

    fn child_of(&self, flow: &Flow) -> Option<&'l Child> {
        self.current.filter(|(known, _)| known == flow).map(|(_, child)| child)
    }

    fn begin(&mut self, flow: Flow, child: &'l Child) -> &'l Child {
        self.end();
        self.current = Some((flow, child));
        child
    }

    fn end(&mut self) {
        if let Some((_, child)) = self.current.take() {
            let (packets, octets) =
                (std::mem::take(&mut self.packets), std::mem::take(&mut self.octets));
            if let Some(expired) = child.count_sent(packets, octets) {
                self.events.push(expired);
            }
        }
    }
}

/// Sends in preparation. Those of one child stay in order.
struct Outbox {
    sends: Vec<Send>,
    used: usize,
}

struct Send {
    to: Option<(ChildId, OuterPath)>,
    segments: Segments,
}

impl Default for Outbox {
    fn default() -> Self {
        let send = || Send { to: None, segments: Segments::default() };
        Self { sends: (0..OUTBOX).map(|_| send()).collect(), used: 0 }
    }
}

impl Outbox {
    /// Whether any packet can be pushed.
    fn has_room(&self) -> bool {
        self.used < self.sends.len()
    }

    /// Seals a packet behind the last of its child where they fit together.
    fn push(&mut self, child: &Child, packet: &[u8], ecn: u8) -> Result<u64, Discard> {
        let in_use = self.sends.get_mut(..self.used).unwrap_or_default();
        let last =
            in_use.iter_mut().rev().find(|send| send.to.is_some_and(|(id, _)| id == child.id()));
        if let Some(send) = last
            && let Pushed::Sealed(sealed) = send.segments.push(&child.outbound, packet, ecn)?
        {
            return Ok(sealed.sequence);
        }
        let send = self.sends.get_mut(self.used).ok_or(Discard::NotSent)?;
        match send.segments.push(&child.outbound, packet, ecn)? {
            Pushed::Sealed(sealed) => {
                send.to = Some((child.id(), child.path()));
                self.used += 1;
                Ok(sealed.sequence)
            }
            Pushed::Full => Err(Discard::TooBig),
        }
    }

    fn send(&mut self, shared: &Shared, strand: &mut Strand) {
        for Send { to, segments } in self.sends.iter_mut().take(self.used) {
            if let Some((child, path)) = to.take() {
                strand.send(shared, (child, &path), segments);
            }
            segments.clear();
        }
        self.used = 0;
    }
}
