//! Userspace planes that talk to each other through real devices and sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests: a surprise ends them, and they wait for real threads"
)]

mod world;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crypto::{CbcIntegrity, EspCipher, KeyLen};
use cygnetd::links::{Links, LinksConfig};
use cygnetd::net::{EspRun, EspSink, IkeDatagram, Lane, Net, NetConfig, Receiver};
use esp::discard::Discard;
use esp::limits::{Limits, Volume};
use esp::plane::{Command, Dataplane, Fault, Limit, PlaneEvent};
use esp::spec::{Encapsulation, GroupId, Selector};
use ike::event::Port;
use world::{Capture, Namespace, Node, Outer, Pair, hold, joined, nodes, run, wait_readable};

fn connected(pair: Pair) -> (Node, Node) {
    let (mut left, mut right) = nodes();
    pair.install(&mut left, &mut right);
    (left, right)
}

fn pings_reach_each_other(pair: Pair) {
    let (left, right) = connected(pair);
    let capture = Capture::start(&left.namespace);
    for (from, to) in
        [(&left, "10.2.0.1"), (&left, "fd02::1"), (&right, "10.1.0.1"), (&right, "fd01::1")]
    {
        assert!(from.ping(to), "{to} over {:?} {:?}", pair.outer, pair.encapsulation);
    }
    assert!(capture.sealed_only() >= 24);
    let traffic = left.plane().traffic(pair.id()).unwrap();
    assert!(traffic.packets_in >= 12 && traffic.packets_out >= 12, "{traffic:?}");
    assert!(traffic.bytes_in >= 12 * 84 && traffic.bytes_out >= 12 * 84, "{traffic:?}");
}

#[test]
fn both_families_pass_in_udp_over_ipv4() {
    pings_reach_each_other(Pair::new(1));
}

#[test]
fn both_families_pass_in_udp_over_ipv6() {
    pings_reach_each_other(Pair { outer: Outer::V6, ..Pair::new(1) });
}

#[test]
fn both_families_pass_as_protocol_50_over_ipv4() {
    pings_reach_each_other(Pair { encapsulation: Encapsulation::Plain, ..Pair::new(1) });
}

#[test]
fn both_families_pass_as_protocol_50_over_ipv6() {
    let encapsulation = Encapsulation::Plain;
    pings_reach_each_other(Pair { encapsulation, outer: Outer::V6, ..Pair::new(1) });
}

#[test]
fn every_cipher_passes() {
    let (mut left, mut right) = nodes();
    for (number, cipher) in [
        (1, EspCipher::ChaCha20Poly1305),
        (2, EspCipher::AesGcm16(KeyLen::L256)),
        (3, EspCipher::AesCbc(KeyLen::L128, CbcIntegrity::HmacSha256_128)),
        (4, EspCipher::AesCbc(KeyLen::L256, CbcIntegrity::HmacSha512_256)),
    ] {
        Pair { cipher, ..Pair::new(number) }.install(&mut left, &mut right);
        assert!(left.ping("10.2.0.1"), "{cipher}");
    }
}

/// Octets that are where they are for a reason, so that loss, doubling and
/// disorder show.
/// Three packets each way a ping.
#[test]
fn a_child_that_carries_much_tells_so_once_a_limit_and_direction() {
    let volume = |packets| Volume { bytes: u64::MAX, packets };
    let limits = Limits { soft: volume(4), hard: volume(8) };
    let pair = Pair { limits, ..Pair::new(1) };
    let (mut left, _right) = connected(pair);
    for _ in 0..5 {
        assert!(left.ping("10.2.0.1"));
    }
    let expired = |limit| PlaneEvent::Expired(pair.id(), limit);
    let mut told: Vec<_> =
        (0..4).map(|_| left.wait_for(|event| matches!(event, PlaneEvent::Expired(..)))).collect();
    told.sort_by_key(|event| *event == expired(Limit::Hard));
    let (soft, hard) = (expired(Limit::Soft), expired(Limit::Hard));
    assert_eq!(told, [soft.clone(), soft, hard.clone(), hard]);
    assert!(left.ping("10.2.0.1"));
    assert_eq!(left.other_events(), []);
}

fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..).take(len).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

const CHUNK: usize = 1 << 16;
const CHUNKS: u64 = 512;

