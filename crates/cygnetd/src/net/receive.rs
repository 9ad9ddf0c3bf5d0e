//! The receiving end of the sockets, for one thread a lane.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use esp::spec::{Encapsulation, OuterPath};
use quinn_udp::{EcnCodepoint, RecvMeta};
use rustix::event::{PollFd, PollFlags, poll};

use super::socket::{Kind, Port};
use super::streams::reader::Reader;
use super::{IkeDatagram, NAT_KEEPALIVE, NON_ESP_MARKER, Net};
use crate::wake::Wake;

/// Buffers of one receive call. Under load each holds up to 64 datagrams.
const BUFFERS: usize = 8;
/// The largest datagram, or row of datagrams, that the kernel hands over.
const BUFFER_LEN: usize = 65_536;
/// Receives from one socket before the others have their turn.
const ROUNDS: usize = 16;

/// Takes ESP packets as they come.
pub trait EspSink {
    /// A row of ESP packets from one source. They may be opened in place.
    fn packets(&mut self, run: EspRun<'_>);
    /// Nothing more has been received for now: deliver.
    fn flush(&mut self);
}

/// ESP packets in `stride` octets each, the last perhaps shorter.
pub struct EspRun<'a> {
    /// The packets, each from its SPI to its ICV.
    pub packets: &'a mut [u8],
    /// Octets from one packet to the next; at least 1.
    pub stride: usize,
    /// Octets before each packet that are none of it.
    pub skip: usize,
    /// How they came, and from where. The ports are 0 for IP protocol 50.
    pub way: OuterPath,
    /// Whether the path marked them "congestion experienced".
    pub congestion_experienced: bool,
}

/// Receives from the sockets of one lane.
pub struct Receiver {
    net: Arc<Net>,
    lane: Lane,
    buffers: Vec<Box<[u8]>>,
    /// Connections are read by the thread of packets.
    streams: Option<Reader>,
}

/// Which sockets a thread reads. Packets do not wait for negotiation, nor
/// negotiation for another thread to hand it its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// ESP, in UDP or as IP protocol 50.
    Packets,
    /// IKE, with and without the marker.
    Ike,
}

impl Lane {
    const fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Ike | Kind::NatTIke => matches!(self, Self::Ike),
            Kind::NatT | Kind::RawEsp => matches!(self, Self::Packets),
        }
    }
}

impl Receiver {
    /// For one thread; the sockets have one reader.
    #[must_use]
    pub fn new(net: Arc<Net>, lane: Lane) -> Self {
        let buffers = (0..BUFFERS).map(|_| vec![0; BUFFER_LEN].into_boxed_slice()).collect();
        let streams = (lane == Lane::Packets).then(Reader::default);
        Self { net, lane, buffers, streams }
    }

    /// What to wait for, in the order of [`Self::receive_from`].
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let streams = self.streams.as_ref().map(|_| self.net.streams().source());
        self.ports().map(Port::as_fd).chain(streams)
    }

    fn ports(&self) -> impl Iterator<Item = &Port> {
        self.net.ports.iter().filter(|port| self.lane.has(port.kind()))
    }

    /// Takes what has come to the source with this number.
    pub fn receive_from(&mut self, source: usize, sink: &mut impl EspSink) {
        let net = Arc::clone(&self.net);
        let lane = self.lane;
        match net.ports.iter().filter(|port| lane.has(port.kind())).nth(source) {
            Some(port) => self.drain(port, sink),
            None => {
                if let Some(streams) = &mut self.streams {
                    streams.receive(&net, sink);
                }
            }
        }
    }

    /// Receives until `stop` is raised.
    ///
    /// # Errors
    /// When waiting fails; receiving goes on after any other failure.
    pub fn run(&mut self, stop: &Wake, sink: &mut impl EspSink) -> io::Result<()> {
        let mut is_ready = vec![false; self.sources().count()];
        while self.wait(stop, &mut is_ready)? {
            for source in (0..is_ready.len()).filter(|&n| is_ready.get(n) == Some(&true)) {
                self.receive_from(source, sink);
            }
        }
        Ok(())
    }

    /// Blocks until a socket is readable. `false` when `stop` is raised.
    fn wait(&self, stop: &Wake, is_ready: &mut [bool]) -> io::Result<bool> {
        let source = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = self.sources().map(source).collect();
        fds.push(PollFd::new(stop, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for (ready, fd) in is_ready.iter_mut().zip(&fds) {
            *ready = !fd.revents().is_empty();
        }
        Ok(fds.last().is_some_and(|stop| stop.revents().is_empty()))
    }

    fn drain(&mut self, port: &Port, sink: &mut impl EspSink) {
        for _ in 0..ROUNDS {
            match self.receive_once(port, sink) {
                Ok(received) => {
                    sink.flush();
                    // The socket had no more: asking again would only be told so.
                    if received < BUFFERS {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.net.count(|counters| &counters.receive_failures);
                    return;
                }
            }
        }
    }

    /// One batch; how many buffers it filled.
    fn receive_once(&mut self, port: &Port, sink: &mut impl EspSink) -> io::Result<usize> {
        let mut meta = [RecvMeta::default(); BUFFERS];
        let received = {
            let mut slices = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer));
            let mut slices: [IoSliceMut<'_>; BUFFERS] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            port.receive(&mut slices, &mut meta)?
        };
        for (buffer, meta) in self.buffers.iter_mut().zip(&meta).take(received) {
            let Some(octets) = buffer.get_mut(..meta.len) else { continue };
            match port.kind() {
                Kind::Ike => deliver_ike(&self.net, port, meta, octets, self.lane),
                // The kernel separates them, but may join what it should not.
                Kind::NatT | Kind::NatTIke => {
                    demultiplex(&self.net, (port, self.lane), meta, octets, sink);
                }
                Kind::RawEsp => deliver_raw(&self.net, port, meta, octets, sink),
            }
        }
        Ok(received)
    }
}

fn deliver_ike(net: &Net, port: &Port, meta: &RecvMeta, octets: &[u8], lane: Lane) {
    for datagram in octets.chunks(meta.stride.max(1)) {
        push_ike(net, (port, lane), meta, datagram, false);
    }
}

/// What a datagram on the NAT traversal port is (RFC 3948 section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Ike,
    Keepalive,
    Esp,
    Runt,
}

