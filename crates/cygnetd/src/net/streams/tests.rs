use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use esp::spec::{Encapsulation, OuterPath};
use esp::stream::PREFIX;
use ike::event::Port;
use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::net::{EspRun, EspSink, IkeDatagram, Lane, Net, Receiver};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OURS: StreamId = StreamId::Ours(1);

/// Sockets and their reader.
struct Side {
    net: Arc<Net>,
    receiver: Receiver,
    packets: Collected,
}

#[derive(Default)]
struct Collected(Vec<(OuterPath, Vec<u8>)>);

impl EspSink for Collected {
    fn packets(&mut self, run: EspRun<'_>) {
        let EspRun { packets, stride, skip, way, .. } = run;
        self.0.extend(packets.chunks(stride).map(|packet| (way, packet[skip..].to_vec())));
    }

    fn flush(&mut self) {}
}

impl Side {
    fn new(tcp_port: Option<u16>) -> Self {
        Self::at(LOCALHOST, tcp_port)
    }

    fn at(address: IpAddr, tcp_port: Option<u16>) -> Self {
        let config = NetConfig {
            listen: vec![address],
            port: 0,
            nat_port: 0,
            tcp_port,
            plain_esp: false,
            ..NetConfig::default()
        };
        let net = Arc::new(Net::bind(&config).unwrap());
        let receiver = Receiver::new(Arc::clone(&net), Lane::Packets);
        Self { net, receiver, packets: Collected::default() }
    }

    fn address(&self) -> SocketAddr {
        self.net.streams().listening().next().unwrap()
    }

    fn receive(&mut self) {
        let sources = self.receiver.sources().count();
        (0..sources).for_each(|n| self.receiver.receive_from(n, &mut self.packets));
    }

    fn connections(&self) -> usize {
        self.net.streams().len()
    }
}

/// Lets both sides receive until `done` has something.
fn until<T>(sides: &mut [&mut Side], mut done: impl FnMut(&mut [&mut Side]) -> Option<T>) -> T {
    loop {
        if let Some(done) = done(sides) {
            return done;
        }
        let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = sides.iter().flat_map(|s| s.receiver.sources().map(fd)).collect();
        poll(&mut fds, None).unwrap();
        sides.iter_mut().for_each(|side| side.receive());
    }
}

fn next_ike(side: &mut Side) -> IkeDatagram {
    until(&mut [side], |sides| sides[0].net.inbox().pop())
}

/// A gateway and a client that has opened a connection to it.
fn connected() -> (Side, Side) {
    let (mut gateway, mut client) = (Side::new(Some(0)), Side::new(None));
    let remote = gateway.address();
    client.net.streams().dial(OURS, SocketAddr::new(LOCALHOST, 0), remote);
    let opened = until(&mut [&mut client, &mut gateway], |sides| sides[0].net.streams().pop());
    let (OURS, StreamEvent::Opened { local, remote: to }) = opened else { panic!("{opened:?}") };
    assert_eq!((local.ip(), to), (LOCALHOST, remote));
    (gateway, client)
}

fn path(stream: StreamId) -> OuterPath {
    let nowhere = SocketAddr::new(LOCALHOST, 0);
    OuterPath { local: nowhere, remote: nowhere, encapsulation: Encapsulation::Tcp(stream) }
}

#[test]
fn ike_and_esp_pass_both_ways() {
    let (mut gateway, mut client) = connected();
    client.net.send_ike_by(OURS, b"request");
    let request = next_ike(&mut gateway);
    let Port::Tcp(theirs @ StreamId::Theirs(_)) = request.port else { panic!("{request:?}") };
    assert_eq!((&request.octets[..], request.local), (&b"request"[..], gateway.address()));
    gateway.net.send_ike_by(theirs, b"response");
    assert_eq!(next_ike(&mut client).octets, b"response");

    // More than one call of the system takes, and a shorter last packet.
    let packets: Vec<u8> = (0..150).flat_map(|n| [n + 1; 100]).chain([0xee; 40]).collect();
    let stop = Wake::new().unwrap();
    assert_eq!(client.net.send_esp(&path(OURS), &packets, 100, 0, &stop), Ok(0));
    until(&mut [&mut gateway], |sides| (sides[0].packets.0.len() == 151).then_some(()));
    let came: Vec<u8> = gateway.packets.0.iter().flat_map(|(_, packet)| packet.clone()).collect();
    assert!(came == packets, "packets are not what they were");
    assert!(
        gateway.packets.0.iter().all(|(way, _)| way.encapsulation == Encapsulation::Tcp(theirs))
    );
}