fn send_pattern(stream: &mut TcpStream) {
    for chunk in 0..CHUNKS {
        stream.write_all(&pattern(chunk * CHUNK as u64, CHUNK)).unwrap();
    }
}

fn check_pattern(stream: &mut TcpStream) {
    let mut received = vec![0; CHUNK];
    for chunk in 0..CHUNKS {
        stream.read_exact(&mut received).unwrap();
        assert!(received == pattern(chunk * CHUNK as u64, CHUNK), "chunk {chunk} differs");
    }
}

fn tcp_through(from: &Namespace, to: &Namespace, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = to.enter(|| TcpListener::bind(address).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            check_pattern(&mut stream);
            send_pattern(&mut stream);
        });
        let mut stream = from.enter(|| TcpStream::connect(address).unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        send_pattern(&mut stream);
        check_pattern(&mut stream);
    });
}

#[test]
fn a_tcp_stream_arrives_unchanged_in_both_directions() {
    for (pair, address) in [
        (Pair::new(1), "10.2.0.1:7000"),
        (Pair { outer: Outer::V6, ..Pair::new(1) }, "10.2.0.1:7000"),
        (Pair::new(1), "[fd02::1]:7000"),
        (Pair { encapsulation: Encapsulation::Plain, ..Pair::new(1) }, "10.2.0.1:7000"),
    ] {
        let (left, right) = connected(pair);
        let capture = Capture::start(&left.namespace);
        tcp_through(&left.namespace, &right.namespace, address);
        assert!(capture.sealed_only() > 100);
        let forged = right.plane().discards().of(Discard::NotAuthentic);
        assert_eq!(forged, 0);
    }
}

#[test]
fn datagrams_larger_than_the_tunnel_pass_in_fragments() {
    let (left, right) = connected(Pair::new(1));
    let receiver = right.namespace.enter(|| UdpSocket::bind("10.2.0.1:7001").unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let sender = left.namespace.enter(|| UdpSocket::bind("10.1.0.1:0").unwrap());
    let sent = pattern(0, 8000);
    sender.send_to(&sent, "10.2.0.1:7001").unwrap();
    let mut received = vec![0; 9000];
    let len = receiver.recv(&mut received).unwrap();
    assert!(received[..len] == sent);
}

#[test]
fn a_path_with_a_small_mtu_fragments_what_is_sealed() {
    let (left, right) = connected(Pair::new(1));
    left.namespace.ip("link set veth0 mtu 1300");
    right.namespace.ip("link set veth0 mtu 1300");
    tcp_through(&left.namespace, &right.namespace, "10.2.0.1:7000");
}

fn datagram_socket(node: &Node, address: &str) -> UdpSocket {
    let socket = node.namespace.enter(|| UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Small packets take more memory than they are long: what comes at once must
    // not be lost in front of a reader that is late.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20).unwrap();
    socket
}

/// Whether a packet to this address and port asks for a child.
fn asks_for(event: &PlaneEvent, destination: &str) -> bool {
    let PlaneEvent::Acquire(GroupId(1), flow) = event else { return false };
    let port = flow.destination_port().unwrap();
    assert_eq!(flow.source, IpAddr::from([10, 1, 0, 1]));
    SocketAddr::new(flow.destination, port) == destination.parse().unwrap()
}

#[test]
fn packets_of_a_held_group_wait_for_its_child_and_ask_for_it_once() {
    let (mut left, mut right) = nodes();
    let capture = Capture::start(&left.namespace);
    left.carry_out(hold(1, true)).unwrap();
    let receiver = datagram_socket(&right, "10.2.0.1:7002");
    let sender = datagram_socket(&left, "10.1.0.1:0");
    for n in 0..20u8 {
        sender.send_to(&[n; 100], "10.2.0.1:7002").unwrap();
    }
    left.wait_for(|event| asks_for(event, "10.2.0.1:7002"));
    Pair::new(1).install(&mut left, &mut right);
    let mut received = [0; 100];
    for n in 0..20u8 {
        assert_eq!(receiver.recv(&mut received).unwrap(), 100);
        assert_eq!(received, [n; 100], "in order, none lost");
    }
    assert_eq!(left.other_events(), [], "one Acquire");
    capture.sealed_only();
}

#[test]
fn too_many_waiting_packets_give_way_to_newer_ones() {
    let (mut left, mut right) = nodes();
    left.carry_out(hold(1, false)).unwrap();
    let receiver = datagram_socket(&right, "10.2.0.1:7003");
    let sender = datagram_socket(&left, "10.1.0.1:0");
    for n in 0..300u16 {
        sender.send_to(&n.to_be_bytes(), "10.2.0.1:7003").unwrap();
    }
    // The sending thread has seen all of them once it has counted this one,
    // which no policy selects.
    left.namespace.ip("route add 203.0.113.0/24 dev tun0 src 10.1.0.1");
    sender.send_to(b"last", "203.0.113.1:9").unwrap();
    until(|| left.plane().discards().of(Discard::NoPolicy) == 1);
    assert_eq!(left.plane().discards().of(Discard::WaitedInVain), 44);
    Pair::new(1).install(&mut left, &mut right);
    let mut received = [0; 2];
    for n in 44..300u16 {
        receiver.recv(&mut received).unwrap();
        assert_eq!(u16::from_be_bytes(received), n);
    }
}

/// Waits for what another thread is about to do.
fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true");
        std::thread::yield_now();
    }
}