pub(super) fn content_of(datagram: &[u8]) -> Content {
    if datagram == NAT_KEEPALIVE {
        return Content::Keepalive;
    }
    match datagram.first_chunk::<4>() {
        Some(&NON_ESP_MARKER) => Content::Ike,
        Some(_) => Content::Esp,
        None => Content::Runt,
    }
}

/// The kernel joins datagrams of one source whatever they contain, so a row of
/// ESP ends where something else stands.
fn demultiplex(
    net: &Net,
    (port, lane): (&Port, Lane),
    meta: &RecvMeta,
    octets: &mut [u8],
    sink: &mut impl EspSink,
) {
    let stride = meta.stride.max(1);
    let mut rest = octets;
    while !rest.is_empty() {
        let row = rest.chunks(stride).take_while(|d| content_of(d) == Content::Esp).count();
        let packets = rest.split_off_mut(..(row * stride).min(rest.len())).unwrap_or_default();
        if !packets.is_empty() {
            sink.packets(EspRun {
                packets,
                stride,
                skip: 0,
                way: way(port, meta, Encapsulation::Udp),
                congestion_experienced: meta.ecn == Some(EcnCodepoint::Ce),
            });
        }
        let other = rest.split_off_mut(..stride.min(rest.len())).unwrap_or_default();
        match content_of(other) {
            Content::Ike => {
                push_ike(net, (port, lane), meta, other.get(4..).unwrap_or_default(), true);
            }
            Content::Keepalive => net.count(|counters| &counters.keepalives),
            Content::Runt if other.is_empty() => {}
            Content::Runt | Content::Esp => net.count(|counters| &counters.runts),
        }
    }
}

/// A raw IPv4 socket shows the IP header, an IPv6 one does not.
fn deliver_raw(
    net: &Net,
    port: &Port,
    meta: &RecvMeta,
    octets: &mut [u8],
    sink: &mut impl EspSink,
) {
    let header_len = match (meta.addr, octets.first()) {
        (SocketAddr::V4(_), Some(first)) => usize::from(first & 0x0f) * 4,
        (SocketAddr::V6(_), _) | (_, None) => 0,
    };
    let Some(packets) = octets.get_mut(header_len..).filter(|packet| !packet.is_empty()) else {
        net.count(|counters| &counters.runts);
        return;
    };
    sink.packets(EspRun {
        stride: packets.len(),
        packets,
        skip: 0,
        way: way(port, meta, Encapsulation::Plain),
        congestion_experienced: meta.ecn == Some(EcnCodepoint::Ce),
    });
}

/// How a datagram has come.
fn way(port: &Port, meta: &RecvMeta, encapsulation: Encapsulation) -> OuterPath {
    let mut local = port.local();
    local.set_ip(meta.dst_ip.unwrap_or_else(|| local.ip()));
    let mut remote = meta.addr;
    if encapsulation == Encapsulation::Plain {
        remote.set_port(0);
    }
    OuterPath { local, remote, encapsulation }
}

fn push_ike(net: &Net, (port, lane): (&Port, Lane), meta: &RecvMeta, message: &[u8], nat_t: bool) {
    let OuterPath { local, remote, .. } = way(port, meta, Encapsulation::Udp);
    let port = if nat_t { ike::event::Port::NatTraversal } else { ike::event::Port::Ike };
    let datagram = IkeDatagram { local, remote, octets: message.to_vec(), port };
    // Who reads the lane of IKE looks into the inbox next.
    net.inbox.push(datagram, lane != Lane::Ike);
}