#[test]
fn packets_are_lost_and_messages_wait_when_the_peer_does_not_read() {
    let (mut gateway, mut client) = connected();
    let stop = Wake::new().unwrap();
    let packets: Vec<u8> = vec![7; 1400 * 40];
    let mut sent = 0;
    let lost = loop {
        let lost = client.net.send_esp(&path(OURS), &packets, 1400, 0, &stop).unwrap();
        sent += 40 - lost;
        if lost > 0 {
            break lost;
        }
    };
    assert!(lost <= 40);
    client.net.send_ike_by(OURS, b"patient");
    let message = until(&mut [&mut gateway, &mut client], |sides| sides[0].net.inbox().pop());
    assert_eq!(message.octets, b"patient");
    assert_eq!(gateway.packets.0.len(), sent);
    assert!(gateway.packets.0.iter().all(|(_, packet)| *packet == [7; 1400]));
}

#[test]
fn nobody_there_is_told() {
    let mut client = Side::new(None);
    let nobody = {
        let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    client.net.streams().dial(OURS, SocketAddr::new(LOCALHOST, 0), nobody);
    let news = until(&mut [&mut client], |sides| sides[0].net.streams().pop());
    assert_eq!(news, (OURS, StreamEvent::Closed));
    assert_eq!(client.connections(), 0);
}

#[test]
fn a_connection_that_is_left_is_closed_on_both_sides_and_nobody_is_told() {
    let (mut gateway, mut client) = connected();
    until(&mut [&mut gateway], |sides| (sides[0].connections() == 1).then_some(()));
    client.net.send_ike_by(OURS, b"goodbye");
    client.net.streams().leave(OURS);
    until(&mut [&mut gateway, &mut client], |sides| {
        sides.iter().all(|side| side.connections() == 0).then_some(())
    });
    assert_eq!(gateway.net.inbox().pop().unwrap().octets, b"goodbye");
    assert_eq!(client.net.streams().pop(), None);
}

#[test]
fn a_connection_that_the_peer_closes_is_told_after_what_it_said() {
    let (mut gateway, mut client) = connected();
    client.net.send_ike_by(OURS, b"request");
    let Port::Tcp(theirs) = next_ike(&mut gateway).port else { panic!("not by TCP") };
    gateway.net.send_ike_by(theirs, b"last");
    let stream = gateway.net.streams().find(theirs).unwrap();
    stream.socket.shutdown(std::net::Shutdown::Write).unwrap();
    let news = until(&mut [&mut client], |sides| sides[0].net.streams().pop());
    assert_eq!(news, (OURS, StreamEvent::Closed));
    assert_eq!(client.net.inbox().pop().unwrap().octets, b"last");
    client.net.send_ike_by(OURS, b"too late");
    assert_eq!(client.net.counters().send_failures, 1);
}

#[test]
fn octets_that_make_no_sense_end_their_connection_and_no_other() {
    let (mut gateway, client) = connected();
    client.net.send_ike_by(OURS, b"one");
    next_ike(&mut gateway);
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"IKETCP\0\x01"] {
        let before = gateway.net.counters().corrupt_streams;
        let mut stranger = TcpStream::connect(gateway.address()).unwrap();
        stranger.write_all(nonsense).unwrap();
        until(&mut [&mut gateway], |sides| {
            (sides[0].net.counters().corrupt_streams > before).then_some(())
        });
        // The end of it, in whichever way.
        let _ = stranger.read(&mut [0; 1]);
    }
    client.net.send_ike_by(OURS, b"two");
    assert_eq!(next_ike(&mut gateway).octets, b"two");
}

#[test]
fn a_source_has_few_connections_that_no_sa_uses() {
    let mut gateway = Side::new(Some(0));
    let streams = |gateway: &Side| gateway.connections();
    let many: Vec<_> = (0..MAX_GUESTS_PER_SOURCE + 5)
        .map(|_| TcpStream::connect(gateway.address()).unwrap())
        .collect();
    until(&mut [&mut gateway], |sides| {
        (sides[0].net.counters().streams_refused == 5).then_some(())
    });
    assert_eq!(streams(&gateway), MAX_GUESTS_PER_SOURCE);
    // One that an SA uses does not count.
    gateway.net.streams().keep(StreamId::Theirs(1));
    let mut next = TcpStream::connect(gateway.address()).unwrap();
    next.write_all(&[&PREFIX[..], &[0, 7, 0, 0, 0, 0, 9]].concat()).unwrap();
    assert_eq!(next_ike(&mut gateway).octets, [9]);
    assert_eq!(streams(&gateway), MAX_GUESTS_PER_SOURCE + 1);
    drop(many);
    until(&mut [&mut gateway], |sides| (sides[0].connections() == 1).then_some(()));
}

