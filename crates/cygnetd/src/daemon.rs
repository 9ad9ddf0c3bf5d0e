//! The life of the daemon: from the command line to the last Delete.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use crypto::{CookieKey, Provider};
use esp::plane::Dataplane as _;
use ike::Endpoint;
use ike::pool::Lease;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

use crate::cli::Cli;
use crate::clock;
use crate::config::{self, ConnectionSettings, DaemonConfig, DaemonSettings};
use crate::crls::Fetcher;
use crate::engine::{Engine, Remote, Running};
use crate::inner::Inner;
use crate::leases::LeaseStore;
use crate::links::LinksConfig;
use crate::log;
use crate::names::{Device, Names};
use crate::net::{Net, NetConfig};
use crate::reload;
use crate::routes::Routes;
use crate::serve::{self, ControlSettings, ControlSocket, EVENT_BACKLOG, Events};
use crate::state::State;
use crate::tun::{Tun, TunConfig};
use crate::userspace::Userspace;
use crate::watch::Watch;

/// Says whether a configuration is good.
///
/// # Errors
/// What is wrong with it.
pub fn check(file: &Path) -> anyhow::Result<String> {
    let config = config::load(file)?;
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    let count = config.connections.len();
    let plural = if count == 1 { "" } else { "s" };
    Ok(format!("configuration is good: {count} connection{plural}"))
}

/// Runs until a signal ends it.
///
/// # Errors
/// What keeps it from running. Nothing is left behind.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    log::start(&cli.log)?;
    let mut config = config::load(&cli.config)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let settings = ControlSettings {
        runtime_dir: cli.runtime_dir.clone(),
        group: config.daemon.control_group.clone(),
    };
    // The control socket first: it is the lock against a second daemon.
    let socket = ControlSocket::bind(&settings)?;
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    config.ike.crash_key = crash_key(&cli.state_dir);
    let mut lists = config.daemon.fetch_crls.then(|| Fetcher::new(&cli.state_dir));
    if let Some(lists) = &mut lists {
        lists.attend(&config.ike.connections)?;
    }
    let (engine, remote, interface) = assemble(config, &cli.state_dir, events.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = thread::Builder::new().name("cygnet-ike".into()).spawn(move || engine.run())?;
    let served = runtime.block_on(async {
        let watch = watch(interface, &remote).await;
        tokio::select! {
            served = serve_until_signal(socket, (&cli.config, lists), &remote, events) => served,
            () = follow(watch, &remote) => Ok(()),
        }
    });
    remote.shut_down();
    let ended = engine.join().map_err(|_| anyhow::anyhow!("the engine broke off"))?;
    tracing::info!("ended");
    served.and(ended.context("the engine cannot go on"))
}

/// The secret by which peers learn that we have restarted. Without a state
/// directory they find out later, by their liveness checks.
fn crash_key(state_dir: &Path) -> Option<CookieKey> {
    let mut provider = Provider::system();
    let secret = State::open(state_dir)
        .and_then(|state| state.secret("crash-detection", &mut provider))
        .inspect_err(|error| tracing::warn!("no crash detection: {}: {error}", state_dir.display()))
        .ok()?;
    Some(CookieKey::from_secret(&secret))
}

/// What the engine is told of the machine from the beginning. Without it,
/// connections learn of another network only when nobody answers.
async fn watch(interface: u32, remote: &Remote) -> Option<Watch> {
    let watch = Watch::open(interface)
        .inspect_err(|error| tracing::warn!("cannot watch addresses and routes: {error}"))
        .ok()?;
    look(&watch, remote).await;
    Some(watch)
}

async fn look(watch: &Watch, remote: &Remote) {
    match watch.addresses().await {
        Ok(addresses) => remote.tell_addresses(addresses),
        Err(error) => tracing::warn!("cannot list addresses: {error}"),
    }
}

/// Never ends.
async fn follow(watch: Option<Watch>, remote: &Remote) {
    let Some(mut watch) = watch else { return std::future::pending().await };
    loop {
        watch.changed().await;
        look(&watch, remote).await;
    }
}

