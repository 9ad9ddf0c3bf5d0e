//! An SA that we want over TCP: its connection is being opened (RFC 9329
//! section 6.1). Nothing has been asked yet.

use esp::spec::StreamId;

use crate::config::TcpUse;
use crate::context::Context;
use crate::event::{Path, Port};
use crate::fault::Failure;
use crate::sa::{Attempt, IkeSa, Outcome, Start, Why};
use crate::session::SuspendedSession;
use crate::time::{Instant, Now};

/// By what an attempt asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    /// By UDP. After so many unanswered transmissions a TCP connection is
    /// opened, while UDP goes on; `None`: never.
    Udp(Option<u32>),
    /// By a TCP connection that is still to be opened.
    Dial,
    /// By this TCP connection.
    Stream(Path),
}

/// Unanswered transmissions by UDP before TCP is tried: the first is repeated
/// at least once (RFC 9329 section 5.1).
const UNHEARD: u32 = 2;

/// The same, where UDP was not answered the last time.
const UNHEARD_AGAIN: u32 = 1;

impl Transport {
    /// How an attempt begins. UDP is always tried first, also where it did not
    /// help the last time: the network may be another (RFC 9329 section 7.3).
    pub(crate) const fn first(tcp: TcpUse, was_needed: bool) -> Self {
        match tcp {
            TcpUse::Always => Self::Dial,
            TcpUse::Never => Self::Udp(None),
            TcpUse::Auto => Self::Udp(Some(if was_needed { UNHEARD_AGAIN } else { UNHEARD })),
        }
    }
}

pub(crate) struct Dialing {
    pub(crate) attempt: Attempt,
    start: Start,
    stream: StreamId,
    path: Path,
    until: Instant,
}

impl Dialing {
    /// Opens a connection to the address of `path`.
    pub(crate) fn start(
        cx: &mut Context,
        now: Now,
        path: Path,
        attempt: Attempt,
        start: Start,
    ) -> IkeSa {
        let path = tcp_path(&attempt, path);
        let stream = cx.dial(path.local, path.remote);
        let tries = attempt.tries_of(cx, path.remote.ip(), cx.retransmission.tries);
        let until = now.instant + cx.retransmission.patience(tries);
        IkeSa::Dialing(Box::new(Self { attempt, start, stream, path, until }))
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(crate) const fn path(&self) -> Path {
        self.path
    }

    /// The connection is open: the first request goes out.
    pub(crate) fn opened(self: Box<Self>, path: Path) -> Outcome {
        let Self { mut attempt, start, .. } = *self;
        attempt.transport = Transport::Stream(path);
        Outcome::restart(attempt, start)
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.until, Why::Retransmit)
    }

    pub(crate) fn timeout(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if now.instant < self.until {
            return Outcome::keep(IkeSa::Dialing(self));
        }
        let Self { attempt, start, path, .. } = *self;
        attempt.leave(cx, path, Failure::Unanswered, start)
    }

    /// Ended by a command.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) {
        let Self { attempt, start, .. } = *self;
        attempt.abandon(cx, start.into_session());
    }
}

/// To the same host, on its TCP port.
pub(crate) fn tcp_path(attempt: &Attempt, mut path: Path) -> Path {
    path.remote.set_port(attempt.connection.remote_tcp_port);
    path.port = Port::Ike;
    path
}

impl Start {
    /// The session that is given back when nothing came of it.
    pub(crate) fn into_session(self) -> Option<SuspendedSession> {
        match self {
            Self::Fresh { parked } => parked,
            Self::Resume(resume) => Some(resume.unanswered()),
        }
    }
}