#[test]
fn what_no_policy_selects_is_dropped_and_counted() {
    let (left, _right) = nodes();
    let capture = Capture::start(&left.namespace);
    let sender = datagram_socket(&left, "10.1.0.1:0");
    sender.send_to(b"to nobody", "10.2.0.1:7004").unwrap();
    until(|| left.plane().discards().of(Discard::NoPolicy) == 1);
    capture.sealed_only();
}

#[test]
fn a_child_removed_under_load_leaks_nothing_and_its_group_holds() {
    let (mut left, mut right) = connected(Pair::new(1));
    let capture = Capture::start(&left.namespace);
    let is_over = AtomicBool::new(false);
    let receiver = datagram_socket(&right, "10.2.0.1:7005");
    let sender = datagram_socket(&left, "10.1.0.1:0");
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut n = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                let _ = sender.send_to(&n.to_be_bytes(), "10.2.0.1:7005");
                n += 1;
            }
        });
        let mut received = [0; 8];
        for number in 1..20 {
            receiver.recv(&mut received).unwrap();
            left.carry_out(Command::Remove(Pair::new(number).id())).unwrap();
            assert_eq!(left.plane().traffic(Pair::new(number).id()), None);
            right.carry_out(Command::Remove(Pair::new(number).id())).unwrap();
            Pair::new(number + 1).install(&mut left, &mut right);
        }
        receiver.recv(&mut received).unwrap();
        is_over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
    });
    capture.sealed_only();
}

#[test]
fn a_suspended_stream_goes_on_with_the_next_child() {
    let (mut left, mut right) = connected(Pair::new(1));
    let capture = Capture::start(&left.namespace);
    let listener = right.namespace.enter(|| TcpListener::bind("10.2.0.1:7006").unwrap());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            check_pattern(&mut stream);
        });
        let mut stream = left.namespace.enter(|| TcpStream::connect("10.2.0.1:7006").unwrap());
        stream.write_all(&pattern(0, CHUNK)).unwrap();
        left.carry_out(hold(1, true)).unwrap();
        left.carry_out(Command::Remove(Pair::new(1).id())).unwrap();
        right.carry_out(Command::Remove(Pair::new(1).id())).unwrap();
        let writer = scope.spawn(move || {
            for chunk in 1..CHUNKS {
                stream.write_all(&pattern(chunk * CHUNK as u64, CHUNK)).unwrap();
            }
            stream
        });
        left.wait_for(|event| asks_for(event, "10.2.0.1:7006"));
        Pair::new(2).install(&mut left, &mut right);
        reader.join().unwrap();
        drop(writer.join().unwrap());
    });
    capture.sealed_only();
}

