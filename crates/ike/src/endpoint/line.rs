//! A connection as its initiator.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use esp::plane::Hold;

use super::keep::{Failures, Keeping};
use crate::config::{ChildIndex, Connection, ResumeTrigger};
use crate::context::Groups;
use crate::redirect::Followed;
use crate::time::Instant;
use crate::wire::IkeSpi;

/// A connection as its initiator: one SA or session at a time, but for the time
/// in which one SA takes the place of another.
pub(super) struct Line {
    pub(super) connection: Arc<Connection>,
    /// The plane's names for the policies of its children.
    pub(super) groups: Groups,
    pub(super) sa: Option<IkeSpi>,
    /// The SA that is to take the place of that one: it proves again who we are.
    pub(super) coming: Option<IkeSpi>,
    /// The SA that served before, by which late packets may still come.
    pub(super) retiring: Option<IkeSpi>,
    /// How attempts at the one that is coming have failed.
    pub(super) reauthentication: Failures,
    /// Whether a packet that wants to leave brings it up, whatever came before.
    pub(super) armed: bool,
    /// What the plane keeps from leaving in clear text.
    pub(super) held: BTreeMap<ChildIndex, Hold>,
    /// Its last attempt has failed: packets do not begin another before this.
    pub(super) rests_until: Option<Instant>,
    /// Whether its last SA came about by TCP, since UDP was not answered.
    pub(super) needed_tcp: bool,
    /// Where the SA of its last session had been redirected to.
    pub(super) gateway: Option<IpAddr>,
    /// Where the peer of that SA was at its end.
    pub(super) peer: Option<IpAddr>,
    pub(super) followed: Followed,
    /// Whether and how it is kept up.
    pub(super) keeping: Option<Keeping>,
    /// Its connection is not configured any more: another may have its place.
    pub(super) is_vacant: bool,
}

impl Line {
    pub(super) fn new(connection: Arc<Connection>, groups: Groups) -> Self {
        Self {
            connection,
            groups,
            sa: None,
            coming: None,
            retiring: None,
            reauthentication: Failures::NONE,
            armed: false,
            held: BTreeMap::new(),
            rests_until: None,
            needed_tcp: false,
            gateway: None,
            peer: None,
            followed: Followed::default(),
            keeping: None,
            is_vacant: false,
        }
    }

    /// An SA is on its way: the first, or beside the one that serves.
    pub(super) const fn enter(&mut self, spi: IkeSpi, beside: bool) {
        if beside && self.sa.is_some() {
            self.coming = Some(spi);
        } else {
            self.sa = Some(spi);
        }
    }

    /// An SA is gone; whether it was the one that was coming. If it was the
    /// other, the one that is coming serves as soon as it can.
    pub(super) fn leave(&mut self, spi: IkeSpi) -> bool {
        if self.sa == Some(spi) {
            self.sa = self.coming.take();
            return false;
        }
        self.coming.take_if(|coming| *coming == spi).is_some()
    }

    /// The SA that has served, if this is the one that was coming.
    pub(super) fn relieve(&mut self, spi: IkeSpi) -> Option<IkeSpi> {
        let coming = self.coming.take_if(|coming| *coming == spi)?;
        self.reauthentication = Failures::NONE;
        self.sa.replace(coming)
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
