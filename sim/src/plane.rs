//! A data plane that carries packets, and objects to every command that an
//! endpoint must not give.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crypto::EspKey;
use esp::inbound::Inbound;
use esp::limits::Limits;
use esp::outbound::Outbound;
use esp::packet;
use esp::plane::{Capabilities, Command, CommandId, Dataplane, Fault, PlaneEvent, Traffic};
use esp::policy::{Decision, Policies, Selectors};
use esp::spec::{ChildId, ChildSpec, Encapsulation, GroupId, Mode, Original, OuterPath, Spi};

use crate::clock::Time;
use crate::host::HostChild;

/// A plane that checks what it is told.
pub struct ModelPlane {
    children: BTreeMap<ChildId, Installed>,
    groups: BTreeSet<GroupId>,
    policies: Policies<ChildId>,
    ids: BTreeSet<ChildId>,
    keys: BTreeSet<Vec<u8>>,
    commands: BTreeSet<CommandId>,
    /// Installs that have failed, which the endpoint may not know yet.
    failed: BTreeMap<CommandId, (ChildId, GroupId)>,
    completions: VecDeque<(Time, CommandId, Result<(), Fault>)>,
    events: VecDeque<PlaneEvent>,
    released: Vec<Vec<u8>>,
    new: Vec<ChildId>,
    installations: Vec<Installation>,
    objections: Vec<String>,
    capabilities: Capabilities,
    now: Time,
    /// How long every command takes.
    pub delay: Duration,
    /// What the next installations end with.
    pub faults: VecDeque<Fault>,
    /// Whether a group must hold before a child of it is installed: so it is
    /// for whoever begins connections.
    pub holds_first: bool,
}

/// A child in the plane.
pub struct Installed {
    /// Its group.
    pub group: GroupId,
    /// The SPI of packets to us.
    pub spi_in: Spi,
    /// The SPI of packets to the peer.
    pub spi_out: Spi,
    /// The outside.
    pub path: OuterPath,
    /// What its packets hold.
    pub mode: Mode,
    /// The addresses of the peer's packets in its own eyes, if they differ.
    pub original: Option<Original>,
    /// What it carries.
    pub selectors: Arc<Selectors>,
    /// An inner packet that fits it.
    pub example: Vec<u8>,
    halves: Halves,
    limits: Limits,
    traffic: Traffic,
}

/// What seals and opens the packets of a child.
enum Halves {
    Tunnel(Box<(Outbound, Inbound)>),
    Transport(HostChild),
}

/// What a child was made of, for whoever compares it with all others.
pub struct Installation {
    /// The child.
    pub child: ChildId,
    /// The SPI of packets to us.
    pub spi_in: Spi,
    /// What opens them.
    pub key_in: Vec<u8>,
    /// The SPI of packets to the peer.
    pub spi_out: Spi,
    /// What seals them.
    pub key_out: Vec<u8>,
}

/// What became of an outgoing packet.
#[derive(PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// It leaves in ESP.
    Sealed(OuterPath, Vec<u8>),
    /// It waits for a child.
    Held,
    /// No policy is about it: it would leave in clear text.
    Clear,
}

