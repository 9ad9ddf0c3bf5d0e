//! Another configuration: it changes what is different in it, and nothing else.

use std::mem;
use std::sync::Arc;

use serde::Serialize;

use super::Endpoint;
use super::line::Line;
use crate::config::{Config, Connection, RemoteAuth};
use crate::event::Event;
use crate::sa::IkeSa;
use crate::time::Now;

/// What a configuration has changed: the names of connections.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Changes {
    /// Those that were not there before.
    pub added: Vec<Arc<str>>,
    /// Those that were different before.
    pub altered: Vec<Arc<str>>,
    /// Those that are not there any more.
    pub removed: Vec<Arc<str>>,
}

impl Endpoint {
    /// Goes on with another configuration. A connection that is the same in
    /// both is not touched; but if it is down and waits, it is tried again now,
    /// since what stood in its way may be mended elsewhere. One that is not there any more is taken down, with
    /// what its peers began. Of one that was altered, the SAs that are there go
    /// on as they were made, but for a shorter time in which identities are to be
    /// proved again, and each that follows is made anew; its session is kept if
    /// it still fits. Ports, the shard and the key of crash tokens stay
    /// what they were.
    pub fn reconfigure(&mut self, now: Now, config: Config) -> Changes {
        let Config { connections, pools, retransmission, limits, .. } = config;
        let mut changes = Changes::default();
        for index in 0..self.lines.len() {
            changes.removed.extend(self.remove_unless_in(now, index, &connections));
        }
        let kept = connections.into_iter().map(|it| self.take_up(now, it, &mut changes)).collect();
        self.cx.connections = kept;
        self.cx.lookups.retain(&self.cx.connections);
        self.cx.pools.reconfigure(&pools);
        self.cx.issuer.rotate_every(config.ticket_key_rotation);
        (self.cx.retransmission, self.cx.limits) = (retransmission, limits);
        self.cx.emit(Event::Reconfigured(changes.clone()));
        changes
    }

    /// A connection is not to be brought up by packets, nor kept up, any more.
    /// If it is up, it stays so.
    pub fn let_go(&mut self, name: &str) {
        let Some(index) = self.line_of(name) else { return };
        if let Some(line) = self.lines.get_mut(index) {
            (line.armed, line.keeping) = (false, None);
        }
        self.settle(index);
    }

    /// Takes down what is not there any more, and tells its name.
    fn remove_unless_in(
        &mut self,
        now: Now,
        index: usize,
        connections: &[Arc<Connection>],
    ) -> Option<Arc<str>> {
        let line = self.lines.get_mut(index).filter(|line| !line.is_vacant)?;
        let name = Arc::clone(&line.connection.name);
        if connections.iter().any(|connection| connection.name == name) {
            return None;
        }
        (line.armed, line.keeping, line.rests_until) = (false, None, None);
        self.cx.redirects.set(Some(&name), None);
        // Nobody waits for the end of it.
        let _ = self.take_down(now, index, Vec::new());
        if let Some(line) = self.lines.get_mut(index) {
            line.is_vacant = true;
        }
        Some(name)
    }

    /// The connection that is in force from now on: the one from before if it
    /// is the same.
    fn take_up(
        &mut self,
        now: Now,
        connection: Arc<Connection>,
        changes: &mut Changes,
    ) -> Arc<Connection> {
        let name = Arc::clone(&connection.name);
        match self.line_of(&name) {
            Some(index) => {
                if let Some(line) = self.lines.get(index)
                    && line.connection == connection
                {
                    let same = Arc::clone(&line.connection);
                    self.return_soon(now, index);
                    return same;
                }
                self.alter(now, index, Arc::clone(&connection));
                changes.altered.push(name);
            }
            None => {
                self.add(Arc::clone(&connection));
                changes.added.push(name);
            }
        }
        connection
    }

    fn add(&mut self, connection: Arc<Connection>) {
        let line = Line::new(connection, self.cx.new_groups());
        match self.lines.iter_mut().find(|line| line.is_vacant) {
            Some(vacant) => *vacant = line,
            None => self.lines.push(line),
        }
    }

    /// What has kept a connection from coming up may be mended now.
    fn alter(&mut self, now: Now, index: usize, connection: Arc<Connection>) {
        let Some(line) = self.lines.get_mut(index) else { return };
        if line.connection.remote_addrs != connection.remote_addrs {
            (line.gateway, line.peer) = (None, None);
        }
        let before = mem::replace(&mut line.connection, Arc::clone(&connection));
        line.rests_until = None;
        if let (RemoteAuth::PublicKey(old), RemoteAuth::PublicKey(new)) =
            (&before.auth.remote, &connection.auth.remote)
        {
            new.succeed(old);
        }
        if before.reauth != connection.reauth {
            self.hasten_proofs(now, &connection);
        }
        self.settle(index);
        self.return_at_once(now, index);
    }

    /// For the SAs that are there, a proof is good no longer than for those that
    /// follow (RFC 4478 section 2).
    fn hasten_proofs(&mut self, now: Now, connection: &Connection) {
        let is_of =
            |sa: &IkeSa| sa.established().is_some_and(|sa| sa.connection().name == connection.name);
        let sas: Vec<_> =
            self.table.iter().filter(|(_, sa)| is_of(sa)).map(|(spi, _)| spi).collect();
        for spi in sas {
            self.change_established(now, spi, |sa, cx| sa.hasten_proof(cx, now, connection.reauth));
        }
    }
}
