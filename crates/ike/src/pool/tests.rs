use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange::new(ip(first), ip(last)).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// Four addresses of each family; the third IPv4 address is carol's.
fn config() -> PoolConfig {
    PoolConfig {
        name: "clients".into(),
        ranges: vec![range("10.3.0.1", "10.3.0.4"), range("fd00::1", "fd00::4")],
        fixed: vec![(id("carol"), ip("10.3.0.3"))],
        network: Network::default(),
    }
}

struct Desk {
    pool: Pool,
    changes: Vec<LeaseChange>,
}

impl Desk {
    fn new() -> Self {
        Self { pool: Pool::new(&config()), changes: Vec::new() }
    }

    fn ask(&mut self, owner: &str, sa: u64, wish: &str, yields: Yields<'_>) -> Option<String> {
        let owner = id(owner);
        let wanted = Addresses::from_iter([ip(wish)]);
        let applicant = Applicant { owner: &owner, holder: SaId(sa), wanted, yields };
        let given = self.pool.assign(applicant, &mut self.changes);
        given.iter().next().map(|address| address.to_string())
    }

    fn any(&mut self, owner: &str, sa: u64) -> Option<String> {
        self.ask(owner, sa, "0.0.0.0", Yields::None)
    }

    fn back(&mut self, sa: u64, address: &str) {
        let addresses = Addresses::from_iter([ip(address)]);
        self.pool.release(SaId(sa), addresses, &mut self.changes);
    }
}

#[test]
fn the_same_identity_gets_the_same_address_again() {
    let mut desk = Desk::new();
    assert_eq!(desk.any("alice", 1).as_deref(), Some("10.3.0.1"));
    desk.back(1, "10.3.0.1");
    assert_eq!(desk.any("bob", 2).as_deref(), Some("10.3.0.2"));
    assert_eq!(desk.any("alice", 3).as_deref(), Some("10.3.0.1"));
}

#[test]
fn a_second_sa_of_an_identity_gets_an_address_of_its_own() {
    let mut desk = Desk::new();
    assert_eq!(desk.any("alice", 1).as_deref(), Some("10.3.0.1"));
    assert_eq!(desk.any("alice", 2).as_deref(), Some("10.3.0.2"));
}

#[test]
fn an_sa_that_replaces_another_takes_over_its_address() {
    for yields in [Yields::All, Yields::One(SaId(1))] {
        let mut desk = Desk::new();
        assert_eq!(desk.any("alice", 1).as_deref(), Some("10.3.0.1"));
        assert_eq!(desk.ask("alice", 2, "0.0.0.0", yields).as_deref(), Some("10.3.0.1"));
        desk.back(1, "10.3.0.1");
        assert_eq!(desk.pool.held(), 1, "the address was not the old SA's any more");
    }
    let mut desk = Desk::new();
    assert_eq!(desk.any("alice", 1).as_deref(), Some("10.3.0.1"));
    let other = desk.ask("alice", 2, "10.3.0.1", Yields::One(SaId(7)));
    assert_eq!(other.as_deref(), Some("10.3.0.2"));
    let stranger = desk.ask("bob", 3, "10.3.0.1", Yields::All);
    assert_eq!(stranger.as_deref(), Some("10.3.0.4"));
}

#[test]
fn a_fixed_address_is_for_its_identity_alone() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("alice", 1, "10.3.0.3", Yields::None).as_deref(), Some("10.3.0.1"));
    assert_eq!(desk.any("bob", 2).as_deref(), Some("10.3.0.2"));
    assert_eq!(desk.any("dave", 3).as_deref(), Some("10.3.0.4"));
    assert_eq!(desk.any("erin", 4), None);
    assert_eq!(desk.ask("carol", 5, "10.3.0.9", Yields::None).as_deref(), Some("10.3.0.3"));
    assert_eq!(desk.any("carol", 6), None, "it is held");
    desk.back(5, "10.3.0.3");
    assert_eq!(desk.any("erin", 4), None, "not even when it is idle");
}

#[test]
fn when_the_pool_is_full_the_address_that_was_idle_for_longest_changes_hands() {
    let mut desk = Desk::new();
    for (sa, owner) in [(1, "alice"), (2, "bob"), (3, "dave")] {
        assert!(desk.any(owner, sa).is_some());
    }
    assert_eq!(desk.any("erin", 4), None);
    desk.back(2, "10.3.0.2");
    desk.back(1, "10.3.0.1");
    assert_eq!(desk.any("erin", 5).as_deref(), Some("10.3.0.2"));
    assert_eq!(desk.any("bob", 6).as_deref(), Some("10.3.0.1"));
    assert_eq!(desk.any("alice", 7), None);
}

