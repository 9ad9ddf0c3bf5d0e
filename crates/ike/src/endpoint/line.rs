//! A connection as its initiator.

use std::sync::Arc;

use esp::plane::Hold;
use esp::spec::GroupId;

use super::keep::Keeping;
use crate::config::{Connection, ResumeTrigger};
use crate::time::Instant;
use crate::wire::IkeSpi;

/// A connection as its initiator: one SA or session at a time.
pub(super) struct Line {
    pub(super) connection: Arc<Connection>,
    pub(super) group: GroupId,
    pub(super) sa: Option<IkeSpi>,
    /// Whether a packet that wants to leave brings it up, whatever came before.
    pub(super) armed: bool,
    /// What the plane keeps from leaving in clear text.
    pub(super) held: Option<Hold>,
    /// Its last attempt has failed: packets do not begin another before this.
    pub(super) rests_until: Option<Instant>,
    /// Whether its last SA came about by TCP, since UDP was not answered.
    pub(super) needed_tcp: bool,
    /// Whether and how it is kept up.
    pub(super) keeping: Option<Keeping>,
    /// Its connection is not configured any more: another may have its place.
    pub(super) is_vacant: bool,
}

impl Line {
    pub(super) const fn new(connection: Arc<Connection>, group: GroupId) -> Self {
        Self {
            connection,
            group,
            sa: None,
            armed: false,
            held: None,
            rests_until: None,
            needed_tcp: false,
            keeping: None,
            is_vacant: false,
        }
    }

    /// Whether it is down against everybody's will: its packets wait.
    pub(super) fn is_missed(&self) -> bool {
        self.armed || self.keeping.as_ref().is_some_and(Keeping::is_wanted)
    }

    /// Whether packets may bring it up.
    pub(super) fn is_for_traffic(&self) -> bool {
        self.armed || self.connection.resumption.trigger == ResumeTrigger::OnTraffic
    }
}
