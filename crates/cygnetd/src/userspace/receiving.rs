//! The receiving thread: ESP packets from the sockets, opened, into the TUN device.

use std::ops::ControlFlow;
use std::sync::Arc;

use esp::discard::Discard;
use esp::inbound::{self, Run};
use esp::mss;
use esp::packet;
use esp::plane::PlaneEvent;
use esp::spec::{Encapsulation, OuterPath};

use super::Shared;
use super::child::Child;
use super::tables::Lookup;
use crate::net::{EspRun, EspSink, Heard, Lane, Receiver};
use crate::tun::TunWriter;

/// Receives until the plane stops.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut delivery = Delivery { shared, writer: TunWriter::default(), heard: Heard::default() };
    let mut receiver = Receiver::new(Arc::clone(&shared.net), Lane::Packets);
    if let Err(error) = receiver.run(&shared.stop, &mut delivery) {
        tracing::error!(%error, "receiving has ended");
    }
}

struct Delivery<'a> {
    shared: &'a Shared,
    writer: TunWriter,
    /// What is known of the row that is being opened.
    heard: Heard,
}

impl EspSink for Delivery<'_> {
    fn packets(&mut self, run: EspRun<'_>) {
        let EspRun { packets, stride, skip, way, congestion_experienced } = run;
        let source = Source { way, skip, congestion_experienced };
        let mut rest = packets.chunks_mut(stride.max(1));
        loop {
            let lookup = self.shared.tables.read();
            let opened = self.open_while_there_is_room(&lookup, &source, &mut rest);
            drop(lookup);
            match opened {
                ControlFlow::Continue(()) => self.flush(),
                ControlFlow::Break(()) => break,
            }
        }
        let heard = std::mem::take(&mut self.heard);
        if let Encapsulation::Tcp(stream) = way.encapsulation {
            self.shared.net.hear(stream, heard);
        }
    }

    fn flush(&mut self) {
        if self.writer.flush(&self.shared.tun).is_err() {
            self.shared.discards.count(Discard::NotDelivered);
        }
    }
}

struct Source {
    way: OuterPath,
    /// Octets before each packet that are none of it.
    skip: usize,
    congestion_experienced: bool,
}

impl Delivery<'_> {
    /// `Break` at the end of the packets, `Continue` when the writer is full.
    fn open_while_there_is_room(
        &mut self,
        lookup: &Lookup,
        source: &Source,
        packets: &mut std::slice::ChunksMut<'_, u8>,
    ) -> ControlFlow<()> {
        let mut current: Option<Row<'_>> = None;
        while !self.writer.is_full() {
            let Some(packet) = packets.next() else {
                return self.end(current, source, ControlFlow::Break(()));
            };
            let packet = packet.get_mut(source.skip..).unwrap_or_default();
            let spi = match inbound::spi(packet) {
                Ok(spi) => spi,
                Err(reason) => {
                    self.discard(reason);
                    continue;
                }
            };
            let row = match current.take() {
                Some(row) if row.spi == spi => current.insert(row),
                former => {
                    let _ = self.end(former, source, ControlFlow::Break(()));
                    let Some(child) = lookup.inbound.get(&spi) else {
                        self.discard(Discard::UnknownSpi);
                        continue;
                    };
                    current.insert(Row::new(spi, child))
                }
            };
            match row.open(packet, source, &mut self.writer, self.shared.tun.mtu()) {
                Ok(()) => self.heard.good += 1,
                Err(reason) => self.discard(reason),
            }
        }
        self.end(current, source, ControlFlow::Continue(()))
    }

    fn discard(&mut self, reason: Discard) {
        self.shared.discards.count(reason);
        self.heard.senseless += u32::from(is_senseless(reason));
    }

    fn end(&self, row: Option<Row<'_>>, source: &Source, flow: ControlFlow<()>) -> ControlFlow<()> {
        if let Some(Row { child, packets, octets, has_newest, .. }) = row {
            if let Some(expired) = child.count_received(packets, octets) {
                self.shared.events.push(expired);
            }
            if has_newest && child.has_moved(&source.way) {
                self.shared.events.push(match source.way.encapsulation {
                    Encapsulation::Tcp(_) => PlaneEvent::StreamChanged(child.id(), source.way),
                    Encapsulation::Udp | Encapsulation::Plain => {
                        PlaneEvent::MappingChanged(child.id(), source.way.remote)
                    }
                });
            }
        }
        flow
    }
}

/// Whether no peer of a child that we have has sent it so: by TCP, where nothing
/// is lost or comes from elsewhere, a sign of corruption (RFC 9329 section 6.1).
const fn is_senseless(reason: Discard) -> bool {
    match reason {
        Discard::TooShort | Discard::UnknownSpi | Discard::NotAuthentic => true,
        Discard::Replayed
        | Discard::BadPadding
        | Discard::Dummy
        | Discard::BadNextHeader
        | Discard::BadInner
        | Discard::SelectorMismatch
        | Discard::NoPolicy
        | Discard::LinkScope
        | Discard::WaitedInVain
        | Discard::Exhausted
        | Discard::TooBig
        | Discard::NotSent
        | Discard::NotDelivered => false,
    }
}

/// Packets of one child in a row: their replay window is locked and their
/// counters are written once.
struct Row<'a> {
    spi: u32,
    child: &'a Child,
    run: Run<'a>,
    packets: u64,
    octets: u64,
    has_newest: bool,
}

impl<'a> Row<'a> {
    fn new(spi: u32, child: &'a Child) -> Self {
        let run = child.inbound.run();
        Self { spi, child, run, packets: 0, octets: 0, has_newest: false }
    }

    fn open(
        &mut self,
        packet: &mut [u8],
        source: &Source,
        writer: &mut TunWriter,
        mtu: u16,
    ) -> Result<(), Discard> {
        let opened = self.run.open(packet)?;
        let inner = packet.get(opened.range).ok_or(Discard::BadInner)?;
        let copy = writer.push(inner).ok_or(Discard::NotDelivered)?;
        mss::clamp(copy, &opened.inner, mtu);
        if source.congestion_experienced {
            packet::set_congestion_experienced(copy);
        }
        self.packets += 1;
        self.octets += opened.inner.total_len as u64;
        self.has_newest |= opened.is_newest;
        Ok(())
    }
}
