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
        |n: u8| IkeDatagram { local: from, remote: from, octets: vec![n; 60_000], nat_t: false };
    for n in 0..=255 {
        inbox.push(datagram(n));
    }
    let kept = std::iter::from_fn(|| inbox.pop()).count() as u64;
    assert!(kept * 60_000 <= 8 << 20);
    assert_eq!(kept + inbox.dropped(), 256);
    inbox.push(datagram(1));
    assert!(inbox.pop().is_some(), "room again");
}