impl ModelPlane {
    /// An empty plane.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            children: BTreeMap::new(),
            groups: BTreeSet::new(),
            policies: Policies::default(),
            ids: BTreeSet::new(),
            keys: BTreeSet::new(),
            commands: BTreeSet::new(),
            failed: BTreeMap::new(),
            completions: VecDeque::new(),
            events: VecDeque::new(),
            released: Vec::new(),
            new: Vec::new(),
            installations: Vec::new(),
            objections: Vec::new(),
            capabilities,
            now: Time::ZERO,
            delay: Duration::ZERO,
            faults: VecDeque::new(),
            holds_first: false,
        }
    }

    /// The children.
    #[must_use]
    pub const fn children(&self) -> &BTreeMap<ChildId, Installed> {
        &self.children
    }

    /// The groups that are not released.
    #[must_use]
    pub const fn groups(&self) -> &BTreeSet<GroupId> {
        &self.groups
    }

    /// What it has objected to. The world looks after every step.
    pub fn take_objections(&mut self) -> Vec<String> {
        std::mem::take(&mut self.objections)
    }

    /// Packets that waited for a child that is there now.
    pub fn take_released(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.released)
    }

    /// Children that were installed since the last call.
    pub(crate) fn take_new(&mut self) -> Vec<ChildId> {
        std::mem::take(&mut self.new)
    }

    /// What all children that were to be installed since the last call were made of.
    pub fn take_installations(&mut self) -> Vec<Installation> {
        std::mem::take(&mut self.installations)
    }

    /// A packet of a child, sealed. It is not sent, and not counted.
    pub(crate) fn probe(&mut self, child: ChildId) -> Vec<u8> {
        let child = self.children.get_mut(&child).unwrap();
        let traffic = child.traffic;
        let probe = child.seal(&child.example.clone());
        child.traffic = traffic;
        probe
    }

    /// Time goes on.
    pub fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    /// When there is an event.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        if self.events.is_empty() {
            self.completions.front().map(|&(due, _, _)| due)
        } else {
            Some(self.now)
        }
    }

    /// A packet that wants to leave.
    pub fn send(&mut self, inner: &[u8]) -> Outgoing {
        let flow = packet::parse(inner).unwrap().flow;
        match self.policies.lookup(&flow) {
            Decision::Child(&id) => {
                let child = self.children.get_mut(&id).unwrap();
                let before = child.traffic.sent();
                let sealed = child.seal(inner);
                let met = child.limits.met(before, child.traffic.sent());
                self.events.extend(met.map(|limit| PlaneEvent::Expired(id, limit)));
                Outgoing::Sealed(child.path, sealed)
            }
            Decision::Held(held) => {
                if held.wait(inner).acquire {
                    self.events.push_back(held.acquire());
                }
                Outgoing::Held
            }
            Decision::Unmatched => Outgoing::Clear,
        }
    }

    /// An ESP packet has come: the inner packet, if it is one.
    pub fn receive(&mut self, way: OuterPath, esp: &[u8]) -> Option<Vec<u8>> {
        let spi = esp::inbound::spi(esp).ok()?;
        let (&id, child) = self.children.iter_mut().find(|(_, child)| child.spi_in.get() == spi)?;
        let (inner, is_newest) = child.halves.open(way, esp)?;
        if is_newest {
            match way.encapsulation {
                Encapsulation::Udp if way.remote != child.path.remote => {
                    self.events.push_back(PlaneEvent::MappingChanged(id, way.remote));
                }
                Encapsulation::Tcp(_) if way.encapsulation != child.path.encapsulation => {
                    self.events.push_back(PlaneEvent::StreamChanged(id, way));
                }
                Encapsulation::Udp | Encapsulation::Tcp(_) | Encapsulation::Plain => {}
            }
        }
        let inner = inner?;
        let before = child.traffic.received();
        child.traffic.packets_in += 1;
        child.traffic.bytes_in += inner.len() as u64;
        let met = child.limits.met(before, child.traffic.received());
        self.events.extend(met.map(|limit| PlaneEvent::Expired(id, limit)));
        Some(inner)
    }

    /// The plane tells something by itself.
    pub fn raise(&mut self, event: PlaneEvent) {
        self.events.push_back(event);
    }

    fn object(&mut self, objection: String) {
        self.objections.push(objection);
    }

    fn carry_out(&mut self, id: CommandId, command: Command) -> Result<(), Fault> {
        match command {
            Command::Install(spec) => self.install(id, *spec),
            Command::Prefer(child) => self.prefer(child),
            Command::Remove(child) => self.remove(child),
            Command::Move(child, path) => self.move_to(child, path),
            Command::Hold(hold) => {
                if hold.local_ts.is_empty() || hold.remote_ts.is_empty() {
                    self.object(format!("{:?} holds nothing", hold.group));
                }
                let group = hold.group;
                self.groups.insert(group);
                if let Some(flow) = self.policies.hold(hold)? {
                    self.events.push_back(PlaneEvent::Acquire(group, flow));
                }
                Ok(())
            }
            Command::Discard(group) => self.policies.discard(group).map(drop),
            Command::Release(group) => self.release(group),
        }
    }

    fn install(&mut self, command: CommandId, spec: ChildSpec) -> Result<(), Fault> {
        self.check(&spec);
        self.installations.push(Installation {
            child: spec.id,
            spi_in: spec.inbound.spi,
            key_in: octets(&spec.inbound.key),
            spi_out: spec.outbound.spi,
            key_out: octets(&spec.outbound.key),
        });
        if let Some(fault) = self.faults.pop_front() {
            self.failed.insert(command, (spec.id, spec.group));
            return Err(fault);
        }
        let id = spec.id;
        let selectors = Selectors::new(spec.local_ts.clone(), spec.remote_ts.clone());
        let selectors = Arc::new(selectors);
        self.groups.insert(spec.group);
        let waited = self.policies.install(spec.id, spec.group, Arc::clone(&selectors), spec.id)?;
        if spec.standby {
            self.policies.stand_by(spec.id)?;
        }
        self.released.extend(waited.into_iter().map(Vec::from));
        let installed = Installed {
            group: spec.group,
            spi_in: spec.inbound.spi,
            spi_out: spec.outbound.spi,
            path: spec.path,
            mode: spec.mode,
            original: spec.original,
            selectors: Arc::clone(&selectors),
            example: example(&spec),
            limits: spec.limits,
            traffic: Traffic::default(),
            halves: Halves::new(spec, selectors),
        };
        self.children.insert(id, installed);
        self.new.push(id);
        Ok(())
    }

    fn check(&mut self, spec: &ChildSpec) {
        let ChildSpec { id, group, inbound, outbound, path, local_ts, remote_ts, .. } = spec;
        if !self.ids.insert(*id) {
            self.object(format!("{id:?} is used twice"));
        }
        if self.children.values().any(|child| child.spi_in == inbound.spi) {
            self.object(format!("SPI {} is installed", inbound.spi));
        }
        for key in [&inbound.key, &outbound.key] {
            if !self.keys.insert(octets(key)) {
                self.object(format!("{id:?} has a key that was used before"));
            }
        }
        if local_ts.is_empty() || remote_ts.is_empty() {
            self.object(format!("{id:?} selects nothing"));
        }
        if path.local.ip().is_unspecified() || path.remote.ip().is_unspecified() {
            self.object(format!("{id:?} leads from nowhere: {path:?}"));
        }
        self.check_mode(spec);
        if self.holds_first && !self.groups.contains(group) {
            self.object(format!("{group:?} gets a child and did not hold before"));
        }
    }

    /// In transport mode the traffic is that of both ends.
    fn check_mode(&mut self, spec: &ChildSpec) {
        let ChildSpec { id, mode, path, local_ts, remote_ts, .. } = spec;
        let is_at =
            |address| move |it: &esp::spec::Selector| (it.start(), it.end()) == (address, address);
        let is_of_ends = local_ts.iter().all(is_at(path.local.ip()))
            && remote_ts.iter().all(is_at(path.remote.ip()));
        match mode {
            Mode::Tunnel if spec.original.is_some() => {
                self.object(format!("{id:?} is a tunnel and has original addresses"));
            }
            Mode::Tunnel => {}
            Mode::Transport if !self.capabilities.transport => {
                self.object(format!("{id:?} is in transport mode, which this plane cannot do"));
            }
            Mode::Transport if !is_of_ends => {
                self.object(format!("{id:?} is for {local_ts:?} = {remote_ts:?} on {path:?}"));
            }
            Mode::Transport => {}
        }
    }

    fn prefer(&mut self, id: ChildId) -> Result<(), Fault> {
        let preferred = self.policies.prefer(id);
        if preferred.is_err() && !self.has_failed(id) {
            self.object(format!("{id:?} is preferred and is not there"));
        }
        preferred
    }

    fn remove(&mut self, id: ChildId) -> Result<(), Fault> {
        if self.children.remove(&id).is_none() {
            if !self.has_failed(id) {
                self.object(format!("{id:?} is removed and is not there"));
            }
            return Err(Fault::Unknown);
        }
        self.policies.remove(id).map(|_| ())
    }

    /// Whether the endpoint could not know yet that a child is not there.
    fn has_failed(&self, id: ChildId) -> bool {
        self.failed.values().any(|&(failed, _)| failed == id)
    }

    fn move_to(&mut self, id: ChildId, path: OuterPath) -> Result<(), Fault> {
        let ends = |path: &OuterPath| (path.local.ip(), path.remote.ip());
        match self.children.get_mut(&id) {
            Some(child) if child.mode == Mode::Transport && ends(&child.path) != ends(&path) => {
                self.object(format!("{id:?} is in transport mode and is moved"));
                Err(Fault::Unsupported)
            }
            Some(child) => {
                child.path = path;
                Ok(())
            }
            None => {
                if !self.has_failed(id) {
                    self.object(format!("{id:?} is moved and is not there"));
                }
                Err(Fault::Unknown)
            }
        }
    }

    fn release(&mut self, group: GroupId) -> Result<(), Fault> {
        if self.children.values().any(|child| child.group == group) {
            self.object(format!("{group:?} is released and has children"));
        }
        let is_excused = self.failed.values().any(|&(_, failed)| failed == group);
        if !self.groups.remove(&group) && !is_excused {
            self.object(format!("{group:?} is released and is not there"));
        }
        self.policies.release(group).map(|_| ())
    }
}

