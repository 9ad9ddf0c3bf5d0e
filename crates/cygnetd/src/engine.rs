//! The engine: one thread that owns the endpoint and joins it to sockets,
//! plane, clocks and control requests.
//!
//! ```text
//! inbox   --IkeDatagram--> Endpoint --Transmit--> Net
//! plane   --PlaneEvent--->          --Command---> Userspace, and routes with it
//! control --Request------>          --Reply-----> whoever asked
//! alarm   ---------------->         --Event-----> logs, monitors
//! lookups --addresses----->         --Lookup----> the resolver
//! ```
//! It waits in one `poll`; nothing it does blocks on a peer.

mod reconfigure;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use esp::plane::{self, Dataplane};
use ike::event::{Command, LookupId, Output, Path, Port, RequestId, StreamCommand};
use ike::fault::{Discard, Refusal};
use ike::redirect::Gateway;
use ike::status::EndpointStatus;
use ike::time::Instant;
use ike::{Changes, Endpoint, Redirected};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::clock::{self, Alarm};
use crate::config::DaemonConfig;
use crate::inner::Inner;
use crate::leases::LeaseStore;
use crate::log::EventLog;
use crate::lookups::Lookups;
use crate::net::{EspRun, EspSink, Heard, IkeDatagram, Lane, Net, Receiver};
use crate::reload;
use crate::routes::Routes;
use crate::serve::{EngineHandle, EngineRequest, Events, StatusSnapshot};
use crate::userspace::Userspace;
use crate::wake::Wake;

pub use reconfigure::Running;

/// How long a shutdown waits for peers to answer a Delete.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the engine is made of.
pub struct Engine {
    endpoint: Endpoint,
    net: Arc<Net>,
    receiver: Receiver,
    strays: Strays,
    plane: Userspace,
    routes: Routes,
    inner: Inner,
    leases: Option<LeaseStore>,
    lookups: Lookups,
    running: Running,
    alarm: Alarm,
    /// What it is set to.
    alarm_at: Option<Instant>,
    requests: mpsc::Receiver<Request>,
    wake: Arc<Wake>,
    events: Events,
    log: EventLog,
    asked: BTreeMap<RequestId, oneshot::Sender<Result<(), Refusal>>>,
    last_request: u64,
}

/// ESP packets that the kernel has joined to an IKE message. They are lost, as
/// on the way.
#[derive(Default)]
struct Strays(u64);

impl EspSink for Strays {
    fn packets(&mut self, run: EspRun<'_>) {
        self.0 += run.packets.chunks(run.stride.max(1)).count() as u64;
    }

    fn flush(&mut self) {}
}

/// What a wait has ended for.
struct Ready {
    /// The receiver's sources that have something.
    sockets: Vec<usize>,
    requests: bool,
}

/// What other threads send the engine.
enum Request {
    Command(Command, oneshot::Sender<Result<(), Refusal>>),
    Status(oneshot::Sender<StatusSnapshot>),
    Redirect(Option<String>, Option<Gateway>, oneshot::Sender<Result<Redirected, Refusal>>),
    Reconfigure(Box<DaemonConfig>, oneshot::Sender<Result<Changes, String>>),
    Addresses(Vec<IpAddr>),
    /// The end of a lookup.
    Found(LookupId, Vec<IpAddr>),
    ShutDown,
}

/// Speaks to an engine from other threads.
#[derive(Clone)]
pub struct Remote {
    requests: Sender<Request>,
    wake: Arc<Wake>,
}

impl Remote {
    /// Has the engine go on with another configuration. The answer does not
    /// come if the engine has ended.
    pub fn reconfigure(&self, config: DaemonConfig) -> oneshot::Receiver<Result<Changes, String>> {
        let (answer, answered) = oneshot::channel();
        self.post(Request::Reconfigure(Box::new(config), answer));
        answered
    }

    /// Tells the engine that the machine has these addresses now, or other routes.
    pub fn tell_addresses(&self, addresses: Vec<IpAddr>) {
        self.post(Request::Addresses(addresses));
    }

    /// Ends the engine in an orderly way.
    pub fn shut_down(&self) {
        self.post(Request::ShutDown);
    }

    fn post(&self, request: Request) {
        if self.requests.send(request).is_ok() {
            self.wake.raise();
        }
    }

    /// As the control service wants it; `reload` gets what is not for the
    /// engine. An engine that has ended drops requests, and with them the
    /// channels for their answers.
    #[must_use]
    pub fn handle(&self, reload: UnboundedSender<reload::Wish>) -> EngineHandle {
        let remote = self.clone();
        Arc::new(move |request| match request {
            EngineRequest::Command(command, answer) => {
                remote.post(Request::Command(command, answer));
            }
            EngineRequest::Redirect(name, to, answer) => {
                remote.post(Request::Redirect(name, to, answer));
            }
            EngineRequest::Status(answer) => remote.post(Request::Status(answer)),
            EngineRequest::Reload(answer) => {
                // Who would do it is there as long as there are clients.
                let _ = reload.send(answer);
            }
        })
    }
}

