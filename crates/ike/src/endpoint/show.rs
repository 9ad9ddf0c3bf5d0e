//! What an endpoint tells of itself when asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Endpoint;
use super::line::Line;
use crate::event::{Role, SaId};
use crate::inner::Addresses;
use crate::sa::IkeSa;
use crate::session::SessionKey;
use crate::status::{ConnectionStatus, EndpointStatus, Holdings, SaStatus, Stage, TicketStatus};

impl Endpoint {
    /// How much is held.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        Holdings {
            sas: self.table.len(),
            table: self.table.index_entries()
                + self.cx.peers.len()
                + self.cx.streams.len()
                + self.cx.served.len(),
            spis: self.cx.spis.len(),
            children: self.cx.owners.len(),
            installing: self.cx.installing.len(),
            sessions: self.cx.sessions.len(),
            addresses: self.cx.assigned.len() + self.cx.pools.held(),
        }
    }

    /// Where everything stands.
    #[must_use]
    pub fn status(&self) -> EndpointStatus {
        let answered: Vec<_> =
            self.table.iter().filter_map(|(_, sa)| answered_status(sa)).collect();
        let names: BTreeSet<_> = answered.iter().map(|status| &status.name).collect();
        let lines = self.lines.iter().filter(|line| !line.is_vacant);
        let ours = lines.map(|line| self.line_status(line));
        // A connection that only answers is listed once an SA.
        let ours = ours.filter(|ours| ours.stage != Stage::Down || !names.contains(&ours.name));
        let mut connections: Vec<_> = ours.collect();
        connections.extend(answered);
        EndpointStatus {
            connections,
            half_open: self.table.half_open(),
            counters: self.cx.counters,
        }
    }

    fn line_status(&self, line: &Line) -> ConnectionStatus {
        let name = Arc::clone(&line.connection.name);
        let (stage, sa, ticket) = match line.sa.and_then(|spi| self.table.get(spi)) {
            Some(IkeSa::Established(sa)) => (Stage::Up, Some(sa.status()), sa.ticket_status()),
            Some(sa) => (Stage::Connecting, self.young_status(line, sa), None),
            None => self.sleeping_status(line),
        };
        let assigned = self.cx.assigned.get(&name).map(Arc::clone);
        ConnectionStatus { name, stage, sa, ticket, assigned }
    }

    fn sleeping_status(&self, line: &Line) -> (Stage, Option<SaStatus>, Option<TicketStatus>) {
        let key = SessionKey(Arc::clone(&line.connection.name));
        if let Some(session) = self.cx.sessions.get(&key) {
            let len = session.ticket.octets().len();
            return (Stage::Suspended, None, Some(TicketStatus { len, expires: session.expires }));
        }
        let ending = self.table.iter().any(
            |(_, sa)| matches!(sa, IkeSa::Deleting(sa) if *sa.connection() == line.connection.name),
        );
        (if ending { Stage::Ending } else { Stage::Down }, None, None)
    }

    fn young_status(&self, line: &Line, sa: &IkeSa) -> Option<SaStatus> {
        let (path, suite) = sa.young()?;
        Some(SaStatus {
            id: SaId(u64::from_be_bytes(line.sa?.0)),
            role: Role::Initiator,
            local: path.local,
            remote: path.remote,
            local_id: line.connection.local_id.to_string(),
            remote_id: None,
            suite: suite.map(|suite| suite.to_string()),
            ppk: None,
            set_up: None,
            since: None,
            rekey_at: None,
            inner: Addresses::NONE,
            children: Vec::new(),
        })
    }
}

/// An SA that a peer began.
fn answered_status(sa: &IkeSa) -> Option<ConnectionStatus> {
    match sa {
        IkeSa::Established(sa) if sa.line().is_none() => Some(ConnectionStatus {
            name: Arc::clone(&sa.connection().name),
            stage: Stage::Up,
            sa: Some(sa.status()),
            ticket: None,
            assigned: None,
        }),
        _ => None,
    }
}
