//! Children with many traffic selectors (RFC 7296 section 2.9).

use std::net::Ipv4Addr;

use ike::event::How;
use ike::wire::{ExchangeType, PayloadType};
use sim::meddle::{self, DELAY, arrival};
use sim::plane::Outgoing;
use sim::{Pair, Scene, packet};

/// What a payload can hold.
const MOST: usize = 255;

/// Subnets of one side that do not touch each other: `10.NET.1.0/24`, `10.NET.3.0/24` ..
fn nets(net: u8, count: usize) -> Vec<String> {
    let third = |n: usize| (n * 2 % 256, n * 2 / 256 * 128);
    (0..count)
        .map(|n| (third(n), net))
        .map(|((c, d), net)| format!("10.{net}.{c}.{d}/25"))
        .collect()
}

fn leaked(nets: Vec<String>) -> Vec<&'static str> {
    nets.into_iter().map(|net| &*net.leak()).collect()
}

fn wide(scene: &mut Scene) {
    scene.client.local_ts = nets(1, MOST);
    scene.client.remote_ts = leaked(nets(2, MOST));
    scene.gateway.local_ts = nets(2, MOST);
    scene.gateway.remote_ts = leaked(nets(1, MOST));
}

/// Whether a packet passes from the client's net to the gateway's, both by number.
fn passes(pair: &mut Pair, from: usize, to: usize) -> bool {
    let address = |net: u8, number: usize| -> Ipv4Addr {
        let [c, d] = [number * 2 % 256, number * 2 / 256 * 128 + 5].map(|n| n.try_into().unwrap());
        [10, net, c, d].into()
    };
    let inner = packet::udp(address(1, from), address(2, to), b"data");
    let (client, gateway) = (pair.client, pair.gateway);
    let before = pair.world.node(gateway).delivered.len();
    let sealed = matches!(pair.world.send_inner(client, &inner), Outgoing::Sealed(..));
    pair.world.drive();
    sealed && pair.world.node(gateway).delivered.len() == before + 1
}

fn sides(pair: &Pair) -> [usize; 4] {
    let [ours, theirs] = [pair.status(), pair.served().remove(0)].map(|it| it.sa.unwrap().children);
    [&ours[0].local_ts, &ours[0].remote_ts, &theirs[0].remote_ts, &theirs[0].local_ts].map(Vec::len)
}

#[test]
fn a_child_can_have_as_many_selectors_as_a_payload_holds() {
    let mut pair = Pair::joined(wide);
    assert_eq!(sides(&pair), [MOST; 4]);
    for (from, to) in [(0, 0), (254, 0), (0, 254), (254, 254), (100, 200)] {
        assert!(passes(&mut pair, from, to), "{from} to {to}");
    }
    // Between two subnets there is none.
    let stray = packet::udp([10, 1, 1, 5].into(), [10, 2, 0, 5].into(), b"data");
    let client = pair.client;
    assert!(!matches!(pair.world.send_inner(client, &stray), Outgoing::Sealed(..)));
    pair.suspend().unwrap();
    pair.resume().unwrap();
    assert_eq!(pair.set_up().how, How::Resumed);
    assert_eq!(sides(&pair), [MOST; 4]);
    pair.command(ike::event::Command::Rekey(pair.name(), ike::event::RekeyWhat::Children)).unwrap();
    pair.world.run_for(DELAY * 10);
    assert_eq!(sides(&pair), [MOST; 4]);
    assert!(passes(&mut pair, 254, 254));
}

/// Two lists of 255 selectors of 16 octets in IKE_AUTH, both ways.
#[test]
fn long_lists_go_in_fragments_and_survive_the_loss_of_any() {
    let fragments = |pair: &Pair| {
        let headers = pair.world.trace.iter().filter_map(|sent| sent.datagram.header());
        headers.filter(|h| h.exchange == ExchangeType::AUTH && h.next == PayloadType::SKF).count()
    };
    let mut whole = Pair::with(wide);
    whole.up().unwrap();
    let count = fragments(&whole);
    assert!((14..20).contains(&count), "{count} fragments");
    let is_of_ike = |sent: &&sim::Sent| sent.datagram.ike().is_some();
    let datagrams = whole.world.trace.iter().filter(is_of_ike).count();
    for position in 0..datagrams {
        let lost: fn(&sim::Sent) -> Vec<sim::Arrival> = |_| Vec::new();
        let twice: fn(&sim::Sent) -> Vec<sim::Arrival> =
            |sent| vec![arrival(DELAY, sent), arrival(3 * DELAY, sent)];
        for meddling in [lost, twice] {
            let mut pair = Pair::with(wide);
            pair.world.meddler = Some(meddle::nth(position, meddling));
            pair.up().unwrap();
            assert_eq!(sides(&pair), [MOST; 4], "datagram {position}");
        }
    }
}

/// Every pair of two overlapping lists has something in common; what is agreed
/// on still fits a payload.
#[test]
fn more_than_a_payload_holds_is_cut_off() {
    let mut pair = Pair::joined(|scene| {
        let odd = |n: u32| format!("10.1.{}.0/{}", n % 128, 17 + n % 8);
        scene.client.local_ts = (0..255).map(odd).collect();
        scene.gateway.remote_ts = leaked((0..255).map(|n| odd(n * 7)).collect());
    });
    let [local, _, remote, _] = sides(&pair);
    assert!(local == remote && local <= MOST, "{local} {remote}");
    pair.assert_joined();
}