impl Engine {
    /// An engine that has not begun to run, and the way to speak to it.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new(
        endpoint: Endpoint,
        (net, plane, routes): (Arc<Net>, Userspace, Routes),
        (inner, leases): (Inner, Option<LeaseStore>),
        running: Running,
        events: Events,
    ) -> io::Result<(Self, Remote)> {
        let (sender, requests) = mpsc::channel();
        let wake = Arc::new(Wake::new()?);
        let remote = Remote { requests: sender, wake: Arc::clone(&wake) };
        let engine_of_lookups = remote.clone();
        let lookups = Lookups::new(net.mark(), move |id, found| {
            engine_of_lookups.post(Request::Found(id, found));
        });
        let engine = Self {
            endpoint,
            receiver: Receiver::new(Arc::clone(&net), Lane::Ike),
            strays: Strays::default(),
            net,
            plane,
            routes,
            inner,
            leases,
            lookups,
            running,
            alarm: Alarm::new()?,
            alarm_at: None,
            requests,
            wake,
            events,
            log: EventLog::new(),
            asked: BTreeMap::new(),
            last_request: 0,
        };
        Ok((engine, remote))
    }

    /// Runs until a shutdown is asked for and done.
    ///
    /// # Errors
    /// When waiting fails, which leaves nothing to be done.
    pub fn run(mut self) -> io::Result<()> {
        let mut leave_by = None;
        loop {
            self.carry_out();
            self.log.flush();
            if leave_by.is_some_and(|end| self.is_done(end)) {
                self.inner.close();
                self.routes.close();
                if let Some(leases) = self.leases {
                    leases.close();
                }
                return Ok(());
            }
            let ready = self.wait(leave_by)?;
            self.receive(&ready.sockets);
            if ready.requests && self.serve() && leave_by.is_none() {
                let now = clock::now();
                leave_by = Some(now.instant + FAREWELL);
                self.endpoint.shut_down(now);
            }
            self.keep_time();
        }
    }

    fn is_done(&self, end: Instant) -> bool {
        !self.endpoint.is_deleting() || clock::now().instant >= end
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self, leave_by: Option<Instant>) -> io::Result<Ready> {
        let due = self.endpoint.poll_timeout(clock::now()).map(|(at, _)| at);
        let due = [due, leave_by].into_iter().flatten().min();
        // One that rings too early costs less than setting it for every message.
        if due.is_some_and(|due| self.alarm_at.is_none_or(|at| due < at)) {
            self.alarm.set(due)?;
            self.alarm_at = due;
        }
        let own = [
            self.wake.as_fd(),
            self.net.inbox().as_fd(),
            self.net.streams().news(),
            self.plane.as_fd(),
            self.alarm.as_fd(),
        ];
        let mut sources: Vec<_> = self
            .receiver
            .sources()
            .chain(own)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let wake = sources.len() - own.len();
        let is_ready = |n: &usize| sources.get(*n).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { sockets: (0..wake).filter(is_ready).collect(), requests: is_ready(&wake) })
    }

    fn receive(&mut self, ready: &[usize]) {
        for source in ready {
            self.receiver.receive_from(*source, &mut self.strays);
        }
        while let Some(mut datagram) = self.net.inbox().pop() {
            let IkeDatagram { local, remote, port, .. } = datagram;
            let path = Path { local, remote, port };
            let now = clock::now();
            let dropped = self.endpoint.handle_datagram(now, path, &mut datagram.octets);
            if let Port::Tcp(stream) = port {
                let senseless = dropped.is_some_and(Discard::is_senseless).into();
                self.net.hear(stream, Heard { good: dropped.is_none().into(), senseless });
            }
            self.carry_out();
        }
        // After what came by a connection before it was closed.
        while let Some((stream, event)) = self.net.streams().pop() {
            self.endpoint.handle_stream(clock::now(), stream, event);
            self.carry_out();
        }
    }

    fn keep_time(&mut self) {
        let now = clock::now();
        if self.alarm_at.is_some_and(|at| at <= now.instant) {
            self.alarm.clear();
            self.alarm_at = None;
        }
        if self.endpoint.poll_timeout(now).is_some_and(|(due, _)| due <= now.instant) {
            self.endpoint.handle_timeout(now, |child| self.plane.traffic(child));
        }
    }

    /// Takes requests; whether a shutdown is among them.
    fn serve(&mut self) -> bool {
        self.wake.lower();
        let mut leave = false;
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Command(command, answer) => {
                    let id = self.new_request();
                    self.asked.insert(id, answer);
                    self.endpoint.handle_command(clock::now(), id, command);
                }
                // Whoever asked may have hung up.
                Request::Status(answer) => {
                    let _ = answer.send(self.snapshot());
                }
                Request::Redirect(name, to, answer) => {
                    let done = self.endpoint.redirect(clock::now(), name.as_deref(), to);
                    let _ = answer.send(done);
                }
                Request::Reconfigure(config, answer) => {
                    let _ = answer.send(self.reconfigure(*config));
                }
                Request::Addresses(addresses) => self.roam(addresses),
                Request::Found(id, found) => {
                    self.endpoint.handle_lookup(clock::now(), id, found);
                }
                Request::ShutDown => leave = true,
            }
        }
        leave
    }

    fn roam(&mut self, addresses: Vec<IpAddr>) {
        let source = |remote: IpAddr| {
            let port = self.net.ike_port(remote).unwrap_or_default();
            self.net.source_towards(SocketAddr::new(remote, port)).ok()
        };
        self.endpoint.handle_addresses(clock::now(), addresses, source);
    }

    fn new_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Does what the endpoint wants done, and tells it what came of it, until
    /// neither has anything to say.
    fn carry_out(&mut self) {
        loop {
            self.do_outputs();
            let Some(event) = self.plane.poll_event() else { return };
            self.endpoint.handle_plane(clock::now(), event);
        }
    }

    /// In the endpoint's order.
    fn do_outputs(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.transmit(transmit.path, &transmit.datagram);
                }
                Output::Keepalive(path) => self.net.send_keepalive(path.local, path.remote),
                Output::Stream(id, command) => {
                    let streams = self.net.streams();
                    match command {
                        StreamCommand::Dial { local, remote } => streams.dial(id, local, remote),
                        StreamCommand::Keep => streams.keep(id),
                        StreamCommand::Leave => streams.leave(id),
                    }
                }
                Output::Lookup(id, name) => self.lookups.begin(id, name, self.inner.name_servers()),
                Output::Plane(id, command) => self.submit(id, command),
                Output::Reply(id, result) => {
                    if let Some(answer) = self.asked.remove(&id) {
                        let _ = answer.send(result);
                    }
                }
                Output::Inner(name, given) => self.inner.set(&mut self.routes, name, given),
                Output::Lease(change) => {
                    if let Some(leases) = &self.leases {
                        leases.keep(change);
                    }
                }
                Output::Event(event) => {
                    self.log.put(&event);
                    // A monitor that has just hung up does not matter.
                    if self.events.receiver_count() > 0 {
                        let _ = self.events.send((clock::now().wall, event));
                    }
                }
            }
        }
    }

    /// Routes lead into the device before there is a child, and away from it
    /// after there is none: what is to be protected is never sent past it.
    fn submit(&mut self, id: plane::CommandId, command: plane::Command) {
        let change = self.routes.change_for(&command);
        self.routes.add(&change);
        self.plane.submit(id, command);
        self.routes.remove(&change);
    }

    /// A socket is chosen by its port.
    fn transmit(&self, path: Path, message: &[u8]) {
        let Path { local, remote, port } = path;
        let number = match port {
            Port::Ike => self.net.ike_port(local.ip()).unwrap_or(local.port()),
            Port::NatTraversal => self.net.nat_port(),
            Port::Tcp(stream) => return self.net.send_ike_by(stream, message),
        };
        self.net.send_ike(SocketAddr::new(local.ip(), number), remote, message);
    }

    fn snapshot(&self) -> StatusSnapshot {
        let endpoint = self.endpoint.status();
        let traffic = children(&endpoint)
            .filter_map(|child| Some((child, self.plane.traffic(child)?)))
            .collect();
        let net = self.net.counters();
        let of_net = [
            ("ike_inbox_full", self.net.inbox().dropped()),
            ("esp_among_ike", self.strays.0),
            ("send_failures", net.send_failures),
            ("receive_failures", net.receive_failures),
            ("corrupt_streams", net.corrupt_streams),
            ("streams_refused", net.streams_refused),
        ];
        let of_plane = self.plane.discards().snapshot().map(|(reason, n)| (reason.name(), n));
        StatusSnapshot {
            traffic,
            plane_drops: of_plane.chain(of_net).collect(),
            public_key_operations: crypto::public_key_operations(),
            now: clock::now(),
            endpoint,
        }
    }
}

fn children(status: &EndpointStatus) -> impl Iterator<Item = esp::spec::ChildId> {
    let sas = status.connections.iter().filter_map(|connection| connection.sa.as_ref());
    sas.flat_map(|sa| sa.children.iter().map(|child| child.id))
}
