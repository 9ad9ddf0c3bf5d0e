//! What is told of an SA when somebody asks.

use std::sync::Arc;

use esp::spec::Encapsulation;

use super::Established;
use super::children::ChildSa;
use crate::event::Path;
use crate::status::{ChildStatus, SaStatus};

impl Established {
    pub(crate) fn status(&self) -> SaStatus {
        let usable = self.children.iter().filter(|sa| ChildSa::is_usable(sa));
        let Path { local, remote, .. } = self.base.channel.path;
        SaStatus {
            id: self.id(),
            role: self.role(),
            local,
            remote,
            local_id: self.base.connection.local_id.to_string(),
            remote_id: Some(self.peer.to_string()),
            suite: Some(self.base.suite.to_string()),
            ppk: self.base.ppk.clone(),
            set_up: self.up.map(|(set_up, _)| set_up),
            since: self.up.map(|(_, since)| since),
            rekey_at: self.deadlines.rekey_at,
            inner: self.base.inner,
            children: usable.map(|sa| self.child_status(sa)).collect(),
        }
    }

    fn child_status(&self, sa: &ChildSa) -> ChildStatus {
        let child = &sa.child;
        ChildStatus {
            name: Arc::clone(&self.base.connection.children.get(child.terms.which).name),
            id: child.id,
            suite: child.terms.suite.to_string(),
            mode: child.terms.mode,
            spi_in: child.spi_in,
            spi_out: child.terms.spi_out,
            udp: self.ways.packets.encapsulation == Encapsulation::Udp,
            tcp: self.path().stream().is_some(),
            local_ts: child.terms.local_ts.to_vec(),
            remote_ts: child.terms.remote_ts.to_vec(),
            rekey_at: sa.deadlines.rekey_at,
        }
    }
}
