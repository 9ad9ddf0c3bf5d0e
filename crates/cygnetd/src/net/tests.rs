use std::sync::Arc;

use ike::event::Port;

use super::receive::{Content, content_of};
use super::*;

#[test]
fn the_first_octets_tell_ike_esp_and_keepalives_apart() {
    assert_eq!(content_of(&[0, 0, 0, 0, 1, 2]), Content::Ike);
    assert_eq!(content_of(&[0, 0, 1, 0, 1, 2]), Content::Esp);
    assert_eq!(content_of(&[0xff]), Content::Keepalive);
    assert_eq!(content_of(&[0xff, 0xff, 0xff, 0xff]), Content::Esp);
    assert_eq!(content_of(&[0xfe]), Content::Runt);
    assert_eq!(content_of(&[]), Content::Runt);
}

#[test]
fn one_port_for_both_is_refused() {
    let config = NetConfig { port: 4500, ..NetConfig::default() };
    assert_eq!(Net::bind(&config).err().map(|e| e.kind()), Some(io::ErrorKind::InvalidInput));
}

#[test]
fn a_full_inbox_drops_the_newcomer_and_counts_it() {
    let inbox = Inbox::new().unwrap();
    let from: SocketAddr = "192.0.2.1:500".parse().unwrap();
    let datagram =
        |n: u8| IkeDatagram { local: from, remote: from, octets: vec![n; 60_000], port: Port::Ike };
    for n in 0..=255 {
        inbox.push(datagram(n), true);
    }
    let kept = std::iter::from_fn(|| inbox.pop()).count() as u64;
    assert!(kept * 60_000 <= 8 << 20);
    assert_eq!(kept + inbox.dropped(), 256);
    inbox.push(datagram(1), true);
    assert!(inbox.pop().is_some(), "room again");
}

/// What a receiver has handed on.
#[derive(Default)]
struct Collected {
    packets: Vec<Vec<u8>>,
    sources: Vec<SocketAddr>,
}

impl EspSink for Collected {
    fn packets(&mut self, run: EspRun<'_>) {
        assert_eq!(run.way.encapsulation, Encapsulation::Udp);
        self.packets.extend(run.packets.chunks(run.stride).map(<[u8]>::to_vec));
        self.sources.push(run.way.remote);
    }

    fn flush(&mut self) {}
}

fn on(address: IpAddr) -> Net {
    let config = NetConfig {
        listen: vec![address],
        port: 0,
        nat_port: 0,
        plain_esp: false,
        ..NetConfig::default()
    };
    Net::bind(&config).unwrap()
}

fn wait_for_any(receiver: &Receiver) {
    let fd = |fd| rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN);
    let mut fds: Vec<_> = receiver.sources().map(fd).collect();
    rustix::event::poll(&mut fds, None).unwrap();
}

fn receive_all(receiver: &mut Receiver, sink: &mut Collected) {
    (0..receiver.sources().count()).for_each(|source| receiver.receive_from(source, sink));
}

#[test]
fn a_batch_arrives_packet_by_packet_with_ike_in_between() {
    let stop = Wake::new().unwrap();
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let (from, to) = (on(address), Arc::new(on(address)));
        let local = SocketAddr::new(address, from.nat_port());
        let remote = SocketAddr::new(address, to.nat_port());
        let path = OuterPath { local, remote, encapsulation: Encapsulation::Udp };
        let batch: Vec<u8> = (1..=5u8).flat_map(|n| [n; 300]).collect();
        from.send_esp(&path, &batch[..1350], 300, 2, &stop).unwrap();
        from.send_keepalive(local, remote);
        from.send_ike(local, remote, b"message");
        from.send_esp(&path, &batch[..300], 300, 0, &stop).unwrap();

        let mut collected = Collected::default();
        let mut packets = Receiver::new(Arc::clone(&to), Lane::Packets);
        while collected.packets.len() < 6 {
            wait_for_any(&packets);
            receive_all(&mut packets, &mut collected);
        }
        let lengths: Vec<_> = collected.packets.iter().map(Vec::len).collect();
        assert_eq!(lengths, [300, 300, 300, 300, 150, 300]);
        assert!(collected.sources.iter().all(|source| *source == local));
        assert!(to.inbox().pop().is_none(), "IKE came among the packets");
        let mut strays = Collected::default();
        let mut ike = Receiver::new(Arc::clone(&to), Lane::Ike);
        wait_for_any(&ike);
        receive_all(&mut ike, &mut strays);
        assert!(strays.packets.is_empty(), "packets came among IKE");
        let datagram = to.inbox().pop().unwrap();
        assert_eq!((datagram.octets.as_slice(), datagram.local), (&b"message"[..], remote));
        assert_eq!(to.counters().keepalives, 1);
    }
}

#[test]
fn a_listener_knows_the_source_towards_a_peer() {
    let net = on(Ipv4Addr::LOCALHOST.into());
    let peer = SocketAddr::from(([127, 0, 0, 9], 500));
    assert_eq!(net.source_towards(peer).unwrap(), IpAddr::from([127, 0, 0, 1]));
    assert!(net.ike_port(peer.ip()).is_some());
    assert_eq!(net.ike_port(Ipv6Addr::LOCALHOST.into()), None);
}
