//! The command as a person runs it, with a daemon whose answers are known.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

const CYGNET: &str = env!("CARGO_BIN_EXE_cygnet");

/// One conversation with prepared answers.
struct Daemon {
    socket: PathBuf,
    calls: JoinHandle<Vec<Value>>,
    _dir: TempDir,
}

impl Daemon {
    /// Answers each call with the next of `answers`, and hangs up after the last.
    fn answering(answers: Vec<Value>) -> Self {
        Self::talking(move |mut stream| {
            let mut calls = Vec::new();
            for answer in answers {
                calls.push(call(&mut stream));
                say(&mut stream, &answer);
            }
            calls
        })
    }

    fn talking(talk: impl FnOnce(BufReader<UnixStream>) -> Vec<Value> + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let calls = std::thread::spawn(move || talk(BufReader::new(listener.accept().unwrap().0)));
        Self { socket, calls, _dir: dir }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CYGNET);
        command.arg("--socket").arg(&self.socket).args(arguments).env_remove("CYGNET_SOCKET");
        command
    }

    /// Runs the command; returns what it said and what it asked.
    fn run(self, arguments: &[&str]) -> (Said, Vec<Value>) {
        let said = said(&self.command(arguments).output().unwrap());
        (said, self.calls.join().unwrap())
    }
}

fn call(stream: &mut BufReader<UnixStream>) -> Value {
    let mut call = Vec::new();
    stream.read_until(0, &mut call).unwrap();
    serde_json::from_slice(call.strip_suffix(b"\0").unwrap()).unwrap()
}

fn say(stream: &mut BufReader<UnixStream>, answer: &Value) {
    stream.get_mut().write_all(format!("{answer}\0").as_bytes()).unwrap();
}

/// Exit code, standard output, standard error.
type Said = (Option<i32>, String, String);

