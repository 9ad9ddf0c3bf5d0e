//! Redirects (RFC 5685): a client of two gateways, where each of the three may be cygnet, or all
//! but one strongSwan 5.9.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use control::{Connection, FallBack, Gone, How, State, What};
use interop::{Capture, Cygnet, Namespace, PATIENCE, Stream, StrongSwan, World, story, until};

/// Behind the client, and behind each gateway.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 91, 0, 1), Ipv4Addr::new(10, 92, 0, 1)];

/// The gateways, each on a cable of its own to the client.
const GATEWAYS: [&str; 2] = ["10.77.0.2", "10.78.0.2"];

/// At the client.
const DEVICES: [&str; 2] = ["eth0", "eth1"];

/// The client, and the two gateways.
fn ground(world: &World) -> Result<(Namespace, [Namespace; 2])> {
    let dut = world.namespace("dut")?;
    let gateways = [world.namespace("first")?, world.namespace("second")?];
    for (gateway, (device, net)) in
        gateways.iter().zip(DEVICES.into_iter().zip(["10.77.0", "10.78.0"]))
    {
        let (near, far) = (format!("{net}.1/24"), format!("{net}.2/24"));
        world.link((&dut, device, &near), (gateway, "eth0", &far))?;
    }
    Ok((dut, gateways))
}

fn cygnet_conf(remote: &str, ids: [&str; 2], [own, other]: [u8; 2]) -> String {
    format!(
        r#"
[connections.dut]
{remote}
proposals = ["aes256gcm16-prfsha384-x25519"]
inner_addrs = ["10.{own}.0.1/24"]
[connections.dut.local]
id = "{}"
[connections.dut.remote]
id = "{}"
[connections.dut.children.net]
local_ts = ["10.{own}.0.0/24"]
remote_ts = ["10.{other}.0.0/24"]
[secrets.psk]
secret = "correct horse battery staple"
"#,
        ids[0], ids[1]
    )
}

fn cygnet_client(namespace: &Namespace) -> Result<Cygnet> {
    let remote = format!("remote_addrs = [\"{}\"]", GATEWAYS[0]);
    let conf = cygnet_conf(&remote, ["@client", "@gateway"], [91, 92]);
    Cygnet::start_with(namespace, "dut", &conf)
}

fn cygnet_gateways(namespaces: &[Namespace; 2]) -> Result<[Cygnet; 2]> {
    let conf = cygnet_conf("", ["@gateway", "@client"], [92, 91]);
    let start = |namespace| Cygnet::start_with(namespace, "dut", &conf);
    Ok([start(&namespaces[0])?, start(&namespaces[1])?])
}