#[test]
fn a_peer_that_moves_is_reported_once_and_followed_when_told() {
    let (mut left, mut right) = connected(Pair::new(1));
    left.namespace.ip("addr add 192.0.2.9/24 dev veth0");
    let mut path = Pair::new(1).path(1);
    path.local.set_ip([192, 0, 2, 9].into());
    left.carry_out(Command::Move(Pair::new(1).id(), path)).unwrap();
    let sender = datagram_socket(&left, "10.1.0.1:0");
    let receiver = datagram_socket(&right, "10.2.0.1:7007");
    for _ in 0..5 {
        sender.send_to(b"from elsewhere", "10.2.0.1:7007").unwrap();
        receiver.recv(&mut [0; 64]).unwrap();
    }
    let moved = PlaneEvent::MappingChanged(Pair::new(1).id(), path.local);
    right.wait_for(|event| *event == moved);
    assert_eq!(right.other_events(), []);

    let mut back = Pair::new(1).path(2);
    back.remote.set_ip([192, 0, 2, 9].into());
    right.carry_out(Command::Move(Pair::new(1).id(), back)).unwrap();
    let capture = Capture::start(&left.namespace);
    assert!(right.ping("10.1.0.1"));
    let is_to_old = |packet: &Vec<u8>| packet[0] == 0x45 && packet[16..20] == [192, 0, 2, 1];
    assert!(!capture.packets().iter().any(is_to_old));
}

#[test]
fn packets_without_a_way_wait_sealed_for_the_next_one_and_the_oldest_give_way() {
    let (mut left, right) = connected(Pair::new(1));
    let child = Pair::new(1).id();
    let sender = datagram_socket(&left, "10.1.0.1:0");
    let receiver = datagram_socket(&right, "10.2.0.1:7007");
    let mut gone = Pair::new(1).path(1);
    gone.local.set_ip([192, 0, 2, 77].into());
    left.carry_out(Command::Move(child, gone)).unwrap();
    let before = left.plane().traffic(child).unwrap().packets_out;
    let sealed = |left: &Node| left.plane().traffic(child).unwrap().packets_out - before;
    for number in 0..300_u32 {
        sender.send_to(&number.to_be_bytes(), "10.2.0.1:7007").unwrap();
        // The device's own queue is not what is tested.
        until(|| sealed(&left) > u64::from(number));
    }
    until(|| left.plane().discards().of(Discard::NotSent) == 300 - 256);

    left.carry_out(Command::Move(child, Pair::new(1).path(1))).unwrap();
    sender.send_to(&300_u32.to_be_bytes(), "10.2.0.1:7007").unwrap();
    for expected in 300 - 256..=300_u32 {
        let mut octets = [0; 4];
        receiver.recv(&mut octets).unwrap();
        assert_eq!(u32::from_be_bytes(octets), expected);
    }
    assert_eq!(left.plane().discards().of(Discard::NotSent), 300 - 256);
}

#[test]
fn what_waits_for_a_way_ends_with_its_child() {
    let (mut left, right) = connected(Pair::new(1));
    let sender = datagram_socket(&left, "10.1.0.1:0");
    let mut gone = Pair::new(1).path(1);
    gone.local.set_ip([192, 0, 2, 77].into());
    left.carry_out(Command::Move(Pair::new(1).id(), gone)).unwrap();
    sender.send_to(b"too late", "10.2.0.1:7007").unwrap();
    let packets_out = |left: &Node| left.plane().traffic(Pair::new(1).id()).unwrap().packets_out;
    until(|| packets_out(&left) > 0);
    let capture = Capture::start(&left.namespace);
    left.carry_out(Command::Remove(Pair::new(1).id())).unwrap();
    until(|| left.plane().discards().of(Discard::NotSent) == 1);
    assert_eq!(capture.packets().iter().filter(|packet| packet[0] == 0x45).count(), 0);
    drop(right);
}

#[test]
fn everything_can_go_through_the_tunnel_but_its_own_packets() {
    let (left, right) = joined();
    let links_config = LinksConfig::default();
    let sockets = NetConfig { mark: Some(links_config.mark), ..NetConfig::default() };
    let (mut left, mut right) = (Node::start_with(left, 1, &sockets), Node::start(right, 2));
    right.namespace.ip("addr add 198.51.100.1/32 dev lo");
    let all = vec![Selector::subnet([0, 0, 0, 0].into(), 0)];
    let mut to_all = Pair::new(1).spec(1);
    to_all.remote_ts.clone_from(&all);
    let mut from_all = Pair::new(1).spec(2);
    from_all.local_ts.clone_from(&all);
    right.carry_out(Command::Install(from_all)).unwrap();
    left.carry_out(Command::Install(to_all)).unwrap();

    let capture = Capture::start(&left.namespace);
    left.namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut links = Links::open(&links_config, left.tun.index()).unwrap();
            links.install_rules().await.unwrap();
            links.add_route(&all[0], Some([10, 1, 0, 1].into())).await.unwrap();
            assert!(left.ping("198.51.100.1"));
            assert!(left.ping("192.0.2.2"), "the peer itself is reached through the tunnel too");
            links.close().await.unwrap();
        });
    });
    let packets = capture.packets();
    let is_ping = |packet: &Vec<u8>| packet[0] == 0x45 && packet[9] == 1;
    assert!(packets.len() >= 12 && !packets.iter().any(is_ping));
}

