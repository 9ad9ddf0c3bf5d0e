//! What `make demo` shows is true, and it cleans up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test ends badly")]

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

#[test]
fn every_claim_of_the_demonstration_holds() {
    let demo = Demo::run(Command::new(env!("CARGO_BIN_EXE_demo")));
    assert!(demo.status.success(), "{demo:?}");
    assert!(demo.shown.contains("each checked and true"), "{demo:?}");
    assert_eq!(demo.left_behind(), Vec::<String>::new());
}

#[test]
fn a_demonstration_that_fails_says_why_and_cleans_up_as_well() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.env("CYGNETD", "false");
    let demo = Demo::run(command);
    assert_eq!(demo.status.code(), Some(1), "{demo:?}");
    assert!(demo.complaint.contains("cygnetd ended"), "{demo:?}");
    assert_eq!(demo.left_behind(), Vec::<String>::new());
}

#[derive(Debug)]
struct Demo {
    pid: u32,
    status: ExitStatus,
    shown: String,
    complaint: String,
}

impl Demo {
    fn run(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        Self {
            pid,
            status: output.status,
            shown: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Namespaces and directories of that process's world.
    fn left_behind(&self) -> Vec<String> {
        let prefix = format!("cygnet-interop-{}-", self.pid);
        [Path::new("/run/netns"), &std::env::temp_dir()]
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }
}
