//! Two network namespaces joined by a veth pair, a userspace plane in each.
//!
//! ```text
//! namespace left                                namespace right
//! 10.1.0.1, fd01::1 - tun  veth 192.0.2.1, 2001:db8::1 ---- 192.0.2.2, 2001:db8::2 veth  tun - 10.2.0.1, fd02::1
//! ```
//!
//! Needs root and iproute2.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::VecDeque;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crypto::{EspCipher, EspKey, KeyLen};
use cygnetd::net::{Net, NetConfig};
use cygnetd::tun::{Tun, TunConfig};
use cygnetd::userspace::Userspace;
use esp::limits::Limits;
use esp::plane::{Command, CommandId, Dataplane, Fault, Hold, PlaneEvent};
use esp::spec::{
    ChildId, ChildSpec, Encapsulation, GroupId, HalfSpec, Mode, OuterPath, Selector, Spi,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const TUN: &str = "tun0";
const VETH: &str = "veth0";

/// Runs a command that must succeed and returns what it printed.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Process::new(words.next().unwrap()).args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// A network namespace that goes away with the value.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cygnet-{}-{number}-{role}", std::process::id());
        run(&format!("ip netns add {name}"));
        let namespace = Self(name);
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// `ip` in this namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.0))
    }

    /// A command in this namespace; whether it succeeded.
    pub(crate) fn succeeds(&self, line: &str) -> bool {
        let line = format!("ip netns exec {} {line}", self.0);
        let mut words = line.split_whitespace();
        Process::new(words.next().unwrap()).args(words).output().unwrap().status.success()
    }

    /// Runs `body` on a thread inside. What it opens stays inside.
    pub(crate) fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
                    let kind = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(file.as_fd(), kind).unwrap();
                    body()
                })
                .join()
                .unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Two of them, joined, with outer addresses.
pub(crate) fn joined() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::new("l"), Namespace::new("r"));
    run(&format!(
        "ip link add {VETH} netns {} type veth peer name {VETH} netns {}",
        left.name(),
        right.name()
    ));
    for (namespace, n) in [(&left, 1), (&right, 2)] {
        namespace.ip(&format!("addr add 192.0.2.{n}/24 dev {VETH}"));
        namespace.ip(&format!("addr add 2001:db8::{n}/64 dev {VETH} nodad"));
        namespace.ip(&format!("link set {VETH} up"));
    }
    (left, right)
}

/// A plane in its namespace.
pub(crate) struct Node {
    plane: Userspace,
    pub(crate) net: Arc<Net>,
    pub(crate) tun: Arc<Tun>,
    pub(crate) namespace: Namespace,
    commands: u64,
    /// Events that were not waited for yet.
    events: VecDeque<PlaneEvent>,
}

impl Node {
    /// `n` is the number in the addresses: 1 or 2.
    pub(crate) fn start(namespace: Namespace, n: u8) -> Self {
        Self::start_with(namespace, n, &NetConfig::default())
    }

    pub(crate) fn start_with(namespace: Namespace, n: u8, sockets: &NetConfig) -> Self {
        let (plane, net, tun) = namespace.enter(|| {
            let net = Arc::new(Net::bind(sockets).unwrap());
            let config = TunConfig { name: TUN.into(), ..TunConfig::default() };
            let tun = Arc::new(Tun::create(&config).unwrap());
            (Userspace::start(Arc::clone(&tun), Arc::clone(&net)).unwrap(), net, tun)
        });
        let other = 3 - n;
        namespace.ip(&format!("addr add 10.{n}.0.1/32 dev {TUN}"));
        namespace.ip(&format!("addr add fd0{n}::1/128 dev {TUN} nodad"));
        namespace.ip(&format!("route add 10.{other}.0.0/16 dev {TUN} src 10.{n}.0.1"));
        namespace.ip(&format!("route add fd0{other}::/16 dev {TUN} src fd0{n}::1"));
        Self { plane, net, tun, namespace, commands: 0, events: VecDeque::new() }
    }

    /// Stops the plane and closes device and sockets.
    pub(crate) fn stop(self) -> Namespace {
        self.namespace
    }

    pub(crate) fn plane(&self) -> &Userspace {
        &self.plane
    }

    /// Submits a command and waits for its completion.
    pub(crate) fn carry_out(&mut self, command: Command) -> Result<(), Fault> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.plane.submit(id, command);
        let is_answer =
            |event: &PlaneEvent| matches!(event, PlaneEvent::Completed(i, _) if *i == id);
        match self.wait_for(is_answer) {
            PlaneEvent::Completed(_, result) => result,
            _ => unreachable!(),
        }
    }

    /// The next event that fits; the others are kept.
    pub(crate) fn wait_for(&mut self, fits: impl Fn(&PlaneEvent) -> bool) -> PlaneEvent {
        loop {
            while let Some(event) = self.plane.poll_event() {
                self.events.push_back(event);
            }
            if let Some(at) = self.events.iter().position(&fits) {
                return self.events.remove(at).unwrap();
            }
            wait_readable(std::iter::once(self.plane.as_fd()), "an event of the plane");
        }
    }

    /// Events that have come and were not waited for.
    pub(crate) fn other_events(&mut self) -> Vec<PlaneEvent> {
        while let Some(event) = self.plane.poll_event() {
            self.events.push_back(event);
        }
        self.events.drain(..).collect()
    }

    pub(crate) fn ping(&self, address: &str) -> bool {
        self.namespace.succeeds(&format!("ping -n -c 3 -i 0.01 -W 5 {address}"))
    }
}