fn swanctl_conf(remote: &str, ids: [&str; 2], [own, other]: [u8; 2]) -> String {
    format!(
        "connections {{ dut {{
            version = 2
            remote_addrs = {remote}
            proposals = aes256gcm16-prfsha384-x25519
            encap = yes
            local {{ auth = psk
                     id = {} }}
            remote {{ auth = psk
                      id = {} }}
            children {{ net {{ local_ts = 10.{own}.0.0/24
                               remote_ts = 10.{other}.0.0/24
                               esp_proposals = aes256gcm16 }} }}
        }} }}
        secrets {{ ike-dut {{ secret = \"correct horse battery staple\" }} }}\n",
        ids[0], ids[1]
    )
}

/// Has a gateway send its clients elsewhere; what the command said.
fn redirect(gateway: &Cygnet, arguments: &[&str]) -> Result<String> {
    let answer = gateway.ask(&[&["redirect"], arguments].concat())?;
    ensure!(answer.code == Some(0), "{answer:?}");
    Ok(answer.printed)
}

/// The client is up at this gateway, and the other one has let go of it.
fn wait_until_at(client: &Cygnet, gateways: &[Cygnet; 2], at: usize) -> Result<()> {
    until(PATIENCE, format!("the client at {}", GATEWAYS[at]), || {
        let other = gateways[1 - at].connection()?;
        Ok((is_at(client, at)? && other.sa.is_none()).then_some(()))
    })
}

fn is_at(client: &Cygnet, at: usize) -> Result<bool> {
    let Connection { state, remote, .. } = client.connection()?;
    Ok(state == State::Up && remote.is_some_and(|remote| remote.starts_with(GATEWAYS[at])))
}

/// The client leaves a gateway while a stream runs. It sends each packet by the one or the other.
/// The old gateway may be told that its SA is over before it has answered what was underway then:
/// what it has not answered is missing, and nothing else.
fn under_a_stream(dut: &Namespace, old: usize, leave: impl FnOnce() -> Result<()>) -> Result<()> {
    let wire = Capture::start(dut, DEVICES[old])?;
    let mut stream = Stream::start(dut, INNER[0], INNER[1])?;
    leave()?;
    stream.wait_for_more()?;
    let (_, mut answered) = stream.stop()?;
    let esp = wire.equal_esp()?;
    let gateway: Ipv4Addr = GATEWAYS[old].parse()?;
    let count = |end: usize| -> usize {
        esp.iter().filter(|(way, _)| way[end] == gateway).map(|(_, packets)| packets).sum()
    };
    let (requests, answers) = (count(1), count(0));
    assert!(answers >= 20, "the stream began by the old gateway");
    answered.sort_unstable();
    let missing: Vec<_> = (1..=answered.last().copied().unwrap_or_default())
        .filter(|number| answered.binary_search(number).is_err())
        .collect();
    assert_eq!(missing.len(), requests - answers, "{missing:?}");
    // They are the last ones that went there.
    let first_by_new = u32::try_from(requests)? + 1;
    assert!(
        missing
            .iter()
            .eq(&(first_by_new - u32::try_from(missing.len())?..first_by_new).collect::<Vec<_>>()),
        "{missing:?}"
    );
    Ok(())
}

/// From where to where a client has gone.
fn ways(client: &Cygnet) -> Result<Vec<[String; 2]>> {
    let way = |event: What| match event {
        What::Redirected { from, to, .. } => Some([from, to]),
        _ => None,
    };
    Ok(client.events()?.into_iter().filter_map(way).collect())
}

#[test]
fn a_client_goes_where_gateways_send_it_at_its_first_word_and_in_the_middle_of_a_session()
-> Result<()> {
    story(|world| {
        let (dut, namespaces) = ground(world)?;
        let gateways = cygnet_gateways(&namespaces)?;
        let client = cygnet_client(&dut)?;
        let said = redirect(&gateways[0], &[GATEWAYS[1]])?;
        assert_eq!(said, "0 clients were told to go to 10.78.0.2, new ones will be\n");
        client.up()?;
        wait_until_at(&client, &gateways, 1)?;
        dut.ping(INNER[0], INNER[1])?;

        // Back, and there again.
        for (from, to) in [(1, 0), (0, 1)] {
            redirect(&gateways[to], &["--off"])?;
            under_a_stream(&dut, from, || {
                let said = redirect(&gateways[from], &[GATEWAYS[to]])?;
                assert!(said.starts_with("1 client was told to go to"), "{said}");
                wait_until_at(&client, &gateways, to)
            })?;
        }
        let [first, second] = GATEWAYS.map(str::to_owned);
        let there = [first.clone(), second.clone()];
        assert_eq!(ways(&client)?, [there.clone(), [second, first], there]);
        client.down()
    })
}

#[test]
fn a_client_that_resumes_is_sent_on_and_later_resumes_where_its_ticket_is_from() -> Result<()> {
    story(|world| {
        let (dut, namespaces) = ground(world)?;
        let gateways = cygnet_gateways(&namespaces)?;
        let client = cygnet_client(&dut)?;
        client.up()?;
        client.suspend()?;
        redirect(&gateways[0], &[GATEWAYS[1]])?;
        client.resume()?;
        assert!(is_at(&client, 1)?);
        dut.ping(INNER[0], INNER[1])?;
        assert_eq!(ways(&client)?, [GATEWAYS.map(str::to_owned)]);
        // The second gateway cannot open the ticket of the first.
        let events = client.events()?;
        let nack = |event: &What| matches!(event, What::FellBack { why: FallBack::Nack, .. });
        assert!(events.iter().any(nack), "{events:#?}");

        client.suspend()?;
        client.resume()?;
        assert!(is_at(&client, 1)?);
        assert_eq!(client.connection()?.how, Some(How::Resumed));
        assert_eq!(ways(&client)?.len(), 1, "it did not ask the first");
        dut.ping(INNER[0], INNER[1])
    })
}

#[test]
fn strongswan_goes_where_cygnet_sends_it() -> Result<()> {
    story(|world| {
        let (dut, namespaces) = ground(world)?;
        dut.address("lo", "10.91.0.1/32")?;
        let mut gateways = cygnet_gateways(&namespaces)?;
        let conf = swanctl_conf(GATEWAYS[0], ["@client", "@gateway"], [91, 92]);
        let strongswan = StrongSwan::start_with(&dut, &conf)?;
        redirect(&gateways[0], &[GATEWAYS[1]])?;
        strongswan.initiate()?;
        strongswan.wait_for_established(1)?;
        assert_eq!(strongswan.established()?[0].value("remote-host"), Some(GATEWAYS[1]));
        dut.ping(INNER[0], INNER[1])?;

        redirect(&gateways[0], &["--off"])?;
        let said = redirect(&gateways[1], &[GATEWAYS[0]])?;
        assert!(said.starts_with("1 client was told to go to"), "{said}");
        let why = gateways[1].wait_for_event("the SA to end", |event| match event {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::PeerDeleted);
        gateways[0].wait_for_state(State::Up)?;
        strongswan.wait_for_established(1)?;
        assert_eq!(strongswan.established()?[0].value("remote-host"), Some(GATEWAYS[0]));
        dut.ping(INNER[0], INNER[1])
    })
}

#[test]
fn cygnet_goes_where_strongswan_sends_it() -> Result<()> {
    story(|world| {
        let (dut, namespaces) = ground(world)?;
        let conf = swanctl_conf("%any", ["@gateway", "@client"], [92, 91]);
        let mut gateways = Vec::new();
        for namespace in &namespaces {
            namespace.address("lo", "10.92.0.1/32")?;
            gateways.push(StrongSwan::start_with(namespace, &conf)?);
        }
        let client = cygnet_client(&dut)?;
        client.up()?;
        under_a_stream(&dut, 0, || {
            gateways[0].redirect(GATEWAYS[1])?;
            gateways[1].wait_for_established(1)?;
            gateways[0].wait_for_established(0)
        })?;
        assert_eq!(ways(&client)?, [GATEWAYS.map(str::to_owned)]);
        client.down()?;
        gateways[1].wait_for_established(0)
    })
}
