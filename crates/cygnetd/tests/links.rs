//! Addresses, routes and rules in a network namespace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests: a surprise ends them, and they wait for real threads"
)]

mod world;

use std::net::IpAddr;

use cygnetd::links::{Links, LinksConfig};
use cygnetd::tun::{Tun, TunConfig};
use esp::spec::Selector;
use world::Namespace;

fn tun(name: &str) -> Tun {
    Tun::create(&TunConfig { name: name.into(), ..TunConfig::default() }).unwrap()
}

/// Runs `body` in the namespace, inside a runtime.
fn with<T: Send>(namespace: &Namespace, body: impl AsyncFnOnce() -> T + Send) -> T {
    namespace.enter(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body())
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn everything() -> [Selector; 2] {
    [Selector::subnet(ip("0.0.0.0"), 0), Selector::subnet(ip("::"), 0)]
}

/// All that `ip` shows of rules, routes and addresses.
fn state(namespace: &Namespace) -> String {
    ["rule", "-6 rule", "route show table all", "-6 route show table all", "addr"]
        .map(|what| namespace.ip(what))
        .concat()
}

#[test]
fn what_was_put_in_place_is_taken_back() {
    let namespace = Namespace::new("links");
    let device = namespace.enter(|| tun("tun0"));
    let before = state(&namespace);
    with(&namespace, async || {
        let mut links = Links::open(&LinksConfig::default(), device.index()).unwrap();
        links.install_rules().await.unwrap();
        for address in ["10.1.0.1", "fd01::1"] {
            let prefix = if address.contains(':') { 128 } else { 32 };
            links.add_address(ip(address), prefix).await.unwrap();
            links.add_address(ip(address), prefix).await.unwrap();
        }
        let odd = Selector::new(ip("10.9.0.5"), ip("10.9.0.9"), 0, (0, u16::MAX)).unwrap();
        for selector in everything().iter().chain([&odd, &odd]) {
            let source = if selector.start().is_ipv4() { "10.1.0.1" } else { "fd01::1" };
            links.add_route(selector, Some(ip(source))).await.unwrap();
        }

        let to = namespace.ip("route get 198.51.100.1");
        assert!(to.contains("dev tun0") && to.contains("src 10.1.0.1"), "{to}");
        let to = namespace.ip("route get 2001:db8:9::1");
        assert!(to.contains("dev tun0") && to.contains("src fd01::1"), "{to}");
        assert!(
            !namespace.succeeds("ip route get 198.51.100.1 mark 0x5723"),
            "our own go elsewhere"
        );
        let table = namespace.ip("route show table 5723");
        for prefix in ["10.9.0.5 ", "10.9.0.6/31", "10.9.0.8/31"] {
            assert!(table.contains(prefix), "{table}");
        }

        links.remove_route(&odd).await.unwrap();
        assert!(namespace.ip("route show table 5723").contains("10.9.0.5 "), "one more wants it");
        links.remove_route(&odd).await.unwrap();
        assert!(!namespace.ip("route show table 5723").contains("10.9.0.5 "));
        links.remove_address(ip("10.1.0.1"), 32).await.unwrap();
        assert!(namespace.ip("addr show dev tun0").contains("10.1.0.1"), "one more wants it");
        links.close().await.unwrap();
    });
    assert_eq!(state(&namespace), before);
}

#[test]
fn a_killed_daemon_leaves_packets_unreachable_until_the_next_start_cleans_up() {
    let namespace = Namespace::new("links");
    namespace.ip("link add veth0 type veth peer name veth1");
    namespace.ip("addr add 192.0.2.1/24 dev veth0");
    namespace.ip("link set veth0 up");
    namespace.ip("link set veth1 up");
    namespace.ip("route add default via 192.0.2.2");
    namespace.ip("rule add priority 5723 fwmark 7 lookup 99");
    namespace.ip("route add 203.0.113.0/24 dev veth0 table 5723 proto static");
    let before = state(&namespace);
    with(&namespace, async || {
        let device = tun("tun0");
        let mut links = Links::open(&LinksConfig::default(), device.index()).unwrap();
        links.install_rules().await.unwrap();
        links.add_address(ip("10.1.0.1"), 32).await.unwrap();
        for selector in &everything() {
            links.add_route(selector, None).await.unwrap();
        }
        assert!(namespace.ip("route get 198.51.100.1").contains("dev tun0"));
        // No close: as after SIGKILL, the device goes and the rest stays.
        drop(links);
        drop(device);
    });
    assert!(!namespace.succeeds("ip route get 198.51.100.1"), "it would leave in clear text");
    with(&namespace, async || {
        let device = tun("tun0");
        let links = Links::open(&LinksConfig::default(), device.index()).unwrap();
        assert_eq!(links.clean_leftovers().await.unwrap(), 4, "two rules, two routes");
        assert_eq!(links.clean_leftovers().await.unwrap(), 0);
    });
    assert_eq!(state(&namespace), before, "what others made is untouched");
}

#[test]
fn two_daemons_share_a_namespace_with_tables_of_their_own() {
    let namespace = Namespace::new("links");
    let (first, second) = namespace.enter(|| (tun("tun0"), tun("tun1")));
    let other = LinksConfig { table: 5724, mark: 0x5724, priority: 5724, ..LinksConfig::default() };
    with(&namespace, async || {
        let mut one = Links::open(&LinksConfig::default(), first.index()).unwrap();
        let mut two = Links::open(&other, second.index()).unwrap();
        for (links, network) in [(&mut one, "10.1.0.0"), (&mut two, "10.2.0.0")] {
            links.clean_leftovers().await.unwrap();
            links.install_rules().await.unwrap();
            links.add_route(&Selector::subnet(ip(network), 16), None).await.unwrap();
        }
        assert!(namespace.ip("route get 10.1.0.1").contains("dev tun0"));
        assert!(namespace.ip("route get 10.2.0.1").contains("dev tun1"));
        one.clean_leftovers().await.unwrap();
        assert!(namespace.ip("route get 10.2.0.1").contains("dev tun1"));
        one.close().await.unwrap();
        two.close().await.unwrap();
    });
}