/// The next IKE message, as the engine's thread reads it.
fn next_ike(receiver: &mut Receiver, net: &Net) -> IkeDatagram {
    loop {
        if let Some(datagram) = net.inbox().pop() {
            return datagram;
        }
        wait_readable(receiver.sources(), "IKE");
        (0..receiver.sources().count()).for_each(|n| receiver.receive_from(n, &mut NoPackets));
    }
}

struct NoPackets;

impl EspSink for NoPackets {
    fn packets(&mut self, _: EspRun<'_>) {
        panic!("packets came among IKE");
    }

    fn flush(&mut self) {}
}

#[test]
fn ike_is_told_from_esp_and_knows_both_addresses() {
    let (left, right) = nodes();
    let mut receiver = Receiver::new(Arc::clone(&right.net), Lane::Ike);
    let mut next_ike = || next_ike(&mut receiver, &right.net);
    let local = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let remote = |port| SocketAddr::from(([192, 0, 2, 2], port));
    left.net.send_keepalive(local(4500), remote(4500));
    left.net.send_ike(local(4500), remote(4500), b"IKE behind a marker");
    let datagram = next_ike();
    assert_eq!(datagram.octets, b"IKE behind a marker");
    assert_eq!((datagram.local, datagram.remote), (remote(4500), local(4500)));
    assert_eq!(datagram.port, Port::NatTraversal);
    // The other thread has it, or soon will.
    while right.net.counters().keepalives == 0 {
        std::thread::yield_now();
    }

    left.net.send_ike(local(500), remote(500), &[7; 3000]);
    let datagram = next_ike();
    assert_eq!(
        (datagram.octets.len(), datagram.port),
        (3000, Port::Ike),
        "fragments are put together"
    );
    assert_eq!((datagram.local, datagram.remote), (remote(500), local(500)));

    let v6 = |n: u16, port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], port));
    left.net.send_ike(v6(1, 4500), v6(2, 4500), &[8; 3000]);
    assert_eq!(left.net.counters().send_failures, 0);
    assert_eq!(next_ike().local, v6(2, 4500));
    let source = left.namespace.enter(|| left.net.source_towards(remote(500)).unwrap());
    assert_eq!(source, local(0).ip());
}

#[test]
fn a_source_address_that_is_gone_fails_one_send_and_no_other() {
    let (left, right) = connected(Pair::new(1));
    let gone = SocketAddr::from(([192, 0, 2, 77], 4500));
    left.net.send_ike(gone, SocketAddr::from(([192, 0, 2, 2], 4500)), b"lost");
    assert_eq!(left.net.counters().send_failures, 1);
    assert!(left.ping("10.2.0.1"));
    tcp_through(&left.namespace, &right.namespace, "10.2.0.1:7000");
}

#[test]
fn faults_leave_no_trace() {
    let (mut left, mut right) = connected(Pair::new(1));
    let mut twin = Pair::new(1).spec(1);
    twin.id = Pair::new(2).id();
    assert_eq!(left.carry_out(Command::Install(twin)), Err(Fault::SpiInUse));
    let mut mixed = Pair::new(3).spec(1);
    mixed.path.remote = "[2001:db8::2]:4500".parse().unwrap();
    assert_eq!(left.carry_out(Command::Install(mixed)), Err(Fault::Unsupported));
    assert_eq!(left.carry_out(Command::Remove(Pair::new(3).id())), Err(Fault::Unknown));
    assert_eq!(left.carry_out(Command::Release(GroupId(1))), Err(Fault::Unknown));
    assert_eq!(left.plane().len(), 1);
    assert!(left.ping("10.2.0.1"));
    Pair::new(2).install(&mut left, &mut right);
    assert!(left.ping("10.2.0.1"), "the SPI of a refused child is free");
}

