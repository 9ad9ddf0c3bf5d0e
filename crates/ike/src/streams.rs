//! The TCP connections of an endpoint (RFC 9329): ours, which are opened again
//! when they break, and those of peers that SAs use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use esp::spec::StreamId;

use crate::context::Context;
use crate::event::{Output, Path, Port, StreamCommand};
use crate::time::Instant;

/// One that was open for as long as this is opened again at once.
const STEADY: Duration = Duration::from_secs(10);

/// No wait before another try is longer.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Streams {
    last: u64,
    ours: BTreeMap<StreamId, Ours>,
    /// Those of peers that the caller was told to keep.
    kept: BTreeSet<StreamId>,
}

/// One that we have opened, or want to.
struct Ours {
    local: SocketAddr,
    remote: SocketAddr,
    state: State,
    /// Before the next try, should this one fail.
    wait: Duration,
}

enum State {
    Opening,
    Open { since: Instant },
    Broken { until: Instant },
}

impl Streams {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ours.len() + self.kept.len()
    }

    /// When [`Context::redial`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = |ours: &Ours| match ours.state {
            State::Broken { until } => Some(until),
            State::Opening | State::Open { .. } => None,
        };
        self.ours.values().filter_map(due).min()
    }
}

impl Context {
    /// Opens a connection from the address of `local` to `remote`. It is kept
    /// open, until [`Self::settle_stream`] finds it unused.
    pub(crate) fn dial(&mut self, local: SocketAddr, remote: SocketAddr) -> StreamId {
        self.streams.last += 1;
        let id = StreamId::Ours(self.streams.last);
        let local = SocketAddr::new(local.ip(), 0);
        let wait = self.retransmission.initial;
        self.streams.ours.insert(id, Ours { local, remote, state: State::Opening, wait });
        self.outputs.push_back(Output::Stream(id, StreamCommand::Dial { local, remote }));
        id
    }

    /// Tries again what is due.
    pub(crate) fn redial(&mut self, now: Instant) {
        for (&id, ours) in &mut self.streams.ours {
            if matches!(ours.state, State::Broken { until } if until <= now) {
                ours.state = State::Opening;
                let dial = StreamCommand::Dial { local: ours.local, remote: ours.remote };
                self.outputs.push_back(Output::Stream(id, dial));
            }
        }
    }

    /// One of ours is open: the way that it is.
    pub(crate) fn opened(
        &mut self,
        now: Instant,
        id: StreamId,
        (local, remote): (SocketAddr, SocketAddr),
    ) -> Option<Path> {
        let ours = self.streams.ours.get_mut(&id)?;
        ours.state = State::Open { since: now };
        Some(Path { local, remote, port: Port::Tcp(id) })
    }

    /// One of ours is broken, or could not be opened. It is opened again: at
    /// once, or later if it does not seem to help (RFC 9329 section 6.1).
    pub(crate) fn closed(&mut self, now: Instant, id: StreamId) {
        let Some(wait) = self.streams.ours.get(&id).map(|ours| ours.wait) else { return };
        let pause = self.jittered(wait);
        let longer = (wait * 2).min(LONGEST);
        let initial = self.retransmission.initial;
        let Some(ours) = self.streams.ours.get_mut(&id) else { return };
        let was_steady = matches!(ours.state, State::Open { since } if now.since(since) >= STEADY);
        let pause = if was_steady { Duration::ZERO } else { pause };
        ours.wait = if was_steady { initial } else { longer };
        ours.state = State::Broken { until: now + pause };
    }

    /// The first SA has come to use a connection, or the last has gone.
    pub(crate) fn settle_stream(&mut self, id: StreamId, is_used: bool) {
        let streams = &mut self.streams;
        let command = match id {
            StreamId::Ours(_) if !is_used => streams.ours.remove(&id).map(|_| StreamCommand::Leave),
            StreamId::Ours(_) => None,
            StreamId::Theirs(_) if is_used => {
                streams.kept.insert(id).then_some(StreamCommand::Keep)
            }
            StreamId::Theirs(_) => streams.kept.remove(&id).then_some(StreamCommand::Leave),
        };
        self.outputs.extend(command.map(|command| Output::Stream(id, command)));
    }
}
