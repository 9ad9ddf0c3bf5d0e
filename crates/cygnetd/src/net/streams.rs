//! TCP connections that carry IKE and ESP (RFC 9329).
//!
//! ```text
//! streams.dial(id, local, remote)      opens one; news tell what became of it
//! streams.keep(id) / leave(id)         whether an SA uses it
//! streams.send_ike(id, message)        queued if the connection is slow
//! streams.send_esp(id, packets, size)  dropped if the connection is slow
//! streams.pop()                        news for the engine; streams.news() is readable while there are some
//! ```
//! [`reader::Reader`] accepts and reads, on the thread of packets. A peer that
//! has not proved who it is may stay for a while, and there are not many of
//! those; nobody waits for a connection that does not take what is sent.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use esp::spec::StreamId;
use esp::stream::{self, Decoder, LENGTH_LEN};
use ike::event::StreamEvent;
use ike::time::Instant;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

mod doubt;
mod flow;
pub(super) mod reader;
mod writer;

use super::{NetConfig, NotSent};
use crate::clock::{self, Alarm};
use crate::wake::Wake;
use doubt::Doubt;
pub use doubt::Heard;
use flow::Labels;
use writer::{Stage, Unwritten, Writer};

/// Connections that were accepted, in all.
const MAX_ACCEPTED: usize = 8192;
/// Of these, those that no SA uses.
const MAX_GUESTS: usize = 256;
/// Of these, those from one address.
const MAX_GUESTS_PER_SOURCE: usize = 16;

/// How long a connection may stay that no SA uses: longer than a set-up takes,
/// and than a cookie is waited for (RFC 9329 section 6.3.1).
const STAY: Duration = Duration::from_secs(30);

/// How long nobody is accepted after the system has refused to.
const PAUSE: Duration = Duration::from_secs(1);

/// How long what was sent may stay unacknowledged before the connection counts
/// as broken, in milliseconds.
const USER_TIMEOUT: u32 = 20_000;

/// A connection that is silent for so long is probed, since its peer may be gone.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// The TCP connections of a daemon, and where it listens for more.
pub struct Streams {
    config: NetConfig,
    addresses: Vec<IpAddr>,
    epoll: OwnedFd,
    /// One for each address, once there is anybody to listen for.
    listeners: OnceLock<Vec<Socket>>,
    table: RwLock<BTreeMap<StreamId, Arc<Stream>>>,
    /// Until when those may stay that no SA uses.
    guests: Mutex<BTreeMap<StreamId, Guest>>,
    /// Set for the first guest to go, or for the end of a pause.
    alarm: Alarm,
    news: Mutex<News>,
    ready: Wake,
    accepted: AtomicU64,
    refused: AtomicU64,
    labels: Labels,
}

/// One connection.
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) socket: Socket,
    pub(super) writer: Mutex<Writer>,
    /// The reader's alone.
    decoder: Mutex<Decoder>,
    doubt: Mutex<Doubt>,
}

#[derive(Clone, Copy)]
struct Guest {
    source: IpAddr,
    until: Instant,
}

#[derive(Default)]
struct News {
    queue: VecDeque<(StreamId, StreamEvent)>,
    /// Whether `ready` is raised: raising and lowering cost a system call each.
    is_raised: bool,
}

