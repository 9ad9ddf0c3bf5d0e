use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> Selector {
    let (address, prefix) = text.split_once('/').unwrap();
    Selector::subnet(ip(address), prefix.parse().unwrap())
}

fn to(destination: &str) -> Flow {
    Flow {
        source: ip(if destination.contains(':') { "fd01::1" } else { "192.168.1.1" }),
        destination: ip(destination),
        protocol: 17,
        ports: Some((1000, 53)),
    }
}

fn everywhere() -> Vec<Selector> {
    vec![net("0.0.0.0/0"), net("::/0")]
}

fn selectors(remote: &[Selector]) -> Arc<Selectors> {
    Arc::new(Selectors::new(everywhere(), remote.to_vec()))
}

fn hold(group: u64, remote: &str, acquire: bool) -> Hold {
    Hold { group: GroupId(group), local_ts: everywhere(), remote_ts: vec![net(remote)], acquire }
}

#[derive(Default)]
struct Plane(Policies<u64>);

impl Plane {
    fn install(&mut self, id: u64, group: u64, remote: &[&str]) -> Vec<Box<[u8]>> {
        let remote: Vec<_> = remote.iter().map(|r| net(r)).collect();
        self.0.install(ChildId(id), GroupId(group), selectors(&remote), id).unwrap()
    }

    fn child(&self, flow: &Flow) -> Option<u64> {
        match self.0.lookup(flow) {
            Decision::Child(id) => Some(*id),
            Decision::Held(_) | Decision::Unmatched => None,
        }
    }

    fn held(&self, flow: &Flow) -> Option<GroupId> {
        match self.0.lookup(flow) {
            Decision::Held(held) => Some(held.group()),
            Decision::Child(_) | Decision::Unmatched => None,
        }
    }
}

#[test]
fn a_child_on_standby_takes_over_when_told_or_when_it_is_the_last() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["10.0.0.0/8"]);
    plane.install(2, 1, &["10.0.0.0/8"]);
    plane.0.stand_by(ChildId(2)).unwrap();
    assert_eq!(plane.child(&to("10.0.0.1")), Some(1));
    plane.0.prefer(ChildId(2)).unwrap();
    assert_eq!(plane.child(&to("10.0.0.1")), Some(2));
    plane.0.stand_by(ChildId(2)).unwrap();
    plane.0.remove(ChildId(1)).unwrap();
    assert_eq!(plane.child(&to("10.0.0.1")), Some(2));
    assert_eq!(plane.0.prefer(ChildId(1)), Err(Fault::Unknown));
}

#[test]
fn a_child_on_standby_gives_way_to_another_group_with_the_same_selectors() {
    let mut plane = Plane(Policies::default());
    plane.install(1, 1, &["10.1.0.2/32"]);
    plane.install(2, 2, &["10.1.0.2/32", "10.1.0.3/32"]);
    plane.0.stand_by(ChildId(2)).unwrap();
    assert_eq!(plane.child(&to("10.1.0.2")), Some(1));
    assert_eq!(plane.child(&to("10.1.0.3")), Some(2), "nobody else is there");
    plane.0.prefer(ChildId(2)).unwrap();
    assert_eq!(plane.child(&to("10.1.0.2")), Some(2));
    plane.0.stand_by(ChildId(2)).unwrap();
    // What the other group held for want of a child would be lost with it.
    plane.0.remove(ChildId(1)).unwrap();
    assert_eq!(plane.child(&to("10.1.0.2")), Some(2));
    plane.0.release(GroupId(1)).unwrap();
    assert_eq!(plane.child(&to("10.1.0.2")), Some(2));
}

#[test]
fn the_most_specific_remote_prefix_decides() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["0.0.0.0/0"]);
    plane.install(2, 2, &["10.0.0.0/8", "fd00::/8"]);
    plane.install(3, 3, &["10.1.2.3/32"]);
    assert_eq!(plane.child(&to("10.1.2.3")), Some(3));
    assert_eq!(plane.child(&to("10.1.2.4")), Some(2));
    assert_eq!(plane.child(&to("8.8.8.8")), Some(1));
    assert_eq!(plane.child(&to("fd00::1")), Some(2));
    assert_eq!(plane.child(&to("2001:db8::1")), None);
}

#[test]
fn the_newest_child_of_a_group_wins_and_the_older_one_serves_again() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["10.0.0.0/16"]);
    plane.install(2, 1, &["10.0.0.0/8"]);
    assert_eq!(plane.child(&to("10.0.0.1")), Some(2));
    plane.0.remove(ChildId(2)).unwrap();
    assert_eq!(plane.child(&to("10.0.0.1")), Some(1));
    assert_eq!(plane.child(&to("10.2.0.1")), None);
}

#[test]
fn an_odd_range_is_exact() {
    let mut plane = Plane::default();
    let range = Selector::new(ip("10.0.0.5"), ip("10.0.1.7"), 0, (0, u16::MAX)).unwrap();
    plane.0.install(ChildId(1), GroupId(1), selectors(&[range]), 1).unwrap();
    for (destination, expected) in
        [("10.0.0.4", None), ("10.0.0.5", Some(1)), ("10.0.1.7", Some(1)), ("10.0.1.8", None)]
    {
        assert_eq!(plane.child(&to(destination)), expected, "{destination}");
    }
}