#[test]
fn whoever_stays_too_long_without_an_sa_is_sent_away() {
    let mut gateway = Side::new(Some(0));
    let _stranger = TcpStream::connect(gateway.address()).unwrap();
    until(&mut [&mut gateway], |sides| (sides[0].connections() == 1).then_some(()));
    let streams = gateway.net.streams();
    let now = clock::now().instant;
    for guest in streams.guests.lock().unwrap().values_mut() {
        guest.until = now;
    }
    streams.alarm.set(Some(now)).unwrap();
    until(&mut [&mut gateway], |sides| (sides[0].connections() == 0).then_some(()));
}

/// The flow label of the first segment of a connection that was accepted.
fn flow_label(socket: &TcpStream) -> u32 {
    // struct in6_flowlabel_req: an address, the label, two octets, flags.
    const REMOTE: u16 = 8;
    let mut request = [0u8; 32];
    request[22..24].copy_from_slice(&REMOTE.to_ne_bytes());
    let mut len = 32;
    // SAFETY: the system reads and writes the 32 octets that it is told of.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_FLOWLABEL_MGR,
            request.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(asked, 0, "{}", io::Error::last_os_error());
    u32::from_be_bytes([request[16], request[17], request[18], request[19]])
}

/// RFC 9329 section 6.1.
#[test]
fn a_connection_that_is_opened_anew_keeps_its_flow_label() {
    let here = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let gateway = TcpListener::bind((here, 0)).unwrap();
    let client = Side::at(here, None);
    let label = |id| {
        let remote = gateway.local_addr().unwrap();
        client.net.streams().dial(id, SocketAddr::new(here, 0), remote);
        flow_label(&gateway.accept().unwrap().0)
    };
    let first = label(OURS);
    assert!((0x8_0000..=0xf_ffff).contains(&first), "{first:x}");
    assert_eq!(label(OURS), first);
    assert_ne!(label(StreamId::Ours(2)), first);
}

const SENSELESS: Heard = Heard { good: 0, senseless: 40 };
const GOOD: Heard = Heard { good: 1, senseless: 40 };
const ONE: Heard = Heard { good: 0, senseless: 1 };
const NEITHER: Heard = Heard { good: 0, senseless: 0 };

/// RFC 9329 section 6.1. Many at once may be of a child that is just gone, and
/// few at any time.
#[test]
fn what_makes_no_sense_for_long_ends_its_connection_and_nothing_else_does() {
    type Row = &'static [(u32, Heard)];
    let second = Duration::from_secs(1);
    let begin = clock::now().instant;
    let rows: [(&str, Row, bool); 6] = [
        ("many at once", &[(0, SENSELESS), (1, SENSELESS), (9, SENSELESS)], false),
        ("few", &[(0, ONE), (60, SENSELESS)], false),
        ("something good between", &[(0, SENSELESS), (9, GOOD), (10, SENSELESS)], false),
        ("something good at the end", &[(0, SENSELESS), (10, GOOD)], false),
        ("nothing between", &[(0, SENSELESS), (9, NEITHER), (10, SENSELESS)], true),
        ("after something good", &[(0, GOOD), (5, SENSELESS), (15, SENSELESS)], true),
    ];
    for (what, heard, ends) in rows {
        let (mut gateway, mut client) = connected();
        let heard = heard.iter();
        let heard: Vec<_> = heard.map(|&(at, heard)| (begin + second * at, heard)).collect();
        let streams = client.net.streams();
        let ended: Vec<_> =
            heard.iter().map(|&(at, heard)| streams.hear(OURS, heard, at)).collect();
        assert_eq!(ended.last(), Some(&ends), "{what}");
        assert!(!ended[..ended.len() - 1].contains(&true), "{what}");
        if ends {
            let told = until(&mut [&mut client, &mut gateway], |it| it[0].net.streams().pop());
            assert_eq!(told, (OURS, StreamEvent::Closed), "{what}");
        }
        assert_eq!(client.connections(), usize::from(!ends), "{what}");
    }
}