impl Streams {
    /// Listens at these addresses on the configured port, if there is one.
    pub(super) fn bind(config: &NetConfig, addresses: &[IpAddr]) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let alarm = Alarm::new()?;
        epoll::add(&epoll, &alarm, Key::Alarm.data(), EventFlags::IN)?;
        let streams = Self {
            config: config.clone(),
            addresses: addresses.to_vec(),
            epoll,
            listeners: OnceLock::new(),
            table: RwLock::default(),
            guests: Mutex::default(),
            alarm,
            news: Mutex::default(),
            ready: Wake::new()?,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            labels: Labels::new(),
        };
        config.tcp_port.map_or(Ok(()), |port| streams.listen(port))?;
        Ok(streams)
    }

    /// Listens on this port from now on, at each address. Who listens already
    /// goes on as before.
    ///
    /// # Errors
    /// A port that cannot be had: nobody listens then.
    pub fn listen(&self, port: u16) -> io::Result<()> {
        if self.listeners.get().is_some() {
            return Ok(());
        }
        let mut listeners = Vec::new();
        for &address in &self.addresses {
            let listener = listener(&self.config, SocketAddr::new(address, port))?;
            let key = Key::Listener(listeners.len());
            epoll::add(&self.epoll, &listener, key.data(), EventFlags::IN)?;
            listeners.push(listener);
        }
        // Only the engine comes here.
        let _ = self.listeners.set(listeners);
        Ok(())
    }

    /// The ports that are listened on, one for each address.
    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners().iter().filter_map(|listener| listener.local_addr().ok()?.as_socket())
    }

    fn listeners(&self) -> &[Socket] {
        self.listeners.get().map_or(&[], Vec::as_slice)
    }

    /// Begins to open a connection; the end of it is among the news.
    pub fn dial(&self, id: StreamId, local: SocketAddr, remote: SocketAddr) {
        if self.connect(id, local, remote).is_err() {
            self.tell(id, StreamEvent::Closed);
        }
    }

    fn connect(&self, id: StreamId, local: SocketAddr, remote: SocketAddr) -> io::Result<()> {
        let socket = open(&self.config, remote)?;
        if !local.ip().is_unspecified() {
            socket.bind(&local.into())?;
        }
        match self.labels.connect(&socket, id, remote) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.admit(Stream::new(id, socket, Stage::Connecting))
    }

    /// Puts a connection where it is found and read.
    fn admit(&self, stream: Stream) -> io::Result<()> {
        let stream = Arc::new(stream);
        let interest = stream.writer().interest();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        epoll::add(&self.epoll, &stream.socket, Key::Stream(stream.id).data(), interest)?;
        table.insert(stream.id, stream);
        Ok(())
    }

    /// An SA uses it.
    pub fn keep(&self, id: StreamId) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// No SA uses it any more. The peer is told when all is sent, and may send
    /// what it still has.
    pub fn leave(&self, id: StreamId) {
        let Some(stream) = self.find(id) else { return };
        if matches!(id, StreamId::Ours(_)) {
            let mut writer = stream.writer();
            if writer.stage() == Stage::Connecting {
                drop(writer);
                self.remove(&stream);
                return;
            }
            let left = writer.leave(&stream.socket);
            self.watch(&stream, &mut writer);
            drop(writer);
            if left.is_err() {
                self.remove(&stream);
                return;
            }
        }
        self.let_stay(&stream);
    }

    /// Sends an IKE message, now or as soon as the connection takes it.
    pub fn send_ike(&self, id: StreamId, message: &[u8]) -> Result<(), NotSent> {
        let head = stream::ike_head(message.len()).map_err(|_| NotSent)?;
        let stream = self.find(id).ok_or(NotSent)?;
        let mut writer = stream.writer();
        let sent = writer.send(&stream.socket, &head, message);
        self.after_send(&stream, &mut writer, sent)
    }

    /// Sends ESP packets of `segment` octets each, the last perhaps shorter:
    /// those that the connection takes now. How many it has not.
    pub fn send_esp(&self, id: StreamId, packets: &[u8], segment: usize) -> Result<usize, NotSent> {
        let stream = self.find(id).ok_or(NotSent)?;
        let mut writer = stream.writer();
        match writer.send_packets(&stream.socket, packets, segment) {
            Ok(dropped) => {
                self.watch(&stream, &mut writer);
                Ok(dropped)
            }
            Err(why) => self.after_send(&stream, &mut writer, Err(why)).map(|()| 0),
        }
    }

    /// A connection that is broken is closed by whoever reads it.
    fn after_send(
        &self,
        stream: &Stream,
        writer: &mut Writer,
        sent: Result<(), Unwritten>,
    ) -> Result<(), NotSent> {
        self.watch(stream, writer);
        sent.map_err(|why| {
            if why == Unwritten::Broken {
                let _ = stream.socket.shutdown(std::net::Shutdown::Both);
            }
            NotSent
        })
    }

    /// What a connection has brought. One that brings nonsense only is broken
    /// off, and nothing else happens: whoever opened it does so anew. Whether it was.
    pub fn hear(&self, id: StreamId, heard: Heard, now: Instant) -> bool {
        let Some(stream) = self.find(id) else { return false };
        let mut doubt = stream.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let is_corrupt = doubt.add(heard, now);
        if is_corrupt {
            let _ = stream.socket.shutdown(std::net::Shutdown::Both);
        }
        is_corrupt
    }

    /// What became of our connections, in order.
    pub fn pop(&self) -> Option<(StreamId, StreamEvent)> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let next = news.queue.pop_front();
        if next.is_none() && std::mem::take(&mut news.is_raised) {
            self.ready.lower();
        }
        next
    }

    /// Readable while [`Self::pop`] has something. Pop until `None`: that lowers it.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Connections that were not accepted, because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn tell(&self, id: StreamId, event: StreamEvent) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.queue.push_back((id, event));
        if !std::mem::replace(&mut news.is_raised, true) {
            self.ready.raise();
        }
    }

    fn find(&self, id: StreamId) -> Option<Arc<Stream>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    fn len(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// It is gone: whoever has opened it has nothing to say to it any more.
    fn remove(&self, stream: &Stream) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(&stream.id);
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.id);
        let _ = epoll::delete(&self.epoll, &stream.socket);
    }

    /// It has broken, or the peer has closed it.
    fn close(&self, stream: &Stream) {
        let was_left = stream.writer().stage() == Stage::Leaving;
        self.remove(stream);
        if matches!(stream.id, StreamId::Ours(_)) && !was_left {
            self.tell(stream.id, StreamEvent::Closed);
        }
    }

    /// Has the reader wait for what the writer waits for.
    fn watch(&self, stream: &Stream, writer: &mut Writer) {
        if let Some(interest) = writer.new_interest() {
            let data = Key::Stream(stream.id).data();
            let _ = epoll::modify(&self.epoll, &stream.socket, data, interest);
        }
    }

    /// It may stay for a while without an SA.
    fn let_stay(&self, stream: &Stream) {
        let until = clock::now().instant + STAY;
        let source = stream.peer().unwrap_or(SocketAddr::from(([0; 4], 0))).ip();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.insert(stream.id, Guest { source, until });
        if guests.len() == 1 {
            let _ = self.alarm.set(Some(until));
        }
    }
}