impl Installed {
    /// A packet of this child, sealed.
    pub fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let out = self.halves.seal(inner);
        self.traffic.packets_out += 1;
        self.traffic.bytes_out += inner.len() as u64;
        out
    }

    /// Whether a packet sealed by the peer's child can be opened by this one.
    #[must_use]
    pub fn opens(&self, esp: &[u8]) -> bool {
        self.halves.open(self.path, esp).is_some_and(|(inner, _)| inner.is_some())
    }

    /// What it has carried.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl Halves {
    fn new(spec: ChildSpec, selectors: Arc<Selectors>) -> Self {
        match spec.mode {
            Mode::Tunnel => {
                let inbound = Inbound::new(spec.inbound, selectors);
                Self::Tunnel(Box::new((Outbound::new(spec.outbound), inbound)))
            }
            Mode::Transport => Self::Transport(HostChild::new(spec, selectors)),
        }
    }

    fn seal(&self, packet: &[u8]) -> Vec<u8> {
        match self {
            Self::Tunnel(halves) => {
                let (outbound, _) = &**halves;
                let mut out = vec![0; outbound.sealed_len(packet.len())];
                outbound.seal(packet, &mut out).unwrap();
                out
            }
            Self::Transport(host) => host.seal(packet),
        }
    }

    /// The packet that has come this way, if it may, and whether it is the newest.
    fn open(&self, way: OuterPath, esp: &[u8]) -> Option<(Option<Vec<u8>>, bool)> {
        let mut octets = esp.to_vec();
        match self {
            Self::Tunnel(halves) => {
                let (_, inbound) = &**halves;
                let opened = inbound.run().open(&mut octets).ok()?;
                Some((Some(octets[opened.range].to_vec()), opened.is_newest))
            }
            Self::Transport(host) => host.open(way, octets),
        }
    }
}

impl Dataplane for ModelPlane {
    fn submit(&mut self, id: CommandId, command: Command) {
        if !self.commands.insert(id) {
            self.object(format!("{id:?} is used twice"));
        }
        let result = self.carry_out(id, command);
        self.completions.push_back((self.now + self.delay, id, result));
    }

    fn poll_event(&mut self) -> Option<PlaneEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let &(due, id, result) = self.completions.front()?;
        if due > self.now {
            return None;
        }
        self.completions.pop_front();
        self.failed.remove(&id);
        Some(PlaneEvent::Completed(id, result))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn traffic(&self, child: ChildId) -> Option<Traffic> {
        self.children.get(&child).map(|child| child.traffic)
    }
}

fn octets(key: &EspKey) -> Vec<u8> {
    key.for_kernel(<[u8]>::to_vec)
}

/// A packet from the first of our addresses to the first of the peer's.
fn example(spec: &ChildSpec) -> Vec<u8> {
    let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) =
        (spec.local_ts[0].start(), spec.remote_ts[0].start())
    else {
        return Vec::new();
    };
    crate::packet::udp(source, destination, b"example")
}