#[test]
fn a_selector_with_a_port_goes_before_one_without() {
    let mut plane = Plane::default();
    let dns = Selector::new(ip("10.0.0.0"), ip("10.255.255.255"), 17, (53, 53)).unwrap();
    plane.0.install(ChildId(1), GroupId(1), selectors(&[dns]), 1).unwrap();
    plane.install(2, 2, &["10.0.0.0/8"]);
    let mut flow = to("10.0.0.1");
    assert_eq!(plane.child(&flow), Some(1));
    flow.ports = Some((1000, 80));
    assert_eq!(plane.child(&flow), Some(2));
    flow.ports = None;
    assert_eq!(plane.child(&flow), Some(2), "a later fragment shows no port");
}

#[test]
fn a_held_group_claims_its_packets_from_wider_tunnels() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["0.0.0.0/0"]);
    plane.0.hold(hold(2, "10.0.0.0/8", true)).unwrap();
    assert_eq!(plane.held(&to("10.0.0.1")), Some(GroupId(2)));
    assert_eq!(plane.child(&to("11.0.0.1")), Some(1));
}

#[test]
fn packets_wait_in_order_for_the_next_child() {
    let mut plane = Plane::default();
    plane.0.hold(hold(1, "10.0.0.0/8", true)).unwrap();
    let wait = |packet: &[u8]| match plane.0.lookup(&to("10.0.0.1")) {
        Decision::Held(held) => {
            assert_eq!(held.acquire(), PlaneEvent::Acquire(GroupId(1), to("10.0.0.1")));
            held.wait(packet)
        }
        _ => panic!("not held"),
    };
    assert!(wait(b"first").acquire);
    assert!(!wait(b"second").acquire);
    let waited = plane.install(1, 1, &["10.0.0.0/8"]);
    assert_eq!(waited, [Box::from(&b"first"[..]), Box::from(&b"second"[..])]);
    assert_eq!(plane.child(&to("10.0.0.1")), Some(1));
    assert_eq!(plane.install(2, 1, &["10.0.0.0/8"]).len(), 0);
}

#[test]
fn a_group_without_its_last_child_goes_on_holding() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["10.0.0.0/8"]);
    plane.0.remove(ChildId(1)).unwrap();
    assert_eq!(plane.held(&to("10.0.0.1")), Some(GroupId(1)));
    plane.0.release(GroupId(1)).unwrap();
    assert_eq!(plane.held(&to("10.0.0.1")), None);
    assert!(plane.0.index.covering(ip("10.0.0.1")).next().is_none(), "nothing is left");
}

#[test]
fn a_new_hold_replaces_the_former_and_keeps_the_packets() {
    let mut plane = Plane::default();
    plane.0.hold(hold(1, "10.0.0.0/8", false)).unwrap();
    let Decision::Held(held) = plane.0.lookup(&to("10.0.0.1")) else { panic!("not held") };
    assert!(!held.wait(b"packet").acquire);
    let waits = plane.0.hold(hold(1, "11.0.0.0/8", true)).unwrap();
    assert_eq!(waits, Some(to("10.0.0.1")));
    assert_eq!(plane.held(&to("10.0.0.1")), None);
    assert_eq!(plane.held(&to("11.0.0.1")), Some(GroupId(1)));
    assert_eq!(plane.0.release(GroupId(1)), Ok(1));
}

#[test]
fn what_is_discarded_does_not_ask_for_a_child_but_the_next_packet_does() {
    let mut plane = Plane::default();
    let push = |plane: &Plane| match plane.0.lookup(&to("10.0.0.1")) {
        Decision::Held(held) => held.wait(b"packet").acquire,
        Decision::Child(_) | Decision::Unmatched => panic!("not held"),
    };
    plane.0.hold(hold(1, "10.0.0.0/8", false)).unwrap();
    assert!(!push(&plane));
    assert_eq!(plane.0.discard(GroupId(1)), Ok(1));
    assert_eq!(plane.0.hold(hold(1, "10.0.0.0/8", true)), Ok(None), "nothing waits");
    assert!(push(&plane));
    assert_eq!(plane.0.discard(GroupId(2)), Err(Fault::Unknown));
}

#[test]
fn a_group_with_children_is_not_released() {
    let mut plane = Plane::default();
    plane.install(1, 1, &["10.0.0.0/8"]);
    assert_eq!(plane.0.release(GroupId(1)), Err(Fault::Unknown));
    assert_eq!(plane.0.release(GroupId(2)), Err(Fault::Unknown));
    assert_eq!(plane.0.remove(ChildId(9)), Err(Fault::Unknown));
}