impl Stream {
    fn new(id: StreamId, socket: Socket, stage: Stage) -> Self {
        let decoder = match id {
            StreamId::Ours(_) => Decoder::opened(),
            StreamId::Theirs(_) => Decoder::accepted(),
        };
        Self {
            id,
            socket,
            writer: Mutex::new(Writer::new(stage)),
            decoder: Mutex::new(decoder),
            doubt: Mutex::default(),
        }
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()?.as_socket()
    }

    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.socket.local_addr().ok()?.as_socket()?, self.peer()?))
    }
}

/// What the reader is woken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Alarm,
    Listener(usize),
    Stream(StreamId),
}

impl Key {
    const KINDS: u64 = 4;

    fn data(self) -> EventData {
        let number = match self {
            Self::Alarm => 0,
            Self::Listener(n) => n as u64 * Self::KINDS + 1,
            Self::Stream(StreamId::Ours(n)) => n * Self::KINDS + 2,
            Self::Stream(StreamId::Theirs(n)) => n * Self::KINDS + 3,
        };
        EventData::new_u64(number)
    }

    fn of(data: EventData) -> Self {
        let number = data.u64() / Self::KINDS;
        match data.u64() % Self::KINDS {
            1 => Self::Listener(usize::try_from(number).unwrap_or(usize::MAX)),
            2 => Self::Stream(StreamId::Ours(number)),
            3 => Self::Stream(StreamId::Theirs(number)),
            _ => Self::Alarm,
        }
    }
}

fn listener(config: &NetConfig, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(config, address)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket)
}

/// A socket with the options that accepted ones inherit.
fn open(config: &NetConfig, family_of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(family_of), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(mark) = config.mark {
        socket.set_mark(mark)?;
    }
    if let Some(interface) = &config.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.set_tcp_nodelay(true)?;
    sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT)?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER / 6);
    socket.set_tcp_keepalive(&probes)?;
    Ok(socket)
}

/// Octets before each packet in a row of ESP.
pub(super) const FRAMING: usize = LENGTH_LEN;

#[cfg(test)]
mod tests;