async fn serve_until_signal(
    socket: ControlSocket,
    (file, lists): (&Path, Option<Fetcher>),
    remote: &Remote,
    events: Events,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!("ready, control socket {}", socket.path().display());
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    };
    let (reload, wishes) = mpsc::unbounded_channel();
    tokio::select! {
        served = serve::serve(socket, remote.handle(reload), events, ended) => {
            served.context("control socket")
        }
        reloader = reload::run((file, lists), remote, wishes) => match reloader {
            Err(error) => Err(error).context("SIGHUP"),
            Ok(never) => match never {},
        },
    }
}

/// Sockets, device, plane, routes, endpoint: the engine. And the device's index.
fn assemble(
    config: DaemonConfig,
    state_dir: &Path,
    events: Events,
) -> anyhow::Result<(Engine, Remote, u32)> {
    let DaemonConfig { daemon, connections, ike, .. } = config;
    let net = Arc::new(open_sockets(&daemon, &ike.connections)?);
    let tun = Arc::new(open_device(&daemon)?);
    let interface = tun.index();
    let routes = open_routes(&daemon, &tun, &connections)?;
    let device = Device { index: interface, name: daemon.interface.clone() };
    let names = connections.iter().map(|it| (Arc::clone(&it.name), it.names.clone())).collect();
    let inner = Inner::new(Names::prepare(device)?, names);
    let (leases, kept) = open_leases(state_dir, &ike)?;
    let plane = Userspace::start(tun, Arc::clone(&net)).context("cannot start the data plane")?;
    let capabilities = plane.capabilities();
    let answering: Vec<_> = ike.connections.iter().map(Arc::clone).collect();
    let mut endpoint = Endpoint::new(ike, Provider::system(), capabilities, clock::now());
    endpoint.restore_leases(&kept);
    let machine = (net, plane, routes);
    let running = Running { daemon, connections: Vec::new(), state_dir: state_dir.to_owned() };
    let (mut engine, remote) = Engine::new(endpoint, machine, (inner, leases), running, events)?;
    engine.begin(connections, &answering);
    Ok((engine, remote, interface))
}

/// Only a gateway that gives addresses keeps anything.
fn open_leases(
    state_dir: &Path,
    ike: &ike::config::Config,
) -> anyhow::Result<(Option<LeaseStore>, Vec<Lease>)> {
    if ike.pools.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (store, leases) = LeaseStore::open(state_dir)?;
    Ok((Some(store), leases))
}

fn open_sockets(
    daemon: &DaemonSettings,
    connections: &[Arc<ike::config::Connection>],
) -> anyhow::Result<Net> {
    let tcp_port = tcp_port(daemon, connections);
    let config = NetConfig {
        listen: daemon.listen.clone(),
        port: daemon.port,
        nat_port: daemon.nat_port,
        tcp_port,
        mark: Some(daemon.mark),
        interface: daemon.listen_interface.clone(),
        ..NetConfig::default()
    };
    Net::bind(&config).with_context(|| {
        let tcp = tcp_port.map(|port| format!(", or TCP port {port}")).unwrap_or_default();
        format!("cannot open UDP ports {} and {}{tcp}", daemon.port, daemon.nat_port)
    })
}

/// The port on which TCP connections are accepted: by default only where peers
/// are waited for.
pub fn tcp_port(
    daemon: &DaemonSettings,
    connections: &[Arc<ike::config::Connection>],
) -> Option<u16> {
    let waits = |it: &Arc<ike::config::Connection>| {
        it.remote_addrs.is_empty() && it.tcp != ike::config::TcpUse::Never
    };
    let standard = connections.iter().any(waits).then_some(4500);
    daemon.tcp_port.or(standard).filter(|&port| port != 0)
}

fn open_device(daemon: &DaemonSettings) -> anyhow::Result<Tun> {
    let mut config = TunConfig { name: daemon.interface.clone(), ..TunConfig::default() };
    if let Some(mtu) = daemon.mtu {
        config.mtu = mtu;
    }
    Tun::create(&config).with_context(|| format!("cannot create the device {}", daemon.interface))
}

fn open_routes(
    daemon: &DaemonSettings,
    tun: &Tun,
    connections: &[ConnectionSettings],
) -> anyhow::Result<Routes> {
    let config = LinksConfig { table: daemon.table, mark: daemon.mark, ..LinksConfig::default() };
    let mut routes = Routes::prepare(&config, tun.index()).context("cannot set up routing")?;
    for inner in connections.iter().flat_map(|connection| &connection.inner_addrs) {
        routes.add_address(inner.address, inner.prefix)?;
    }
    Ok(routes)
}
