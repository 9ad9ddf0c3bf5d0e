//! The sending half of one connection. IKE waits for its turn; ESP is lost
//! when the connection does not take it, as on any other way.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use esp::stream::{LENGTH_LEN, length};
use rustix::event::epoll::EventFlags;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::Socket;

/// Octets that wait at most. More than that are only there when the peer has
/// stopped reading.
const MAX_PENDING: usize = 1 << 20;

/// Packets that are handed to the system in one call.
const PACKETS: usize = 64;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Connecting,
    Open,
    /// Nothing new is sent.
    Leaving,
}

/// Why something was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unwritten {
    /// The connection is not open.
    Closed,
    /// The system or the peer does not take any more, and will not.
    Broken,
}

pub(crate) struct Writer {
    stage: Stage,
    /// What waits: whole messages, but for the first, which may have begun.
    pending: Vec<u8>,
    /// Whether the reader waits for room.
    is_watched: bool,
}

impl Writer {
    pub(super) const fn new(stage: Stage) -> Self {
        Self { stage, pending: Vec::new(), is_watched: matches!(stage, Stage::Connecting) }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    const fn wants_room(&self) -> bool {
        matches!(self.stage, Stage::Connecting) || !self.pending.is_empty()
    }

    /// What the reader is to wait for.
    pub(super) fn interest(&self) -> EventFlags {
        if self.wants_room() { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
    }

    /// The same, if it is something else than before.
    pub(super) fn new_interest(&mut self) -> Option<EventFlags> {
        let wants_room = self.wants_room();
        let former = std::mem::replace(&mut self.is_watched, wants_room);
        (former != self.is_watched).then(|| self.interest())
    }

    /// It is open: this is sent first.
    pub(super) fn open(&mut self, socket: &Socket, first: &[u8]) -> Result<(), Unwritten> {
        self.stage = Stage::Open;
        self.send(socket, first, &[])
    }

    /// Sends all that waits, and then the end.
    pub(super) fn leave(&mut self, socket: &Socket) -> Result<(), Unwritten> {
        self.stage = Stage::Leaving;
        self.flush(socket)
    }

    /// Sends a message in two parts, or lets it wait.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        head: &[u8],
        message: &[u8],
    ) -> Result<(), Unwritten> {
        if self.stage != Stage::Open {
            return Err(Unwritten::Closed);
        }
        if self.pending.len() + head.len() + message.len() > MAX_PENDING {
            return Err(Unwritten::Broken);
        }
        self.pending.extend_from_slice(head);
        self.pending.extend_from_slice(message);
        self.flush(socket)
    }

    /// Sends packets of `segment` octets each, the last perhaps shorter; how
    /// many were lost.
    pub(super) fn send_packets(
        &mut self,
        socket: &Socket,
        packets: &[u8],
        segment: usize,
    ) -> Result<usize, Unwritten> {
        if self.stage != Stage::Open {
            return Err(Unwritten::Closed);
        }
        self.flush(socket)?;
        let segment = segment.max(1);
        let mut rows = packets.chunks(segment * PACKETS);
        while self.pending.is_empty()
            && let Some(row) = rows.next()
        {
            let lost = self.send_row(socket, row, segment)?;
            if lost > 0 {
                return Ok(lost + rows.map(|row| row.chunks(segment).count()).sum::<usize>());
            }
        }
        Ok(rows.map(|row| row.chunks(segment).count()).sum())
    }

    /// As many packets as fit one call. One that the system has taken a part of
    /// must be completed; those behind it are lost.
    fn send_row(
        &mut self,
        socket: &Socket,
        row: &[u8],
        segment: usize,
    ) -> Result<usize, Unwritten> {
        let mut heads = [[0; LENGTH_LEN]; PACKETS];
        for (head, packet) in heads.iter_mut().zip(row.chunks(segment)) {
            *head = length(packet.len()).map_err(|_| Unwritten::Closed)?;
        }
        let mut parts = arrayvec::ArrayVec::<IoSlice<'_>, { 2 * PACKETS }>::new();
        for (head, packet) in heads.iter().zip(row.chunks(segment)) {
            parts.push(IoSlice::new(head));
            parts.push(IoSlice::new(packet));
        }
        let mut taken = write(socket, &parts)?;
        let mut frames = heads.iter().zip(row.chunks(segment));
        for (head, packet) in frames.by_ref() {
            let frame = head.len() + packet.len();
            if taken < frame {
                let is_begun = taken > 0;
                if is_begun {
                    self.pending.extend(head.iter().chain(packet).skip(taken));
                }
                return Ok(usize::from(!is_begun) + frames.count());
            }
            taken -= frame;
        }
        Ok(0)
    }

    /// Sends what waits, as far as it is taken.
    pub(super) fn flush(&mut self, socket: &Socket) -> Result<(), Unwritten> {
        if self.stage == Stage::Connecting {
            return Ok(());
        }
        while !self.pending.is_empty() {
            match write(socket, &[IoSlice::new(&self.pending)])? {
                0 => return Ok(()),
                taken => drop(self.pending.drain(..taken)),
            }
        }
        if self.stage == Stage::Leaving {
            socket.shutdown(Shutdown::Write).map_err(|_| Unwritten::Broken)?;
        }
        Ok(())
    }
}

/// How many octets were taken; none while there is no room.
fn write(socket: &Socket, parts: &[IoSlice<'_>]) -> Result<usize, Unwritten> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(taken) => return Ok(taken),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                return Ok(0);
            }
            Err(_) => return Err(Unwritten::Broken),
        }
    }
}