/// Waits until one is readable; a test that waits too long fails.
pub(crate) fn wait_readable<'a>(sources: impl Iterator<Item = BorrowedFd<'a>>, name: &str) {
    let mut fds: Vec<_> = sources.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&limit)).unwrap();
    assert!(ready > 0, "waited in vain for {name}");
}

/// Two nodes without any child.
pub(crate) fn nodes() -> (Node, Node) {
    let (left, right) = joined();
    (Node::start(left, 1), Node::start(right, 2))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outer {
    V4,
    V6,
}

/// A child as both ends see it.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) number: u64,
    pub(crate) encapsulation: Encapsulation,
    pub(crate) outer: Outer,
    pub(crate) cipher: EspCipher,
    pub(crate) limits: Limits,
}

impl Pair {
    pub(crate) fn new(number: u64) -> Self {
        let cipher = EspCipher::AesGcm16(KeyLen::L128);
        Self {
            number,
            encapsulation: Encapsulation::Udp,
            outer: Outer::V4,
            cipher,
            limits: Limits::NONE,
        }
    }

    pub(crate) fn id(&self) -> ChildId {
        ChildId(self.number)
    }

    /// The child of the node with number `n`.
    pub(crate) fn spec(&self, n: u8) -> Box<ChildSpec> {
        let other = 3 - n;
        Box::new(ChildSpec {
            id: self.id(),
            group: GroupId(1),
            standby: false,
            inbound: self.half(n),
            outbound: self.half(other),
            mode: Mode::Tunnel,
            original: None,
            path: self.path(n),
            local_ts: network(n),
            remote_ts: network(other),
            limits: self.limits,
        })
    }

    pub(crate) fn path(&self, n: u8) -> OuterPath {
        OuterPath {
            local: self.address(n),
            remote: self.address(3 - n),
            encapsulation: self.encapsulation,
        }
    }

    fn address(&self, n: u8) -> SocketAddr {
        let ip: IpAddr = match self.outer {
            Outer::V4 => [192, 0, 2, n].into(),
            Outer::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into(),
        };
        SocketAddr::new(ip, 4500)
    }

    /// Packets to the node with number `n`.
    fn half(&self, n: u8) -> HalfSpec {
        let number = u8::try_from(self.number % 251).unwrap();
        let key: Vec<u8> = (0..self.cipher.keymat_len())
            .map(|i| u8::try_from(i).unwrap() ^ number ^ (n << 6))
            .collect();
        let spi = 0x100_0000 * u32::from(n) + u32::try_from(self.number).unwrap();
        HalfSpec { spi: Spi::new(spi).unwrap(), key: EspKey::for_test(self.cipher, &key).unwrap() }
    }

    pub(crate) fn install(&self, left: &mut Node, right: &mut Node) {
        // The end that answers first, as in a negotiation.
        right.carry_out(Command::Install(self.spec(2))).unwrap();
        left.carry_out(Command::Install(self.spec(1))).unwrap();
    }
}

/// What the node with number `n` has inside.
pub(crate) fn network(n: u8) -> Vec<Selector> {
    vec![
        Selector::subnet([10, n, 0, 0].into(), 16),
        Selector::subnet([0xfd00 + u16::from(n), 0, 0, 0, 0, 0, 0, 0].into(), 16),
    ]
}

/// Holds the packets of [`network`] `3 - n` at the node with number `n`.
pub(crate) fn hold(n: u8, acquire: bool) -> Command {
    let (local_ts, remote_ts) = (network(n), network(3 - n));
    Command::Hold(Hold { group: GroupId(1), local_ts, remote_ts, acquire })
}

/// Everything that passes the veth device of a namespace.
pub(crate) struct Capture(socket2::Socket);

impl Capture {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        namespace.enter(|| {
            let any = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be());
            let (domain, kind) = (socket2::Domain::PACKET, socket2::Type::DGRAM);
            let socket =
                socket2::Socket::new(domain, kind, Some(socket2::Protocol::from(any))).unwrap();
            bind_to_veth(&socket);
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 256 << 20).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self(socket)
        })
    }

    /// IP packets since the start, or the last call.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        use std::io::Read;
        let mut buffer = vec![0; 1 << 17];
        std::iter::from_fn(|| (&self.0).read(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
            .collect()
    }

    /// How many packets passed; none of them may have been an inner one.
    pub(crate) fn sealed_only(&self) -> usize {
        let packets = self.packets();
        let clear = packets.iter().find(|packet| !is_outer(packet));
        assert_eq!(clear, None, "a packet in clear text");
        packets.len()
    }
}

fn bind_to_veth(socket: &socket2::Socket) {
    use std::os::fd::AsRawFd;
    let index = nix::net::if_::if_nametoindex(VETH).unwrap();
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
    address.sll_ifindex = i32::try_from(index).unwrap();
    let len = u32::try_from(size_of_val(&address)).unwrap();
    // SAFETY: the pointer and the length are those of a live sockaddr_ll.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
}

/// Judged by addresses: inner ones never may be on the wire.
fn is_outer(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[12..15] == [192, 0, 2] && packet[16..19] == [192, 0, 2],
        6 => packet[8] != 0xfd && packet[24] != 0xfd,
        // ARP
        _ => true,
    }
}
