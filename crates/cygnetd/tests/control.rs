//! The control interface over a real socket: with the client that it comes
//! with, and with clients that nobody would want.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net as blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::{Client, ClientError, Error, State, What};
use cygnetd::serve::{
    BindError, ControlSettings, ControlSocket, EngineHandle, EngineRequest, Events, MAX_CLIENTS,
    MAX_MONITORS, StatusSnapshot, serve,
};
use esp::plane::Traffic;
use esp::spec::{ChildId, Mode, Selector, Spi};
use ike::event::{Command, Event, How, Role, SaId, SetUp};
use ike::fault::{Discard, Failure, Refusal};
use ike::status::{
    ChildStatus, ConnectionStatus, Counters, EndpointStatus, SaStatus, Stage, TicketStatus,
};
use ike::time::{Instant, Now};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

/// A served socket in a directory of its own.
struct Served {
    path: PathBuf,
    events: Events,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl Served {
    fn start(engine: EngineHandle) -> Self {
        Self::start_for(None, engine)
    }

    fn start_for(group: Option<&str>, engine: EngineHandle) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let runtime_dir = dir.path().join("run");
        let settings = ControlSettings { runtime_dir, group: group.map(str::to_owned) };
        let socket = ControlSocket::bind(&settings).unwrap();
        let path = socket.path().to_owned();
        let (events, _) = broadcast::channel(16);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(socket, engine, events.clone(), shutdown));
        Self { path, events, stop, task, _dir: dir }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.path).await.unwrap()
    }

    async fn raw(&self) -> Raw {
        Raw(BufReader::new(UnixStream::connect(&self.path).await.unwrap()))
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// A client that says what it likes.
struct Raw(BufReader<UnixStream>);

impl Raw {
    async fn say(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// The answer to one message; `Null` when there is none, for the daemon hung up.
    async fn ask(&mut self, message: &str) -> Value {
        self.say(message.as_bytes()).await;
        self.say(b"\0").await;
        self.answer().await
    }

    async fn answer(&mut self) -> Value {
        let mut answer = Vec::new();
        match self.0.read_until(0, &mut answer).await {
            Ok(0) | Err(_) => Value::Null,
            Ok(_) => serde_json::from_slice(answer.strip_suffix(b"\0").unwrap()).unwrap(),
        }
    }
}

/// An engine with connections whose names say what comes of a command.
fn engine() -> EngineHandle {
    Arc::new(|request| match request {
        EngineRequest::Command(command, reply) => {
            let (Command::Up(name)
            | Command::Down(name)
            | Command::Suspend(name)
            | Command::Resume(name)
            | Command::Rekey(name, _)) = command;
            let _ = reply.send(match &*name {
                "office" => Ok(()),
                "answers" => Err(Refusal::CannotInitiate),
                "down" => Err(Refusal::NotUp),
                "awake" => Err(Refusal::NotSuspended),
                "ticketless" => Err(Refusal::NoTicket),
                "busy" => Err(Refusal::Busy),
                "silent" => Err(Refusal::Failed(Failure::Unanswered)),
                _ => Err(Refusal::UnknownConnection),
            });
        }
        EngineRequest::Redirect(name, to, reply) => {
            let told = usize::from(to.is_some());
            let _ = reply.send(match name.as_deref() {
                None | Some("office") => Ok(ike::Redirected { told, staying: 7 }),
                Some(_) => Err(Refusal::UnknownConnection),
            });
        }
        EngineRequest::Reload(reply) => {
            let altered = vec!["office".into()];
            let _ = reply.send(Ok(ike::Changes { altered, ..ike::Changes::default() }));
        }
        EngineRequest::Status(reply) => {
            let _ = reply.send(snapshot());
        }
    })
}

fn snapshot() -> StatusSnapshot {
    let now = Now { instant: Instant::from_nanos(90_000_000_000), wall: SystemTime::UNIX_EPOCH };
    let mut counters = Counters { full: 3, resumed: 2, ..Counters::default() };
    counters.discarded[0] = 7;
    let child = ChildStatus {
        name: "net".into(),
        id: ChildId(1),
        suite: "aes256gcm16".into(),
        mode: Mode::Tunnel,
        spi_in: Spi::new(0xc0ff_ee01).unwrap(),
        spi_out: Spi::new(0xc0ff_ee02).unwrap(),
        udp: true,
        tcp: false,
        local_ts: vec![Selector::subnet("10.91.0.0".parse().unwrap(), 24)],
        remote_ts: vec![Selector::subnet("10.92.0.0".parse().unwrap(), 24)],
        rekey_at: Some(Instant::from_nanos(95_000_000_000)),
    };
    let sa = SaStatus {
        id: SaId(0xabcd),
        role: Role::Initiator,
        local: "10.77.0.1:4500".parse().unwrap(),
        remote: "10.77.0.2:4500".parse().unwrap(),
        local_id: "@dut".into(),
        remote_id: Some("@peer".into()),
        suite: Some("aes256gcm16-prfsha384-x25519".into()),
        ppk: Some("office-2026".into()),
        set_up: Some(SetUp {
            how: How::Resumed,
            round_trips: 2,
            took: Duration::from_micros(12_500),
        }),
        since: Some(Instant::from_nanos(30_000_000_000)),
        rekey_at: Some(Instant::from_nanos(90_000_000_000)),
        inner: ike::inner::Addresses::NONE,
        children: vec![child],
    };
    let ticket = TicketStatus { len: 300, expires: now.wall + Duration::from_secs(60) };
    let office = ConnectionStatus {
        name: "office".into(),
        stage: Stage::Up,
        sa: Some(sa),
        ticket: Some(ticket),
        assigned: None,
    };
    let home = ConnectionStatus {
        name: "home".into(),
        stage: Stage::Down,
        sa: None,
        ticket: None,
        assigned: None,
    };
    let traffic = Traffic { bytes_in: 1, packets_in: 2, bytes_out: 3, packets_out: 4 };
    StatusSnapshot {
        endpoint: EndpointStatus { connections: vec![office, home], half_open: 5, counters },
        traffic: BTreeMap::from([(ChildId(1), traffic)]),
        plane_drops: vec![("replayed", 9), ("malformed", 0)],
        public_key_operations: 6,
        now,
    }
}

fn started(connection: &str) -> (SystemTime, Event) {
    let remote = "192.0.2.1:500".parse().unwrap();
    let event = Event::Started { connection: connection.into(), how: How::Full, remote };
    (SystemTime::UNIX_EPOCH + Duration::from_millis(1250), event)
}

#[tokio::test]
async fn a_command_is_carried_out_or_refused_with_a_reason() {
    let served = Served::start(engine());
    let mut client = served.client().await;
    client.up("office").await.unwrap();
    client.suspend("office").await.unwrap();
    client.resume("office").await.unwrap();
    client.down("office").await.unwrap();
    let mut refusals = Vec::new();
    for name in ["nowhere", "answers", "down", "awake", "ticketless", "busy", "silent"] {
        match client.up(name).await {
            Err(ClientError::Refused(error)) => refusals.push(error),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(
        refusals,
        [
            Error::NoSuchConnection { name: "nowhere".into() },
            Error::CannotInitiate { name: "answers".into() },
            Error::NotUp { name: "down".into() },
            Error::NotSuspended { name: "awake".into() },
            Error::NoTicket { name: "ticketless".into() },
            Error::Busy { name: "busy".into() },
            Error::Failed { reason: "the peer does not answer".into() },
        ]
    );
    served.stop().await;
}

#[tokio::test]
async fn peers_are_sent_to_a_gateway_that_can_be_one() {
    let served = Served::start(engine());
    let mut client = served.client().await;
    let peers = |told| control::Redirected { told, staying: 7 };
    assert_eq!(client.redirect(None, Some("192.0.2.2")).await.unwrap(), peers(1));
    assert_eq!(client.redirect(Some("office"), Some("gw.example")).await.unwrap(), peers(1));
    assert_eq!(client.redirect(Some("office"), None).await.unwrap(), peers(0));
    let mut refusals = Vec::new();
    for (name, to) in [(Some("nowhere"), "192.0.2.2"), (None, "0.0.0.0")] {
        match client.redirect(name, Some(to)).await {
            Err(ClientError::Refused(error)) => refusals.push(error),
            other => panic!("{to}: {other:?}"),
        }
    }
    let reason = "\"0.0.0.0\" is neither the IP address nor the name of a host".to_owned();
    let expected = [Error::NoSuchConnection { name: "nowhere".into() }, Error::Failed { reason }];
    assert_eq!(refusals, expected);
    served.stop().await;
}

#[tokio::test]
async fn status_tells_what_the_engine_and_the_plane_know() {
    let served = Served::start(engine());
    let mut client = served.client().await;
    let status = client.status(None).await.unwrap();
    assert_eq!(status.connections.len(), 2);
    assert_eq!(status.drops, BTreeMap::from([("malformed".to_owned(), 7)]));
    assert_eq!(Discard::ALL[0], Discard::Malformed);
    assert_eq!(status.plane_drops, BTreeMap::from([("replayed".to_owned(), 9)]));
    assert_eq!((status.counters.full, status.counters.resumed), (3, 2));
    assert_eq!((status.counters.half_open, status.counters.public_key_operations), (5, 6));

    let status = client.status(Some("office")).await.unwrap();
    let [office] = status.connections.as_slice() else { panic!("{status:?}") };
    assert_eq!(office.state, State::Up);
    assert_eq!(office.sa.as_deref(), Some("000000000000abcd"));
    assert_eq!(office.how, Some(control::How::Resumed));
    assert_eq!((office.milliseconds, office.since), (Some(12.5), Some(60.0)));
    assert_eq!((office.rekey_in, office.children[0].rekey_in), (Some(0.0), Some(5.0)));
    assert_eq!(office.ticket.unwrap().remaining_seconds, 60.0);
    let [child] = office.children.as_slice() else { panic!("{office:?}") };
    assert_eq!((child.spi_in.as_str(), child.spi_out.as_str()), ("c0ffee01", "c0ffee02"));
    assert_eq!(child.local_ts, ["10.91.0.0/24"]);
    assert_eq!((child.bytes_in, child.packets_out), (1, 4));

    let refused = client.status(Some("nowhere")).await;
    assert!(matches!(refused, Err(ClientError::Refused(Error::NoSuchConnection { .. }))));
    served.stop().await;
}

#[tokio::test]
async fn a_monitor_is_told_everything_from_its_first_event_on() {
    let served = Served::start(engine());
    let mut monitor = served.client().await.monitor().await.unwrap();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(monitor.next().await.unwrap().what, What::Listening { version });
    served.events.send(started("a")).unwrap();
    served.events.send(started("b")).unwrap();
    for name in ["a", "b"] {
        let event = monitor.next().await.unwrap();
        assert_eq!(event.time, 1.25);
        assert!(matches!(event.what, What::Started { connection, .. } if connection == name));
    }
    let ending = tokio::spawn(async move { monitor.next().await });
    served.stop().await;
    assert!(matches!(ending.await.unwrap(), Err(ClientError::Closed)));
}

#[tokio::test]
async fn a_slow_monitor_loses_events_and_is_told_how_many() {
    let served = Served::start(engine());
    let mut monitor = served.client().await.monitor().await.unwrap();
    monitor.next().await.unwrap();
    // The channel holds 16, and nobody reads meanwhile.
    for _ in 0..1000 {
        served.events.send(started("a")).unwrap();
    }
    assert_eq!(monitor.next().await.unwrap().what, What::Lost { count: 984 });
    for _ in 0..16 {
        assert!(matches!(monitor.next().await.unwrap().what, What::Started { .. }));
    }
    served.stop().await;
}

#[tokio::test]
async fn monitors_that_have_left_make_room_for_others() {
    let served = Served::start(engine());
    for _ in 0..3 {
        let mut monitors = Vec::new();
        for _ in 0..MAX_MONITORS {
            let mut monitor = served.client().await.monitor().await.unwrap();
            monitor.next().await.unwrap();
            monitors.push(monitor);
        }
        let mut one_more = served.client().await.monitor().await.unwrap();
        let refused = one_more.next().await;
        assert!(matches!(refused, Err(ClientError::Refused(Error::Failed { .. }))), "{refused:?}");
        drop(monitors);
        // All have left when nobody listens to events any more.
        while served.events.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_client_too_many_is_turned_away_until_another_leaves() {
    let served = Served::start(engine());
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut client = served.client().await;
        client.up("office").await.unwrap();
        clients.push(client);
    }
    let refused = served.client().await.up("office").await;
    assert!(matches!(refused, Err(ClientError::Closed)), "{refused:?}");
    clients.pop();
    while !matches!(served.client().await.up("office").await, Ok(())) {
        tokio::task::yield_now().await;
    }
    served.stop().await;
}

#[tokio::test]
async fn an_answer_that_takes_long_keeps_nobody_else_waiting() {
    let (asked, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let served = Served::start(Arc::new(move |request| match request {
        EngineRequest::Command(_, reply) => asked.send(reply).unwrap(),
        EngineRequest::Redirect(_, _, reply) => drop(reply),
        EngineRequest::Reload(reply) => drop(reply),
        EngineRequest::Status(reply) => drop(reply.send(snapshot())),
    }));
    let mut patient = served.client().await;
    let up = tokio::spawn(async move { patient.up("office").await });
    let reply = waiting.recv().await.unwrap();
    assert!(served.client().await.status(None).await.is_ok());
    reply.send(Ok(())).unwrap();
    up.await.unwrap().unwrap();

    let mut second = served.client().await;
    let up = tokio::spawn(async move { second.up("office").await });
    drop(waiting.recv().await.unwrap());
    let lost = up.await.unwrap();
    assert!(matches!(lost, Err(ClientError::Refused(Error::Failed { .. }))), "{lost:?}");
    served.stop().await;
}

#[tokio::test]
async fn who_has_the_configuration_read_again_hears_what_it_changed() {
    let served = Served::start(engine());
    let changes = served.client().await.reload().await.unwrap();
    assert_eq!(changes.altered, ["office"]);
    assert_eq!(changes.to_string(), "altered office");
    served.stop().await;

    let mistake = "cygnet.toml:1:1: there is no such section";
    let served = Served::start(Arc::new(move |request| {
        if let EngineRequest::Reload(reply) = request {
            let _ = reply.send(Err(mistake.to_owned()));
        }
    }));
    let refused = served.client().await.reload().await;
    let Err(ClientError::Refused(Error::Failed { reason })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, mistake);
    served.stop().await;
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let served = Served::start(engine());
    let mut raw = served.raw().await;
    assert_eq!(
        raw.ask(r#"{"method":"org.varlink.service.GetInfo"}"#).await,
        json!({"parameters": {
            "vendor": "cygnet", "product": "cygnetd", "version": env!("CARGO_PKG_VERSION"), "url": "",
            "interfaces": ["net.cygnet.Control", "org.varlink.service"],
        }})
    );
    let ask = |interface| {
        json!({
            "method": "org.varlink.service.GetInterfaceDescription",
            "parameters": {"interface": interface},
        })
        .to_string()
    };
    let answer = raw.ask(&ask("net.cygnet.Control")).await;
    let text = answer["parameters"]["description"].as_str().unwrap();
    for line in [
        "interface net.cygnet.Control",
        "method Up(name: string) -> ()",
        "method Reload() -> (added: []string, altered: []string, removed: []string)",
        "method Status(name: ?string) -> (",
        "method Monitor() -> (event: object)",
        "error NoSuchConnection",
        "drops: [string]int",
        "type Child (",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let answer = raw.ask(&ask("org.varlink.service")).await;
    assert!(answer["parameters"]["description"].is_string(), "{answer}");
    let answer = raw.ask(&ask("org.example.nothing")).await;
    assert_eq!(answer["error"], "org.varlink.service.InterfaceNotFound");
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_call_is_answered_and_the_conversation_goes_on() {
    let served = Served::start(engine());
    let mut raw = served.raw().await;
    for (call, error) in [
        (r#"{"method":"net.cygnet.Control.Explode"}"#, "org.varlink.service.MethodNotFound"),
        (r#"{"method":"org.varlink.service.Explode"}"#, "org.varlink.service.MethodNotFound"),
        (r#"{"method":"org.example.Up"}"#, "org.varlink.service.InterfaceNotFound"),
        (r#"{"method":"Up"}"#, "org.varlink.service.MethodNotFound"),
        (r#"{"method":""}"#, "org.varlink.service.MethodNotFound"),
        (r#"{"method":"net.cygnet.Control.Up"}"#, "org.varlink.service.InvalidParameter"),
        (
            r#"{"method":"net.cygnet.Control.Up","parameters":{"name":5}}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (
            r#"{"method":"net.cygnet.Control.Up","parameters":{"name":"office","x":1}}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (
            r#"{"method":"net.cygnet.Control.Monitor","parameters":{"name":"office"}}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (r#"{"method":"net.cygnet.Control.Monitor"}"#, "org.varlink.service.ExpectedMore"),
        (
            r#"{"method":"org.varlink.service.GetInterfaceDescription"}"#,
            "org.varlink.service.InvalidParameter",
        ),
    ] {
        assert_eq!(raw.ask(call).await["error"], error, "{call}");
    }
    // A call that wants no answer gets none: the next answer is the next call's.
    raw.say(b"{\"method\":\"net.cygnet.Control.Up\",\"oneway\":true}\0").await;
    let up = r#"{"method":"net.cygnet.Control.Up","parameters":{"name":"office"},"future":[]}"#;
    assert_eq!(raw.ask(up).await, json!({"parameters": {}}));
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_varlink_ends_the_conversation() {
    let served = Served::start(engine());
    let deep = "[".repeat(40_000);
    for message in [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"method":5}"#,
        r#"{"method":"net.cygnet.Control.Up","parameters":[]}"#,
        r#"{"method":"net.cygnet.Control.Up","more":"yes"}"#,
        r#"{"method":"net.cygnet.Control.Status"} trailing"#,
        deep.as_str(),
        "\u{1}\u{2}\u{3}",
    ] {
        assert_eq!(served.raw().await.ask(message).await, Value::Null, "{message:.60}");
    }
    let mut invalid_utf8 = served.raw().await;
    invalid_utf8.say(b"{\"method\":\"\xff\xfe\"}\0").await;
    assert_eq!(invalid_utf8.answer().await, Value::Null);
    assert!(served.client().await.up("office").await.is_ok());
    served.stop().await;
}

#[tokio::test]
async fn a_call_may_be_long_but_not_longer() {
    let served = Served::start(engine());
    let call = |len: usize| {
        let head = r#"{"method":"net.cygnet.Control.Up","parameters":{"name":"office"}"#;
        format!("{head}{}}}", " ".repeat(len - head.len() - 2))
    };
    let mut raw = served.raw().await;
    let longest = call(control::MAX_CALL);
    assert_eq!(raw.ask(&longest).await, json!({"parameters": {}}));
    assert_eq!(raw.ask(&longest).await, json!({"parameters": {}}));
    let mut raw = served.raw().await;
    let message = call(control::MAX_CALL + 1);
    // The daemon may hang up before all is written.
    let _ = raw.0.write_all(format!("{message}\0").as_bytes()).await;
    assert_eq!(raw.answer().await, Value::Null);

    // A message that never ends is not read for ever.
    let mut endless = served.raw().await;
    let megabyte = vec![b' '; 1 << 20];
    assert!(endless.0.write_all(&megabyte).await.is_err());
    served.stop().await;
}

#[tokio::test]
async fn half_a_message_is_no_message() {
    let served = Served::start(engine());
    for _ in 0..2 * MAX_CLIENTS {
        let mut raw = served.raw().await;
        raw.say(br#"{"method":"net.cygnet.Control.Up","param"#).await;
        raw.0.shutdown().await.unwrap();
        assert_eq!(raw.answer().await, Value::Null);
    }
    let mut octets = served.raw().await;
    for octet in br#"{"method":"net.cygnet.Control.Status"}"# {
        octets.say(&[*octet]).await;
        tokio::task::yield_now().await;
    }
    assert!(octets.ask("").await["parameters"]["version"].is_string());
    served.stop().await;
}

#[tokio::test]
async fn thousands_of_calls_at_once_are_answered_in_order() {
    const CALLS: usize = 5000;
    let served = Served::start(engine());
    let (read, mut write) = UnixStream::connect(&served.path).await.unwrap().into_split();
    let writer = tokio::spawn(async move {
        for n in 0..CALLS {
            let call = format!(
                "{{\"method\":\"net.cygnet.Control.Up\",\"parameters\":{{\"name\":\"{n}\"}}}}\0"
            );
            write.write_all(call.as_bytes()).await.unwrap();
        }
        write
    });
    let mut read = BufReader::new(read);
    for n in 0..CALLS {
        let mut answer = Vec::new();
        read.read_until(0, &mut answer).await.unwrap();
        let answer: Value = serde_json::from_slice(answer.strip_suffix(b"\0").unwrap()).unwrap();
        assert_eq!(answer["parameters"]["name"], n.to_string());
    }
    let mut write = writer.await.unwrap();
    write.shutdown().await.unwrap();
    assert_eq!(read.read(&mut [0]).await.unwrap(), 0);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_harms_nobody() {
    let (asked, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let served = Served::start(Arc::new(move |request| match request {
        EngineRequest::Command(_, reply) => asked.send(reply).unwrap(),
        EngineRequest::Redirect(_, _, reply) => drop(reply),
        EngineRequest::Reload(reply) => drop(reply),
        EngineRequest::Status(reply) => drop(reply.send(snapshot())),
    }));
    let mut raw = served.raw().await;
    raw.say(b"{\"method\":\"net.cygnet.Control.Up\",\"parameters\":{\"name\":\"a\"}}\0").await;
    let reply = waiting.recv().await.unwrap();
    drop(raw);
    let _ = reply.send(Ok(()));
    assert!(served.client().await.status(None).await.is_ok());
    served.stop().await;
}

/// What another user hears from the socket. Linux has credentials for each
/// thread, and a socket remembers those of the thread that connected it.
fn as_user(uid: u32, gid: u32, groups: &'static [u32], path: &Path) -> std::io::Result<Value> {
    use rustix::process::{Gid, Uid};
    let path = path.to_owned();
    let user = std::thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let groups: Vec<_> = groups.iter().map(|&id| Gid::from_raw(id)).collect();
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        let mut stream = blocking::UnixStream::connect(path)?;
        stream.write_all(b"{\"method\":\"net.cygnet.Control.Status\"}\0")?;
        let mut answer = Vec::new();
        let mut octet = [0];
        while stream.read(&mut octet)? == 1 && octet != [0] {
            answer.extend(octet);
        }
        Ok(serde_json::from_slice(&answer)?)
    });
    user.join().unwrap()
}

async fn asked_by(
    served: &Served,
    uid: u32,
    gid: u32,
    groups: &'static [u32],
) -> std::io::Result<Value> {
    let path = served.path.clone();
    tokio::task::spawn_blocking(move || as_user(uid, gid, groups, &path)).await.unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("needs root, to become somebody else: nothing was tested");
    }
    root
}

#[tokio::test]
async fn other_users_are_refused_by_the_socket_and_by_the_daemon() {
    if !is_root() {
        return;
    }
    let served = Served::start(engine());
    let error = asked_by(&served, 65534, 65534, &[]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);

    // Somebody has opened the mode: the daemon still knows who is who.
    fs::set_permissions(&served.path, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = asked_by(&served, 65534, 65534, &[]).await.unwrap();
    assert_eq!(answer["error"], "org.varlink.service.PermissionDenied");
    let answer = asked_by(&served, 0, 65534, &[]).await.unwrap();
    assert!(answer["parameters"]["version"].is_string(), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn members_of_the_group_are_served() {
    if !is_root() {
        return;
    }
    let served = Served::start_for(Some("54321"), engine());
    for (gid, groups) in [(54321, &[][..]), (65534, &[1000, 54321])] {
        let answer = asked_by(&served, 65534, gid, groups).await.unwrap();
        assert!(answer["parameters"]["version"].is_string(), "{answer}");
    }
    assert!(asked_by(&served, 65534, 65534, &[54320]).await.is_err());
    fs::set_permissions(served.path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&served.path, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = asked_by(&served, 65534, 65534, &[54320]).await.unwrap();
    assert_eq!(answer["error"], "org.varlink.service.PermissionDenied");
    served.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_few_and_goes_with_the_daemon() {
    let served = Served::start(engine());
    let mode = fs::metadata(&served.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let path = served.path.clone();
    let dir = served._dir.path().to_owned();
    assert!(dir.exists());
    served.stop().await;
    assert!(!path.exists());
    let refused = Client::connect(&path).await;
    assert!(matches!(refused, Err(ClientError::NotRunning(_))), "{refused:?}");
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ControlSettings { runtime_dir: dir.path().to_owned(), group: None };
    let path = dir.path().join("control.sock");
    drop(blocking::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let living = ControlSocket::bind(&settings).unwrap();
    assert!(matches!(ControlSocket::bind(&settings), Err(BindError::Running(_))));
    assert!(path.exists());
    drop(living);
    assert!(ControlSocket::bind(&settings).is_ok());
}

#[test]
fn a_place_that_is_not_safe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bind = |group: Option<&str>| {
        let runtime_dir = dir.path().to_owned();
        ControlSocket::bind(&ControlSettings { runtime_dir, group: group.map(str::to_owned) })
    };
    assert!(matches!(bind(Some("no-such-group")), Err(BindError::NoGroup(_))));
    fs::write(dir.path().join("control.sock"), "precious").unwrap();
    assert!(matches!(bind(None), Err(BindError::InTheWay(_))));
    assert_eq!(fs::read_to_string(dir.path().join("control.sock")).unwrap(), "precious");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(bind(None), Err(BindError::OpenDirectory(_))));
}