#[test]
fn a_wish_is_granted_where_nobody_else_has_it() {
    let mut desk = Desk::new();
    assert_eq!(desk.ask("alice", 1, "10.3.0.4", Yields::None).as_deref(), Some("10.3.0.4"));
    desk.back(1, "10.3.0.4");
    assert_eq!(desk.ask("bob", 2, "10.3.0.4", Yields::None).as_deref(), Some("10.3.0.1"));
    assert_eq!(desk.ask("dave", 3, "192.0.2.1", Yields::None).as_deref(), Some("10.3.0.2"));
    assert_eq!(desk.ask("dave", 4, "fd00::3", Yields::None).as_deref(), Some("fd00::3"));
}

#[test]
fn whoever_wishes_for_another_address_each_time_keeps_one() {
    let mut desk = Desk::new();
    for (sa, wish) in [(1, "10.3.0.4"), (2, "10.3.0.2"), (3, "10.3.0.1")] {
        assert_eq!(desk.ask("alice", sa, wish, Yields::None).as_deref(), Some(wish));
        desk.back(sa, wish);
    }
    assert_eq!(desk.pool.leases(), 1);
    for sa in 4..6 {
        assert!(desk.any(&format!("other{sa}"), sa).is_some());
    }
}

#[test]
fn leases_outlive_a_restart_and_give_way_to_the_configuration() {
    let mut desk = Desk::new();
    assert!(desk.any("alice", 1).is_some());
    assert!(desk.any("bob", 2).is_some());
    let mut again = Desk::new();
    for change in &desk.changes {
        let LeaseChange::Put(lease) = change else { panic!("nothing was dropped") };
        again.pool.restore(lease);
    }
    let lease = |address| Lease {
        pool: "clients".into(),
        address: ip(address),
        owner: id("zoe"),
        order: 9,
    };
    again.pool.restore(&lease("10.3.0.3"));
    again.pool.restore(&lease("10.9.0.1"));
    assert_eq!((again.pool.leases(), again.pool.held()), (2, 0));
    assert_eq!(again.any("dave", 3).as_deref(), Some("10.3.0.4"));
    assert_eq!(again.any("bob", 4).as_deref(), Some("10.3.0.2"));
    assert_eq!(again.any("alice", 5).as_deref(), Some("10.3.0.1"));
}

#[derive(Clone, Debug)]
enum Step {
    Ask { owner: u8, wish: u8, replaces: bool },
    Back(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6u8, 0..7u8, any::<bool>())
            .prop_map(|(owner, wish, replaces)| Step::Ask { owner, wish, replaces }),
        2 => any::<usize>().prop_map(Step::Back),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Against a model that knows only who was told what.
    #[test]
    fn no_address_has_two_holders(steps in prop::collection::vec(step(), 1..60)) {
        let names = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let mut desk = Desk::new();
        let mut held: BTreeMap<IpAddr, (u64, u8)> = BTreeMap::new();
        let mut stored: BTreeMap<IpAddr, Id> = BTreeMap::new();
        for (sa, step) in (1u64..).zip(steps) {
            match step {
                Step::Ask { owner, wish, replaces } => {
                    let wish = format!("10.3.0.{wish}").replace("10.3.0.0", "0.0.0.0");
                    let yields = if replaces { Yields::All } else { Yields::None };
                    let given = desk.ask(names[usize::from(owner)], sa, &wish, yields);
                    if let Some(address) = given.as_deref().map(ip) {
                        let before = held.insert(address, (sa, owner));
                        let is_fine = before.is_none_or(|(_, of)| replaces && of == owner);
                        prop_assert!(is_fine, "{address} had a holder: {before:?}");
                        prop_assert_eq!(address == ip("10.3.0.3"), owner == 2);
                    } else {
                        let open = (1..=4).filter(|n| *n != 3).map(|n| ip(&format!("10.3.0.{n}")));
                        let is_full = open.into_iter().all(|address| held.contains_key(&address));
                        prop_assert!(is_full || owner == 2, "an address was free");
                    }
                }
                Step::Back(which) => {
                    let Some((&address, &(sa, _))) = held.iter().nth(which % held.len().max(1))
                    else { continue };
                    desk.back(sa, &address.to_string());
                    held.remove(&address);
                }
            }
            prop_assert_eq!(desk.pool.held(), held.len());
            for change in desk.changes.drain(..) {
                match change {
                    LeaseChange::Put(lease) => { stored.insert(lease.address, lease.owner); }
                    LeaseChange::Drop { address, .. } => { stored.remove(&address); }
                }
            }
            prop_assert_eq!(desk.pool.leases(), stored.len(), "what is kept is what there is");
        }
    }
}
