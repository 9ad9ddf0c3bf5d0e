//! Clients and a gateway in this process: what the protocol itself costs the gateway, without
//! sockets, threads and logs, and what its SAs and a client's suspended sessions keep in memory.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use esp::inbound::Inbound;
use esp::outbound::Outbound;
use esp::plane::{Command as PlaneCommand, CommandId, PlaneEvent};
use esp::policy::{Policies, Selectors};
use esp::spec::{ChildId, ChildSpec};
use ike::Endpoint;
use ike::event::{Command, Event, How, Output, Path, RequestId};

use crate::client::{self, Number};
use crate::usage::{Stopwatch, own_cpu};
use crate::{clock, heap};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    /// CPU time of the gateway for a full exchange.
    pub(crate) full: Duration,
    /// CPU time of the gateway for a resumption.
    pub(crate) resume: Duration,
    /// CPU time of the plane for a child: both keys and the policy.
    pub(crate) install: Duration,
    /// Octets of the gateway for an established SA, without its child in the plane.
    pub(crate) sa: f64,
    /// Octets of the plane for a child.
    pub(crate) child: f64,
    /// Octets of the gateway for remembering a used ticket.
    pub(crate) used_ticket: f64,
    /// Octets of a client for a suspended session.
    pub(crate) session: f64,
}

/// Sets up `count` SAs, suspends and resumes all of them, suspends them again and forgets them.
///
/// # Errors
/// When one of these does not happen.
pub(crate) fn measure(count: u32) -> Result<Findings> {
    let mut scene = Scene::new(count)?;
    scene.everyone(count, Command::Up)?;
    let full = std::mem::take(&mut scene.gateway.spent);
    let set_up = scene.gateway.heap;
    ensure!(scene.tally == Tally { full: count, resumed: 0 }, "{:?}", scene.tally);

    scene.everyone(count, Command::Suspend)?;
    scene.everyone(count, Command::Resume)?;
    let resume = std::mem::take(&mut scene.gateway.spent);
    let resumed = scene.gateway.heap;
    ensure!(scene.tally == Tally { full: count, resumed: count }, "{:?}", scene.tally);

    scene.everyone(count, Command::Suspend)?;
    let sleeping = heap::live();
    scene.everyone(count, Command::Down)?;
    let session = sleeping - heap::live();

    let Scene { gateway, .. } = scene;
    let before = heap::live();
    drop(gateway.plane);
    let plane = before - heap::live();
    let each = |total: isize| total as f64 / f64::from(count);
    Ok(Findings {
        full: full.endpoint.without_clock()? / count,
        resume: resume.endpoint.without_clock()? / count,
        install: full.plane.without_clock()? / count,
        sa: each(set_up - plane),
        child: each(plane),
        used_ticket: each(resumed - set_up),
        session: each(session),
    })
}

/// All clients as one endpoint, and their gateway.
struct Scene {
    clients: Endpoint,
    gateway: Gateway,
    tally: Tally,
    replies: BTreeMap<RequestId, Result<(), ike::fault::Refusal>>,
    requests: u64,
}

/// How many SAs the clients have set up, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    full: u32,
    resumed: u32,
}

impl Scene {
    fn new(count: u32) -> Result<Self> {
        let connections = (0..count).map(|n| Ok(Arc::new(Number(n).connection()?)));
        Ok(Self {
            clients: client::endpoint(connections.collect::<Result<_>>()?),
            gateway: Gateway::new()?,
            tally: Tally::default(),
            replies: BTreeMap::new(),
            requests: 0,
        })
    }

    fn everyone(&mut self, count: u32, command: fn(Arc<str>) -> Command) -> Result<()> {
        (0..count).try_for_each(|n| self.command(command(Number(n).name())))
    }

    /// Gives the clients a command and carries datagrams until it is answered.
    fn command(&mut self, command: Command) -> Result<()> {
        self.requests += 1;
        let id = RequestId(self.requests);
        let what = format!("{command:?}");
        self.clients.handle_command(clock::now(), id, command);
        let mut to_gateway = self.drain_clients();
        while let Some((path, mut datagram)) = to_gateway.pop_front() {
            for (path, mut answer) in self.gateway.receive(reversed(path), &mut datagram)? {
                self.clients.handle_datagram(clock::now(), reversed(path), &mut answer);
            }
            to_gateway.extend(self.drain_clients());
        }
        let reply = self.replies.remove(&id).context("no answer to a command")?;
        reply.map_err(|refusal| anyhow!("{what}: {refusal}"))
    }

    fn drain_clients(&mut self) -> VecDeque<(Path, Vec<u8>)> {
        let mut sent = VecDeque::new();
        while let Some(output) = self.clients.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    sent.push_back((transmit.path, transmit.datagram.to_vec()));
                }
                Output::Plane(id, _) => {
                    let done = PlaneEvent::Completed(id, Ok(()));
                    self.clients.handle_plane(clock::now(), done);
                }
                Output::Reply(id, result) => drop(self.replies.insert(id, result)),
                Output::Event(event) => self.hear(&event),
                Output::Keepalive(_)
                | Output::Stream(..)
                | Output::Lookup(..)
                | Output::Inner(..)
                | Output::Lease(_) => {}
            }
        }
        sent
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Up { set_up, .. } if set_up.how == How::Full => self.tally.full += 1,
            Event::Up { .. } => self.tally.resumed += 1,
            _ => {}
        }
    }
}

