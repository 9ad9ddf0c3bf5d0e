//! The receiving half of all connections, on one thread.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use esp::spec::{Encapsulation, OuterPath, StreamId};
use esp::stream::{Content, PREFIX};
use ike::event::{Port, StreamEvent};
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventFlags};
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::super::receive::{EspRun, EspSink};
use super::super::{IkeDatagram, Net};
use super::{
    FRAMING, Heard, Key, MAX_ACCEPTED, MAX_GUESTS, MAX_GUESTS_PER_SOURCE, PAUSE, Stage, Stream,
    Streams,
};
use crate::clock;

/// Octets that are read at once.
const BUFFER_LEN: usize = 128 << 10;
/// Reads from one connection before the others have their turn.
const ROUNDS: usize = 4;
/// Connections that are looked at before the datagrams have their turn.
const EVENTS: usize = 64;

/// Reads the connections.
pub(in super::super) struct Reader {
    buffer: Box<[u8]>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER_LEN].into_boxed_slice() }
    }
}

impl Streams {
    /// Readable when the reader has something to do.
    pub(in super::super) fn source(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Reader {
    /// Does what is to be done without waiting for more.
    pub(in super::super) fn receive(&mut self, net: &Net, sink: &mut impl EspSink) {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let streams = net.streams();
        let ready = epoll::wait(&streams.epoll, &mut space[..], Some(&at_once));
        let ready = ready.map(|(ready, _)| &*ready).unwrap_or_default();
        for Event { flags, data } in ready.iter().copied() {
            match Key::of(data) {
                Key::Alarm => streams.sweep(),
                Key::Listener(index) => accept(streams, index),
                Key::Stream(id) => self.serve(net, id, flags, sink),
            }
        }
    }

    fn serve(&mut self, net: &Net, id: StreamId, flags: EventFlags, sink: &mut impl EspSink) {
        let streams = net.streams();
        let Some(stream) = streams.find(id) else { return };
        if self.go_on(net, &stream, flags, sink).is_err() {
            streams.close(&stream);
        }
    }

    /// `Err` when the connection is over.
    fn go_on(
        &mut self,
        net: &Net,
        stream: &Stream,
        flags: EventFlags,
        sink: &mut impl EspSink,
    ) -> Result<(), Over> {
        let streams = net.streams();
        if stream.writer().stage() == Stage::Connecting {
            return streams.finish_connecting(stream);
        }
        if flags.contains(EventFlags::OUT) {
            let mut writer = stream.writer();
            let flushed = writer.flush(&stream.socket);
            streams.watch(stream, &mut writer);
            flushed.map_err(|_| Over)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(net, stream, sink)?;
        }
        Ok(())
    }

    fn read(&mut self, net: &Net, stream: &Stream, sink: &mut impl EspSink) -> Result<(), Over> {
        let (local, remote) = stream.ends().ok_or(Over)?;
        let way = OuterPath { local, remote, encapsulation: Encapsulation::Tcp(stream.id) };
        let mut decoder = stream.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ROUNDS {
            let octets = match recv(&stream.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Over),
                Ok((len, _)) => self.buffer.get_mut(..len).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Over),
            };
            let is_full = octets.len() == BUFFER_LEN;
            let fed = decoder.feed(octets, |content| deliver(net, way, content, sink));
            sink.flush();
            if fed.is_err() {
                net.count(|counters| &counters.corrupt_streams);
                return Err(Over);
            }
            if !is_full {
                break;
            }
        }
        Ok(())
    }
}

/// The connection is over.
struct Over;

fn deliver(net: &Net, way: OuterPath, content: Content<'_>, sink: &mut impl EspSink) {
    match content {
        Content::Ike(message) => {
            let OuterPath { local, remote, .. } = way;
            let Encapsulation::Tcp(stream) = way.encapsulation else { return };
            let (octets, port) = (message.to_vec(), Port::Tcp(stream));
            net.inbox.push(IkeDatagram { local, remote, octets, port }, true);
        }
        Content::Esp { frames, stride } => sink.packets(EspRun {
            packets: frames,
            stride,
            skip: FRAMING,
            way,
            congestion_experienced: false,
        }),
        Content::Keepalive => net.count(|counters| &counters.keepalives),
        Content::Runt => {
            net.count(|counters| &counters.runts);
            if let Encapsulation::Tcp(stream) = way.encapsulation {
                net.hear(stream, Heard { good: 0, senseless: 1 });
            }
        }
    }
}

impl Streams {
    fn finish_connecting(&self, stream: &Stream) -> Result<(), Over> {
        if !matches!(stream.socket.take_error(), Ok(None)) {
            return Err(Over);
        }
        // Woken too early.
        let Some((local, remote)) = stream.ends() else { return Ok(()) };
        let mut writer = stream.writer();
        let opened = writer.open(&stream.socket, &PREFIX);
        self.watch(stream, &mut writer);
        drop(writer);
        opened.map_err(|_| Over)?;
        self.tell(stream.id, StreamEvent::Opened { local, remote });
        Ok(())
    }

    fn listen_to_all(&self, flags: EventFlags) {
        for (index, listener) in self.listeners().iter().enumerate() {
            let _ = epoll::modify(&self.epoll, listener, Key::Listener(index).data(), flags);
        }
    }
}

fn accept(streams: &Streams, index: usize) {
    let Some(listener) = streams.listeners().get(index) else { return };
    for _ in 0..EVENTS {
        match listener.accept() {
            Ok((socket, from)) => {
                let Some(from) = from.as_socket() else { continue };
                if streams.has_room(from.ip()) {
                    // Should the system refuse, the peer learns it by the end.
                    let _ = streams.welcome(socket);
                } else {
                    streams.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                // No descriptor is left: it would be ready all the time.
                _ => {
                    streams.listen_to_all(EventFlags::empty());
                    let _ = streams.alarm.set(Some(clock::now().instant + PAUSE));
                    return;
                }
            },
        }
    }
}

impl Streams {
    /// Sends away whom no SA has come for.
    fn sweep(&self) {
        self.alarm.clear();
        let now = clock::now().instant;
        let gone: Vec<_> = {
            let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
            guests.iter().filter(|(_, guest)| guest.until <= now).map(|(&id, _)| id).collect()
        };
        for stream in gone.into_iter().filter_map(|id| self.find(id)) {
            self.remove(&stream);
        }
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.alarm.set(guests.values().map(|guest| guest.until).min());
        drop(guests);
        self.listen_to_all(EventFlags::IN);
    }

    fn has_room(&self, source: IpAddr) -> bool {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = |id: &&StreamId| matches!(id, StreamId::Theirs(_));
        let of_source = guests.values().filter(|guest| guest.source == source).count();
        guests.keys().filter(accepted).count() < MAX_GUESTS
            && of_source < MAX_GUESTS_PER_SOURCE
            && self.len() < MAX_ACCEPTED
    }

    fn welcome(&self, socket: Socket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let id = StreamId::Theirs(number);
        self.admit(Stream::new(id, socket, Stage::Open))?;
        if let Some(stream) = self.find(id) {
            self.let_stay(&stream);
        }
        Ok(())
    }
}