/// A small world, so that selectors overlap often.
#[test]
fn one_of_hundreds_of_selectors_is_found() {
    let side: Vec<_> = (0..=254).map(|n| net(&format!("10.{n}.0.0/24"))).collect();
    let selectors = Selectors::new(side.clone(), side);
    let flow = |source: &str, destination: &str| Flow { source: ip(source), ..to(destination) };
    assert!(selectors.select(&flow("10.0.0.1", "10.254.0.255")));
    assert!(selectors.accept(&flow("10.100.0.1", "10.200.0.1")));
    assert!(!selectors.select(&flow("10.0.0.1", "10.255.0.1")));
    assert!(!selectors.select(&flow("10.0.1.0", "10.1.0.1")));
    assert!(!selectors.select(&flow("9.255.255.255", "10.1.0.1")));
}

fn small_selector() -> impl Strategy<Value = Selector> {
    (0u8..8, 0u8..8, prop_oneof![3 => Just(0u8), 1 => Just(17)]).prop_map(|(a, b, protocol)| {
        let (start, end) = (a.min(b), a.max(b));
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        Selector::new(address(start), address(end), protocol, (0, u16::MAX)).unwrap()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Install(u64, Vec<Selector>),
    Remove(usize),
    Hold(u64, Vec<Selector>),
    Release(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(small_selector(), 1..3);
    prop_oneof![
        4 => (0u64..4, some()).prop_map(|(group, remote)| Step::Install(group, remote)),
        3 => any::<usize>().prop_map(Step::Remove),
        2 => (0u64..4, some()).prop_map(|(group, remote)| Step::Hold(group, remote)),
        1 => (0u64..4).prop_map(Step::Release),
    ]
}

/// Groups as lists, searched from end to end.
#[derive(Default)]
struct Model {
    children: Vec<(u64, u64, Vec<Selector>)>,
    holds: BTreeMap<u64, Vec<Selector>>,
}

impl Model {
    /// Who may carry the packet: the newest matching child of each group that
    /// has one, and each group that holds it.
    fn candidates(&self, flow: &Flow) -> (Vec<u64>, Vec<GroupId>) {
        let selects = |remote: &[Selector]| {
            remote
                .iter()
                .any(|s| s.contains(flow.destination, flow.protocol, flow.destination_port()))
        };
        let newest_of = |group: u64| {
            self.children.iter().rev().find(|(_, g, remote)| *g == group && selects(remote))
        };
        let children = (0..4).filter_map(|group| newest_of(group).map(|(id, ..)| *id)).collect();
        let is_held = |(group, remote): &(&u64, &Vec<Selector>)| {
            selects(remote) && !self.children.iter().any(|(_, g, _)| g == *group)
        };
        let held = self.holds.iter().filter(is_held).map(|(group, _)| GroupId(*group)).collect();
        (children, held)
    }
}

proptest! {
    #[test]
    fn a_sorted_side_selects_what_any_of_its_selectors_does(
        side in prop::collection::vec(small_selector(), 0..12),
        host in 0u8..40, is_v6: bool, protocol in prop::sample::select(vec![6u8, 17]), port in prop::option::of(0u16..100),
    ) {
        let address = if is_v6 { ip(&format!("fd00::{host:x}")) } else { ip(&format!("10.0.0.{host}")) };
        let expected = side.iter().any(|s| s.contains(address, protocol, port));
        prop_assert_eq!(Side::new(side).contains(address, protocol, port), expected);
    }

    #[test]
    fn lookups_agree_with_a_search_through_everything(steps in prop::collection::vec(step(), 1..40)) {
        let (mut plane, mut model) = (Plane::default(), Model::default());
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Install(group, remote) => {
                    let id = n as u64;
                    plane.0.install(ChildId(id), GroupId(group), selectors(&remote), id).unwrap();
                    model.children.push((id, group, remote));
                }
                Step::Remove(which) if !model.children.is_empty() => {
                    let (id, group, remote) = model.children.remove(which % model.children.len());
                    plane.0.remove(ChildId(id)).unwrap();
                    if !model.children.iter().any(|(_, g, _)| *g == group) {
                        model.holds.entry(group).or_insert(remote);
                    }
                }
                Step::Remove(_) => {}
                Step::Hold(group, remote) => {
                    let local_ts = everywhere();
                    plane.0.hold(Hold { group: GroupId(group), local_ts, remote_ts: remote.clone(), acquire: false }).unwrap();
                    model.holds.insert(group, remote);
                }
                Step::Release(group) => {
                    let is_known = model.holds.contains_key(&group);
                    let is_free = !model.children.iter().any(|(_, g, _)| *g == group);
                    let released = plane.0.release(GroupId(group)).is_ok();
                    prop_assert_eq!(released, is_known && is_free);
                    if released { model.holds.remove(&group); }
                }
            }
            for (last, protocol) in (0u8..8).flat_map(|n| [(n, 6), (n, 17)]) {
                let flow = Flow { source: ip("192.168.1.1"), destination: [10, 0, 0, last].into(), protocol, ports: Some((1, 2)) };
                let (children, held) = model.candidates(&flow);
                match plane.0.lookup(&flow) {
                    Decision::Child(id) => prop_assert!(children.contains(id)),
                    Decision::Held(by) => prop_assert!(held.contains(&by.group())),
                    Decision::Unmatched => prop_assert!(children.is_empty() && held.is_empty()),
                }
            }
        }
    }
}
