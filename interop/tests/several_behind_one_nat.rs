//! Several clients behind one NAT: two cygnets and a strongSwan 5.9, which their gateway sees at
//! one address. The gateway is strongSwan 5.9, and cygnet.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use control::State;
use interop::road_warrior::{self, SERVER};
use interop::{Cygnet, Namespace, PATIENCE, Stream, StrongSwan, World, story, until};

#[test]
fn clients_behind_one_nat_do_not_disturb_each_other_at_strongswan() -> Result<()> {
    story(|world| {
        let ground = Ground::make(world)?;
        ground.gateway.address("lo", &format!("{SERVER}/32"))?;
        let gateway = StrongSwan::start_with(&ground.gateway, &road_warrior::swanctl_gateway())?;
        come_and_one_goes(&ground, || {
            let sas = gateway.established()?;
            let place = |key| sas.iter().filter_map(move |sa| sa.value(key));
            let places = place("remote-host").zip(place("remote-port"));
            Ok(places.map(|(host, port)| format!("{host}:{port}")).collect())
        })
    })
}

#[test]
fn clients_behind_one_nat_do_not_disturb_each_other_at_cygnet() -> Result<()> {
    story(|world| {
        let ground = Ground::make(world)?;
        let gateway = Cygnet::start_with(&ground.gateway, "clients", &road_warrior::gateway(""))?;
        come_and_one_goes(&ground, || {
            let connections = gateway.status()?.connections.into_iter();
            let up = connections.filter(|connection| connection.state == State::Up);
            Ok(up.filter_map(|connection| connection.remote).collect())
        })
    })
}

/// Each client in a network of its own, behind one router.
struct Ground {
    clients: [Namespace; 3],
    gateway: Namespace,
}

impl Ground {
    fn make(world: &World) -> Result<Self> {
        let (router, gateway) = (world.namespace("router")?, world.namespace("gateway")?);
        world.link((&router, "outside", "10.77.0.1/24"), (&gateway, "eth0", "10.77.0.2/24"))?;
        let client = |number: usize| {
            let client = world.namespace(&format!("client{number}"))?;
            let here = format!("10.1.{number}.1/24");
            let inside = format!("inside{number}");
            world.link(
                (&client, "eth0", &format!("{}/24", outer(number))),
                (&router, &inside, &here),
            )?;
            client.ip(&format!("route add default via 10.1.{number}.1"))?;
            Ok::<_, anyhow::Error>(client)
        };
        let clients = [client(0)?, client(1)?, client(2)?];
        router.masquerade("outside")?;
        Ok(Self { clients, gateway })
    }

    fn cygnet(&self, number: usize) -> Result<Cygnet> {
        let conf = road_warrior::client("");
        Cygnet::start_with(&self.clients[number], "dut", &of_client(number, &conf))
    }

    fn strongswan(&self, number: usize) -> Result<StrongSwan> {
        let conf = road_warrior::swanctl_client();
        StrongSwan::start_with(&self.clients[number], &of_client(number, &conf))
    }
}

fn outer(number: usize) -> String {
    format!("10.1.{number}.2")
}

fn of_client(number: usize, conf: &str) -> String {
    conf.replace("10.77.0.1", &outer(number)).replace("@dut", &format!("@client{number}"))
}

/// All are up and talk with the server both ways at the same time. One goes, and the others lose
/// no packet. `places` is where the gateway sees who is up.
fn come_and_one_goes(ground: &Ground, places: impl Fn() -> Result<BTreeSet<String>>) -> Result<()> {
    let (first, second, third) = (ground.cygnet(0)?, ground.cygnet(1)?, ground.strongswan(2)?);
    first.up()?;
    second.up()?;
    third.initiate()?;
    let are_up = |count: usize| {
        until(PATIENCE, format!("{count} clients at the gateway"), || {
            let places = places()?;
            let behind_router = places.iter().all(|place| place.starts_with("10.77.0.1:"));
            Ok((behind_router && places.len() == count).then_some(()))
        })
        .with_context(|| format!("it has {:?}", places()))
    };
    are_up(3)?;

    let addresses = [given(&first)?, given(&second)?, given_to_strongswan(&third)?];
    assert_eq!(BTreeSet::from(addresses).len(), 3, "{addresses:?}");
    let talk = |number: usize| {
        let to_server = Stream::start(&ground.clients[number], addresses[number], SERVER)?;
        let to_client = Stream::start(&ground.gateway, SERVER, addresses[number])?;
        Ok::<_, anyhow::Error>([to_server, to_client])
    };
    let [mut leaving, mut staying, mut staying_too] = [talk(0)?, talk(1)?, talk(2)?];
    for stream in leaving.iter_mut().chain(&mut staying).chain(&mut staying_too) {
        stream.wait_for_more()?;
    }

    leaving.into_iter().try_for_each(Stream::finish)?;
    first.down()?;
    are_up(2)?;
    for mut stream in staying.into_iter().chain(staying_too) {
        stream.wait_for_more()?;
        stream.finish()?;
    }
    ground.gateway.no_ping(SERVER, addresses[0])?;
    first.up()?;
    are_up(3)
}

fn given(client: &Cygnet) -> Result<Ipv4Addr> {
    let inner = client.connection()?.inner;
    Ok(inner.first().context("no address")?.parse()?)
}

fn given_to_strongswan(client: &StrongSwan) -> Result<Ipv4Addr> {
    let sas = client.established()?;
    Ok(sas.first().and_then(|sa| sa.value("local-vips")).context("no address")?.parse()?)
}
