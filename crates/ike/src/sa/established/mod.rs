//! An SA whose two sides are authenticated, with its children.

mod children;
mod create;
mod end;
mod follow_up;
mod inform;
mod liveness;
mod mobike;
mod reauth;
mod redirect;
mod rekey;
mod set_up;
mod show;
mod tickets;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crypto::{Group, IkeSuite, SkD};
use esp::spec::{Encapsulation, GroupId, OuterPath};

use crate::config::{ChildIndex, Connection};
use crate::context::{Context, Groups};
use crate::crash::PeerToken;
use crate::event::{Gone, How, Path, RequestId, Role, SaId, SetUp};
use crate::exchange::auth::PeerAuthenticated;
use crate::exchange::child::{Scope, Trigger};
use crate::exchange::nat::Nat;
use crate::exchange::transport::Ends;
use crate::identity::Id;
use crate::inner::Addresses;
use crate::lifetime::Deadlines;
use crate::peers::{Here, Pair, Wish};
use crate::redirect::Gateway;
use crate::sa::channel::Channel;
use crate::session::{AuthForm, AuthMethod, Evidence, Grant};
use crate::time::Instant;

pub(crate) use set_up::{Answer, Awaited, NoChild};
pub(crate) use tickets::TicketAnswer;

use children::{ChildSa, Purpose, State};
use follow_up::Pending;
use liveness::Watch;
use ways::Ways;

/// How often a NAT mapping is refreshed (RFC 3948 section 4).
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What an SA begins with.
pub(crate) struct Founded {
    pub(crate) connection: Arc<Connection>,
    pub(crate) side: Side,
    pub(crate) channel: Channel,
    pub(crate) sk_d: SkD,
    pub(crate) suite: IkeSuite,
    /// The initiator's authenticated identity, when it is not IDi.
    pub(crate) authenticated: Option<Id>,
    pub(crate) authenticated_at: SystemTime,
    /// Of a responder: by what the initiator was authenticated.
    pub(crate) evidence: Option<Evidence>,
    pub(crate) method: AuthMethod,
    /// The PPK_ID of the PPK that is mixed into its keys, or those that they came from.
    pub(crate) ppk: Option<Arc<str>>,
    pub(crate) how: How,
    pub(crate) started: Instant,
    pub(crate) round_trips: u32,
    pub(crate) nat: Nat,
    pub(crate) encapsulation: Encapsulation,
    /// The peer's other addresses, if both sides know MOBIKE.
    pub(crate) mobike: Option<Vec<IpAddr>>,
    /// Our other addresses, as the peer was told.
    pub(crate) told: Vec<IpAddr>,
    /// The inner addresses that the responder gave the initiator.
    pub(crate) inner: Addresses,
    /// Of an initiator: where the peer may be, as the connection says.
    pub(crate) remotes: Vec<IpAddr>,
    /// Of an initiator: where we were redirected to.
    pub(crate) gateway: Option<IpAddr>,
    /// Of a responder: whether the initiator can be redirected (RFC 5685).
    pub(crate) redirectable: bool,
    /// Whether the machine of an initiator has another SA with us, by which it
    /// may still send and receive.
    pub(crate) beside: bool,
    /// What the initiator wanted, if it is the peer.
    pub(crate) wish: Option<Wish>,
}

/// Who began an SA, and where its policies come from.
pub(crate) enum Side {
    /// One of our lines. Its groups were there before the SA and stay after it.
    Line {
        /// The line.
        index: usize,
        /// The plane's names for the policies of its children.
        groups: Groups,
    },
    /// The peer. A group comes with the first child of its kind and goes with
    /// the SA.
    Peer {
        /// Those that there are.
        groups: BTreeMap<ChildIndex, PeerGroup>,
    },
}

/// The group of a child that a peer has asked for.
pub(crate) struct PeerGroup {
    id: GroupId,
    /// Whether the plane has had a child of it.
    is_installed: bool,
}

impl Side {
    const fn role(&self) -> Role {
        match self {
            Self::Line { .. } => Role::Initiator,
            Self::Peer { .. } => Role::Responder,
        }
    }
}

pub(crate) struct Established {
    base: Founded,
    peer: Id,
    /// The form of AUTH by which it was resumed.
    form: Option<AuthForm>,
    /// How it came up and when, once that was told. Before, nobody knows of it.
    up: Option<(SetUp, Instant)>,
    /// Those that the plane was told of.
    children: Vec<ChildSa>,
    grant: Option<Grant>,
    /// When the last ticket ends that we gave the peer.
    issued_until: Option<SystemTime>,
    /// When to ask for another ticket.
    ask_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    crash_token: Option<PeerToken>,
    /// Of the IKE SA's keys.
    deadlines: Deadlines,
    /// When an initiator proves itself again, and a responder asks for it.
    reauth_at: Option<Instant>,
    /// Until when the responder wants another proof (RFC 4478).
    prove_by: Option<SystemTime>,
    /// When our children serve, if they have stood by for those of another SA.
    prefer_at: Option<Instant>,
    /// When the SA ends whatever happens, and why.
    ends: Option<(Instant, Gone)>,
    /// When to ask for the children that a line is without.
    complete_at: Option<Instant>,
    /// Who waits for these.
    waiting: Vec<RequestId>,
    /// The packet that waits for one of these, if a child is asked for by reason
    /// of it.
    trigger: Option<Box<Trigger>>,
    ways: Ways,
    /// The groups that the peer has asked for (INVALID_KE_PAYLOAD), of a child
    /// and of the IKE SA.
    wanted: [Option<Group>; 2],
    /// What the peer has asked for, in the middle of its key exchanges.
    pending: Option<Box<Pending>>,
    /// Where the peer is to go.
    elsewhere: Option<Gateway>,
    watch: Watch,
}