/// The way of an answer.
const fn reversed(path: Path) -> Path {
    Path { local: path.remote, remote: path.local, port: path.port }
}

/// CPU time that was spent.
#[derive(Clone, Copy, Default)]
struct Spent {
    endpoint: Stopwatch,
    plane: Stopwatch,
}

struct Gateway {
    endpoint: Endpoint,
    plane: Plane,
    spent: Spent,
    /// Octets that endpoint and plane keep.
    heap: isize,
    outputs: Vec<Output>,
}

impl Gateway {
    fn new() -> Result<Self> {
        Ok(Self {
            endpoint: client::gateway()?,
            plane: Plane::default(),
            spent: Spent::default(),
            heap: 0,
            outputs: Vec::with_capacity(64),
        })
    }

    /// Takes a datagram and returns the answers.
    fn receive(&mut self, path: Path, datagram: &mut [u8]) -> Result<Vec<(Path, Vec<u8>)>> {
        let before = heap::live();
        let now = clock::now();
        self.run(|endpoint| {
            endpoint.handle_datagram(now, path, datagram);
        })?;
        let mut answers = Vec::new();
        let mut copies = 0;
        while !self.outputs.is_empty() {
            let mut completed = Vec::new();
            let start = own_cpu()?;
            for output in self.outputs.drain(..) {
                match output {
                    Output::Transmit(transmit) => {
                        let before = heap::live();
                        answers.push((transmit.path, transmit.datagram.to_vec()));
                        copies += heap::live() - before;
                    }
                    Output::Plane(id, command) => {
                        completed.push(self.plane.carry_out(id, command)?);
                    }
                    Output::Reply(..)
                    | Output::Event(_)
                    | Output::Keepalive(_)
                    | Output::Stream(..)
                    | Output::Lookup(..)
                    | Output::Inner(..)
                    | Output::Lease(_) => {}
                }
            }
            self.spent.plane.add(own_cpu()? - start);
            self.run(|endpoint| {
                for event in completed {
                    endpoint.handle_plane(now, event);
                }
            })?;
        }
        self.heap += heap::live() - before - copies;
        Ok(answers)
    }

    /// Has the endpoint do something, and takes its outputs.
    fn run(&mut self, step: impl FnOnce(&mut Endpoint)) -> Result<()> {
        let start = own_cpu()?;
        step(&mut self.endpoint);
        while let Some(output) = self.endpoint.poll_output() {
            self.outputs.push(output);
        }
        self.spent.endpoint.add(own_cpu()? - start);
        Ok(())
    }
}

/// Keeps of a child what the daemon's plane keeps, but for what only packets need.
#[derive(Default)]
struct Plane {
    by_spi: BTreeMap<u32, Arc<Child>>,
    by_id: BTreeMap<ChildId, Arc<Child>>,
    policies: Policies<Arc<Child>>,
}

struct Child {
    inbound: Inbound,
    _outbound: Outbound,
    _remote: SocketAddr,
    _selectors: Arc<Selectors>,
}

impl Plane {
    fn carry_out(&mut self, id: CommandId, command: PlaneCommand) -> Result<PlaneEvent> {
        let result = match command {
            PlaneCommand::Install(spec) => return self.install(id, *spec),
            PlaneCommand::Remove(child) => self.remove(child),
            PlaneCommand::Release(group) => self.policies.release(group).map(drop),
            PlaneCommand::Hold(_)
            | PlaneCommand::Discard(_)
            | PlaneCommand::Move(..)
            | PlaneCommand::Prefer(_) => {
                bail!("a gateway that does not rekey asks for no such")
            }
        };
        Ok(PlaneEvent::Completed(id, result))
    }

    fn install(&mut self, id: CommandId, spec: ChildSpec) -> Result<PlaneEvent> {
        let ChildSpec { id: name, group, inbound, outbound, path, local_ts, remote_ts, .. } = spec;
        let selectors = Arc::new(Selectors::new(local_ts, remote_ts));
        let child = Arc::new(Child {
            inbound: Inbound::new(inbound, Arc::clone(&selectors)),
            _outbound: Outbound::new(outbound),
            _remote: path.remote,
            _selectors: Arc::clone(&selectors),
        });
        self.by_spi.insert(child.inbound.spi().get(), Arc::clone(&child));
        self.by_id.insert(name, Arc::clone(&child));
        let installed = self.policies.install(name, group, selectors, child);
        Ok(PlaneEvent::Completed(id, installed.map(drop)))
    }

    fn remove(&mut self, id: ChildId) -> Result<(), esp::plane::Fault> {
        let child = self.policies.remove(id)?;
        self.by_spi.remove(&child.inbound.spi().get());
        self.by_id.remove(&id);
        Ok(())
    }
}
