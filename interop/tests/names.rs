//! Name servers behind the gateway, with a real systemd-resolved and a real resolvconf (openresolv)
//! on the client: told when the connection is up, taken back when it is not.

use std::net::Ipv4Addr;

use anyhow::Result;
use interop::road_warrior::{NAME_SERVER, client, gateway};
use interop::{Cygnet, NameServer, Namespace, PATIENCE, Resolver, World, story, until};

const INTRANET: &str = "intranet.corp.example";
const INTRANET_AT: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 80);

/// The client's own, without the tunnel.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const WEB: &str = "www.example.com";
const WEB_AT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

const SPLIT: &str = r#"dns_domains = ["corp.example"]"#;

#[test]
fn systemd_resolved_asks_the_gateways_servers_for_its_domains_only() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::systemd_resolved(&office.dut, OUTSIDE)?;
        let client = office.client(SPLIT)?;
        resolver.wait_for_address(WEB, Some(WEB_AT))?;
        resolver.wait_for_address(INTRANET, None)?;

        client.up()?;
        resolver.wait_for_address(INTRANET, Some(INTRANET_AT))?;
        resolver.wait_for_address("later.example.com", None)?;
        assert!(!office.inside.was_asked_for("later.example.com")?);
        assert!(office.outside.was_asked_for("later.example.com")?);
        resolver.wait_for_address("later.corp.example", None)?;
        assert!(!office.outside.was_asked_for("later.corp.example")?);

        client.down()?;
        until(PATIENCE, "the server to be forgotten", || {
            let servers = resolver.run("resolvectl dns")?;
            Ok((!servers.contains(&NAME_SERVER.to_string())).then_some(()))
        })?;
        resolver.wait_for_address(INTRANET, None)?;
        resolver.wait_for_address(WEB, Some(WEB_AT))
    })
}

#[test]
fn systemd_resolved_asks_the_gateways_servers_for_everything_without_domains() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::systemd_resolved(&office.dut, OUTSIDE)?;
        asked_for_everything(&office, &resolver)
    })
}

#[test]
fn systemd_resolved_forgets_what_a_daemon_said_that_was_killed() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::systemd_resolved(&office.dut, OUTSIDE)?;
        forgotten_after_a_kill(&office, &resolver)
    })
}

#[test]
fn resolvconf_puts_the_gateways_servers_first_and_searches_its_domains() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::openresolv(&office.dut, OUTSIDE)?;
        let before = resolver.run("cat /run/resolv.conf")?;
        let client = office.client(SPLIT)?;
        resolver.wait_for_address(INTRANET, None)?;

        client.up()?;
        resolver.wait_for_address(INTRANET, Some(INTRANET_AT))?;
        assert_eq!(resolver.address("intranet"), Some(INTRANET_AT));

        client.down()?;
        until(PATIENCE, "the file as it was", || {
            Ok((resolver.run("cat /run/resolv.conf")? == before).then_some(()))
        })
    })
}

#[test]
fn resolvconf_has_only_the_gateways_servers_without_domains() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::openresolv(&office.dut, OUTSIDE)?;
        asked_for_everything(&office, &resolver)
    })
}

#[test]
fn resolvconf_is_told_after_the_next_start_when_a_daemon_was_killed() -> Result<()> {
    story(|world| {
        let office = Office::start(world)?;
        let resolver = Resolver::openresolv(&office.dut, OUTSIDE)?;
        forgotten_after_a_kill(&office, &resolver)
    })
}

fn asked_for_everything(office: &Office, resolver: &Resolver) -> Result<()> {
    let client = office.client("")?;
    resolver.wait_for_address(WEB, Some(WEB_AT))?;
    client.up()?;
    resolver.wait_for_address(INTRANET, Some(INTRANET_AT))?;
    assert_eq!(resolver.address("later.example.com"), None);
    assert!(office.inside.was_asked_for("later.example.com")?);
    assert!(!office.outside.was_asked_for("later.example.com")?);
    client.down()?;
    resolver.wait_for_address(WEB, Some(WEB_AT))
}

fn forgotten_after_a_kill(office: &Office, resolver: &Resolver) -> Result<()> {
    let mut client = office.client("")?;
    client.up()?;
    resolver.wait_for_address(INTRANET, Some(INTRANET_AT))?;
    client.crash_and_restart()?;
    resolver.wait_for_address(INTRANET, None)?;
    resolver.wait_for_address(WEB, Some(WEB_AT))?;
    client.up()?;
    resolver.wait_for_address(INTRANET, Some(INTRANET_AT))?;
    client.down()?;
    resolver.wait_for_address(WEB, Some(WEB_AT))
}

/// A gateway with a name server behind it, and one beside it.
struct Office {
    dut: Namespace,
    inside: NameServer,
    outside: NameServer,
    _gateway: Cygnet,
}

impl Office {
    fn start(world: &World) -> Result<Self> {
        let (dut, peer) = world.pair()?;
        peer.address("lo", &format!("{NAME_SERVER}/32"))?;
        let inside = NameServer::start(&peer, NAME_SERVER, INTRANET, INTRANET_AT)?;
        let outside = NameServer::start(&peer, OUTSIDE, WEB, WEB_AT)?;
        let gateway = Cygnet::start_with(&peer, "clients", &gateway(""))?;
        Ok(Self { dut, inside, outside, _gateway: gateway })
    }

    /// `extra` is a line of the connection.
    fn client(&self, extra: &str) -> Result<Cygnet> {
        Cygnet::start_with(&self.dut, "dut", &client(extra))
    }
}