impl Established {
    /// An SA with an authenticated peer. Its child is still to come.
    pub(crate) fn new(
        mut base: Founded,
        peer: &PeerAuthenticated,
        grant: Option<Grant>,
        now: Instant,
    ) -> Box<Self> {
        // A NAT keeps TCP longer (RFC 9329 section 6.6).
        let needs_keepalive =
            base.nat == (Nat::Detected { ours: true }) && base.channel.path.stream().is_none();
        let Path { local, remote, .. } = base.channel.path;
        let stream = base.channel.path.stream();
        let encapsulation = stream.map_or(base.encapsulation, Encapsulation::Tcp);
        let packets = OuterPath { local, remote, encapsulation };
        let peers = base.mobike.take();
        let ways = Ways::new(packets, base.nat, peers, std::mem::take(&mut base.told));
        let mut sa = Box::new(Self {
            peer: peer.id().clone(),
            form: peer.form(),
            up: None,
            children: Vec::with_capacity(1),
            grant: None,
            issued_until: None,
            ask_at: None,
            keepalive_at: needs_keepalive.then_some(now + KEEPALIVE),
            crash_token: None,
            deadlines: Deadlines::default(),
            reauth_at: None,
            prove_by: None,
            prefer_at: None,
            ends: None,
            complete_at: None,
            waiting: Vec::new(),
            trigger: None,
            ways,
            wanted: [None; 2],
            pending: None,
            elsewhere: None,
            watch: Watch::begin(now),
            base,
        });
        if let Some(grant) = grant {
            sa.hold(grant, now);
        }
        sa
    }

    /// Remembers how the peer will prove that it has lost the SA.
    pub(crate) fn keep_crash_token(&mut self, token: Option<PeerToken>) {
        self.crash_token = token;
    }

    /// Remembers the packet that a child is asked for by reason of, until that
    /// child is there.
    pub(crate) fn note_trigger(&mut self, trigger: Option<Box<Trigger>>) {
        if trigger.is_some() {
            self.trigger = trigger;
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.base.connection
    }

    /// The endpoint's line that it serves; none for a responder.
    pub(crate) const fn line(&self) -> Option<usize> {
        match self.base.side {
            Side::Line { index, .. } => Some(index),
            Side::Peer { .. } => None,
        }
    }

    /// What others see of it.
    pub(crate) fn here(&self) -> Here {
        let none = Wish { traffic: 0, inner: self.base.inner };
        Here { address: self.base.channel.path.remote, wish: self.base.wish.unwrap_or(none) }
    }

    pub(crate) fn pair(&self) -> Pair<'_> {
        Pair { ours: &self.base.connection.local_id, peer: &self.peer }
    }

    /// Whether its set-up is complete.
    pub(crate) const fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Whether packets can flow, or will as soon as the plane is ready.
    pub(crate) fn is_usable(&self) -> bool {
        self.children.iter().any(ChildSa::is_usable)
    }

    /// Whoever else wants to know when the child is installed. `Err` gives the
    /// request back: it already is.
    pub(crate) fn wait(&mut self, id: RequestId) -> Result<(), RequestId> {
        let waiting = self.children.iter_mut().find_map(|sa| match &mut sa.state {
            State::Installing(_, Purpose::First(Awaited::ByUs(waiting))) => Some(waiting),
            State::Installing(..)
            | State::Up
            | State::Replaced { .. }
            | State::Deleting
            | State::Lingering { .. } => None,
        });
        match waiting {
            Some(waiting) => {
                waiting.push(id);
                Ok(())
            }
            None => Err(id),
        }
    }

    /// What bounds its children.
    pub(crate) fn scope(&self, cx: &Context) -> Scope {
        let (role, OuterPath { local, remote, .. }) = (self.role(), self.ways.packets);
        let Founded { inner, nat, .. } = self.base;
        Scope { role, inner, ends: Ends::of(cx, (local, remote), nat) }
    }

    fn id(&self) -> SaId {
        SaId(u64::from_be_bytes(self.base.channel.protection.our_spi().0))
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.base.connection.name)
    }

    const fn role(&self) -> Role {
        self.base.side.role()
    }
}