fn said(output: &Output) -> Said {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn done(text: &str) -> Said {
    (Some(0), text.to_owned(), String::new())
}

fn failed(text: &str) -> Said {
    (Some(1), String::new(), text.to_owned())
}

fn status(connection: Value) -> Value {
    json!({"parameters": {
        "version": "0.1.0", "connections": [connection], "omitted": 0, "drops": {},
        "plane_drops": {}, "counters": {
            "full": 1, "resumed": 0, "failed": 0, "tickets_issued": 0, "tickets_refused": 0,
            "cookies": 0, "retransmissions": 0, "public_key_operations": 2, "half_open": 0,
        },
    }})
}

#[test]
fn up_says_how_the_connection_came_up() {
    let office = json!({
        "name": "office", "state": "up", "how": "resumed", "round_trips": 1, "milliseconds": 8.04,
        "children": [],
    });
    let daemon = Daemon::answering(vec![json!({"parameters": {}}), status(office)]);
    let (said, calls) = daemon.run(&["up", "office"]);
    assert_eq!(said, done("office is up: resumed in 1 round trip, 8.0 ms\n"));
    let up = json!({"method": "net.cygnet.Control.Up", "parameters": {"name": "office"}});
    assert_eq!(calls.first(), Some(&up));
}

#[test]
fn suspend_says_how_long_the_session_can_be_resumed() {
    let office = json!({
        "name": "office", "state": "suspended", "children": [],
        "ticket": {"bytes": 300, "remaining_seconds": 86_399.5},
    });
    let daemon = Daemon::answering(vec![json!({"parameters": {}}), status(office)]);
    let (said, _) = daemon.run(&["suspend", "office"]);
    assert_eq!(said, done("office is suspended: it can be resumed for 23h 59m\n"));
}

#[test]
fn redirect_says_how_many_go_and_how_many_cannot() {
    let asked = |parameters: Value| json!({"method": "net.cygnet.Control.Redirect", "parameters": parameters});
    let answer = |told, staying| vec![json!({"parameters": {"told": told, "staying": staying}})];
    let daemon = Daemon::answering(answer(2, 0));
    let (said, calls) = daemon.run(&["redirect", "192.0.2.2"]);
    assert_eq!(said, done("2 clients were told to go to 192.0.2.2, new ones will be\n"));
    assert_eq!(calls, [asked(json!({"to": "192.0.2.2"}))]);

    let daemon = Daemon::answering(answer(1, 3));
    let (said, calls) = daemon.run(&["redirect", "--connection", "clients", "gw2.example"]);
    let expected = "1 client was told to go to gw2.example, new ones will be; \
                    3 cannot be redirected and stay\n";
    assert_eq!(said, done(expected));
    assert_eq!(calls, [asked(json!({"name": "clients", "to": "gw2.example"}))]);

    let daemon = Daemon::answering(answer(0, 0));
    let (said, calls) = daemon.run(&["redirect", "--off"]);
    assert_eq!(said, done("new clients go where the configuration says\n"));
    assert_eq!(calls, [asked(json!({}))]);
}

#[test]
fn a_refusal_is_one_sentence_and_exit_code_1() {
    let refusal = |error: &str, parameters: Value| {
        let error = format!("net.cygnet.Control.{error}");
        let answer = json!({"error": error, "parameters": parameters});
        Daemon::answering(vec![answer]).run(&["resume", "office"]).0
    };
    assert_eq!(
        refusal("NotSuspended", json!({"name": "office"})),
        failed("cygnet: connection \"office\" has no suspended session\n")
    );
    assert_eq!(
        refusal("Failed", json!({"reason": "the peer does not answer"})),
        failed("cygnet: the peer does not answer\n")
    );
    let denied = json!({"error": "org.varlink.service.PermissionDenied"});
    assert_eq!(
        Daemon::answering(vec![denied]).run(&["down", "office"]).0,
        failed(
            "cygnet: permission denied: only root and members of the daemon's control_group may \
             do this\n"
        )
    );
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let output = Command::new(CYGNET).env("CYGNET_SOCKET", &socket).arg("status").output().unwrap();
    let socket = socket.display();
    assert_eq!(
        said(&output),
        failed(&format!(
            "cygnet: the daemon is not running (no socket at {socket}): start it with \
             \"systemctl start cygnetd\", or name its socket with --socket\n"
        ))
    );
}

#[test]
fn an_interrupted_up_leaves_the_daemon_trying_and_says_so() {
    let (asked, wait) = std::sync::mpsc::channel();
    let daemon = Daemon::talking(move |mut stream| {
        let call = call(&mut stream);
        asked.send(()).unwrap();
        // Until the command has gone.
        let _ = stream.read_to_end(&mut Vec::new());
        vec![call]
    });
    let mut command = daemon.command(&["up", "office"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait.recv().unwrap();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(
        said(&child.wait_with_output().unwrap()),
        failed(
            "cygnet: interrupted: the daemon goes on trying (end that with \"cygnet down \
             office\")\n"
        )
    );
}

#[test]
fn status_is_also_json() {
    let down = json!({"name": "office", "state": "down", "children": []});
    let daemon = Daemon::answering(vec![status(down.clone())]);
    let (said, _) = daemon.run(&["status", "--json"]);
    let printed: Value = serde_json::from_str(&said.1).unwrap();
    assert_eq!(printed["connections"], json!([down]));
}

#[test]
fn monitor_prints_every_event_when_it_happens() {
    let (printed, go_on) = std::sync::mpsc::channel();
    let event = |time: f64| {
        let event = json!({"time": time, "event": "session-lost", "connection": "office",
            "why": "expired"});
        json!({"parameters": {"event": event}, "continues": true})
    };
    let daemon = Daemon::talking(move |mut stream| {
        let call = call(&mut stream);
        say(&mut stream, &event(1.0));
        go_on.recv().unwrap();
        say(&mut stream, &event(2.0));
        vec![call]
    });
    let mut command = daemon.command(&["monitor"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let what = "office: session cannot be resumed any more: the ticket's lifetime is over";
    let mut next = || lines.next().map(Result::unwrap);
    assert_eq!(next(), Some(format!("1970-01-01T00:00:01.000Z {what}")));
    printed.send(()).unwrap();
    assert_eq!(next(), Some(format!("1970-01-01T00:00:02.000Z {what}")));
    assert_eq!(next(), None);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        said(&output),
        failed(
            "cygnet: the daemon closed the connection: it was stopped, or has too many clients\n"
        )
    );
    assert_eq!(daemon.calls.join().unwrap()[0]["more"], true);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&[][..], &["up"], &["explode"], &["status", "--jsno"]] {
        let output = Command::new(CYGNET).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_and_completions_need_no_daemon() {
    for (arguments, part) in [
        (&["--version"][..], "cygnet 0.1.0"),
        (&["--help"], "cygnet up office"),
        (&["status", "--help"], "watch cygnet status"),
        (&["completions", "bash"], "complete -F _cygnet"),
        (&["completions", "fish"], "complete -c cygnet"),
    ] {
        let (code, printed, _) = said(&Command::new(CYGNET).args(arguments).output().unwrap());
        assert!(code == Some(0) && printed.contains(part), "{arguments:?}: {printed}");
    }
}

#[test]
fn check_asks_the_daemon_beside_it_about_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\necho \"$@\"\ntest \"$3\" != bad\n").unwrap();
    // By another process: a program that is open for writing here, or in a child that another
    // test has just forked, cannot be run.
    let install = |from: &Path, name: &str| {
        let to = dir.path().join(name);
        let status = Command::new("install").args(["-m", "755"]).arg(from).arg(&to).status();
        assert!(status.unwrap().success());
        to
    };
    let cygnet = install(Path::new(CYGNET), "cygnet");
    install(&script, "cygnetd");
    let check = |files: &[&str]| {
        let (code, printed, _) =
            said(&Command::new(&cygnet).arg("check").args(files).output().unwrap());
        (code, printed)
    };
    assert_eq!(check(&[]), (Some(0), "--check\n".to_owned()));
    let both = "--check --config bad\n--check --config good\n";
    assert_eq!(check(&["bad", "good"]), (Some(1), both.to_owned()));
}