#[test]
fn garbage_on_the_port_is_counted_by_reason() {
    let (left, right) = connected(Pair::new(1));
    let stranger = datagram_socket(&left, "192.0.2.1:0");
    let to = "192.0.2.2:4500";
    let known_spi = Pair::new(1).spec(2).inbound.spi.get();
    let mut forged = known_spi.to_be_bytes().to_vec();
    forged.extend([0, 0, 0xff, 0xff]);
    forged.extend([0; 60]);
    stranger.send_to(&[1, 2], to).unwrap();
    stranger.send_to(&[1, 2, 3, 4, 5], to).unwrap();
    stranger.send_to(&[0xaa; 100], to).unwrap();
    stranger.send_to(&forged, to).unwrap();
    until(|| right.plane().discards().of(Discard::NotAuthentic) == 1);
    assert_eq!(right.plane().discards().of(Discard::UnknownSpi), 1);
    assert_eq!(right.plane().discards().of(Discard::TooShort), 1);
    assert_eq!(right.net.counters().runts, 1);
    assert!(left.ping("10.2.0.1"));
}

#[test]
fn a_plane_that_is_dropped_under_load_takes_its_device_along() {
    let (left, _right) = connected(Pair::new(1));
    let sender = datagram_socket(&left, "10.1.0.1:0");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = sender.send_to(&[7; 1000], "10.2.0.1:7008");
            }
        });
        until(|| left.plane().traffic(Pair::new(1).id()).unwrap().packets_out > 100);
        let namespace = left.stop();
        is_over.store(true, Ordering::Relaxed);
        assert!(!namespace.succeeds("ip link show tun0"));
    });
}

#[test]
fn a_device_that_was_down_carries_again() {
    let (left, _right) = connected(Pair::new(1));
    left.namespace.ip("link set tun0 down");
    assert!(!left.namespace.succeeds("ping -n -c 1 -W 1 10.2.0.1"));
    left.namespace.ip("link set tun0 up");
    left.namespace.ip("route add 10.2.0.0/16 dev tun0 src 10.1.0.1");
    assert!(left.ping("10.2.0.1"));
}

#[test]
fn ecn_is_copied_to_the_outer_header_and_dscp_is_not() {
    let (left, right) = connected(Pair::new(1));
    let receiver = datagram_socket(&right, "10.2.0.1:7009");
    let sender = datagram_socket(&left, "10.1.0.1:0");
    for ecn in [0u8, 1, 2, 3] {
        let capture = Capture::start(&left.namespace);
        rustix::net::sockopt::set_ip_tos(&sender, 0xb8 | ecn).unwrap();
        sender.send_to(b"marked", "10.2.0.1:7009").unwrap();
        receiver.recv(&mut [0; 64]).unwrap();
        let classes: Vec<u8> =
            capture.packets().iter().filter(|p| p[0] == 0x45).map(|packet| packet[1]).collect();
        assert_eq!(classes, [ecn]);
    }
}

#[test]
fn a_connection_from_behind_a_gateway_begins_with_segments_that_fit() {
    let (left, right) = connected(Pair::new(1));
    // A host behind the left gateway, whose own link is wider than the tunnel.
    let host = Namespace::new("h");
    run(&format!(
        "ip link add lan netns {} type veth peer name lan netns {}",
        left.namespace.name(),
        host.name()
    ));
    left.namespace.ip("addr add 10.1.5.1/24 dev lan");
    left.namespace.ip("link set lan up");
    host.ip("addr add 10.1.5.2/24 dev lan");
    host.ip("link set lan up");
    host.ip("route add default via 10.1.5.1");
    left.namespace.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    // The tunnel's own MTU must not be what helps.
    for node in [&left, &right] {
        node.namespace.ip("link set tun0 mtu 1500");
    }
    let listener = right.namespace.enter(|| TcpListener::bind("10.2.0.1:7010").unwrap());
    let stream = host.enter(|| TcpStream::connect("10.2.0.1:7010").unwrap());
    let (accepted, _) = listener.accept().unwrap();
    let mss = |stream: &TcpStream| {
        let socket = socket2::SockRef::from(stream);
        socket.tcp_mss().unwrap()
    };
    // 1400 less two headers of 20 octets, and less the timestamp option.
    assert!(mss(&stream) <= 1360 && mss(&accepted) <= 1360);
    assert!(mss(&stream) >= 1300 && mss(&accepted) >= 1300);
}
