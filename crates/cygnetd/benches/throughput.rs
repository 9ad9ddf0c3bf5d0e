//! What the userspace plane does: the time of an install, and one TCP stream
//! through two planes on this machine, by iperf3.
//!
//! Both planes, both ends of the stream and both ends of the wire share the
//! machine's processors. Needs root, iproute2 and iperf3. Arguments: seconds
//! for each figure (default 5).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it looks at the clock, prints, and ends when something is wrong"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use crypto::{EspCipher, KeyLen};
use esp::plane::Command as Plane;
use esp::spec::{Encapsulation, GroupId, Selector};
use world::{Node, Outer, Pair, nodes};

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5u32);
    installs();
    let aes128 = Pair::new(1);
    let aes256 = Pair { cipher: EspCipher::AesGcm16(KeyLen::L256), ..aes128 };
    let chacha = Pair { cipher: EspCipher::ChaCha20Poly1305, ..aes128 };
    for (name, pair, address, extra) in [
        ("AES-128-GCM, UDP over IPv4", aes128, "10.2.0.1", ""),
        ("AES-128-GCM, UDP over IPv4, towards the client", aes128, "10.2.0.1", "-R"),
        ("AES-256-GCM, UDP over IPv4", aes256, "10.2.0.1", ""),
        ("ChaCha20-Poly1305, UDP over IPv4", chacha, "10.2.0.1", ""),
        (
            "AES-128-GCM, UDP over IPv6, IPv6 inside",
            Pair { outer: Outer::V6, ..aes128 },
            "fd02::1",
            "",
        ),
        (
            "AES-128-GCM, IP protocol 50",
            Pair { encapsulation: Encapsulation::Plain, ..aes128 },
            "10.2.0.1",
            "",
        ),
    ] {
        let (mut left, mut right) = nodes();
        pair.install(&mut left, &mut right);
        let rate = tcp_gbits(&left, &right, address, seconds, extra);
        println!("{name:50} {rate:6.2} Gbit/s");
        for node in [&left, &right] {
            let dropped: Vec<_> =
                node.plane().discards().snapshot().filter(|(_, count)| *count > 0).collect();
            if !dropped.is_empty() {
                println!("    dropped: {dropped:?} {:?}", node.net.counters());
            }
        }
    }
}

/// Installs and removes 10,000 children, each with a host of its own.
fn installs() {
    const CHILDREN: u32 = 10_000;
    let (mut node, _) = nodes();
    let before = resident_octets();
    let timed = |range: std::ops::Range<u32>, act: &mut dyn FnMut(u32)| {
        let (started, count) = (Instant::now(), range.len());
        range.for_each(act);
        started.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    let mut install = |n: u32| {
        let mut spec = Pair::new(n.into()).spec(1);
        spec.group = GroupId(n.into());
        let host = IpAddr::V4((0x0a02_0000 + n).into());
        spec.remote_ts = vec![Selector::subnet(host, 32)];
        node.carry_out(Plane::Install(spec)).unwrap();
    };
    let first = timed(0..1000, &mut install);
    timed(1000..CHILDREN - 1000, &mut install);
    let last = timed(CHILDREN - 1000..CHILDREN, &mut install);
    let each = (resident_octets() - before) / u64::from(CHILDREN);
    let mut remove = |n: u32| {
        node.carry_out(Plane::Remove(Pair::new(n.into()).id())).unwrap();
        node.carry_out(Plane::Release(GroupId(n.into()))).unwrap();
    };
    let removed = timed(0..CHILDREN, &mut remove);
    println!("install a child among 1,000:  {first:.1} us, among {CHILDREN}: {last:.1} us");
    println!("remove a child and its group: {removed:.1} us");
    println!("memory of a child:            {each} octets");
}

fn resident_octets() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn tcp_gbits(client: &Node, server: &Node, address: &str, seconds: u32, extra: &str) -> f64 {
    let in_namespace = |node: &Node| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", node.namespace.name(), "iperf3", "--forceflush"]);
        command.stdout(Stdio::piped());
        command
    };
    let mut listening = in_namespace(server).args(["-s", "-1"]).spawn().unwrap();
    wait_for_line(&mut listening, "Server listening");
    let mut measuring = in_namespace(client);
    measuring.args(["-c", address, "-J", "-t", &seconds.to_string()]);
    if !extra.is_empty() {
        measuring.arg(extra);
    }
    let output = measuring.output().unwrap();
    listening.wait().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap_or_else(|| panic!("iperf3 says {}", report["error"]))
        / 1e9
}

fn wait_for_line(process: &mut std::process::Child, beginning: &str) {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
    lines
        .find(|line| line.as_ref().is_ok_and(|line| line.starts_with(beginning)))
        .unwrap()
        .unwrap();
}
